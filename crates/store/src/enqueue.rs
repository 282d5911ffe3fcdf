//! How an operation begins: everything that has to hold is checked, and everything that it needs is written, in one
//! transaction. Either the operation is in the queue with its stack, revision, claims and line of audit, or nothing is.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use freehold_engine::OperationId;
use freehold_graph::{Digest, Graph, Request, StackId};
use freehold_plan::{Plan, Purpose};
use serde_json::json;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::claims::Claim;
use crate::connections::ConnectionRequest;
use crate::document::{self, BindDocument as _};
use crate::error::{StoreError, broken_constraint};
use crate::row::{self, bigint, plain, read};
use crate::sharing::Sharing;
use crate::signal::Signal;
use crate::store::Store;
use crate::tenant_id::TenantId;
use crate::transaction::TenantTx;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct NewOperation<'a> {
    /// Its identity, chosen by who asks: after [`StoreError::Unavailable`] it tells whether the operation is there.
    pub id: OperationId,
    /// The plan to carry out.
    pub plan: &'a Plan,
    /// The graph that the plan leads to, for the revision; empty for a destroy.
    pub graph: &'a Graph,
    /// The digests of the stack's secrets, by name, for the revision.
    pub secrets: &'a BTreeMap<String, Digest>,
    /// The names of the outside world that the graph needs.
    pub claims: &'a BTreeSet<Claim>,
    /// The connections of the target's database server that it needs.
    pub connections: ConnectionRequest<'a>,
    /// Whether the target may have several tenants.
    pub sharing: Sharing,
    /// The actor in words, for the audit log.
    pub requested_by: &'a str,
    /// The key that the request came with.
    pub idempotency_key: Option<&'a str>,
}

impl Store {
    /// Puts an operation into the queue, and tells when. The plan's definition has to be kept already ([`TenantTx::save_definition`]).
    ///
    /// # Errors
    /// [`StoreError::AnotherRunning`], [`StoreError::PlanOutdated`], [`StoreError::ClaimTaken`],
    /// [`StoreError::ConnectionsTaken`], [`StoreError::SecondTenant`]; the store doesn't answer.
    pub async fn enqueue(&self, tenant: TenantId, new: &NewOperation<'_>) -> Result<DateTime<Utc>, StoreError> {
        let mut tx = self.begin(tenant).await?;
        let at = tx.enqueue(new).await?;
        self.commit_and_tell(tx, Signal::Queued(new.id)).await?;
        self.known().remember_stack(new.plan.stack, tenant);
        Ok(at)
    }
}

impl TenantTx<'_> {
    async fn enqueue(&mut self, new: &NewOperation<'_>) -> Result<DateTime<Utc>, StoreError> {
        let plan = new.plan;
        let subject = plan.key.to_string();
        let (stack, generation) = self.lock_stack(&plan.key, plan.stack).await?;
        // Behind the lock on the stack's row, so that nobody else can begin meanwhile.
        if let Some(operation) = self.unfinished(stack).await? {
            return Err(StoreError::AnotherRunning { subject, operation });
        }
        if stack != plan.stack || generation != plan.generation {
            return Err(StoreError::PlanOutdated { subject });
        }
        let takes_place = !matches!(plan.purpose, Purpose::Destroy { .. });
        if takes_place {
            self.take_place(&plan.key, new.sharing).await?;
        }
        let at = self.write_operation(new, &subject).await?;
        if takes_place {
            self.write_revision(new).await?;
            self.promise_connections(&plan.key.target, stack, &subject, new.connections).await?;
            self.claim(&plan.key.target, stack, plan.revision, new.claims).await?;
        }
        Ok(at)
    }

    async fn unfinished(&mut self, stack: StackId) -> Result<Option<OperationId>, StoreError> {
        let tenant = self.tenant().0;
        let row: Option<PgRow> = sqlx::query(
            "SELECT id FROM operations WHERE tenant_id = $1 AND stack = $2 AND state IN ('queued', 'running')",
        )
        .bind(tenant)
        .bind(stack.0)
        .fetch_optional(self.connection())
        .await
        .map_err(StoreError::from_sqlx("read the stack's operation"))?;
        row.map(|row| read::<Uuid, _>(&row, "id").map(OperationId)).transpose()
    }

    /// The operation, its line of audit, and the stack's new state. Tells when it was asked for.
    async fn write_operation(&mut self, new: &NewOperation<'_>, subject: &str) -> Result<DateTime<Utc>, StoreError> {
        let tenant = self.tenant().0;
        let plan = new.plan;
        let (purpose, state) = match plan.purpose {
            Purpose::Deploy => ("deploy", "deploying"),
            Purpose::Rollback { .. } => ("rollback", "deploying"),
            Purpose::Destroy { .. } => ("destroy", "destroying"),
        };
        let revision = (purpose != "destroy").then(|| bigint(plan.revision));
        let detail = json!({ "plan": plan.id, "purpose": plan.purpose, "revision": revision });
        let row = sqlx::query(
            "WITH stack AS (
                 UPDATE stacks SET generation = generation + 1, state = $10, revision = coalesce($8, revision),
                        definition = CASE WHEN $8 IS NULL THEN definition ELSE $11 END,
                        request = CASE WHEN $8 IS NULL THEN request ELSE $12::json END,
                        request_version = CASE WHEN $8 IS NULL THEN request_version ELSE $16 END,
                        changed_at = clock_timestamp()
                 WHERE tenant_id = $1 AND id = $3
             ), audited AS (
                 INSERT INTO audit (tenant_id, actor, action, stack, subject, operation, detail)
                 VALUES ($1, $9, $5, $3, $4, $2, $13::json)
             )
             INSERT INTO operations (tenant_id, id, stack, subject, purpose, plan_id, plan, revision, requested_by,
                                     idempotency_key, target, plan_version)
             VALUES ($1, $2, $3, $4, $5, $6, $7::json, $8, $9, $14, $15, $17) RETURNING created_at",
        )
        .bind(tenant)
        .bind(new.id.0)
        .bind(plan.stack.0)
        .bind(subject)
        .bind(purpose)
        .bind(plan.id)
        .bind(document::json(plan)?)
        .bind(revision)
        .bind(plain(new.requested_by))
        .bind(state)
        .bind(&plan.definition)
        .bind(document::json(&plan.request)?)
        .bind(row::json("a line of audit", &detail)?)
        .bind(new.idempotency_key.map(plain))
        .bind(plan.key.target.as_str())
        .bind(document::written::<Request>())
        .bind(document::written::<Plan>())
        .fetch_one(self.connection())
        .await
        .map_err(|error| match broken_constraint(&error) {
            // Each plan is carried out once.
            Some("operations_one_per_plan") => StoreError::PlanOutdated { subject: subject.to_owned() },
            _ => StoreError::from_sqlx("enqueue an operation")(error),
        })?;
        read(&row, "created_at")
    }

    /// A repair makes things what its revision said, and so makes none.
    async fn write_revision(&mut self, new: &NewOperation<'_>) -> Result<(), StoreError> {
        let tenant = self.tenant().0;
        let plan = new.plan;
        let artifacts: Vec<&str> = plan.request.artifacts.values().map(String::as_str).collect();
        sqlx::query(
            "WITH used AS (UPDATE artifacts SET last_used_at = clock_timestamp() WHERE hash = ANY ($11))
             INSERT INTO revisions (tenant_id, stack, number, definition, request, request_version, graph, graph_version, secrets,
                                    secrets_version, artifacts, operation)
             VALUES ($1, $2, $3, $4, $5::json, $6, $7::json, $8, $9::json, $10, $11, $12)
             ON CONFLICT (tenant_id, stack, number) DO NOTHING",
        )
        .bind(tenant)
        .bind(plan.stack.0)
        .bind(bigint(plan.revision))
        .bind(&plan.definition)
        .bind_document(&plan.request)?
        .bind_document(new.graph)?
        .bind_document(new.secrets)?
        .bind(artifacts)
        .bind(new.id.0)
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(StoreError::from_sqlx("write a revision"))
    }
}
