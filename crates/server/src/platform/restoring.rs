//! After a start: every stack is brought back as it was.

use std::sync::Arc;
use std::time::Duration;

use freehold_graph::ProviderName;
use freehold_provider_local::Restored;
use tracing::warn;

use super::{Platform, store_refusal};
use crate::refusal::Answer;

/// How long the start waits for services to get ready again. Those that need longer are waited for in the background.
const PATIENCE: Duration = Duration::from_secs(10);

impl Platform {
    /// Brings back all routes, services and schedules. Tells how many stacks there are.
    pub(crate) async fn restore(self: &Arc<Self>) -> Answer<usize> {
        let mut tx = self.store.begin_operator().await.map_err(store_refusal)?;
        let stacks = tx.stacks().await.map_err(store_refusal)?;
        drop(tx);
        let mut resources = Vec::new();
        let Some(local) = self.targets.local().cloned() else { return Ok(stacks.len()) };
        for stack in stacks.iter().filter(|stack| stack.key.target == *local.target.name()) {
            let tenant = self.tenant_of(stack).await?;
            let digests = self.store.digests(tenant, stack.id, &stack.key.target).await.map_err(store_refusal)?;
            let mut tx = self.store.begin(tenant).await.map_err(store_refusal)?;
            let stored = tx.resources(stack.id).await.map_err(store_refusal)?;
            resources.extend(
                stored.into_iter().filter(|stored| stored.resource.kind.provider() == ProviderName::Local).map(
                    |stored| Restored {
                        stack: stack.id,
                        key: stack.key.clone(),
                        comparable: stored.resource.body.comparable(&digests),
                        resource: stored.resource,
                        object: stored.object,
                    },
                ),
            );
        }
        let platform = Arc::clone(self);
        let work = tokio::spawn(async move {
            let secrets = Arc::new(platform.store.clone());
            let Some(local) = &local.local else { return };
            if let Err(failure) = local.provider.restore(resources, secrets).await {
                warn!("services could not be brought back: {failure}");
            }
        });
        let _ = tokio::time::timeout(PATIENCE, work).await;
        Ok(stacks.len())
    }
}
