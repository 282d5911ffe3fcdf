//! Definitions as the platform works with them.

use freehold_check::Diagnostic;
use freehold_problem::Code;
use freehold_spec::{App, Language};
use freehold_store::{Stack, StoredDefinition, TenantId};
use sha2::{Digest as _, Sha256};

use super::Platform;
use super::computing::compute;
use crate::refusal::{Answer, Refusal};

/// A definition as it is kept: by the hash of its source.
pub(crate) struct Definition {
    pub(crate) app: App,
    pub(crate) hash: String,
    pub(crate) source: String,
    pub(crate) language: Language,
    pub(crate) warnings: Vec<Diagnostic>,
}

impl Definition {
    /// Decodes and checks one that was given.
    pub(crate) async fn read(source: &str) -> Answer<Self> {
        Self::read_in(Language::NEWEST, source).await
    }

    /// Decodes and checks one that is kept: in the language that it was written in.
    pub(crate) async fn read_stored(stored: &StoredDefinition) -> Answer<Self> {
        Self::read_in(stored.language, &stored.source).await
    }

    async fn read_in(language: Language, source: &str) -> Answer<Self> {
        let (app, diagnostics) = compute(|| freehold_check::source_in(language, source)).await;
        let wrong = diagnostics.iter().any(Diagnostic::is_error);
        match app {
            Some(app) if !wrong => Ok(Self {
                app,
                hash: hex::encode(Sha256::digest(source)),
                source: source.to_owned(),
                language,
                warnings: diagnostics,
            }),
            _ => Err(invalid_definition(&diagnostics)),
        }
    }
}

pub(super) fn invalid_definition(diagnostics: &[Diagnostic]) -> Refusal {
    let first = diagnostics.iter().find(|diagnostic| diagnostic.is_error());
    let (code, message) =
        first.map_or((Code::Syntax, "the definition is invalid"), |first| (first.code, first.message.as_str()));
    let mut refusal = Refusal::new(code, message).diagnostics(diagnostics);
    if let Some(help) = first.and_then(|first| first.help.clone()) {
        refusal = refusal.help(help);
    }
    refusal
}

impl Platform {
    /// The definition that a stack was last deployed with.
    pub(crate) async fn definition_of(&self, tenant: TenantId, stack: &Stack) -> Answer<Definition> {
        let hash = stack.definition.as_deref().ok_or_else(|| never_deployed(stack))?;
        let mut tx = self.store.begin(tenant).await?;
        let stored = tx.definition(hash).await?;
        Definition::read_stored(&stored.ok_or_else(|| never_deployed(stack))?).await
    }
}

/// A revision or plan refers to a definition that isn't there: they are collected together, so somebody took it away.
pub(super) fn not_kept(hash: &str) -> Refusal {
    Refusal::new(Code::StoreUnreadable, format!("definition {hash} is missing from the store"))
        .help("deploy from the app's folder, or restore the store from a backup")
}

pub(super) fn never_deployed(stack: &Stack) -> Refusal {
    Refusal::new(Code::NeverDeployed, format!("{} was never deployed", stack.key))
        .help("deploy it from the app's folder")
}
