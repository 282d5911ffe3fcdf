//! Idempotency keys: a request that is repeated under the same key gets the answer of the first one, for 24 hours.

use crate::document::{self, Reply};
use crate::error::StoreError;
use crate::row::{json, read};
use crate::transaction::TenantTx;

/// What is known of a key.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyState {
    /// It is new, and taken by this request now (once the transaction is committed).
    New,
    /// The first request is still at work, or died.
    InProgress,
    /// The first request was answered with this body.
    Answered(serde_json::Value),
    /// The first request was another one: the key must not be used again.
    Other,
}

impl TenantTx<'_> {
    /// Takes a key for a request with this fingerprint, or tells what became of the first one.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn claim_key(&mut self, key: &str, fingerprint: &str) -> Result<KeyState, StoreError> {
        let tenant = self.tenant().0;
        let failed = "read an idempotency key";
        let taken = sqlx::query(
            "INSERT INTO idempotency (tenant_id, key, fingerprint) VALUES ($1, $2, $3)
             ON CONFLICT (tenant_id, key) DO NOTHING",
        )
        .bind(tenant)
        .bind(key)
        .bind(fingerprint)
        .execute(self.connection())
        .await
        .map_err(StoreError::from_sqlx(failed))?;
        if taken.rows_affected() == 1 {
            return Ok(KeyState::New);
        }
        let row = sqlx::query(
            "SELECT fingerprint, response::text, response_version FROM idempotency
             WHERE tenant_id = $1 AND key = $2 AND expires_at > clock_timestamp()",
        )
        .bind(tenant)
        .bind(key)
        .fetch_optional(self.connection())
        .await
        .map_err(StoreError::from_sqlx(failed))?;
        let Some(row) = row else {
            // It has expired and nobody has purged it yet.
            self.drop_key(key).await?;
            return Box::pin(self.claim_key(key, fingerprint)).await;
        };
        if read::<String, _>(&row, "fingerprint")? != fingerprint {
            return Ok(KeyState::Other);
        }
        Ok(match document::read_optional(&row, "response")? {
            Some(Reply(response)) => KeyState::Answered(response),
            None => KeyState::InProgress,
        })
    }

    /// Keeps the answer of the request that took the key.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn answer_key(&mut self, key: &str, status: u16, response: &serde_json::Value) -> Result<(), StoreError> {
        let tenant = self.tenant().0;
        sqlx::query(
            "UPDATE idempotency SET status = $3, response = $4::json, response_version = $5 WHERE tenant_id = $1 AND key = $2",
        )
        .bind(tenant)
        .bind(key)
        .bind(i32::from(status))
        .bind(json("a reply", response)?)
        .bind(document::written::<Reply>())
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(StoreError::from_sqlx("keep an answer"))
    }

    /// Gives a key back: the request failed before it did anything, and may be tried again.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn drop_key(&mut self, key: &str) -> Result<(), StoreError> {
        let tenant = self.tenant().0;
        sqlx::query("DELETE FROM idempotency WHERE tenant_id = $1 AND key = $2")
            .bind(tenant)
            .bind(key)
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(StoreError::from_sqlx("release an idempotency key"))
    }
}
