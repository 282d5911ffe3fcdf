//! Definitions: the sources of apps, by the hash of their content. Shared by all stacks, so nobody's rows.

use crate::error::StoreError;
use crate::row::read;
use crate::transaction::TenantTx;

impl TenantTx<'_> {
    /// Keeps a definition. `hash` is the SHA-256 of its source, in hexadecimal.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn keep_definition(&mut self, hash: &str, app: &str, source: &str) -> Result<(), StoreError> {
        // One that was used of late isn't collected, so that it needn't be written for each plan.
        sqlx::query(
            "INSERT INTO definitions (hash, app, source) VALUES ($1, $2, $3)
             ON CONFLICT (hash) DO UPDATE SET last_used_at = clock_timestamp()
             WHERE definitions.last_used_at < clock_timestamp() - interval '1 hour'",
        )
        .bind(hash)
        .bind(app)
        .bind(source)
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(StoreError::from_sqlx("keep a definition"))
    }

    /// A definition's source.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn definition(&mut self, hash: &str) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT source FROM definitions WHERE hash = $1")
            .bind(hash)
            .fetch_optional(self.connection())
            .await
            .map_err(StoreError::from_sqlx("read a definition"))?;
        row.map(|row| read(&row, "source")).transpose()
    }
}
