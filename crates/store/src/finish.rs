//! How an operation ends: its outcome, the stack's state and all that goes with it, in one transaction under the fence.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use freehold_engine::journal::Outcome;
use freehold_engine::{Fence, OperationId, Record, Verb};
use freehold_graph::StackId;
use freehold_problem::Problem;
use serde_json::json;
use uuid::Uuid;

use crate::document::BindDocument as _;
use crate::error::StoreError;
use crate::journal::{self, EngineStore};
use crate::operations::OperationState;
use crate::row::{self, read, word};
use crate::signal::Signal;
use crate::tenant_id::TenantId;
use crate::transaction::TenantTx;

/// How an operation ended.
#[derive(Debug, Clone)]
pub struct End {
    /// How the journal says that it ended.
    pub outcome: Outcome,
    /// What people are told.
    pub outputs: BTreeMap<String, String>,
    /// The problem that it failed with; `None` unless it failed.
    pub failure: Option<Problem>,
}

/// What has to tell the outcome as well.
#[derive(Debug, Clone, Copy)]
enum Proof {
    /// The last record of a journal that has at least this many (see [`crate::journal`]).
    Journal { length: i64 },
    /// Nothing: nobody can go on from the journal, or there is none.
    None,
}

impl EngineStore {
    /// Ends an operation and gives its lease back. A deploy or rollback that succeeded marks its revision as verified and
    /// lets go of the names that it no longer needs; a destroy that succeeded removes the stack and all that belongs to it,
    /// but for operations, journal and audit. To end it again in the same way does nothing: an answer may have been lost.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] if the lease has passed to another process, or the journal has lost its end; the store doesn't answer.
    pub async fn finish(&self, operation: OperationId, fence: Fence, end: &End) -> Result<(), StoreError> {
        let length = self.memory().length(operation, fence);
        self.end(operation, fence, end, Proof::Journal { length }).await
    }

    /// Ends an operation that can't go on, or was never begun, whatever its journal says: the outcome is not told there. What has been made so
    /// far stays, and the stack's next operation finds it. Everything else is as in [`Self::finish`].
    ///
    /// # Errors
    /// [`StoreError::Fenced`] if the lease has passed to another process; the store doesn't answer.
    pub async fn abandon(&self, operation: OperationId, fence: Fence, end: &End) -> Result<(), StoreError> {
        self.end(operation, fence, end, Proof::None).await
    }

    async fn end(&self, operation: OperationId, fence: Fence, end: &End, proof: Proof) -> Result<(), StoreError> {
        let found = "SELECT tenant_id FROM operations WHERE id = $1";
        let tenant = sqlx::query_scalar(found)
            .bind(operation.0)
            .fetch_optional(self.store().engine_pool())
            .await
            .map_err(StoreError::from_sqlx("read an operation"))?;
        let tenant = tenant.ok_or_else(|| StoreError::NotFound { what: "operation", name: operation.to_string() })?;
        let mut tx = self.store().begin(TenantId(tenant)).await?;
        if let Some(stack) = tx.finish(operation, fence, end, proof).await? {
            self.store().commit_and_tell(tx, Signal::Finished(operation)).await?;
            self.store().known().forget_stack(stack);
        }
        self.memory().forget(operation);
        Ok(())
    }
}

impl TenantTx<'_> {
    /// `None` if it was ended like this before.
    async fn finish(
        &mut self,
        operation: OperationId,
        fence: Fence,
        end: &End,
        proof: Proof,
    ) -> Result<Option<StackId>, StoreError> {
        let tenant = self.tenant().0;
        let state = match end.outcome {
            Outcome::Succeeded => OperationState::Succeeded,
            Outcome::Failed => OperationState::Failed,
            Outcome::Cancelled => OperationState::Cancelled,
        };
        // The operation's row first, then the lease: the same order as when a lease is acquired.
        let row = sqlx::query(
            "SELECT stack, purpose, state FROM operations WHERE tenant_id = $1 AND id = $2 FOR NO KEY UPDATE",
        )
        .bind(tenant)
        .bind(operation.0)
        .fetch_one(self.connection())
        .await
        .map_err(StoreError::from_sqlx("read an operation"))?;
        let now: OperationState = word("an operation", read(&row, "state")?)?;
        if now.is_finished() {
            return if now == state { Ok(None) } else { Err(StoreError::Fenced) };
        }
        let stack = StackId(read(&row, "stack")?);
        let purpose: String = read(&row, "purpose")?;
        let length = match proof {
            Proof::Journal { length } => length,
            Proof::None => 0,
        };
        let lease = sqlx::query(
            "UPDATE leases SET holder = NULL, expires_at = clock_timestamp()
             WHERE tenant_id = $1 AND stack = $2 AND operation = $3 AND fence = $4 AND seq >= $5",
        )
        .bind(tenant)
        .bind(stack.0)
        .bind(operation.0)
        .bind(fence.0)
        .bind(length)
        .execute(self.connection())
        .await
        .map_err(StoreError::from_sqlx("release a lease"))?;
        if lease.rows_affected() != 1 {
            return Err(StoreError::Fenced);
        }
        match proof {
            Proof::Journal { .. } => self.refuse_lost_end(operation, end.outcome).await?,
            Proof::None => {}
        }
        if purpose == "deploy" {
            self.remember_runs(operation, stack).await?;
        }
        self.write_end(operation, &purpose, state, end).await?;
        if purpose == "destroy" && end.outcome == Outcome::Succeeded {
            self.remove_stack(stack).await?;
        } else {
            self.settle_stack(operation, stack, purpose == "destroy", end).await?;
        }
        Ok(Some(stack))
    }

    /// What tells of an effect isn't waited for (see [`crate::journal`]), so a crash of the server may have cost the journal its end, also
    /// after somebody has read it. An outcome that it doesn't tell isn't written over it: whoever takes the operation up goes on from what
    /// is there.
    async fn refuse_lost_end(&mut self, operation: OperationId, outcome: Outcome) -> Result<(), StoreError> {
        let tenant = self.tenant().0;
        let row = sqlx::query(
            "SELECT version, record::text FROM journal WHERE tenant_id = $1 AND operation = $2 ORDER BY seq DESC LIMIT 1",
        )
        .bind(tenant)
        .bind(operation.0)
        .fetch_optional(self.connection())
        .await
        .map_err(StoreError::from_sqlx("read the end of a journal"))?;
        let Some(row) = row else { return Err(StoreError::Fenced) };
        let (version, record): (i16, String) = (read(&row, "version")?, read(&row, "record")?);
        match journal::parse(version, &record) {
            Ok(Record::Finished { outcome: told }) if told == outcome => Ok(()),
            Ok(_) => Err(StoreError::Fenced),
            Err(error) => Err(StoreError::Unreadable { what: "a journal", message: error.to_string() }),
        }
    }

    /// Which of the jobs that run once in a stack's life have succeeded in this operation, however it ends.
    async fn remember_runs(&mut self, operation: OperationId, stack: StackId) -> Result<(), StoreError> {
        let tenant = self.tenant().0;
        let planned = sqlx::query_scalar(
            "SELECT run.key FROM operations, json_each(coalesce(plan->'runs', '{}')) AS run
             WHERE tenant_id = $1 AND id = $2 AND run.value->>'due' = 'once'",
        )
        .bind(tenant)
        .bind(operation.0)
        .fetch_all(self.connection())
        .await
        .map_err(StoreError::from_sqlx("read an operation's runs"))?;
        let planned: BTreeSet<String> = planned.into_iter().collect();
        if planned.is_empty() {
            return Ok(());
        }
        let done = sqlx::query_scalar(
            "SELECT record::text FROM journal WHERE tenant_id = $1 AND operation = $2 AND record->>'record' = 'step-done'",
        )
        .bind(tenant)
        .bind(operation.0)
        .fetch_all(self.connection())
        .await
        .map_err(StoreError::from_sqlx("read what an operation has done"))?;
        let succeeded = done.iter().filter_map(|record: &String| {
            let Record::StepDone { step, .. } = journal::parse_for_people(record)? else { return None };
            (step.verb() == Verb::Run).then(|| step.subject().0.clone())
        });
        let succeeded: Vec<String> = succeeded.filter(|job| planned.contains(job)).collect();
        // Of definitions that come with ever new names the last ones count.
        sqlx::query(
            "UPDATE stacks SET ran_once = (
                 SELECT coalesce(array_agg(job ORDER BY place), '{}') FROM (
                     SELECT job, max(place) AS place FROM unnest(ran_once || $3::text[]) WITH ORDINALITY AS every (job, place)
                     GROUP BY job ORDER BY max(place) DESC LIMIT 1000
                 ) AS kept
             ) WHERE tenant_id = $1 AND id = $2",
        )
        .bind(tenant)
        .bind(stack.0)
        .bind(succeeded)
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(StoreError::from_sqlx("remember the jobs that run once"))
    }

    async fn write_end(
        &mut self,
        operation: OperationId,
        purpose: &str,
        state: OperationState,
        end: &End,
    ) -> Result<(), StoreError> {
        let tenant = self.tenant().0;
        let state = json!(state);
        let state = state.as_str().unwrap_or_default();
        let code = end.failure.as_ref().map(|failure| &failure.code);
        sqlx::query(
            "WITH audited AS (
                 INSERT INTO audit (tenant_id, actor, action, stack, subject, operation, detail)
                 SELECT tenant_id, 'freehold', $8, stack, subject, id, $9::json FROM operations
                 WHERE tenant_id = $1 AND id = $2
             )
             UPDATE operations SET state = $3, finished_at = clock_timestamp(), outputs = $4::json, outputs_version = $5,
                    failure = $6::json, failure_version = $7
             WHERE tenant_id = $1 AND id = $2",
        )
        .bind(tenant)
        .bind(operation.0)
        .bind(state)
        .bind_document(&end.outputs)?
        .bind_optional_document(end.failure.as_ref())?
        .bind(format!("{purpose}.{state}"))
        .bind(row::json("a line of audit", &json!({ "code": code }))?)
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(StoreError::from_sqlx("end an operation"))
    }

    /// All rows of the stack go with it: the schema's foreign keys cascade.
    async fn remove_stack(&mut self, stack: StackId) -> Result<(), StoreError> {
        let tenant = self.tenant().0;
        sqlx::query("DELETE FROM stacks WHERE tenant_id = $1 AND id = $2")
            .bind(tenant)
            .bind(stack.0)
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(StoreError::from_sqlx("remove a stack"))
    }

    /// Whether a destroy that didn't succeed leaves a stack that was ready as it was: since the deploy that serves, no destroy has begun
    /// to delete anything, and this one has started again all that it had stopped.
    async fn is_as_it_was(&mut self, operation: OperationId, stack: StackId) -> Result<bool, StoreError> {
        let tenant = self.tenant().0;
        let deployed = sqlx::query_scalar(
            "SELECT o.created_at FROM stacks s
             JOIN revisions r ON r.tenant_id = s.tenant_id AND r.stack = s.id AND r.number = s.verified_revision
             JOIN operations o ON o.tenant_id = r.tenant_id AND o.id = r.operation
             WHERE s.tenant_id = $1 AND s.id = $2 AND s.verified_revision = s.revision",
        )
        .bind(tenant)
        .bind(stack.0)
        .fetch_optional(self.connection())
        .await
        .map_err(StoreError::from_sqlx("find the deploy that serves"))?;
        let Some(deployed): Option<DateTime<Utc>> = deployed else { return Ok(false) };
        let rows = sqlx::query(
            "SELECT o.id, j.record::text AS record FROM operations o
             JOIN journal j ON j.tenant_id = o.tenant_id AND j.operation = o.id
             WHERE o.tenant_id = $1 AND o.stack = $2 AND o.purpose = 'destroy' AND o.created_at > $3",
        )
        .bind(tenant)
        .bind(stack.0)
        .bind(deployed)
        .fetch_all(self.connection())
        .await
        .map_err(StoreError::from_sqlx("read the journals of a stack's destroys"))?;
        for row in &rows {
            let (of, record): (Uuid, String) = (read(row, "id")?, read(row, "record")?);
            // A record of a newer release may say anything.
            let Some(record) = journal::parse_for_people(&record) else { return Ok(false) };
            if takes_away(&record, of == operation.0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Brings a stack's row up to date with the end of an operation, `destroy` or not, after which there still is a stack.
    async fn settle_stack(
        &mut self,
        operation: OperationId,
        stack: StackId,
        destroy: bool,
        end: &End,
    ) -> Result<(), StoreError> {
        let tenant = self.tenant().0;
        if end.outcome != Outcome::Succeeded {
            let as_it_was = destroy && self.is_as_it_was(operation, stack).await?;
            return sqlx::query(
                "UPDATE stacks SET generation = generation + 1, changed_at = clock_timestamp(), state = $3
                 WHERE tenant_id = $1 AND id = $2",
            )
            .bind(tenant)
            .bind(stack.0)
            .bind(if as_it_was { "ready" } else { "failed" })
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(StoreError::from_sqlx("settle a stack"));
        }
        // A plan that was made beside the operation rests on what was still changing: the end outdates it, as the beginning outdates the
        // ones from before.
        sqlx::query(
            "WITH verified AS (
                 UPDATE revisions SET verified_at = clock_timestamp()
                 WHERE tenant_id = $1 AND stack = $2 AND operation = $3
             ), released AS (
                 DELETE FROM claims USING stacks
                 WHERE claims.tenant_id = $1 AND claims.stack = $2 AND stacks.tenant_id = $1 AND stacks.id = $2
                 AND claims.revision < stacks.revision
             )
             UPDATE stacks SET generation = generation + 1, state = 'ready', verified_revision = revision,
                    connections_held = connections_wanted, outputs = $4::json, outputs_version = $5,
                    changed_at = clock_timestamp()
             WHERE tenant_id = $1 AND id = $2",
        )
        .bind(tenant)
        .bind(stack.0)
        .bind(operation.0)
        .bind_document(&end.outputs)?
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(StoreError::from_sqlx("settle a stack"))
    }
}

/// Whether a record of a destroy says that something of the stack may not work any more, now that it has ended. `last`: of the one that
/// ends now.
fn takes_away(record: &Record, last: bool) -> bool {
    match record {
        Record::StepStarted { step, .. } => step.verb() == Verb::Delete,
        Record::StepFailed { step, .. } => last && step.verb() == Verb::Lift,
        Record::Acquired { .. }
        | Record::StepDone { .. }
        | Record::StepUnknown { .. }
        | Record::Ready
        | Record::Waiting { .. }
        | Record::CancelRequested
        | Record::Finished { .. } => false,
    }
}
