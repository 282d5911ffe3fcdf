//! Events of operations, for streams that begin late or begin anew. What an event looks like is the server's business.
//!
//! They are written without waiting for the disk: an event is a view of the journal, which does wait.

use chrono::{DateTime, Utc};
use freehold_engine::OperationId;

use crate::error::StoreError;
use crate::journal::EngineStore;
use crate::row::{bigint, document, json, number, read};
use crate::signals::Topic;
use crate::transaction::TenantTx;

/// An event as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Grows within the operation (not by one): the id of a stream's event.
    pub seq: u64,
    /// When it was written.
    pub at: DateTime<Utc>,
    /// The event.
    pub event: serde_json::Value,
}

impl EngineStore {
    /// Adds events to an operation, in order. Tells their numbers.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn append_events(
        &self,
        operation: OperationId,
        events: &[serde_json::Value],
    ) -> Result<Vec<u64>, StoreError> {
        let failed = "keep events";
        let events = events.iter().map(|event| json("an event", event)).collect::<Result<Vec<_>, _>>()?;
        let begin = "BEGIN; SET LOCAL synchronous_commit = off";
        let mut tx = self.store().engine_pool().begin_with(begin).await.map_err(StoreError::from_sqlx(failed))?;
        let rows = sqlx::query(
            "INSERT INTO events (tenant_id, operation, event)
             SELECT operations.tenant_id, operations.id, new.event::json
             FROM operations, unnest($2::text[]) WITH ORDINALITY AS new (event, place)
             WHERE operations.id = $1 ORDER BY new.place RETURNING seq",
        )
        .bind(operation.0)
        .bind(events)
        .fetch_all(&mut *tx)
        .await
        .map_err(StoreError::from_sqlx(failed))?;
        tx.commit().await.map_err(StoreError::from_sqlx(failed))?;
        self.store().signals().send(operation, Topic::Progress);
        rows.iter().map(|row| number(row, "seq")).collect()
    }
}

impl TenantTx<'_> {
    /// An operation's events behind the one numbered `after` (0: all).
    ///
    /// # Errors
    /// The store doesn't answer, or a row can't be read.
    pub async fn events(&mut self, operation: OperationId, after: u64) -> Result<Vec<Event>, StoreError> {
        let tenant = self.tenant().0;
        let rows = sqlx::query(
            "SELECT seq, at, event::text FROM events WHERE tenant_id = $1 AND operation = $2 AND seq > $3 ORDER BY seq",
        )
        .bind(tenant)
        .bind(operation.0)
        .bind(bigint(after))
        .fetch_all(self.connection())
        .await
        .map_err(StoreError::from_sqlx("read events"))?;
        rows.iter()
            .map(|row| {
                Ok(Event {
                    seq: number(row, "seq")?,
                    at: read(row, "at")?,
                    event: document("an event", read(row, "event")?)?,
                })
            })
            .collect()
    }
}
