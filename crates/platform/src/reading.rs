//! Looks at stacks, revisions and operations.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use freehold_engine::{Lookup, OperationId};
use freehold_graph::{Graph, StackId, StackKey};
use freehold_plan::Purpose;
use freehold_problem::{Code, Problem};
use freehold_store::{NewOperation, OperationState, Stack, StackPage, StackState, StoredResource, TenantId};

use super::planning::parse_kind;
use super::runtime::TargetRuntime;
use super::{Platform, health};
use crate::Result;
use crate::actor::{Actor, Scope};
use crate::request::StackFilter;
use crate::view::{OperationView, Page, ResourceState, ResourceView, RevisionView, Serving, StackHealth, StackView};

/// How many stacks a page may have. A look at their parts asks a cluster the same few things however many they are.
const MOST_STACKS: usize = 1000;

impl Platform {
    /// A stack by its identity.
    pub(crate) async fn find_stack(&self, actor: &Actor, id: StackId) -> Result<Stack> {
        let unknown =
            || Problem::new(Code::NotFound, format!("there is no stack {id}")).help("`freehold list` shows them");
        let tenant = match self.store.tenant_of_stack(id).await {
            Ok(tenant) if actor.knows_of(tenant) => tenant,
            Ok(_) => return Err(unknown()),
            Err(freehold_store::StoreError::NotFound { .. }) => return Err(unknown()),
            Err(error) => return Err(error.into()),
        };
        let mut tx = self.store.begin(tenant).await?;
        tx.stack_by_id(id).await?.ok_or_else(unknown)
    }

    /// The tenant of a stack that need not exist yet; for an operator it is made where there is none.
    pub(crate) async fn enter(&self, actor: &Actor, key: &StackKey) -> Result<TenantId> {
        let found = self.store.find_tenant(key).await?;
        match found.filter(|tenant| actor.knows_of(*tenant)) {
            Some(tenant) => Ok(tenant),
            None if actor.may_make_tenants() => Ok(self.store.tenant_of(key).await?),
            None => Err(Problem::new(Code::NotFound, format!("there is no {key}"))),
        }
    }

    /// Whose it is.
    pub(crate) async fn tenant_of(&self, stack: &Stack) -> Result<TenantId> {
        Ok(self.store.tenant_of(&stack.key).await?)
    }

    /// A page of stacks.
    pub async fn stacks(&self, actor: &Actor, query: &StackFilter) -> Result<Page<StackView>> {
        actor.require(Scope::Read)?;
        let kind = query.kind.as_deref().map(parse_kind).transpose()?;
        let limit = query.limit.unwrap_or(100).clamp(1, MOST_STACKS);
        let mut tx = self.store.look(actor.access()).await?;
        let page = StackPage {
            target: query.target.as_deref(),
            app: query.app.as_deref(),
            kind,
            name: query.name.as_deref(),
            after: query.cursor.as_deref(),
            limit: limit + 1,
        };
        let mut fitting = tx.page_of_stacks(&page).await?;
        drop(tx);
        let more = fitting.len() > limit;
        fitting.truncate(limit);
        let next = fitting.last().filter(|_| more).map(Stack::place);
        let open: Vec<&Stack> = fitting.iter().filter(|stack| health::depends_on_parts(stack)).collect();
        let mut health = self.health(actor, &open).await?;
        let mut waits = self.waits_of(&fitting).await?;
        let mut describe = |stack: Stack| {
            let parts = health.remove(&stack.id).unwrap_or_default();
            let state = health::state(&stack, &parts);
            // What isn't as it should be; all of them are there where one stack is asked for.
            let parts = parts.into_iter().filter(|part| part.state != ResourceState::Ready).collect();
            let waits = waits.remove(&stack.id).unwrap_or_default();
            StackView { health: state, waits, ..self::describe(&stack, parts) }
        };
        Ok(Page { items: fitting.into_iter().map(&mut describe).collect(), next })
    }

    /// One stack, with the state of its resources.
    pub async fn stack(&self, actor: &Actor, id: StackId) -> Result<StackView> {
        actor.require(Scope::Read)?;
        let stack = self.find_stack(actor, id).await?;
        let tenant = self.tenant_of(&stack).await?;
        let mut tx = self.store.begin(tenant).await?;
        let last = match stack.state {
            // Ready also where a destroy has ended before it deleted anything.
            StackState::Failed | StackState::Ready => tx.operations(stack.id, 1).await?.pop(),
            _ => None,
        };
        let resources = tx.resources(stack.id).await?;
        let verified = match (stack.state, stack.verified_revision) {
            (StackState::Failed | StackState::Deploying, Some(number)) => {
                tx.revision(stack.id, number).await?.map(|revision| revision.graph)
            }
            _ => None,
        };
        drop(tx);
        let runtime = self.targets.find(&stack.key.target).await.ok();
        let serving = match (&runtime, &verified) {
            (Some(runtime), Some(verified)) => serving(runtime, stack.id, verified, &resources).await,
            _ => Vec::new(),
        };
        let waits = match stack.operation {
            Some(operation) => self.waits(tenant, operation).await?,
            None => Vec::new(),
        };
        let parts = self.health(actor, &[&stack]).await?.remove(&stack.id).unwrap_or_default();
        let failed = last.filter(|last| matches!(last.state, OperationState::Failed | OperationState::Cancelled));
        let failed = failed.map(|last| Box::new(describe_operation(&last)));
        let state = health::state(&stack, &parts);
        let local = runtime.as_ref().and_then(|runtime| runtime.local.as_ref());
        let not_enforced = local.map(|local| local.provider.not_enforced()).unwrap_or_default();
        Ok(StackView { failed, health: state, waits, serving, not_enforced, ..describe(&stack, parts) })
    }

    /// The revisions of a stack, newest first.
    pub async fn revisions(&self, actor: &Actor, id: StackId) -> Result<Vec<RevisionView>> {
        actor.require(Scope::Read)?;
        let stack = self.find_stack(actor, id).await?;
        let tenant = self.tenant_of(&stack).await?;
        let mut tx = self.store.begin(tenant).await?;
        let revisions = tx.revisions(stack.id, 200).await?;
        let makers: Vec<OperationId> = revisions.iter().map(|revision| revision.operation).collect();
        let operations = tx.operations_named(&makers).await?;
        let mut operations: BTreeMap<OperationId, _> = operations.into_iter().map(|one| (one.id, one)).collect();
        let mut described = Vec::new();
        for revision in revisions {
            let operation = operations.remove(&revision.operation);
            let (purpose, state, failure) = match operation {
                Some(operation) => (operation.plan.purpose, Some(operation.state), operation.failure),
                None => (Purpose::Deploy, None, None),
            };
            described.push(RevisionView {
                number: revision.number,
                created_at: revision.created_at,
                verified: revision.verified_at.is_some(),
                current: stack.verified_revision == Some(revision.number),
                purpose,
                state,
                tier: revision.request.tier.as_ref().map(ToString::to_string),
                artifacts: revision.request.artifacts.iter().map(|(k, v)| (k.to_string(), v.clone())).collect(),
                definition: revision.definition,
                operation: revision.operation,
                failure,
            });
        }
        Ok(described)
    }

    /// An operation as the store has it.
    pub(crate) async fn find_operation(&self, actor: &Actor, id: OperationId) -> Result<freehold_store::Operation> {
        let mut tx = self.store.look(actor.access()).await?;
        let operation = tx.operation(id).await?;
        operation.ok_or_else(|| Problem::new(Code::NotFound, format!("there is no operation {id}")))
    }

    /// An operation.
    pub async fn operation(&self, actor: &Actor, id: OperationId) -> Result<OperationView> {
        let operation = self.find_operation(actor, id).await?;
        let waits = match operation.state.is_finished() {
            true => Vec::new(),
            false => self.waits(operation.tenant, operation.id).await?,
        };
        Ok(OperationView { waits, ..describe_operation(&operation) })
    }

    /// Asks an operation to stop.
    pub async fn cancel(&self, actor: &Actor, id: OperationId) -> Result<OperationView> {
        actor.require(Scope::Deploy)?;
        let operation = self.find_operation(actor, id).await?;
        self.store.request_cancel(operation.tenant, operation.id, &actor.audited()).await?;
        self.operation(actor, id).await
    }
}

/// Which revision the services take requests with. What can't be asked about is left out: then nothing is said of it.
async fn serving(
    runtime: &TargetRuntime,
    stack: StackId,
    verified: &Graph,
    resources: &[StoredResource],
) -> Vec<Serving> {
    let mut serving = Vec::new();
    for stored in resources {
        let resource = &stored.resource;
        let Some(provider) = runtime.providers.get(&resource.kind.provider()) else { continue };
        let Ok(Some(found)) = provider.serving(stack, &Lookup::from(resource)).await else { continue };
        let is_newer = verified.resources.get(&resource.id).is_none_or(|before| before.body != resource.body);
        let (verified, newer) = if is_newer { (found.former, found.newest) } else { (found.former + found.newest, 0) };
        serving.push(Serving { service: resource.id.name().to_owned(), verified, newer });
    }
    serving
}

fn describe_operation(operation: &freehold_store::Operation) -> OperationView {
    OperationView {
        id: operation.id,
        stack: operation.stack,
        key: operation.subject.clone(),
        purpose: operation.plan.purpose,
        state: operation.state,
        revision: operation.plan.revision,
        taken: u32::from(operation.started_at.is_some()),
        created_at: operation.created_at,
        finished_at: operation.finished_at,
        failure: operation.failure.clone(),
        outputs: operation.plan.outputs.clone(),
        waits: Vec::new(),
    }
}

/// An operation that was put into the queue at that time. Whoever asks knows all of it.
pub(crate) fn queued(new: &NewOperation<'_>, at: DateTime<Utc>) -> OperationView {
    let plan = new.plan;
    OperationView {
        id: new.id,
        stack: plan.stack,
        key: plan.key.to_string(),
        purpose: plan.purpose,
        state: OperationState::Queued,
        revision: plan.revision,
        taken: 0,
        created_at: at,
        finished_at: None,
        failure: None,
        outputs: plan.outputs.clone(),
        waits: Vec::new(),
    }
}

fn describe(stack: &Stack, resources: Vec<ResourceView>) -> StackView {
    let request = stack.request.as_ref();
    let artifacts = request.map(|request| request.artifacts.iter().map(|(k, v)| (k.to_string(), v.clone())).collect());
    StackView {
        id: stack.id,
        key: stack.key.clone(),
        health: StackHealth::Unknown,
        generation: stack.generation,
        revision: stack.verified_revision,
        tier: request.and_then(|request| request.tier.as_ref().map(ToString::to_string)),
        artifacts: artifacts.unwrap_or_default(),
        outputs: stack.outputs.clone(),
        created_at: stack.created_at,
        updated_at: stack.changed_at,
        operation: stack.operation,
        failed: None,
        waits: Vec::new(),
        resources,
        serving: Vec::new(),
        not_enforced: Vec::new(),
    }
}
