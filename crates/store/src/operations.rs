//! Operations: executions of plans. How one begins is in [`crate::enqueue`], how it ends in [`crate::finish`].

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use freehold_engine::{OperationId, Record};
use freehold_graph::StackId;
use freehold_plan::Plan;
use freehold_problem::Problem;
use freehold_spec::Name;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use thiserror::Error;

use crate::document;
use crate::error::StoreError;
use crate::journal::{self, EngineStore};
use crate::row::{self, read, word};
use crate::signal::Signal;
use crate::store::Store;
use crate::tenant_id::TenantId;
use crate::transaction::{ReadTx, TenantTx};

/// How far an operation has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperationState {
    /// In the queue: no process has acquired it yet.
    Queued,
    /// A process works on it, or died doing so.
    Running,
    /// It is done and verified.
    Succeeded,
    /// A step failed, or its deadline passed.
    Failed,
    /// Somebody asked it to stop, and it did.
    Cancelled,
}

impl OperationState {
    /// Whether nothing more will happen.
    pub fn is_finished(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// An operation as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// A version 7 UUID: later operations have larger ones.
    pub id: OperationId,
    /// The tenant that owns the stack.
    pub tenant: TenantId,
    /// Which stack it works on.
    pub stack: StackId,
    /// The stack's name: `guestbook/tenant/acme`.
    pub subject: String,
    /// What it carries out.
    pub plan: Plan,
    /// How far it has got.
    pub state: OperationState,
    /// Who asked for it.
    pub requested_by: String,
    /// The key that the request came with.
    pub idempotency_key: Option<String>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When a process first acquired it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended; `None` while it is unfinished.
    pub finished_at: Option<DateTime<Utc>>,
    /// When somebody asked it to stop, and who.
    pub cancel: Option<(DateTime<Utc>, String)>,
    /// What people are told.
    pub outputs: BTreeMap<String, String>,
    /// The problem that it failed with; `None` unless it failed.
    pub failure: Option<Problem>,
}

/// An operation in a list whose row can't be read: a newer release has written it, or it was damaged. It hides no other.
#[derive(Debug, Error)]
#[error("operation {id}: {error}")]
pub struct UnreadableOperation {
    /// Which one it is.
    pub id: OperationId,
    /// Why it can't be read.
    pub error: StoreError,
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationEnd {
    /// One of the three in which nothing more happens.
    pub state: OperationState,
    /// By the clock of the store.
    pub at: DateTime<Utc>,
    /// The problem that it failed with; `None` unless it failed.
    pub failure: Option<Problem>,
}

/// What there is to work on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Queue {
    /// Operations without a lease, the oldest first.
    pub waiting: Vec<Waiting>,
    /// After what time the first lease of an unfinished operation ends that isn't renewed; none while nobody holds one.
    pub next_lease_end: Option<Duration>,
}

/// An unfinished operation that no process holds a lease for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Acquire it with [`freehold_engine::journal::Leases::acquire`].
    pub operation: OperationId,
    /// The target that it works on.
    pub target: Name,
}

// The same columns for every query, so that one function reads them all.
macro_rules! select_operations {
    ($rest:literal) => {
        concat!(
            "SELECT id, tenant_id, stack, subject, plan::text, plan_version, state, requested_by, idempotency_key, created_at,
                    started_at, finished_at, cancel_requested_at, cancel_requested_by, outputs::text, outputs_version,
                    failure::text, failure_version
             FROM operations ",
            $rest
        )
    };
}

impl TenantTx<'_> {
    /// An operation of the tenant.
    ///
    /// # Errors
    /// The store doesn't answer, or a row can't be read.
    pub async fn operation(&mut self, id: OperationId) -> Result<Option<Operation>, StoreError> {
        let tenant = self.tenant().0;
        let row = sqlx::query(select_operations!("WHERE tenant_id = $1 AND id = $2"))
            .bind(tenant)
            .bind(id.0)
            .fetch_optional(self.connection())
            .await
            .map_err(StoreError::from_sqlx("read an operation"))?;
        row.as_ref().map(operation).transpose()
    }

    /// The operations on a stack, newest first; also those on one that is gone.
    ///
    /// # Errors
    /// The store doesn't answer, or a row can't be read.
    pub async fn operations(&mut self, stack: StackId, limit: u32) -> Result<Vec<Operation>, StoreError> {
        let tenant = self.tenant().0;
        let rows = sqlx::query(select_operations!(
            "WHERE tenant_id = $1 AND stack = $2 ORDER BY created_at DESC, id DESC LIMIT $3"
        ))
        .bind(tenant)
        .bind(stack.0)
        .bind(i64::from(limit))
        .fetch_all(self.connection())
        .await
        .map_err(StoreError::from_sqlx("list the operations"))?;
        rows.iter().map(operation).collect()
    }

    /// Some of the tenant's operations, in no order; one that isn't kept any more is left out.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn operations_named(
        &mut self,
        ids: &[OperationId],
    ) -> Result<Vec<Result<Operation, UnreadableOperation>>, StoreError> {
        let tenant = self.tenant().0;
        let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.0).collect();
        let rows = sqlx::query(select_operations!("WHERE tenant_id = $1 AND id = ANY ($2)"))
            .bind(tenant)
            .bind(ids)
            .fetch_all(self.connection())
            .await
            .map_err(StoreError::from_sqlx("read operations"))?;
        let listed = |row: &PgRow| {
            row::listed(operation(row), |error| Ok(UnreadableOperation { id: OperationId(read(row, "id")?), error }))
        };
        rows.iter().map(listed).collect()
    }

    /// How an operation ended; `None` if it hasn't, or isn't the tenant's.
    ///
    /// # Errors
    /// The store doesn't answer, or the row can't be read.
    pub async fn operation_end(&mut self, operation: OperationId) -> Result<Option<OperationEnd>, StoreError> {
        let tenant = self.tenant().0;
        let row = sqlx::query(
            "SELECT state, finished_at, failure::text, failure_version FROM operations
             WHERE tenant_id = $1 AND id = $2 AND finished_at IS NOT NULL",
        )
        .bind(tenant)
        .bind(operation.0)
        .fetch_optional(self.connection())
        .await
        .map_err(StoreError::from_sqlx("read an operation's end"))?;
        let end = |row: PgRow| {
            Ok(OperationEnd {
                state: word("an operation", read(&row, "state")?)?,
                at: read(&row, "finished_at")?,
                failure: failure_for_people(document::read_optional(&row, "failure")),
            })
        };
        row.map(end).transpose()
    }

    /// An operation's journal behind the record `after` (0: all of it), for people: number, time and record. `None` in the place of a record
    /// is one that can't be read, because a newer release wrote it or it is damaged: who only watches goes on without it.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn journal(
        &mut self,
        operation: OperationId,
        after: u64,
    ) -> Result<Vec<(u64, DateTime<Utc>, Option<Record>)>, StoreError> {
        let tenant = self.tenant().0;
        let rows = sqlx::query(
            "SELECT seq, at, record::text FROM journal WHERE tenant_id = $1 AND operation = $2 AND seq > $3 ORDER BY seq",
        )
        .bind(tenant)
        .bind(operation.0)
        .bind(crate::row::bigint(after))
        .fetch_all(self.connection())
        .await
        .map_err(StoreError::from_sqlx("read a journal"))?;
        rows.iter()
            .map(|row| {
                let record: String = read(row, "record")?;
                Ok((crate::row::number(row, "seq")?, read(row, "at")?, journal::parse_for_people(&record)))
            })
            .collect()
    }
}

impl ReadTx<'_> {
    /// The last operations over all stacks, newest first.
    ///
    /// # Errors
    /// The store doesn't answer, or a row can't be read.
    pub async fn operations(&mut self, limit: u32) -> Result<Vec<Operation>, StoreError> {
        let rows = sqlx::query(select_operations!("ORDER BY created_at DESC, id DESC LIMIT $1"))
            .bind(i64::from(limit))
            .fetch_all(self.connection())
            .await
            .map_err(StoreError::from_sqlx("list the operations"))?;
        rows.iter().map(operation).collect()
    }

    /// An operation of any tenant.
    ///
    /// # Errors
    /// The store doesn't answer, or a row can't be read.
    pub async fn operation(&mut self, id: OperationId) -> Result<Option<Operation>, StoreError> {
        let row = sqlx::query(select_operations!("WHERE id = $1"))
            .bind(id.0)
            .fetch_optional(self.connection())
            .await
            .map_err(StoreError::from_sqlx("read an operation"))?;
        row.as_ref().map(operation).transpose()
    }
}

impl ReadTx<'_> {
    /// The operation that a request under this idempotency key has begun, for as long as keys are kept.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn operation_of_key(&mut self, key: &str) -> Result<Option<OperationId>, StoreError> {
        let id = sqlx::query_scalar(
            "SELECT id FROM operations WHERE idempotency_key = $1
             AND created_at > clock_timestamp() - interval '24 hours' ORDER BY created_at DESC LIMIT 1",
        )
        .bind(key)
        .fetch_optional(self.connection())
        .await
        .map_err(StoreError::from_sqlx("look for an operation"))?;
        Ok(id.map(OperationId))
    }
}

impl Store {
    /// Asks an operation to stop. Asking again, or asking one that has ended, does nothing. Tells its state.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; the store doesn't answer.
    pub async fn request_cancel(
        &self,
        tenant: TenantId,
        id: OperationId,
        by: &str,
    ) -> Result<OperationState, StoreError> {
        let mut tx = self.begin(tenant).await?;
        let row = sqlx::query(
            "UPDATE operations SET
                 cancel_requested_at = CASE WHEN finished_at IS NULL THEN coalesce(cancel_requested_at, clock_timestamp())
                                            ELSE cancel_requested_at END,
                 cancel_requested_by = CASE WHEN finished_at IS NULL THEN coalesce(cancel_requested_by, $3)
                                            ELSE cancel_requested_by END
             WHERE tenant_id = $1 AND id = $2 RETURNING state",
        )
        .bind(tenant.0)
        .bind(id.0)
        .bind(crate::row::plain(by))
        .fetch_optional(tx.connection())
        .await
        .map_err(StoreError::from_sqlx("cancel an operation"))?;
        let row = row.ok_or_else(|| StoreError::NotFound { what: "operation", name: id.to_string() })?;
        let state: OperationState = word("an operation", read(&row, "state")?)?;
        if state.is_finished() {
            return Ok(state);
        }
        self.commit_and_tell(tx, Signal::Cancel(id)).await?;
        Ok(state)
    }
}

impl EngineStore {
    /// An operation, of whatever tenant.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; the store doesn't answer.
    pub async fn operation(&self, id: OperationId) -> Result<Operation, StoreError> {
        let row = sqlx::query(select_operations!("WHERE id = $1"))
            .bind(id.0)
            .fetch_optional(self.store().engine_pool())
            .await
            .map_err(StoreError::from_sqlx("read an operation"))?;
        let row = row.ok_or_else(|| StoreError::NotFound { what: "operation", name: id.to_string() })?;
        operation(&row)
    }

    /// The operations that wait to be acquired: not finished, and nobody holds their stack's lease. Oldest first. Whoever acquires one's
    /// lease works on it; only one process gets it. Also when the next lease of the others ends, unless it is renewed.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn queue(&self) -> Result<Queue, StoreError> {
        let rows = sqlx::query(
            "SELECT operations.id, operations.target, CASE WHEN leases.holder IS NULL THEN 0 ELSE
                    extract(epoch FROM leases.expires_at - clock_timestamp())::float8 END AS remaining
             FROM operations
             JOIN leases ON leases.tenant_id = operations.tenant_id AND leases.stack = operations.stack
             WHERE operations.state IN ('queued', 'running')
             ORDER BY operations.created_at",
        )
        .fetch_all(self.store().engine_pool())
        .await
        .map_err(StoreError::from_sqlx("read the queue"))?;
        let mut queue = Queue::default();
        for row in &rows {
            let remaining: f64 = read(row, "remaining")?;
            if remaining > 0.0 {
                let ends = Duration::try_from_secs_f64(remaining).unwrap_or_default();
                queue.next_lease_end = Some(queue.next_lease_end.map_or(ends, |next| next.min(ends)));
            } else {
                queue.waiting.push(Waiting {
                    operation: OperationId(read(row, "id")?),
                    target: word("an operation", read(row, "target")?)?,
                });
            }
        }
        Ok(queue)
    }

    /// Whether somebody asked the operation to stop.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; the store doesn't answer.
    pub async fn is_cancel_requested(&self, id: OperationId) -> Result<bool, StoreError> {
        sqlx::query_scalar("SELECT cancel_requested_at IS NOT NULL FROM operations WHERE id = $1")
            .bind(id.0)
            .fetch_optional(self.store().engine_pool())
            .await
            .map_err(StoreError::from_sqlx("read a request to cancel"))?
            .ok_or_else(|| StoreError::NotFound { what: "operation", name: id.to_string() })
    }
}

/// Why an operation failed. That it has ended is told also where what a newer release says of it can't be read.
fn failure_for_people(failure: Result<Option<Problem>, StoreError>) -> Option<Problem> {
    failure.unwrap_or_else(|error| Some(error.into()))
}

fn operation(row: &PgRow) -> Result<Operation, StoreError> {
    let what = "an operation";
    let cancel_at: Option<DateTime<Utc>> = read(row, "cancel_requested_at")?;
    let cancel_by: Option<String> = read(row, "cancel_requested_by")?;
    Ok(Operation {
        id: OperationId(read(row, "id")?),
        tenant: TenantId(read(row, "tenant_id")?),
        stack: StackId(read(row, "stack")?),
        subject: read(row, "subject")?,
        plan: document::read(row, "plan")?,
        state: word(what, read(row, "state")?)?,
        requested_by: read(row, "requested_by")?,
        idempotency_key: read(row, "idempotency_key")?,
        created_at: read(row, "created_at")?,
        started_at: read(row, "started_at")?,
        finished_at: read(row, "finished_at")?,
        cancel: cancel_at.map(|at| (at, cancel_by.unwrap_or_default())),
        outputs: document::read_optional(row, "outputs")?.unwrap_or_default(),
        failure: document::read_optional(row, "failure")?,
    })
}
