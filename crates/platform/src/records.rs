//! What the store has, as an actor may see it. Every part of the platform reads through this.

use std::collections::BTreeMap;

use freehold_engine::OperationId;
use freehold_graph::{Request, ResourceId, StackId, StackKey};
use freehold_plan::{Previous, Recorded};
use freehold_problem::{Code, Problem};
use freehold_spec::Environment;
use freehold_store::{SecretDigests, Stack, Store, StoreError, TenantId};

use crate::Result;
use crate::actor::Actor;
use crate::definition::{Definition, never_deployed};

/// The store's records. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Records {
    pub(crate) store: Store,
}

impl Records {
    /// A stack by its identity.
    pub(crate) async fn find_stack(&self, actor: &Actor, id: StackId) -> Result<Stack> {
        let unknown =
            || Problem::new(Code::NotFound, format!("there is no stack {id}")).help("`freehold list` shows them");
        let tenant = match self.store.tenant_of_stack(id).await {
            Ok(tenant) if actor.can_see(tenant) => tenant,
            Ok(_) => return Err(unknown()),
            Err(StoreError::NotFound { .. }) => return Err(unknown()),
            Err(error) => return Err(error.into()),
        };
        let mut tx = self.store.begin(tenant).await?;
        tx.stack_by_id(id).await?.ok_or_else(unknown)
    }

    /// The tenant of a stack that need not exist yet; for an operator it is made where there is none.
    pub(crate) async fn enter(&self, actor: &Actor, key: &StackKey) -> Result<TenantId> {
        let found = self.store.find_tenant(key).await?;
        match found.filter(|tenant| actor.can_see(*tenant)) {
            Some(tenant) => Ok(tenant),
            None if actor.may_make_tenants() => Ok(self.store.tenant_of(key).await?),
            None => Err(Problem::new(Code::NotFound, format!("there is no {key}"))),
        }
    }

    /// The tenant that owns the stack.
    pub(crate) async fn tenant_of(&self, stack: &Stack) -> Result<TenantId> {
        Ok(self.store.tenant_of(&stack.key).await?)
    }

    /// An operation as the store has it.
    pub(crate) async fn find_operation(&self, actor: &Actor, id: OperationId) -> Result<freehold_store::Operation> {
        let mut tx = self.store.look(actor.access()).await?;
        let operation = tx.operation(id).await?;
        operation.ok_or_else(|| Problem::new(Code::NotFound, format!("there is no operation {id}")))
    }

    /// The definition that a stack was last deployed with, as it holds for it.
    pub(crate) async fn definition_of(&self, tenant: TenantId, stack: &Stack) -> Result<Definition> {
        let request = stack.request.as_ref().ok_or_else(|| never_deployed(stack))?;
        self.definition_in(tenant, stack, &request.environment()).await
    }

    /// The definition that a stack was last deployed with, as it holds in an environment.
    pub(crate) async fn definition_in(
        &self,
        tenant: TenantId,
        stack: &Stack,
        environment: &Environment,
    ) -> Result<Definition> {
        let hash = stack.definition.as_deref().ok_or_else(|| never_deployed(stack))?;
        let mut tx = self.store.begin(tenant).await?;
        let stored = tx.definition(hash).await?;
        Definition::read(stored.ok_or_else(|| never_deployed(stack))?, environment).await
    }

    /// The resources as recorded, and the last verified revision.
    pub(crate) async fn remembered(
        &self,
        tenant: TenantId,
        stack: &Stack,
    ) -> Result<(BTreeMap<ResourceId, Recorded>, Option<Previous>)> {
        let mut tx = self.store.begin(tenant).await?;
        let resources = tx.resources(stack.id).await?;
        // Only a revision that is also the last one: after a failure the next deploy is a new revision.
        let serving = stack.verified_revision.filter(|verified| *verified == stack.revision);
        let previous = match serving {
            Some(number) => tx.revision(stack.id, number).await?,
            None => None,
        };
        let recorded = resources
            .into_iter()
            .map(|stored| (stored.resource.id.clone(), Recorded { resource: stored.resource, object: stored.object }))
            .collect();
        Ok((recorded, previous.map(|revision| Previous { revision: revision.number, graph: revision.graph })))
    }

    /// The digests of the stack's secrets.
    pub(crate) async fn digests(&self, request: &Request) -> Result<SecretDigests> {
        let tenant = self.store.tenant_of(&request.key).await?;
        Ok(self.store.digests(tenant, request.id, &request.key.target).await?)
    }
}
