//! Artifacts: which ones are kept, by hash. Their content is kept elsewhere. Shared by all stacks of an app, so nobody's rows.

use chrono::{DateTime, Utc};
use sqlx::Transaction;
use sqlx::postgres::{PgRow, Postgres};

use crate::error::StoreError;
use crate::journal::EngineStore;
use crate::row::{bigint, number, read};
use crate::transaction::TenantTx;

/// An artifact as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// `sha256:…`, of its content.
    pub hash: String,
    /// Size of its files together, in bytes.
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

    /// What is recorded of an artifact; its files may be gone all the same.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn artifact(&mut self, hash: &str) -> Result<Option<Artifact>, StoreError> {
        let row = sqlx::query("SELECT hash, size, created_at, last_used_at FROM artifacts WHERE hash = $1")
            .bind(hash)
            .fetch_optional(self.connection())
            .await
            .map_err(StoreError::from_sqlx("read an artifact"))?;
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
            .map_err(StoreError::from_sqlx("list unused artifacts"))
    }

    /// Begins to forget an artifact, if it is still unused since `before`. Who wants it from now on waits for the end of that, and by then its
    /// content has to be out of reach.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn forget_artifact(
        &self,
        hash: &str,
        before: DateTime<Utc>,
    ) -> Result<Option<ForgottenArtifact>, StoreError> {
        let failed = StoreError::from_sqlx("delete an artifact's record");
        let forget = async {
            let mut transaction = self.store().engine_pool().begin().await?;
            let done = sqlx::query("DELETE FROM artifacts WHERE hash = $1 AND last_used_at < $2")
                .bind(hash)
                .bind(before)
                .execute(&mut *transaction)
                .await?;
            Ok((done.rows_affected() > 0).then_some(ForgottenArtifact(transaction)))
        };
        forget.await.map_err(failed)
    }
}

/// An artifact that is about to be forgotten. Dropped, it stays recorded.
#[derive(Debug)]
pub struct ForgottenArtifact(Transaction<'static, Postgres>);

impl ForgottenArtifact {
    /// Forgets it for good.
    ///
    /// # Errors
    /// The store doesn't answer; it may have been forgotten or not.
    pub async fn confirm(self) -> Result<(), StoreError> {
        self.0.commit().await.map_err(StoreError::from_sqlx("delete an artifact's record"))
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
