//! Stacks: one running instance of an app each.

use chrono::{DateTime, Utc};
use freehold_engine::OperationId;
use freehold_graph::{Request, ResourceId, StackId, StackKey, StackKind};
use freehold_spec::Name;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;
use uuid::Uuid;

use crate::document::{self, BindDocument as _};
use crate::error::{StoreError, broken_constraint};
use crate::row::{self, bigint, number, read, word};
use crate::transaction::{ReadTx, TenantTx};

/// What a stack is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StackState {
    /// Only named so far: a secret was set before the first deploy.
    New,
    /// An operation makes it what it should be.
    Deploying,
    /// Its last operation succeeded.
    Ready,
    /// Its last operation didn't.
    Failed,
    /// An operation takes it away.
    Destroying,
}

/// A stack as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// Never changes, and is never used again.
    pub id: StackId,
    /// Target, app, kind and name; unique.
    pub key: StackKey,
    /// What it is doing.
    pub state: StackState,
    /// Grows when an operation begins, when it ends, and with each other change: 0 for a new one. A plan holds for one generation.
    pub generation: u64,
    /// Its last revision; 0 before the first.
    pub revision: u64,
    /// The last one that was ready.
    pub verified_revision: Option<u64>,
    /// The hash of its definition.
    pub definition: Option<String>,
    /// The last request: what sticks.
    pub request: Option<Request>,
    /// What people were told when it was last ready.
    pub outputs: BTreeMap<String, String>,
    /// The jobs that run once in its life and have succeeded.
    pub ran_once: BTreeSet<ResourceId>,
    /// The operation that works on it, or waits to.
    pub operation: Option<OperationId>,
    /// When it was first named.
    pub created_at: DateTime<Utc>,
    /// When an operation last began or ended.
    pub changed_at: DateTime<Utc>,
}

/// A stack in a list whose row can't be read: a newer release has written it, or it was damaged. It hides no other.
#[derive(Debug, Error)]
#[error("{place}: {error}")]
pub struct UnreadableStack {
    /// Never changes, and is never used again.
    pub id: StackId,
    /// Target, app, kind and name; `None` if these can't be read either.
    pub key: Option<StackKey>,
    /// As [`Stack::place`] of one that can be read.
    pub place: String,
    /// As of one that can be read.
    pub generation: u64,
    /// The operation that works on it, or waits to.
    pub operation: Option<OperationId>,
    /// When it was first named.
    pub created_at: DateTime<Utc>,
    /// When an operation last began or ended.
    pub changed_at: DateTime<Utc>,
    /// Why it can't be read.
    pub error: StoreError,
}

/// Which stacks a page has: those that fit, behind a place.
#[derive(Debug, Clone, Copy, Default)]
pub struct StackPage<'a> {
    /// On this target.
    pub target: Option<&'a str>,
    /// Of this app.
    pub app: Option<&'a str>,
    /// Of this kind.
    pub kind: Option<StackKind>,
    /// Of this name.
    pub name: Option<&'a str>,
    /// The place of the last stack of the page before: a stack that comes or goes meanwhile moves no other.
    pub after: Option<&'a str>,
    /// The most stacks.
    pub limit: usize,
}

impl Stack {
    /// Where it stands in lists: by app, kind and name; the same name on several targets by target.
    pub fn place(&self) -> String {
        format!("{}/{}", self.key, self.key.target)
    }
}

// The same columns for every query, so that one function reads them all.
macro_rules! select_stacks {
    ($rest:literal) => {
        concat!(
            "SELECT id, target, app, kind, name, state, generation, revision, verified_revision, definition,
                    request::text, request_version, outputs::text, outputs_version, ran_once, created_at, changed_at,
                    (SELECT operations.id FROM operations WHERE operations.tenant_id = stacks.tenant_id
                     AND operations.stack = stacks.id AND operations.state IN ('queued', 'running')) AS operation
             FROM stacks ",
            $rest
        )
    };
}

impl TenantTx<'_> {
    /// A stack by its name.
    ///
    /// # Errors
    /// The store doesn't answer, or a row can't be read.
    pub async fn stack(&mut self, key: &StackKey) -> Result<Option<Stack>, StoreError> {
        let tenant = self.tenant().0;
        let row = sqlx::query(select_stacks!(
            "WHERE tenant_id = $1 AND target = $2 AND app = $3 AND kind = $4 AND name = $5"
        ))
        .bind(tenant)
        .bind(key.target.as_str())
        .bind(key.app.as_str())
        .bind(key.kind.as_str())
        .bind(key.name.as_str())
        .fetch_optional(self.connection())
        .await
        .map_err(StoreError::from_sqlx("read a stack"))?;
        row.as_ref().map(stack).transpose()
    }

    /// A stack by its identity.
    ///
    /// # Errors
    /// The store doesn't answer, or a row can't be read.
    pub async fn stack_by_id(&mut self, id: StackId) -> Result<Option<Stack>, StoreError> {
        let tenant = self.tenant().0;
        let row = sqlx::query(select_stacks!("WHERE tenant_id = $1 AND id = $2"))
            .bind(tenant)
            .bind(id.0)
            .fetch_optional(self.connection())
            .await
            .map_err(StoreError::from_sqlx("read a stack"))?;
        row.as_ref().map(stack).transpose()
    }

    /// Sees to it that a stack is named, and tells its identity: for what is kept with a stack before its first deploy.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn name_stack(&mut self, key: &StackKey) -> Result<StackId, StoreError> {
        self.lock_stack(key, StackId(Uuid::now_v7())).await.map(|(id, _)| id)
    }

    /// Changes what sticks, for the next plan: the rotations of credentials. Plans that were made before are outdated by it: carried out,
    /// they would undo it. And so is a change that was thought out before another one.
    ///
    /// # Errors
    /// [`StoreError::PlanOutdated`] if the stack is not what it was any more; the store doesn't answer.
    pub async fn set_request(&mut self, before: &Stack, request: &Request) -> Result<(), StoreError> {
        let tenant = self.tenant().0;
        let changed = sqlx::query(
            "UPDATE stacks SET request = $3::json, request_version = $4, generation = generation + 1, changed_at = clock_timestamp()
             WHERE tenant_id = $1 AND id = $2 AND generation = $5",
        )
        .bind(tenant)
        .bind(before.id.0)
        .bind_document(request)?
        .bind(bigint(before.generation))
        .execute(self.connection())
        .await
        .map_err(StoreError::from_sqlx("change a stack's settings"))?;
        match changed.rows_affected() {
            0 => Err(StoreError::PlanOutdated { subject: before.key.to_string() }),
            _ => Ok(()),
        }
    }

    /// Changes what people are told of a stack, unless an operation works on it, which tells them something newer.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn set_outputs(&mut self, stack: &Stack, outputs: &BTreeMap<String, String>) -> Result<(), StoreError> {
        let tenant = self.tenant().0;
        sqlx::query(
            "UPDATE stacks SET outputs = $3::json, outputs_version = $4
             WHERE tenant_id = $1 AND id = $2 AND generation = $5
             AND NOT EXISTS (SELECT FROM operations WHERE operations.tenant_id = $1 AND operations.stack = $2
                             AND operations.state IN ('queued', 'running'))",
        )
        .bind(tenant)
        .bind(stack.id.0)
        .bind_document(outputs)?
        .bind(bigint(stack.generation))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(StoreError::from_sqlx("change a stack's outputs"))
    }

    /// Makes the stack's row if there is none, locks it, and tells its identity and generation.
    pub(crate) async fn lock_stack(&mut self, key: &StackKey, new: StackId) -> Result<(StackId, u64), StoreError> {
        let tenant = self.tenant().0;
        let row = sqlx::query(
            "WITH stack AS (
                 INSERT INTO stacks (tenant_id, id, target, app, kind, name) VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (tenant_id, target, app, kind, name) DO UPDATE SET changed_at = stacks.changed_at
                 RETURNING id, generation
             ), lease AS (
                 INSERT INTO leases (tenant_id, stack) SELECT $1, id FROM stack WHERE generation = 0 ON CONFLICT DO NOTHING
             )
             SELECT id, generation FROM stack",
        )
        .bind(tenant)
        .bind(new.0)
        .bind(key.target.as_str())
        .bind(key.app.as_str())
        .bind(key.kind.as_str())
        .bind(key.name.as_str())
        .fetch_one(self.connection())
        .await
        .map_err(|error| match broken_constraint(&error) {
            Some("stacks_target") => StoreError::UnknownTarget(key.target.to_string()),
            _ => StoreError::from_sqlx("name a stack")(error),
        })?;
        Ok((StackId(read(&row, "id")?), number(&row, "generation")?))
    }
}

impl ReadTx<'_> {
    /// The stack that knows an app best: one on this target before one on another, then one that was ready before one that never was, then
    /// the one that changed last.
    ///
    /// # Errors
    /// The store doesn't answer, or a row can't be read.
    pub async fn latest_of_app(&mut self, app: &Name, target: &Name) -> Result<Option<Stack>, StoreError> {
        // Chosen before it is read: a stack's documents are large, and an app may have thousands of stacks.
        let row = sqlx::query(select_stacks!(
            "WHERE (tenant_id, id) = (
                 SELECT tenant_id, id FROM stacks
                 WHERE generation > 0 AND app = $1 AND definition IS NOT NULL
                 ORDER BY target = $2 DESC, verified_revision IS NOT NULL DESC, changed_at DESC LIMIT 1
             )"
        ))
        .bind(app.as_str())
        .bind(target.as_str())
        .fetch_optional(self.connection())
        .await
        .map_err(StoreError::from_sqlx("read an app's latest stack"))?;
        row.as_ref().map(stack).transpose()
    }

    /// The apps that stacks were ever deployed of, by name.
    ///
    /// # Errors
    /// The store doesn't answer, or a row can't be read.
    pub async fn apps(&mut self) -> Result<Vec<Name>, StoreError> {
        let rows = sqlx::query("SELECT DISTINCT app FROM stacks WHERE generation > 0 ORDER BY app")
            .fetch_all(self.connection())
            .await
            .map_err(StoreError::from_sqlx("list the apps"))?;
        rows.iter().map(|row| word("a stack", read(row, "app")?)).collect()
    }

    /// All stacks that were ever deployed, by name.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn stacks(&mut self) -> Result<Vec<Result<Stack, UnreadableStack>>, StoreError> {
        let rows = sqlx::query(select_stacks!("WHERE generation > 0 ORDER BY target, app, kind, name"))
            .fetch_all(self.connection())
            .await
            .map_err(StoreError::from_sqlx("list the stacks"))?;
        rows.iter().map(listed).collect()
    }

    /// Those that were ever deployed and fit, in the order of [`Stack::place`], from behind a place on.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn page_of_stacks(
        &mut self,
        wanted: &StackPage<'_>,
    ) -> Result<Vec<Result<Stack, UnreadableStack>>, StoreError> {
        let rows = sqlx::query(select_stacks!(
            "WHERE generation > 0 AND ($1::text IS NULL OR target = $1) AND ($2::text IS NULL OR app = $2)
             AND ($3::text IS NULL OR kind = $3) AND ($4::text IS NULL OR name = $4)
             AND ($5::text IS NULL OR concat_ws('/', app, kind, name, target) COLLATE \"C\" > $5)
             ORDER BY concat_ws('/', app, kind, name, target) COLLATE \"C\" LIMIT $6"
        ))
        .bind(wanted.target)
        .bind(wanted.app)
        .bind(wanted.kind.map(StackKind::as_str))
        .bind(wanted.name)
        .bind(wanted.after)
        .bind(i64::try_from(wanted.limit).unwrap_or(i64::MAX))
        .fetch_all(self.connection())
        .await
        .map_err(StoreError::from_sqlx("list the stacks"))?;
        rows.iter().map(listed).collect()
    }
}

/// A row of a list.
fn listed(row: &PgRow) -> Result<Result<Stack, UnreadableStack>, StoreError> {
    row::listed(stack(row), |error| {
        let mut place: [String; 4] = Default::default();
        for (part, column) in place.iter_mut().zip(["app", "kind", "name", "target"]) {
            *part = read(row, column)?;
        }
        let operation: Option<Uuid> = read(row, "operation")?;
        Ok(UnreadableStack {
            id: StackId(read(row, "id")?),
            key: key(row).ok(),
            place: place.join("/"),
            generation: number(row, "generation")?,
            operation: operation.map(OperationId),
            created_at: read(row, "created_at")?,
            changed_at: read(row, "changed_at")?,
            error,
        })
    })
}

fn key(row: &PgRow) -> Result<StackKey, StoreError> {
    let what = "a stack";
    Ok(StackKey {
        target: word(what, read(row, "target")?)?,
        app: word(what, read(row, "app")?)?,
        kind: word(what, read(row, "kind")?)?,
        name: word(what, read(row, "name")?)?,
    })
}

fn stack(row: &PgRow) -> Result<Stack, StoreError> {
    let verified: Option<i64> = read(row, "verified_revision")?;
    let operation: Option<Uuid> = read(row, "operation")?;
    let ran_once: Vec<String> = read(row, "ran_once")?;
    Ok(Stack {
        id: StackId(read(row, "id")?),
        key: key(row)?,
        state: word("a stack", read(row, "state")?)?,
        generation: number(row, "generation")?,
        revision: number(row, "revision")?,
        verified_revision: verified.map(i64::unsigned_abs),
        definition: read(row, "definition")?,
        request: document::read_optional(row, "request")?,
        outputs: document::read_optional(row, "outputs")?.unwrap_or_default(),
        ran_once: ran_once.into_iter().map(ResourceId).collect(),
        operation: operation.map(OperationId),
        created_at: read(row, "created_at")?,
        changed_at: read(row, "changed_at")?,
    })
}
