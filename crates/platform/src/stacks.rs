//! Looks at stacks and revisions.

use std::collections::BTreeMap;
use std::sync::Arc;

use freehold_engine::{Lookup, OperationId};
use freehold_graph::{Graph, Request, StackId, StackKind};
use freehold_plan::Purpose;
use freehold_problem::Problem;
use freehold_store::{
    Operation, OperationState, Revision, Stack, StackPage, StackState, StoreError, StoredResource, UnreadableRevision,
    UnreadableStack,
};
use tracing::warn;

use super::health::{self, Health};
use super::names::parse_kind;
use super::operations::describe_operation;
use super::runtime::TargetRuntime;
use crate::Result;
use crate::actor::{Actor, Scope};
use crate::records::Records;
use crate::request::StackFilter;
use crate::targets::Targets;
use crate::view::{Page, ResourceState, ResourceView, RevisionView, Serving, StackHealth, StackView};

/// How many stacks a page may have. A look at their parts asks a cluster the same few things however many they are.
const MOST_STACKS: usize = 1000;

/// The stacks that there are.
pub struct Stacks {
    pub(crate) records: Records,
    pub(crate) targets: Arc<Targets>,
}

impl Stacks {
    /// What the parts of these stacks are like now, by id of the part.
    pub(super) async fn health(&self, actor: &Actor, stacks: &[&Stack]) -> Result<Health> {
        health::health(&self.records, &self.targets, actor, stacks).await
    }

    /// A page of stacks.
    pub async fn list(&self, actor: &Actor, query: &StackFilter) -> Result<Page<StackView>> {
        actor.require(Scope::Read)?;
        let kind = query.kind.as_deref().map(parse_kind).transpose()?;
        let limit = query.limit.unwrap_or(100).clamp(1, MOST_STACKS);
        let mut tx = self.records.store.look(actor.access()).await?;
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
        let place = |listed: &Result<Stack, UnreadableStack>| match listed {
            Ok(stack) => stack.place(),
            Err(left) => left.place.clone(),
        };
        let next = fitting.last().filter(|_| more).map(place);
        let readable: Vec<&Stack> = fitting.iter().filter_map(|listed| listed.as_ref().ok()).collect();
        let open: Vec<&Stack> = readable.iter().copied().filter(|stack| health::depends_on_parts(stack)).collect();
        let mut health = self.health(actor, &open).await?;
        let mut waits = self.records.waits_of(&readable).await?;
        let mut describe = |stack: Stack| {
            let parts = health.remove(&stack.id).unwrap_or_default();
            let state = health::state(&stack, &parts);
            // What isn't as it should be; all of them are there where one stack is asked for.
            let parts = parts.into_iter().filter(|part| part.state != ResourceState::Ready).collect();
            let waits = waits.remove(&stack.id).unwrap_or_default();
            StackView { health: state, waits, ..self::describe(&stack, parts) }
        };
        let items = fitting.into_iter().filter_map(|listed| match listed {
            Ok(stack) => Some(describe(stack)),
            Err(left) => describe_unreadable(left),
        });
        Ok(Page { items: items.collect(), next })
    }

    /// One stack, with the state of its resources.
    pub async fn get(&self, actor: &Actor, id: StackId) -> Result<StackView> {
        actor.require(Scope::Read)?;
        let stack = self.records.find_stack(actor, id).await?;
        let tenant = self.records.tenant_of(&stack).await?;
        let recorded = async {
            let mut unreadable = None;
            let mut tx = self.records.store.begin(tenant).await?;
            let last = match stack.state {
                // Ready also where a destroy has ended before it deleted anything.
                StackState::Failed | StackState::Ready => {
                    readable(tx.operations(stack.id, 1).await, &mut unreadable)?.and_then(|mut last| last.pop())
                }
                StackState::New | StackState::Deploying | StackState::Destroying => None,
            };
            let serves_older = match stack.state {
                StackState::Failed | StackState::Deploying => stack.verified_revision,
                StackState::New | StackState::Ready | StackState::Destroying => None,
            };
            let verified = match serves_older {
                Some(number) => readable(tx.revision(stack.id, number).await, &mut unreadable)?.flatten(),
                None => None,
            };
            drop(tx);
            let mut tx = self.records.store.look(actor.access()).await?;
            // Parts that can't be read are among those whose health is asked for beside this.
            let resources: Vec<StoredResource> =
                tx.resources(&[stack.id]).await?.into_iter().filter_map(|listed| Some(listed.ok()?.1)).collect();
            Ok::<_, Problem>((last, resources, verified, unreadable))
        };
        // What its parts are like now takes the longest, and depends on nothing of this.
        let of_this = [&stack];
        let (recorded, health) = futures::join!(recorded, self.health(actor, &of_this));
        let ((last, resources, verified, unreadable), mut health) = (recorded?, health?);
        let runtime = self.targets.find(&stack.key.target).await.ok();
        let serving = match (&runtime, &verified) {
            (Some(runtime), Some(verified)) => serving(runtime, stack.id, &verified.graph, &resources).await,
            _ => Vec::new(),
        };
        let waits = match stack.operation {
            Some(_) => self.records.waits_of(&[&stack]).await?.remove(&stack.id).unwrap_or_default(),
            None => Vec::new(),
        };
        let parts = health.remove(&stack.id).unwrap_or_default();
        let failed = last.filter(|last| matches!(last.state, OperationState::Failed | OperationState::Cancelled));
        let failed = failed.map(|last| Box::new(describe_operation(&last)));
        let state = health::state(&stack, &parts);
        let not_enforced = runtime.map(|runtime| runtime.not_enforced.clone()).unwrap_or_default();
        Ok(StackView { failed, health: state, waits, serving, not_enforced, unreadable, ..describe(&stack, parts) })
    }

    /// The revisions of a stack, newest first.
    pub async fn revisions(&self, actor: &Actor, id: StackId) -> Result<Vec<RevisionView>> {
        actor.require(Scope::Read)?;
        let stack = self.records.find_stack(actor, id).await?;
        let tenant = self.records.tenant_of(&stack).await?;
        let mut tx = self.records.store.begin(tenant).await?;
        let revisions = tx.revisions(stack.id, 200).await?;
        let makers: Vec<OperationId> = revisions
            .iter()
            .map(|listed| listed.as_ref().map_or_else(|left| left.operation, |revision| revision.operation))
            .collect();
        let mut operations: BTreeMap<OperationId, Result<Operation>> = BTreeMap::new();
        for listed in tx.operations_named(&makers).await? {
            match listed {
                Ok(operation) => drop(operations.insert(operation.id, Ok(operation))),
                Err(left) => drop(operations.insert(left.id, Err(left.error.into()))),
            }
        }
        let described = revisions.into_iter().map(|listed| {
            let maker = listed.as_ref().map_or_else(|left| left.operation, |revision| revision.operation);
            let (purpose, state, failure) = match operations.remove(&maker) {
                Some(Ok(operation)) => (operation.plan.purpose, Some(operation.state), operation.failure),
                Some(Err(unreadable)) => (Purpose::Deploy, None, Some(unreadable)),
                None => (Purpose::Deploy, None, None),
            };
            let made_by = RevisionMaker { purpose, state, failure };
            describe_revision(listed, stack.verified_revision, made_by)
        });
        Ok(described.collect())
    }
}

/// What is known of the operation that made a revision.
struct RevisionMaker {
    purpose: Purpose,
    state: Option<OperationState>,
    failure: Option<Problem>,
}

fn describe_revision(
    listed: Result<Revision, UnreadableRevision>,
    current: Option<u64>,
    made_by: RevisionMaker,
) -> RevisionView {
    let RevisionMaker { purpose, state, failure } = made_by;
    match listed {
        Ok(revision) => RevisionView {
            number: revision.number,
            created_at: revision.created_at,
            verified: revision.verified_at.is_some(),
            current: current == Some(revision.number),
            purpose,
            state,
            tier: revision.request.tier.as_ref().map(ToString::to_string),
            stage: stage(&revision.request),
            artifacts: revision.request.artifacts.iter().map(|(k, v)| (k.to_string(), v.clone())).collect(),
            definition: revision.definition,
            operation: revision.operation,
            failure,
        },
        Err(left) => RevisionView {
            number: left.number,
            created_at: left.created_at,
            verified: left.verified_at.is_some(),
            current: current == Some(left.number),
            purpose,
            state,
            tier: None,
            stage: None,
            artifacts: BTreeMap::new(),
            definition: left.definition,
            operation: left.operation,
            failure: failure.or_else(|| Some(left.error.into())),
        },
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
        stage: request.and_then(stage),
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
        unreadable: None,
    }
}

/// What is known of a stack whose row can't be read; `None` if not even its name is.
fn describe_unreadable(left: UnreadableStack) -> Option<StackView> {
    let UnreadableStack { id, key, place, generation, operation, created_at, changed_at, error } = left;
    let Some(key) = key else {
        warn!(stack = %place, "it is left out of a list: {error}");
        return None;
    };
    Some(StackView {
        id,
        key,
        health: StackHealth::Unknown,
        generation,
        revision: None,
        tier: None,
        stage: None,
        artifacts: BTreeMap::new(),
        outputs: BTreeMap::new(),
        created_at,
        updated_at: changed_at,
        operation,
        failed: None,
        waits: Vec::new(),
        resources: Vec::new(),
        serving: Vec::new(),
        not_enforced: Vec::new(),
        unreadable: Some(error.into()),
    })
}

/// What was read; `None`, and the reason kept, if it can't be.
fn readable<T>(read: Result<T, StoreError>, unreadable: &mut Option<Problem>) -> Result<Option<T>> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(error @ StoreError::Unreadable { .. }) => {
            unreadable.get_or_insert(error.into());
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The stage that a tenant belongs to.
fn stage(request: &Request) -> Option<String> {
    let stage = request.stage_name().filter(|_| request.key.kind == StackKind::Tenant);
    stage.map(str::to_owned)
}
