//! After a start: every stack is brought back as it was.

use std::sync::Arc;
use std::time::Duration;

use freehold_engine::capability::Restored;
use tracing::warn;

use super::stacks::Stacks;
use crate::Result;
use crate::actor::Actor;

/// How long the start waits for services to get ready again. Those that need longer are waited for in the background.
const PATIENCE: Duration = Duration::from_secs(10);

impl Stacks {
    /// What people are told of where stacks answer, as it is now: this machine's port or domain has changed. What services were told in
    /// their environment is drift until they are deployed again.
    pub async fn refresh_outputs(&self) -> Result<()> {
        let Some(local) = self.targets.local().cloned() else { return Ok(()) };
        let mut tx = self.records.store.look(Actor::system("start").access()).await?;
        let stacks = tx.stacks().await?;
        drop(tx);
        for stack in stacks.iter().filter(|stack| stack.key.target == *local.target.name()) {
            let (Some(request), Some(_)) = (&stack.request, &stack.definition) else { continue };
            let tenant = self.records.tenant_of(stack).await?;
            let definition = self.records.definition_of(tenant, stack).await?;
            let outputs = match local.expand(&definition.app, request) {
                Ok(graph) => graph.outputs,
                Err(refusal) => {
                    let why = refusal.message;
                    warn!(stack = %stack.key, "its addresses can't be worked out again: {why}");
                    continue;
                }
            };
            if outputs != stack.outputs && stack.verified_revision.is_some() {
                let mut tx = self.records.store.begin(tenant).await?;
                tx.set_outputs(stack, &outputs).await?;
                tx.commit().await?;
            }
        }
        Ok(())
    }

    /// Brings back all routes, services and schedules. Tells how many stacks there are.
    pub async fn restore(&self) -> Result<usize> {
        let mut tx = self.records.store.look(Actor::system("start").access()).await?;
        let stacks = tx.stacks().await?;
        drop(tx);
        let mut resources = Vec::new();
        let Some(local) = self.targets.local().cloned() else { return Ok(stacks.len()) };
        let Some(restore) = local.capabilities.restore.clone() else { return Ok(stacks.len()) };
        for stack in stacks.iter().filter(|stack| stack.key.target == *local.target.name()) {
            let tenant = self.records.tenant_of(stack).await?;
            let digests = self.records.store.digests(tenant, stack.id, &stack.key.target).await?;
            let mut tx = self.records.store.begin(tenant).await?;
            let stored = tx.resources(stack.id).await?;
            let own = stored.into_iter().filter(|stored| stored.resource.kind.provider() == restore.provider());
            resources.extend(own.map(|stored| Restored {
                stack: stack.id,
                key: stack.key.clone(),
                comparable: stored.resource.body.comparable(&digests),
                resource: stored.resource,
                object: stored.object,
            }));
        }
        let store = self.records.store.clone();
        let work = tokio::spawn(async move {
            if let Err(failure) = restore.restore(resources, Arc::new(store)).await {
                warn!("services could not be brought back: {failure}");
            }
        });
        let _ = tokio::time::timeout(PATIENCE, work).await;
        Ok(stacks.len())
    }
}
