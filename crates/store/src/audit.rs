//! The audit log: who did what to which stack, and when. Append-only, and kept for some time. No line holds a secret.
//!
//! The store writes the lines of operations and secrets by itself, in the transaction that they tell of.

use chrono::{DateTime, Utc};
use freehold_engine::OperationId;
use freehold_graph::StackId;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::error::StoreError;
use crate::journal::EngineStore;
use crate::row::{bigint, document, json, number, plain, read};
use crate::transaction::{ReadTx, TenantTx};

/// What is to be written down.
#[derive(Debug, Clone)]
pub struct AuditEntry<'a> {
    /// The actor in words: `operator`.
    pub actor: &'a str,
    /// Did what: `secret.set`, `database.user.rotate`.
    pub action: &'a str,
    /// To which stack, if to one.
    pub stack: Option<StackId>,
    /// To what, as people call it.
    pub subject: &'a str,
    /// In which operation, if in one.
    pub operation: Option<OperationId>,
    /// More, without secrets.
    pub detail: &'a serde_json::Value,
}

/// What was written down.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditLine {
    /// Larger for lines that were written later.
    pub id: u64,
    /// By the store's clock.
    pub at: DateTime<Utc>,
    /// The actor in words: `operator`.
    pub actor: String,
    /// What was done: `secret.set`, `database.user.rotate`.
    pub action: String,
    /// To which stack.
    pub stack: Option<StackId>,
    /// To what, as people call it.
    pub subject: String,
    /// In which operation.
    pub operation: Option<OperationId>,
    /// Details of the action, without secrets.
    pub detail: serde_json::Value,
}

impl TenantTx<'_> {
    /// Writes a line.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn audit(&mut self, entry: &AuditEntry<'_>) -> Result<(), StoreError> {
        let tenant = self.tenant().0;
        sqlx::query(
            "INSERT INTO audit (tenant_id, actor, action, stack, subject, operation, detail)
             VALUES ($1, $2, $3, $4, $5, $6, $7::json)",
        )
        .bind(tenant)
        .bind(plain(entry.actor))
        .bind(plain(entry.action))
        .bind(entry.stack.map(|stack| stack.0))
        .bind(plain(entry.subject))
        .bind(entry.operation.map(|operation| operation.0))
        .bind(json("a line of audit", entry.detail)?)
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(StoreError::from_sqlx("write a line of audit"))
    }

    /// The tenant's lines before the line `before`, newest first; of one stack, if one is given.
    ///
    /// # Errors
    /// The store doesn't answer, or a row can't be read.
    pub async fn audit_log(
        &mut self,
        stack: Option<StackId>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditLine>, StoreError> {
        let tenant = self.tenant().0;
        let rows = sqlx::query(
            "SELECT id, at, actor, action, stack, subject, operation, detail::text FROM audit
             WHERE tenant_id = $1 AND ($2::uuid IS NULL OR stack = $2) AND id < coalesce($3, 9223372036854775807)
             ORDER BY id DESC LIMIT $4",
        )
        .bind(tenant)
        .bind(stack.map(|stack| stack.0))
        .bind(before.map(bigint))
        .bind(i64::from(limit))
        .fetch_all(self.connection())
        .await
        .map_err(StoreError::from_sqlx("read the audit log"))?;
        rows.iter().map(line).collect()
    }
}

impl ReadTx<'_> {
    /// The lines of all tenants before the line `before`, newest first.
    ///
    /// # Errors
    /// The store doesn't answer, or a row can't be read.
    pub async fn audit_log(&mut self, before: Option<u64>, limit: u32) -> Result<Vec<AuditLine>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, at, actor, action, stack, subject, operation, detail::text FROM audit
             WHERE id < coalesce($1, 9223372036854775807) ORDER BY id DESC LIMIT $2",
        )
        .bind(before.map(bigint))
        .bind(i64::from(limit))
        .fetch_all(self.connection())
        .await
        .map_err(StoreError::from_sqlx("read the audit log"))?;
        rows.iter().map(line).collect()
    }
}

/// How many days lines are kept where nothing else was said.
pub const KEPT_DAYS: u32 = 400;
/// How many are removed in one transaction.
const BATCH: i32 = 1000;

impl EngineStore {
    /// Removes lines that are older than so many days. Tells how many.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn collect_audit(&self, days: u32) -> Result<u64, StoreError> {
        let mut total = 0;
        loop {
            let removed: i64 = sqlx::query_scalar("SELECT collect_audit(make_interval(days => $1), $2)")
                .bind(i32::try_from(days).unwrap_or(i32::MAX))
                .bind(BATCH)
                .fetch_one(self.store().engine_pool())
                .await
                .map_err(StoreError::from_sqlx("collect old lines of audit"))?;
            total += removed.unsigned_abs();
            if removed < i64::from(BATCH) {
                return Ok(total);
            }
        }
    }
}

fn line(row: &PgRow) -> Result<AuditLine, StoreError> {
    let (stack, operation): (Option<Uuid>, Option<Uuid>) = (read(row, "stack")?, read(row, "operation")?);
    Ok(AuditLine {
        id: number(row, "id")?,
        at: read(row, "at")?,
        actor: read(row, "actor")?,
        action: read(row, "action")?,
        stack: stack.map(StackId),
        subject: read(row, "subject")?,
        operation: operation.map(OperationId),
        detail: document("a line of audit", read(row, "detail")?)?,
    })
}
