//! Tenants: whose a row is.

use std::sync::Arc;

use freehold_graph::{SecretText, StackId, StackKey, StackKind};
use sqlx::Row;
use uuid::Uuid;

use crate::error::StoreError;
use crate::seal::{DataKey, Key};
use crate::store::Store;
use crate::tenant_id::{PLATFORM, TenantId};
use crate::transaction::TenantTx;

/// In the place of a stack, for what belongs to none.
const NOBODY: StackId = StackId(Uuid::nil());

impl Store {
    /// The tenant that owns (or would own) a stack; made if there is none yet.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn tenant_of(&self, key: &StackKey) -> Result<TenantId, StoreError> {
        if let Some(tenant) = self.find_tenant(key).await? {
            return Ok(tenant);
        }
        let name = key.name.as_str();
        let tenant = self.make_tenant(name).await?;
        self.known().remember_tenant(name, tenant);
        Ok(tenant)
    }

    /// The same, if there is one; none is made.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn find_tenant(&self, key: &StackKey) -> Result<Option<TenantId>, StoreError> {
        if key.kind != StackKind::Tenant {
            return Ok(Some(PLATFORM));
        }
        let name = key.name.as_str();
        if let Some(tenant) = self.known().tenant_named(name) {
            return Ok(Some(tenant));
        }
        let found: Option<Uuid> = sqlx::query_scalar("SELECT tenant_named($1)")
            .bind(name)
            .fetch_one(self.tenant_pool())
            .await
            .map_err(StoreError::from_sqlx("look up a tenant"))?;
        let tenant = found.map(TenantId);
        if let Some(tenant) = tenant {
            self.known().remember_tenant(name, tenant);
        }
        Ok(tenant)
    }

    /// Makes a tenant together with its data key: one wait for the disk instead of two.
    async fn make_tenant(&self, name: &str) -> Result<TenantId, StoreError> {
        let wanted = TenantId(Uuid::now_v7());
        let mut tx = self.begin(wanted).await?;
        let id: Uuid = sqlx::query_scalar("SELECT make_tenant($1, $2)")
            .bind(name)
            .bind(wanted.0)
            .fetch_one(tx.connection())
            .await
            .map_err(StoreError::from_sqlx("make a tenant"))?;
        // Of two that make it at once the other may have been first: then its key is not this transaction's business.
        if id == wanted.0 {
            self.make_data_key(&mut tx).await?;
        }
        tx.commit().await?;
        Ok(TenantId(id))
    }

    /// The tenant that owns an existing stack.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such stack; the store doesn't answer.
    pub async fn tenant_of_stack(&self, stack: StackId) -> Result<TenantId, StoreError> {
        if let Some(tenant) = self.known().tenant_of_stack(stack) {
            return Ok(tenant);
        }
        let id: Option<Uuid> = sqlx::query_scalar("SELECT tenant_of_stack($1)")
            .bind(stack.0)
            .fetch_one(self.tenant_pool())
            .await
            .map_err(StoreError::from_sqlx("look up a stack's tenant"))?;
        let tenant = TenantId(id.ok_or_else(|| StoreError::NotFound { what: "stack", name: stack.to_string() })?);
        self.known().remember_stack(stack, tenant);
        Ok(tenant)
    }

    /// What follows from the platform's own key for a purpose that is no stack's: the same at any time, another one for each store.
    ///
    /// # Errors
    /// As [`Self::data_key`].
    pub async fn derive(&self, purpose: &str) -> Result<SecretText, StoreError> {
        Ok(self.data_key(PLATFORM).await?.derive(NOBODY, purpose, 0))
    }

    /// A tenant's data key; made if it has none yet.
    ///
    /// # Errors
    /// [`StoreError::Tampered`] if it doesn't unwrap; the store doesn't answer.
    pub async fn data_key(&self, tenant: TenantId) -> Result<Arc<DataKey>, StoreError> {
        if let Some(key) = self.known().data_key(tenant) {
            return Ok(key);
        }
        let failed = "read a data key";
        let mut tx = self.begin(tenant).await?;
        let read = "SELECT number, wrapped FROM data_keys WHERE tenant_id = $1 AND number = 1";
        let mut row = sqlx::query(read).bind(tenant.0).fetch_optional(tx.connection()).await;
        if matches!(row, Ok(None)) {
            self.make_data_key(&mut tx).await?;
            row = sqlx::query(read).bind(tenant.0).fetch_optional(tx.connection()).await;
        }
        let row = row.map_err(StoreError::from_sqlx(failed))?;
        let row = row.ok_or_else(|| StoreError::NotFound { what: "data key of tenant", name: tenant.to_string() })?;
        let number: i32 = row.try_get("number").map_err(StoreError::from_sqlx(failed))?;
        let wrapped: Vec<u8> = row.try_get("wrapped").map_err(StoreError::from_sqlx(failed))?;
        let key = self.master().unwrap_key(tenant, number.unsigned_abs(), &wrapped)?;
        // Used only once it is certainly kept.
        tx.commit().await?;
        let key = Arc::new(key);
        self.known().remember_data_key(tenant, Arc::clone(&key));
        Ok(key)
    }

    /// Of two that are made at once the first stays: it has to be read back.
    async fn make_data_key(&self, tx: &mut TenantTx<'_>) -> Result<(), StoreError> {
        let tenant = tx.tenant();
        let wrapped = self.master().wrap(tenant, 1, &Key::random()?)?;
        sqlx::query("INSERT INTO data_keys (tenant_id, number, wrapped) VALUES ($1, 1, $2) ON CONFLICT DO NOTHING")
            .bind(tenant.0)
            .bind(wrapped)
            .execute(tx.connection())
            .await
            .map(|_| ())
            .map_err(StoreError::from_sqlx("keep a data key"))
    }
}
