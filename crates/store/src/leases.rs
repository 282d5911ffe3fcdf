//! Leases: the right to work on a stack, for 15 seconds by the store's clock.
//!
//! Each grant has a fence one higher than the last; every write names its fence and is refused under an older one. So a
//! process that wakes up late writes nothing, whatever it believes. A lease that has run out and wasn't granted anew may
//! still be renewed: nobody can have acted in between.

use std::time::Duration;

use async_trait::async_trait;
use freehold_engine::{Fence, JournalError, Lease, Leases, OperationId};
use sqlx::Row;

use crate::journal::{EngineStore, unavailable};
use crate::signal::Signal;

/// How long a lease lasts, in seconds.
pub const LEASE_SECONDS: i32 = 15;

#[async_trait]
impl Leases for EngineStore {
    /// Also moves the operation from queued to running. Refused with [`JournalError::Fenced`] for an operation that has
    /// ended: nothing is left to do.
    async fn acquire(&self, operation: OperationId) -> Result<Option<Lease>, JournalError> {
        // The operation's row is locked first, as `finish` does, so that an operation that is just ending isn't taken up.
        let row = sqlx::query(
            "WITH operation AS (
                 SELECT tenant_id, stack FROM operations WHERE id = $1 AND state IN ('queued', 'running') FOR NO KEY UPDATE
             ), taken AS (
                 UPDATE leases SET
                     holder = $2, fence = leases.fence + 1, operation = $1,
                     seq = CASE WHEN leases.operation = $1 THEN leases.seq ELSE 0 END,
                     expires_at = clock_timestamp() + make_interval(secs => $3)
                 FROM operation
                 WHERE leases.tenant_id = operation.tenant_id AND leases.stack = operation.stack
                 AND (leases.holder IS NULL OR leases.expires_at <= clock_timestamp())
                 RETURNING leases.fence, extract(epoch FROM leases.expires_at - clock_timestamp())::float8 AS remaining
             ), started AS (
                 UPDATE operations SET state = 'running', started_at = coalesce(started_at, clock_timestamp())
                 FROM taken WHERE id = $1
             )
             SELECT taken.fence, taken.remaining FROM operation LEFT JOIN taken ON true",
        )
        .bind(operation.0)
        .bind(self.holder())
        .bind(f64::from(LEASE_SECONDS))
        .fetch_optional(self.store().engine_pool())
        .await
        .map_err(unavailable)?;
        let Some(row) = row else { return Err(JournalError::Fenced) };
        let fence: Option<i64> = row.try_get("fence").map_err(unavailable)?;
        let remaining: Option<f64> = row.try_get("remaining").map_err(unavailable)?;
        Ok(fence.zip(remaining).map(|(fence, remaining)| lease(fence, remaining)))
    }

    async fn renew(&self, operation: OperationId, fence: Fence) -> Result<Lease, JournalError> {
        let remaining: Option<f64> = sqlx::query_scalar(
            "UPDATE leases SET expires_at = clock_timestamp() + make_interval(secs => $4)
             WHERE operation = $1 AND fence = $2 AND holder = $3
             RETURNING extract(epoch FROM expires_at - clock_timestamp())::float8",
        )
        .bind(operation.0)
        .bind(fence.0)
        .bind(self.holder())
        .bind(f64::from(LEASE_SECONDS))
        .fetch_optional(self.store().engine_pool())
        .await
        .map_err(unavailable)?;
        remaining.map(|remaining| lease(fence.0, remaining)).ok_or(JournalError::Fenced)
    }

    async fn release(&self, operation: OperationId, fence: Fence) -> Result<(), JournalError> {
        sqlx::query(
            "UPDATE leases SET holder = NULL, expires_at = clock_timestamp() WHERE operation = $1 AND fence = $2",
        )
        .bind(operation.0)
        .bind(fence.0)
        .execute(self.store().engine_pool())
        .await
        .map(|_| ())
        .map_err(unavailable)
    }
}

impl EngineStore {
    /// Ends all leases of other processes at once. Only for an embedded server that holds the lock on its data directory,
    /// and so knows that the others are dead. The fences grow: one that isn't dead after all can write nothing more.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn take_over_predecessors(&self) -> Result<u64, JournalError> {
        sqlx::query(
            "UPDATE leases SET holder = NULL, fence = fence + 1, expires_at = clock_timestamp()
             WHERE holder IS NOT NULL AND holder <> $1",
        )
        .bind(self.holder())
        .execute(self.store().engine_pool())
        .await
        .map(|done| done.rows_affected())
        .map_err(unavailable)
    }
}

impl EngineStore {
    /// Gives back all leases of this process, which has stopped working: others take its operations up at once. The fences grow, so
    /// that what this process has sent and isn't answered yet writes nothing more.
    ///
    /// # Errors
    /// The store doesn't answer: then the leases end by themselves.
    pub async fn release_all(&self) -> Result<(), JournalError> {
        let mut transaction = self.store().engine_pool().begin().await.map_err(unavailable)?;
        let operations: Vec<Option<uuid::Uuid>> = sqlx::query_scalar(
            "UPDATE leases SET holder = NULL, fence = fence + 1, expires_at = clock_timestamp()
             WHERE holder = $1 RETURNING operation",
        )
        .bind(self.holder())
        .fetch_all(&mut *transaction)
        .await
        .map_err(unavailable)?;
        let signals: Vec<Signal> =
            operations.into_iter().flatten().map(|operation| Signal::Queued(OperationId(operation))).collect();
        // With the commit: this process may be gone before it could tell behind it.
        for signal in &signals {
            let told = self.store().signals().announce(&mut transaction, signal).await;
            told.map_err(|error| JournalError::Unavailable(error.to_string()))?;
        }
        transaction.commit().await.map_err(unavailable)?;
        signals.into_iter().for_each(|signal| self.store().signals().send_here(signal));
        Ok(())
    }
}

fn lease(fence: i64, remaining: f64) -> Lease {
    Lease { fence: Fence(fence), remaining: Duration::try_from_secs_f64(remaining).unwrap_or_default() }
}
