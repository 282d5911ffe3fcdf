//! Targets that may have one tenant only, because nothing keeps tenants apart there. Who comes first is decided in the transaction that
//! begins the operation, so that of two first deploys at once one is refused.

use freehold_graph::{StackKey, StackKind};

use crate::error::StoreError;
use crate::row::read;
use crate::transaction::TenantTx;

/// Whether a target may have several tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// As many as there are.
    Tenants,
    /// One, and stages and previews, which are the operator's own. Tenants that are there already stay.
    OneTenant,
}

impl TenantTx<'_> {
    /// Refuses another tenant beside one that the target has. For plans: whoever is first is decided when an operation begins.
    ///
    /// # Errors
    /// [`StoreError::SecondTenant`]; the store doesn't answer.
    pub async fn check_sharing(&mut self, key: &StackKey, sharing: Sharing) -> Result<(), StoreError> {
        if !is_limited(key, sharing) {
            return Ok(());
        }
        let rows = sqlx::query("SELECT name FROM tenants_on($1)")
            .bind(key.target.as_str())
            .fetch_all(self.connection())
            .await
            .map_err(StoreError::from_sqlx("list other tenants"))?;
        let tenants = rows.iter().map(|row| read::<String, _>(row, "name")).collect::<Result<Vec<_>, _>>()?;
        match tenants.first() {
            Some(first) if !tenants.iter().any(|one| one == key.name.as_str()) => {
                Err(StoreError::SecondTenant { subject: key.to_string(), beside: first.clone() })
            }
            _ => Ok(()),
        }
    }

    /// The same for an operation that begins, whose stack doesn't count yet.
    pub(crate) async fn take_place(&mut self, key: &StackKey, sharing: Sharing) -> Result<(), StoreError> {
        if !is_limited(key, sharing) {
            return Ok(());
        }
        // One at a time for each target, until the end of the transaction: who comes next sees this one's stack.
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('tenants of ' || $1, 0))")
            .bind(key.target.as_str())
            .execute(self.connection())
            .await
            .map_err(StoreError::from_sqlx("list other tenants"))?;
        self.check_sharing(key, sharing).await
    }
}

fn is_limited(key: &StackKey, sharing: Sharing) -> bool {
    let tenant = match key.kind {
        StackKind::Tenant => true,
        StackKind::Preview | StackKind::Stage => false,
    };
    tenant && sharing == Sharing::OneTenant
}
