//! Plans that wait for somebody to say yes. They expire after 24 hours. Also what else goes after its time: the history of old revisions.

use freehold_plan::Plan;
use uuid::Uuid;

use crate::document::{self, BindDocument as _};
use crate::error::StoreError;
use crate::journal::EngineStore;
use crate::transaction::{ReadTx, TenantTx};

impl TenantTx<'_> {
    /// Keeps a plan.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn save_plan(&mut self, plan: &Plan) -> Result<(), StoreError> {
        let tenant = self.tenant().0;
        sqlx::query(
            "INSERT INTO plans (tenant_id, id, stack, plan, plan_version) VALUES ($1, $2, $3, $4::json, $5)
             ON CONFLICT DO NOTHING",
        )
        .bind(tenant)
        .bind(plan.id)
        .bind(plan.stack.0)
        .bind_document(plan)?
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(StoreError::from_sqlx("keep a plan"))
    }

    /// A plan that was kept and hasn't expired.
    ///
    /// # Errors
    /// The store doesn't answer, or a row can't be read.
    pub async fn plan(&mut self, id: Uuid) -> Result<Option<Plan>, StoreError> {
        let tenant = self.tenant().0;
        let row = sqlx::query(
            "SELECT plan::text, plan_version FROM plans WHERE tenant_id = $1 AND id = $2 AND expires_at > clock_timestamp()",
        )
        .bind(tenant)
        .bind(id)
        .fetch_optional(self.connection())
        .await
        .map_err(StoreError::from_sqlx("read a plan"))?;
        row.map(|row| document::read(&row, "plan")).transpose()
    }
}

impl ReadTx<'_> {
    /// A plan of any tenant that was kept and hasn't expired.
    ///
    /// # Errors
    /// The store doesn't answer, or a row can't be read.
    pub async fn plan(&mut self, id: Uuid) -> Result<Option<Plan>, StoreError> {
        let row =
            sqlx::query("SELECT plan::text, plan_version FROM plans WHERE id = $1 AND expires_at > clock_timestamp()")
                .bind(id)
                .fetch_optional(self.connection())
                .await
                .map_err(StoreError::from_sqlx("read a plan"))?;
        row.map(|row| document::read(&row, "plan")).transpose()
    }
}

/// How many revisions and operations of each stack are kept.
pub const KEPT_REVISIONS: u32 = 20;
/// How many days the operations of a destroyed stack are kept.
pub const KEPT_DAYS: u32 = 90;
/// How many are removed in one transaction.
const BATCH: i32 = 500;

impl EngineStore {
    /// Removes what is behind the newest revisions of each stack ([`KEPT_REVISIONS`]): older ones, their operations and journals, and
    /// definitions that nothing refers to any more. Tells how many revisions and operations it were.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn collect_history(&self) -> Result<u64, StoreError> {
        let mut total = 0;
        loop {
            let removed: i64 = sqlx::query_scalar("SELECT collect_history($1, make_interval(days => $2), $3)")
                .bind(i32::try_from(KEPT_REVISIONS).unwrap_or(i32::MAX))
                .bind(i32::try_from(KEPT_DAYS).unwrap_or(i32::MAX))
                .bind(BATCH)
                .fetch_one(self.store().engine_pool())
                .await
                .map_err(StoreError::from_sqlx("collect old revisions"))?;
            total += removed.unsigned_abs();
            if removed < i64::from(BATCH) {
                return Ok(total);
            }
        }
    }

    /// Removes plans and idempotency keys that have expired. Tells how many.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn purge_expired(&self) -> Result<u64, StoreError> {
        // Without a WHERE: the engine's policy lets it see, and so delete, what has expired and nothing else.
        let mut purged = 0;
        for statement in ["DELETE FROM plans", "DELETE FROM idempotency"] {
            let done = sqlx::query(statement).execute(self.store().engine_pool()).await;
            purged += done.map_err(StoreError::from_sqlx("remove what has expired"))?.rows_affected();
        }
        Ok(purged)
    }
}
