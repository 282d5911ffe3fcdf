//! Facts about the platform itself, by name: the port of its PostgreSQL, the release that last ran on it.

use crate::error::StoreError;
use crate::store::Store;

impl Store {
    /// What the platform keeps about itself under a name.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar("SELECT value FROM settings WHERE name = $1")
            .bind(name)
            .fetch_optional(self.engine_pool())
            .await
            .map_err(StoreError::from_sqlx("read a setting"))
    }

    /// Writes a fact down.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn keep_setting(&self, name: &str, value: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO settings (name, value) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed_at = clock_timestamp()",
        )
        .bind(name)
        .bind(value)
        .execute(self.engine_pool())
        .await
        .map(|_| ())
        .map_err(StoreError::from_sqlx("keep a setting"))
    }
}
