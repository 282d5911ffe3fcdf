//! Artifacts: which ones are kept, by hash. Their content is kept elsewhere. Shared by all stacks of an app, so nobody's rows.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;

use crate::error::StoreError;
use crate::journal::EngineStore;
use crate::row::{bigint, number, read};
use crate::transaction::TenantTx;

/// An artifact as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// `sha256:…`, of its content.
    pub hash: String,
    /// In bytes.
    pub size: u64,
    /// When it was first kept.
    pub created_at: DateTime<Utc>,
    /// When a deploy last wanted it.
    pub last_used_at: DateTime<Utc>,
}

impl TenantTx<'_> {
    /// Records an artifact that was kept, or that it was kept before.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn keep_artifact(&mut self, hash: &str, size: u64) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO artifacts (hash, size) VALUES ($1, $2)
             ON CONFLICT (hash) DO UPDATE SET last_used_at = clock_timestamp()",
        )
        .bind(hash)
        .bind(bigint(size))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(StoreError::from_sqlx("record an artifact"))
    }

    /// An artifact.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn artifact(&mut self, hash: &str) -> Result<Option<Artifact>, StoreError> {
        let row = sqlx::query("SELECT hash, size, created_at, last_used_at FROM artifacts WHERE hash = $1")
            .bind(hash)
            .fetch_optional(self.connection())
            .await
            .map_err(StoreError::from_sqlx("look for an artifact"))?;
        row.as_ref().map(artifact).transpose()
    }
}

impl EngineStore {
    /// Artifacts that no revision refers to and nobody has used since `before`.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn unused_artifacts(&self, before: DateTime<Utc>) -> Result<Vec<String>, StoreError> {
        sqlx::query_scalar("SELECT unused_artifacts($1)")
            .bind(before)
            .fetch_all(self.store().engine_pool())
            .await
            .map_err(StoreError::from_sqlx("look for unused artifacts"))
    }

    /// Forgets an artifact, before its content is removed. Tells whether it was still unused since `before`: else it stays.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn forget_artifact(&self, hash: &str, before: DateTime<Utc>) -> Result<bool, StoreError> {
        sqlx::query("DELETE FROM artifacts WHERE hash = $1 AND last_used_at < $2")
            .bind(hash)
            .bind(before)
            .execute(self.store().engine_pool())
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(StoreError::from_sqlx("forget an artifact"))
    }
}

fn artifact(row: &PgRow) -> Result<Artifact, StoreError> {
    Ok(Artifact {
        hash: read(row, "hash")?,
        size: number(row, "size")?,
        created_at: read(row, "created_at")?,
        last_used_at: read(row, "last_used_at")?,
    })
}
