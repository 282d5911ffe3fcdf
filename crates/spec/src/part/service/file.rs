//! Files that a program finds where it expects them: configuration, scripts, certificates.

use serde_json::{Value as Json, json};
use toml::de::DeValue;

use crate::decode::context::Context;
use crate::decode::error::{DecodeError, DecodeErrorKind};
use crate::decode::kind::{At, Few, Map, Value, ValueKind};
use crate::decode::number::Truth;
use crate::decode::path::{AbsolutePath, RelativePath};
use crate::decode::reference;
use crate::decode::schema::Definitions;
use crate::decode::table::table;
use crate::decode::text::{PartName, Rejection, Text, TextKind, WithReferences};
use crate::span::{Span, Spanned};
use crate::template::{Segment, Template};

/// A file of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where its table stands.
    pub span: Span,
    /// Where the program finds it: an absolute path. Has a last part.
    pub path: Spanned<String>,
    /// What is in it, with references.
    pub content: Spanned<Template>,
    /// Its mode, as chmod has it: `0o644`.
    pub mode: u32,
}

/// A file as it is written, before it is known whether that comes together.
pub(crate) struct Written {
    span: Span,
    path: Spanned<String>,
    text: Option<Spanned<Template>>,
    file: Option<Spanned<Source>>,
    references: bool,
    mode: u32,
}

/// A file of the app's folder.
pub(crate) struct Source {
    path: String,
    text: String,
}

/// The path of a text file; what is in it is read with it.
pub(crate) struct TextFile;

impl ValueKind for TextFile {
    type Value = Spanned<Source>;

    fn schema(definitions: &mut Definitions) -> Json {
        Text::<RelativePath>::schema(definitions)
    }

    fn decode(context: &mut Context<'_>, value: &Value<'_>) -> Option<Self::Value> {
        let path = Text::<RelativePath>::decode(context, value)?;
        let span = context.span(value.span());
        let Some(text) = context.file(&path) else {
            let message = format!("there is no file {path} beside freehold.toml");
            let error = DecodeError::new(DecodeErrorKind::BadFile, span, message);
            context.report(error.help("write its path relative to the folder of freehold.toml"));
            return None;
        };
        if text.contains('\0') {
            let error =
                DecodeError::new(DecodeErrorKind::BadFile, span, format!("{path} is no text: it has a NUL in it"));
            context.report(error.help("let the image bring what isn't text"));
            return None;
        }
        Some(Spanned::new(Source { path, text: text.to_owned() }, span))
    }
}

/// A mode of a file that everybody knows from chmod: `"0644"`.
pub(crate) struct Mode;

impl TextKind for Mode {
    type Value = u32;

    fn schema() -> Json {
        json!({ "pattern": "^0?[0-7]{3}$" })
    }

    fn parse(text: &str) -> Result<u32, Rejection> {
        let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
        let mode = (digits.len() == 3).then(|| u32::from_str_radix(digits, 8).ok()).flatten();
        mode.ok_or_else(|| {
            Rejection::new(DecodeErrorKind::BadText, format!("{text:?} is no mode of a file"))
                .help("three octal digits, as for chmod: \"0644\", \"0400\", \"0755\" for a script")
        })
    }
}

/// The most files of a program.
const FILES: usize = 50;

/// Files by name.
pub(crate) type Files = Few<Map<PartName, FileOf>, FILES>;

/// A file of a program.
pub(crate) struct FileOf;

impl ValueKind for FileOf {
    type Value = File;

    fn schema(definitions: &mut Definitions) -> Json {
        FileTable::schema(definitions)
    }

    fn decode(context: &mut Context<'_>, value: &Value<'_>) -> Option<File> {
        let Written { span, path, text, file, references, mode } = FileTable::decode(context, value)?;
        let wrong = |message: &str| {
            DecodeError::new(DecodeErrorKind::BadFile, span, message)
                .help("`text = \"…\"` is what is in the file, `file = \"conf/app.conf\"` a file of the app's folder")
        };
        let content = match (text, file) {
            (Some(text), None) => Some(text),
            (None, Some(source)) if !references => {
                Some(Spanned::new(Template { segments: vec![Segment::Text(source.value.text)] }, source.span))
            }
            (None, Some(source)) => template(context, source),
            (Some(_), Some(_)) => {
                context.report(wrong("a file has a `text` or a `file`, and this one has both"));
                None
            }
            // What is said and can't be read has been reported.
            (None, None) if says(value) => None,
            (None, None) => {
                context.report(wrong("a file has a `text` or a `file`, and this one has neither"));
                None
            }
        };
        Some(File { span, path, content: content?, mode })
    }
}

/// Whether a table says what is in the file, rightly or not.
fn says(value: &Value<'_>) -> bool {
    let DeValue::Table(table) = value.get_ref() else { return false };
    table.iter().any(|(key, _)| matches!(key.get_ref().as_ref(), "text" | "file"))
}

/// The references in a file of the app's folder. A mistake is told with its line there.
fn template(context: &mut Context<'_>, source: Spanned<Source>) -> Option<Spanned<Template>> {
    let Source { path, text } = source.value;
    // Places are offsets in the file until they are told.
    match reference::parse(&text, |range| Span { start: range.start, end: range.end }) {
        Ok(template) => Some(Spanned::new(moved(template, source.span), source.span)),
        Err(errors) => {
            for mut error in errors {
                let line = text.get(..error.span.start).unwrap_or_default().matches('\n').count().saturating_add(1);
                error.message = format!("{path}:{line}: {}", error.message);
                error.span = source.span;
                let help = error.help.take().map(|help| format!("{help}; or ")).unwrap_or_default();
                context.report(error.help(format!("{help}set `references = false` to have the file as it is")));
            }
            None
        }
    }
}

/// The template with all its references at one place.
fn moved(mut template: Template, span: Span) -> Template {
    for segment in &mut template.segments {
        match segment {
            Segment::Text(_) => {}
            Segment::Reference(reference) => reference.span = span,
        }
    }
    template
}

table! {
    /// A file of a program: one of `text` and `file`.
    "file" FileTable -> Written { span:
        /// Where the program finds it: an absolute path.
        path: required At<Text<AbsolutePath>>;
        /// What is in it; a text with `${…}` references, which may be secret.
        text: optional At<WithReferences>;
        /// A text file of the app's folder, whose `${…}` references are resolved.
        file: optional TextFile;
        /// Whether there are references in `file`; without them, it is left as it is.
        references: default Truth = "true";
        /// Its mode, as for chmod.
        mode: default Text<Mode> = "\"0644\"";
    }
}
