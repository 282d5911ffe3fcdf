//! Objects of a cluster that are delivered as they are, from a file of the app's folder.

use crate::decode::context::Context;
use crate::decode::kind::{Value, ValueKind};
use crate::decode::path::RelativePath;
use crate::decode::schema::Definitions;
use crate::decode::table::table;
use crate::decode::text::Text;
use crate::decode::{DecodeError, DecodeErrorKind};
pub use crate::part::output::NoOutput as Output;
use crate::span::{Span, Spanned};
use crate::yaml::{self, Document};

/// Objects of a cluster that are delivered as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The table's header.
    pub span: Span,
    /// The file, and what is in it.
    pub file: Spanned<ManifestFile>,
}

/// A file of manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFile {
    /// Relative to the folder of `freehold.toml`.
    pub path: String,
    /// Its documents, in their order.
    pub documents: Vec<Document>,
}

/// The path of a file of YAML; what is in it is read with it.
pub(crate) struct YamlFile;

impl ValueKind for YamlFile {
    type Value = Spanned<ManifestFile>;

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        Text::<RelativePath>::schema(definitions)
    }

    fn decode(context: &mut Context<'_>, value: &Value<'_>) -> Option<Self::Value> {
        let path = Text::<RelativePath>::decode(context, value)?;
        let span = context.span(value.span());
        let wrong = |message: String| DecodeError::new(DecodeErrorKind::BadManifest, span, message);
        let Some(text) = context.file(&path) else {
            let error = wrong(format!("there is no file {path} beside freehold.toml"));
            context.report(error.help("write its path relative to the folder of freehold.toml"));
            return None;
        };
        match yaml::documents(text) {
            Ok(documents) if documents.is_empty() => {
                context.report(
                    wrong(format!("{path} has no documents")).help("write a manifest into it, or leave it out"),
                );
                None
            }
            Ok(documents) => Some(Spanned::new(ManifestFile { path, documents }, span)),
            Err(error) => {
                let told = wrong(format!("{path}:{}: {}", error.line, error.message));
                context.report(match error.help {
                    Some(help) => told.help(help),
                    None => told,
                });
                None
            }
        }
    }
}

table! {
    /// Objects of a cluster that are delivered as they are: for what the other tables have no words for. Clusters only.
    "manifest" ManifestTable -> Manifest { span:
        /// A file of YAML with one or several documents, relative to the app's folder: objects without a namespace, of kinds that the target allows.
        file: required YamlFile;
    }
}
