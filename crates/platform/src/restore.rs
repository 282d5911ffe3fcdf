//! After a start: every stack is brought back as it was.

use std::sync::Arc;
use std::time::Duration;

use freehold_engine::capability::Restored;
use freehold_graph::ProviderName;
use freehold_problem::{Code, Problem};
use freehold_store::Stack;
use tracing::{error, warn};

use super::runtime::TargetRuntime;
use super::stacks::Stacks;
use crate::Result;
use crate::actor::Actor;

/// How long the start waits for services to get ready again. Those that need longer are waited for in the background.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether a failure is about one stack's own rows: then it hinders no other.
fn is_of_one_stack(failure: &Problem) -> bool {
    matches!(failure.code, Code::StoreUnreadable | Code::SealBroken)
}

impl Stacks {
    /// What people are told of where stacks answer, as it is now: this machine's port or domain has changed. What services were told in
    /// their environment is drift until they are deployed again.
    ///
    /// # Errors
    /// Of the first stack for which it can't be worked out: all others are done.
    pub async fn refresh_outputs(&self) -> Result<()> {
        let Some(local) = self.targets.local().cloned() else { return Ok(()) };
        let mut first = None;
        for stack in self.readable().await? {
            if stack.key.target == *local.target.name()
                && let Err(failure) = self.refresh_outputs_of(&local, &stack).await
            {
                warn!(stack = %stack.key, "its addresses can't be computed: {}", failure.message);
                first.get_or_insert(failure);
            }
        }
        first.map_or(Ok(()), Err)
    }

    async fn refresh_outputs_of(&self, local: &TargetRuntime, stack: &Stack) -> Result<()> {
        let (Some(request), Some(_)) = (&stack.request, &stack.definition) else { return Ok(()) };
        let tenant = self.records.tenant_of(stack).await?;
        let definition = self.records.definition_of(tenant, stack).await?;
        let outputs = local.expand(&definition.app, request)?.outputs;
        if outputs != stack.outputs && stack.verified_revision.is_some() {
            let mut tx = self.records.store.begin(tenant).await?;
            tx.set_outputs(stack, &outputs).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// All stacks that were ever deployed. One that can't be read is left out, and the log says so.
    async fn readable(&self) -> Result<Vec<Stack>> {
        let mut tx = self.records.store.look(Actor::system("start").access()).await?;
        let stacks = tx.stacks().await?.into_iter();
        Ok(stacks
            .filter_map(|stack| stack.inspect_err(|left| error!("a stack is left as it is: {left}")).ok())
            .collect())
    }

    /// Brings back all routes, services and schedules. Tells how many stacks there are. What can't be read is left as it is, and hinders
    /// nothing else.
    pub async fn restore(&self) -> Result<usize> {
        let stacks = self.readable().await?;
        let mut resources = Vec::new();
        let Some(local) = self.targets.local().cloned() else { return Ok(stacks.len()) };
        let Some(restore) = local.capabilities.restore.clone() else { return Ok(stacks.len()) };
        for stack in stacks.iter().filter(|stack| stack.key.target == *local.target.name()) {
            match self.to_restore(stack, restore.provider()).await {
                Ok(its) => resources.extend(its),
                Err(failure) if is_of_one_stack(&failure) => {
                    error!(stack = %stack.key, "it is left as it is: {}", failure.message);
                }
                Err(failure) => return Err(failure),
            }
        }
        let store = self.records.store.clone();
        let work = tokio::spawn(async move {
            if let Err(failure) = restore.restore(resources, Arc::new(store)).await {
                warn!("services could not be restored: {failure}");
            }
        });
        let _ = tokio::time::timeout(PATIENCE, work).await;
        Ok(stacks.len())
    }

    /// What of a stack is brought back.
    async fn to_restore(&self, stack: &Stack, provider: ProviderName) -> Result<Vec<Restored>> {
        let tenant = self.records.tenant_of(stack).await?;
        let digests = self.records.store.digests(tenant, stack.id, &stack.key.target).await?;
        let mut tx = self.records.store.look(Actor::system("start").access()).await?;
        let mut resources = Vec::new();
        for listed in tx.resources(&[stack.id]).await? {
            match listed {
                Ok((_, stored)) if stored.resource.kind.provider() == provider => resources.push(Restored {
                    stack: stack.id,
                    key: stack.key.clone(),
                    comparable: stored.resource.body.comparable(&digests),
                    resource: stored.resource,
                    object: stored.object,
                }),
                Ok(_) => {}
                Err(left) => error!(stack = %stack.key, "a resource is left as it is: {left}"),
            }
        }
        Ok(resources)
    }
}
