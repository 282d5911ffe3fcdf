//! The doors to the tenants' tables: [`TenantTx`] for request work, [`ReadTx`] for looks, at one tenant's rows or at all.
//!
//! Both set a variable for the length of their transaction only, which the policies of row-level security look at. What a
//! pooled connection carries over to the next user is therefore nothing.

use sqlx::{AssertSqlSafe, PgConnection, Postgres, Transaction};

use crate::error::StoreError;
use crate::store::Store;
use crate::tenant_id::TenantId;

/// A transaction that sees and changes one tenant's rows. Dropped without [`TenantTx::commit`], it changes nothing.
pub struct TenantTx<'a> {
    transaction: Transaction<'a, Postgres>,
    tenant: TenantId,
}

impl TenantTx<'_> {
    /// The tenant whose rows it sees.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Makes what was done lasting.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if there was no answer: it may or may not have been done.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().await.map_err(StoreError::from_sqlx("commit"))
    }

    /// Commits without waiting for the disk. For what is of no use without a later commit that does wait: a kept plan, a
    /// definition, an idempotency key, when an artifact was last wanted. PostgreSQL writes in order, so that commit brings
    /// this one to the disk as well; a crash in between loses it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if there was no answer: it may or may not have been done.
    pub async fn commit_without_waiting(mut self) -> Result<(), StoreError> {
        sqlx::query("SET LOCAL synchronous_commit = off")
            .execute(&mut *self.transaction)
            .await
            .map_err(StoreError::from_sqlx("commit without waiting"))?;
        self.commit().await
    }

    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }
}

/// Whose rows a look sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody's: for an operator, who may see them by the platform's authorization.
    AllTenants,
    /// One tenant's, and no others exist.
    Tenant(TenantId),
}

/// A transaction that sees rows as far as its [`Access`] goes, and changes none.
pub struct ReadTx<'a> {
    transaction: Transaction<'a, Postgres>,
}

impl ReadTx<'_> {
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }
}

impl Store {
    /// Begins a transaction on one tenant's rows.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn begin(&self, tenant: TenantId) -> Result<TenantTx<'static>, StoreError> {
        let transaction = self.transaction("BEGIN", Access::Tenant(tenant)).await?;
        Ok(TenantTx { transaction, tenant })
    }

    /// Begins a look.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn look(&self, access: Access) -> Result<ReadTx<'static>, StoreError> {
        Ok(ReadTx { transaction: self.transaction("BEGIN READ ONLY", access).await? })
    }

    /// Begins a transaction that sees these rows, in one round trip: a plan has a dozen of them. The only values in its text are a UUID's
    /// digits and words of this function.
    async fn transaction(
        &self,
        begin: &'static str,
        access: Access,
    ) -> Result<Transaction<'static, Postgres>, StoreError> {
        let variable = match access {
            Access::AllTenants => "freehold.operator = 'on'".to_owned(),
            Access::Tenant(TenantId(tenant)) => format!("freehold.tenant_id = '{}'", tenant.hyphenated()),
        };
        self.tenant_pool()
            .begin_with(AssertSqlSafe(format!("{begin}; SET LOCAL {variable}")))
            .await
            .map_err(StoreError::from_sqlx("begin a transaction"))
    }
}
