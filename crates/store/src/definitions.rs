//! Definitions: the sources of apps and the files that they name, by the hash of their content. Shared by all stacks, so nobody's rows.

use freehold_spec::{Files, Language};
use serde::{Deserialize, Serialize};

use crate::document::{self, BindDocument as _, Document};
use crate::error::StoreError;
use crate::row::read;
use crate::transaction::TenantTx;

/// A source that is kept, and how it has to be read: later programs decode it anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDefinition {
    /// The text of a `freehold.toml`.
    pub source: String,
    /// The files that it names.
    pub files: Files,
    /// The language that it was written in.
    pub language: Language,
}

/// The files of a definition as they are kept.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct KeptFiles(Files);

impl Document for KeptFiles {
    const NAME: &'static str = "the files of a definition";
}

impl TenantTx<'_> {
    /// Keeps a definition. `hash` is the SHA-256 of its source and files, in hexadecimal.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn save_definition(
        &mut self,
        hash: &str,
        app: &str,
        definition: &StoredDefinition,
    ) -> Result<(), StoreError> {
        let StoredDefinition { source, files, language } = definition;
        // One that was used of late isn't collected, so that it needn't be written for each plan. It isn't inserted then either: a conflict
        // locks the row, whatever becomes of it, and all plans of an app would wait for one another.
        sqlx::query(
            "INSERT INTO definitions (hash, app, source, language, files, files_version)
             SELECT $1, $2, $3, $4, $5::json, $6
             WHERE NOT EXISTS (
                 SELECT 1 FROM definitions WHERE hash = $1 AND last_used_at >= clock_timestamp() - interval '1 hour'
             )
             ON CONFLICT (hash) DO UPDATE SET last_used_at = clock_timestamp()
             WHERE definitions.last_used_at < clock_timestamp() - interval '1 hour'",
        )
        .bind(hash)
        .bind(app)
        .bind(source)
        .bind(i16::from(language.number()))
        .bind_document(&KeptFiles(files.clone()))?
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(StoreError::from_sqlx("keep a definition"))
    }

    /// A definition by its hash; `None` if it isn't kept.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] if it is in a language of a newer release; the store doesn't answer.
    pub async fn definition(&mut self, hash: &str) -> Result<Option<StoredDefinition>, StoreError> {
        let row = sqlx::query("SELECT source, language, files::text, files_version FROM definitions WHERE hash = $1")
            .bind(hash)
            .fetch_optional(self.connection())
            .await
            .map_err(StoreError::from_sqlx("read a definition"))?;
        let Some(row) = row else { return Ok(None) };
        let number: i16 = read(&row, "language")?;
        let language = u8::try_from(number).ok().and_then(Language::of_number);
        let language = language.ok_or_else(|| StoreError::Unreadable {
            what: "a definition",
            message: format!(
                "its language is version {number}, and this release reads up to {}",
                Language::NEWEST.number()
            ),
        })?;
        let KeptFiles(files) = document::read(&row, "files")?;
        Ok(Some(StoredDefinition { source: read(&row, "source")?, files, language }))
    }
}
