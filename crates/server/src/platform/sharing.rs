//! Whether another tenant may come to a machine on which the programs of all run as one user.

use freehold_graph::{StackKey, StackKind};

use super::runtime::{Local, TargetRuntime};
use super::{Platform, store_refusal};
use crate::refusal::{Answer, Refusal};

impl Platform {
    /// Refuses a first stack of a second tenant where nothing keeps tenants apart, unless whoever runs the platform has accepted that.
    /// Stages and previews are the operator's own.
    pub(super) async fn refuse_another_tenant(&self, runtime: &TargetRuntime, key: &StackKey) -> Answer<()> {
        let is_tenant = |key: &StackKey| match key.kind {
            StackKind::Tenant => true,
            StackKind::Preview | StackKind::Stage => false,
        };
        if runtime.local.as_ref().is_none_or(Local::may_share) || !is_tenant(key) {
            return Ok(());
        }
        let mut tx = self.store.begin_operator().await.map_err(store_refusal)?;
        let stacks = tx.stacks().await.map_err(store_refusal)?;
        let tenants: Vec<&StackKey> =
            stacks.iter().map(|stack| &stack.key).filter(|one| one.target == key.target && is_tenant(one)).collect();
        let Some(other) = tenants.first() else { return Ok(()) };
        if tenants.iter().any(|one| one.name == key.name) {
            return Ok(());
        }
        let message = format!(
            "{key} would be a second tenant beside {}, and tenants aren't kept apart here: the programs of all run as one user",
            other.name
        );
        Err(Refusal::conflict("FH1014", message).help(
            "run the platform as root, or accept that tenants can harm each other: `freehold down`, then `freehold up \
             --insecure-shared-user`, which it remembers",
        ))
    }
}
