//! Definitions as the platform works with them.

use freehold_check::Diagnostic;
use freehold_problem::{About, Code, Problem};
use freehold_spec::{App, Document, Environment, Files, Language, Name};
use freehold_store::{Stack, StoredDefinition};
use sha2::{Digest as _, Sha256};

use super::computing::compute;
use crate::Result;

/// A definition as it was given: right in all its environments.
pub(crate) struct Given {
    pub(crate) app: Name,
    stored: StoredDefinition,
}

impl Given {
    /// Decodes and checks one in all its environments: what can be deployed can be deployed everywhere.
    pub(crate) async fn check(source: &str, files: &Files) -> Result<Self> {
        let language = Language::NEWEST;
        let (app, diagnostics) = compute(|| freehold_check::source_in(language, source, files)).await;
        let (app, _) = sound(app, diagnostics)?;
        let mut stored = StoredDefinition { source: source.to_owned(), files: files.clone(), language };
        if !files.is_empty() {
            // What it doesn't name is no part of it.
            let named = compute(|| Document::parse(language, source, files).files()).await;
            stored.files.retain(|path, _| named.contains(path));
        }
        Ok(Self { app: app.name.value, stored })
    }

    /// As it holds in an environment.
    pub(crate) async fn hold(self, environment: &Environment) -> Result<Definition> {
        Definition::read(self.stored, environment).await
    }
}

/// A definition as it is kept, by the hash of its source and files, and as it holds in an environment.
pub(crate) struct Definition {
    pub(crate) app: App,
    pub(crate) hash: String,
    pub(crate) stored: StoredDefinition,
    pub(crate) warnings: Vec<Diagnostic>,
}

impl Definition {
    /// Decodes and checks one that is kept, in the language that it was written in.
    pub(crate) async fn read(stored: StoredDefinition, environment: &Environment) -> Result<Self> {
        let StoredDefinition { source, files, language } = &stored;
        let read = || freehold_check::in_environment(*language, source, files, environment);
        let (app, diagnostics) = compute(read).await;
        let (app, warnings) = sound(app, diagnostics)?;
        Ok(Self { app, hash: hash(&stored), stored, warnings })
    }
}

/// An app without errors, and its warnings.
fn sound(app: Option<App>, diagnostics: Vec<Diagnostic>) -> Result<(App, Vec<Diagnostic>)> {
    match app {
        Some(app) if !diagnostics.iter().any(Diagnostic::is_error) => Ok((app, diagnostics)),
        _ => Err(invalid_definition(&diagnostics)),
    }
}

/// SHA-256, in hexadecimal. Of a definition without files it is that of its source. The lengths keep texts apart.
fn hash(stored: &StoredDefinition) -> String {
    let mut hash = Sha256::new_with_prefix(&stored.source);
    if !stored.files.is_empty() {
        hash.update(stored.source.len().to_be_bytes());
    }
    for text in stored.files.iter().flat_map(|(path, text)| [path, text]) {
        hash.update(text.len().to_be_bytes());
        hash.update(text);
    }
    hex::encode(hash.finalize())
}

pub(super) fn invalid_definition(diagnostics: &[Diagnostic]) -> Problem {
    let first = diagnostics.iter().find(|diagnostic| diagnostic.is_error());
    let (code, message) =
        first.map_or((Code::Syntax, "the definition is invalid"), |first| (first.code, first.message.as_str()));
    let documents = diagnostics.iter().filter_map(|item| serde_json::to_value(item).ok()).collect();
    Problem::new(code, message)
        .maybe_help(first.and_then(|first| first.help.clone()))
        .about(About::Diagnostics(documents))
}

/// A revision or plan refers to a definition that isn't there: they are collected together, so somebody took it away.
pub(super) fn not_kept(hash: &str) -> Problem {
    Problem::new(Code::StoreUnreadable, format!("definition {hash} is missing from the store"))
        .help("deploy from the app's folder, or restore the store from a backup")
}

pub(super) fn never_deployed(stack: &Stack) -> Problem {
    Problem::new(Code::NeverDeployed, format!("{} was never deployed", stack.key))
        .help("deploy it from the app's folder")
}
