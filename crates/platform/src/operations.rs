//! From a plan to the queue, and what becomes of what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use freehold_engine::OperationId;
use freehold_graph::{Graph, StackId};
use freehold_plan::{Plan, Purpose};
use freehold_problem::{Code, Problem};
use freehold_store::idempotency::KeyState;
use freehold_store::{ConnectionRequest, NewOperation, OperationState, Sharing, StoreError};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::definition::{Definition, not_kept};
use super::plans::{Plans, claims};
use super::{images, replayed};
use crate::Result;
use crate::actor::{Actor, Scope};
use crate::hub::Hub;
use crate::records::Records;
use crate::request::{Apply, Deploy, Destroy};
use crate::targets::Targets;
use crate::view::{OperationView, Planned};

/// An idempotency key under which a request is being carried out.
struct KeyGuard<'a> {
    keys: &'a Mutex<BTreeSet<String>>,
    key: String,
}

impl Drop for KeyGuard<'_> {
    fn drop(&mut self) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// From plans to the queue, and what becomes of what is queued.
pub struct Operations {
    pub(crate) records: Records,
    pub(crate) targets: Arc<Targets>,
    pub(crate) plans: Arc<Plans>,
    /// Those who watch operations.
    pub(crate) hub: Hub,
    /// The idempotency keys of the requests that are being carried out.
    pub(crate) keys: Mutex<BTreeSet<String>>,
    pub(crate) stopping: CancellationToken,
}

impl Operations {
    /// Deploys: applies a plan, or plans and applies. If there is nothing to change, the operation that made things as they are
    /// is the answer.
    pub async fn apply(&self, actor: &Actor, request: &Apply, key: Option<&str>) -> Result<OperationView> {
        actor.require(Scope::Deploy)?;
        let Some(key) = key else { return self.apply_once(actor, request, None).await };
        let key = &*actor.key(key);
        let Some(_held) = self.claim_here(key) else {
            return Err(Problem::new(
                Code::RequestInProgress,
                "a request with this Idempotency-Key is still in progress",
            ));
        };
        let fingerprint = fingerprint(request)?;
        let mut tx = self.records.store.begin(actor.key_space()).await?;
        let seen = tx.claim_key(key, &fingerprint).await?;
        tx.commit_without_waiting().await?;
        let ours = matches!(seen, KeyState::New);
        match seen {
            KeyState::New => {}
            KeyState::Answered(response) => {
                return replayed::read(response);
            }
            // Nobody in this process is at work under this key. Whoever took it died, before or after the operation was in the queue; or
            // is another replica, and then of both only one gets an operation into the queue.
            KeyState::InProgress => {
                let mut tx = self.records.store.look(actor.access()).await?;
                let begun = tx.operation_of_key(key).await?;
                drop(tx);
                if let Some(begun) = begun {
                    return self.view(actor, begun).await;
                }
            }
            KeyState::Other => {
                return Err(Problem::new(
                    Code::IdempotencyKeyReused,
                    "this Idempotency-Key was used for another request",
                )
                .help("use a new key for each request"));
            }
        }
        let answer = self.apply_once(actor, request, Some(key)).await;
        let mut tx = self.records.store.begin(actor.key_space()).await?;
        match &answer {
            Ok(operation) => {
                tx.answer_key(key, 202, &replayed::write(operation)).await?;
            }
            // Nothing was begun: the same request may be made again.
            Err(_) if ours => tx.drop_key(key).await?,
            Err(_) => {}
        }
        tx.commit_without_waiting().await?;
        answer
    }

    /// Takes a key for this process; `None` if another request has it.
    fn claim_here(&self, key: &str) -> Option<KeyGuard<'_>> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.to_owned()).then(|| KeyGuard { keys: &self.keys, key: key.to_owned() })
    }

    async fn apply_once(&self, actor: &Actor, request: &Apply, key: Option<&str>) -> Result<OperationView> {
        match request {
            Apply::Plan { plan } => {
                let plan = self.kept_plan(actor, *plan).await?;
                if matches!(plan.purpose, Purpose::Destroy { .. }) {
                    return Err(Problem::new(
                        Code::NotConfirmed,
                        "a plan to destroy can't be applied with this request",
                    )
                    .help("DELETE the stack, and confirm with its name"));
                }
                let graph = self.graph_of(&plan).await?;
                images::refuse_vanished(&*self.targets.find(&plan.key.target).await?, &plan.request).await?;
                self.enqueue(actor, &plan, &graph, key).await
            }
            // Whoever deploys the same at the same time may be faster; then theirs is the answer.
            Apply::Deploy(request) => match self.deploy_once(actor, request, key).await {
                Err(refusal) if matches!(refusal.code, Code::PlanOutdated | Code::OperationRunning) => {
                    self.deploy_once(actor, request, key).await
                }
                answer => answer,
            },
        }
    }

    async fn deploy_once(&self, actor: &Actor, request: &Deploy, key: Option<&str>) -> Result<OperationView> {
        let (answer, graph) = self.plans.deploy_plan(actor, request).await?;
        if let Some(same) = answer.running {
            return self.view(actor, same).await;
        }
        if answer.noop {
            let last = self.last_success(actor, &answer).await?;
            return Ok(OperationView { outputs: answer.plan.outputs, ..last });
        }
        self.enqueue(actor, &answer.plan, &graph, key).await
    }

    async fn kept_plan(&self, actor: &Actor, id: Uuid) -> Result<Plan> {
        let mut tx = self.records.store.look(actor.access()).await?;
        let plan = tx.plan(id).await?;
        plan.ok_or_else(|| {
            Problem::new(
                Code::PlanUnknown,
                format!("there is no plan {id}: a plan is kept for a day, or until it is applied"),
            )
            .help("plan again")
        })
    }

    /// The graph that a kept plan leads to. Expanding is pure: the same definition and request give the same again, unless the target was
    /// changed since, or another release has made the plan.
    ///
    /// # Errors
    /// [`Code::PlanOutdated`]: then what the plan shows is not what would come of it.
    async fn graph_of(&self, plan: &Plan) -> Result<Graph> {
        let tenant = self.records.store.tenant_of(&plan.key).await?;
        let mut tx = self.records.store.begin(tenant).await?;
        let stored = tx.definition(&plan.definition).await?.ok_or_else(|| not_kept(&plan.definition))?;
        let definition = Definition::read(stored, &plan.request.environment()).await?;
        let runtime = self.targets.find(&plan.key.target).await?;
        let graph = super::computing::compute(|| runtime.expand(&definition.app, &plan.request)).await?;
        if plan.leads_to(&graph) {
            return Ok(graph);
        }
        let target = &plan.key.target;
        let message = format!(
            "the plan is outdated: on target {target} the definition comes to something else than when it was made"
        );
        Err(Problem::new(Code::PlanOutdated, message).help("plan again and look at what is different now"))
    }

    /// The operation that made a stack what it is.
    async fn last_success(&self, actor: &Actor, answer: &Planned) -> Result<OperationView> {
        let plan = &answer.plan;
        let tenant = self.records.store.tenant_of(&plan.key).await?;
        let mut tx = self.records.store.begin(tenant).await?;
        let revision = tx.revision(plan.stack, plan.revision).await?;
        drop(tx);
        let revision = revision.ok_or_else(|| Problem::new(Code::PlanOutdated, "the stack has changed meanwhile"))?;
        self.view(actor, revision.operation).await
    }

    /// Destroys a stack whose name was typed again.
    pub async fn destroy(&self, actor: &Actor, stack: StackId, request: &Destroy) -> Result<OperationView> {
        actor.require(Scope::Deploy)?;
        let found = self.records.find_stack(actor, stack).await?;
        if request.confirm != found.key.name.as_str() {
            let message =
                format!("{:?} is not the name of the stack that would be destroyed: {}", request.confirm, found.key);
            return Err(Problem::new(Code::NotConfirmed, message).help("give the stack's own name to confirm"));
        }
        refuse_other_generation(request, found.generation)?;
        let plan = match request.plan {
            Some(plan) => self.kept_plan(actor, plan).await?,
            None => self.plans.destroy(actor, stack, request.dump).await?.plan,
        };
        if plan.stack != found.id || !matches!(plan.purpose, Purpose::Destroy { .. }) {
            return Err(Problem::new(
                Code::NotConfirmed,
                format!("plan {} is not a plan to destroy {}", plan.id, found.key),
            ));
        }
        // The one that the plan rests on: a deploy may have ended since the stack was looked up. After this one the queue refuses it.
        refuse_other_generation(request, plan.generation)?;
        self.enqueue(actor, &plan, &Graph::default(), None).await
    }

    async fn enqueue(&self, actor: &Actor, plan: &Plan, graph: &Graph, key: Option<&str>) -> Result<OperationView> {
        let tenant = self.records.store.tenant_of(&plan.key).await?;
        let secrets = match plan.purpose {
            Purpose::Destroy { .. } => BTreeMap::new(),
            Purpose::Deploy | Purpose::Rollback { .. } => self.records.digests(&plan.request).await?.stored().clone(),
        };
        let wanted = graph.connections(None);
        let (capacity, sharing) = match plan.purpose {
            Purpose::Destroy { .. } => (None, Sharing::Tenants),
            Purpose::Deploy | Purpose::Rollback { .. } => {
                let runtime = self.targets.find(&plan.key.target).await?;
                (runtime.capacity_for(None, wanted).await?, runtime.sharing)
            }
        };
        let capacity = capacity.unwrap_or_default();
        // Without a server of the target's there is nothing to be promised.
        let wanted = if capacity.usable == 0 { 0 } else { wanted };
        let connections = ConnectionRequest { wanted, usable: capacity.usable, limits: &capacity.promised };
        let id = OperationId(Uuid::now_v7());
        let claims = claims(graph);
        let new = NewOperation {
            id,
            plan,
            graph,
            secrets: &secrets,
            claims: &claims,
            connections,
            sharing,
            requested_by: &actor.audited(),
            idempotency_key: key,
        };
        match self.records.store.enqueue(tenant, &new).await {
            Ok(at) => Ok(queued(&new, at)),
            // The answer may have been lost behind the commit: the operation's own id tells.
            Err(StoreError::Unavailable { .. }) if let Ok(begun) = self.view(actor, id).await => Ok(begun),
            Err(error) => Err(error.into()),
        }
    }

    /// An operation, and what it waits for at the moment.
    pub async fn get(&self, actor: &Actor, id: OperationId) -> Result<OperationView> {
        actor.require(Scope::Read)?;
        self.view(actor, id).await
    }

    async fn view(&self, actor: &Actor, id: OperationId) -> Result<OperationView> {
        let operation = self.records.find_operation(actor, id).await?;
        let waits = match operation.state.is_finished() {
            true => Vec::new(),
            false => self.records.waits(operation.tenant, operation.id).await?,
        };
        Ok(OperationView { waits, ..describe_operation(&operation) })
    }

    /// Asks an operation to stop.
    pub async fn cancel(&self, actor: &Actor, id: OperationId) -> Result<OperationView> {
        actor.require(Scope::Deploy)?;
        let operation = self.records.find_operation(actor, id).await?;
        self.records.store.request_cancel(operation.tenant, operation.id, &actor.audited()).await?;
        self.view(actor, id).await
    }
}

/// Whether a stack of this generation is the one that was seen by who wants it destroyed.
fn refuse_other_generation(request: &Destroy, generation: u64) -> Result<()> {
    match request.generation {
        Some(expected) if expected != generation => {
            let message = format!("the stack has changed: its generation is {generation}, not {expected}");
            Err(Problem::new(Code::PreconditionFailed, message))
        }
        _ => Ok(()),
    }
}

pub(crate) fn describe_operation(operation: &freehold_store::Operation) -> OperationView {
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
fn queued(new: &NewOperation<'_>, at: DateTime<Utc>) -> OperationView {
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

/// What the same request is known by.
fn fingerprint(request: &Apply) -> Result<String> {
    let text = serde_json::to_vec(request)
        .map_err(|error| Problem::new(Code::Internal, format!("the request can't be told from others: {error}")))?;
    Ok(hex::encode(Sha256::digest(text)))
}
