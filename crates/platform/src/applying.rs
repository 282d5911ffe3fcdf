//! From a plan to the queue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use freehold_engine::OperationId;
use freehold_graph::{Graph, StackId};
use freehold_plan::{Plan, Purpose};
use freehold_problem::{Code, Problem};
use freehold_provider_postgres::Capacity;
use freehold_store::idempotency::Seen;
use freehold_store::{NewOperation, Sharing, StoreError, WantedConnections};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::definition::{Definition, not_kept};
use super::planning::{claims, wanted_connections};
use super::{Platform, images, kept, reading};
use crate::Result;
use crate::actor::{Actor, Scope};
use crate::request::{Apply, Deploy, Destroy};
use crate::view::{OperationView, Planned};

/// An idempotency key under which a request is being carried out.
struct HeldKey<'a> {
    keys: &'a Mutex<BTreeSet<String>>,
    key: String,
}

impl Drop for HeldKey<'_> {
    fn drop(&mut self) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Platform {
    /// Deploys: applies a plan, or plans and applies. If there is nothing to change, the operation that made things as they are
    /// is the answer.
    pub async fn apply(&self, actor: &Actor, request: &Apply, key: Option<&str>) -> Result<OperationView> {
        actor.require(Scope::Deploy)?;
        let Some(key) = key else { return self.apply_once(actor, request, None).await };
        let key = &*actor.key(key);
        let Some(_held) = self.hold(key) else {
            return Err(Problem::new(
                Code::RequestInProgress,
                "a request with this Idempotency-Key is being carried out",
            ));
        };
        let fingerprint = serde_json::to_vec(request).map(|text| hex::encode(Sha256::digest(text))).unwrap_or_default();
        let mut tx = self.store.begin(actor.key_space()).await?;
        let seen = tx.take_key(key, &fingerprint).await?;
        tx.commit_without_waiting().await?;
        let ours = matches!(seen, Seen::New);
        match seen {
            Seen::New => {}
            Seen::Answered { response, .. } => {
                return kept::read(response);
            }
            // Nobody in this process is at work under this key. Whoever took it died, before or after the operation was in the queue; or
            // is another replica, and then of both only one gets an operation into the queue.
            Seen::InProgress => {
                let mut tx = self.store.look(actor.access()).await?;
                let begun = tx.operation_of_key(key).await?;
                drop(tx);
                if let Some(begun) = begun {
                    return self.operation(actor, begun).await;
                }
            }
            Seen::Other => {
                return Err(Problem::new(
                    Code::IdempotencyKeyReused,
                    "this Idempotency-Key was used for another request",
                )
                .help("use a new key for each request"));
            }
        }
        let answer = self.apply_once(actor, request, Some(key)).await;
        let mut tx = self.store.begin(actor.key_space()).await?;
        match &answer {
            Ok(operation) => {
                tx.answer_key(key, 202, &kept::write(operation)).await?;
            }
            // Nothing was begun: the same request may be made again.
            Err(_) if ours => tx.drop_key(key).await?,
            Err(_) => {}
        }
        tx.commit_without_waiting().await?;
        answer
    }

    /// Takes a key for this process; `None` if another request has it.
    fn hold(&self, key: &str) -> Option<HeldKey<'_>> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.to_owned()).then(|| HeldKey { keys: &self.keys, key: key.to_owned() })
    }

    async fn apply_once(&self, actor: &Actor, request: &Apply, key: Option<&str>) -> Result<OperationView> {
        match request {
            Apply::Plan { plan } => {
                let plan = self.kept_plan(actor, *plan).await?;
                if matches!(plan.purpose, Purpose::Destroy { .. }) {
                    return Err(Problem::new(Code::NotConfirmed, "a plan to destroy is not applied like this")
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
        let (answer, graph) = self.deploy_plan(actor, request).await?;
        if let Some(same) = answer.running {
            return self.operation(actor, same).await;
        }
        if answer.noop {
            let last = self.last_success(actor, &answer).await?;
            return Ok(OperationView { outputs: answer.plan.outputs, ..last });
        }
        self.enqueue(actor, &answer.plan, &graph, key).await
    }

    async fn kept_plan(&self, actor: &Actor, id: Uuid) -> Result<Plan> {
        let mut tx = self.store.look(actor.access()).await?;
        let plan = tx.plan(id).await?;
        plan.ok_or_else(|| {
            Problem::new(
                Code::PlanUnknown,
                format!("there is no plan {id}: plans are kept for a day, and until they are carried out"),
            )
            .help("plan again")
        })
    }

    /// The graph that a kept plan leads to. Expanding is pure, so the same definition and request give the same again.
    async fn graph_of(&self, plan: &Plan) -> Result<Graph> {
        let tenant = self.store.tenant_of(&plan.key).await?;
        let mut tx = self.store.begin(tenant).await?;
        let stored = tx.definition(&plan.definition).await?.ok_or_else(|| not_kept(&plan.definition))?;
        let definition = Definition::read_stored(&stored).await?;
        let runtime = self.targets.find(&plan.key.target).await?;
        super::computing::compute(|| runtime.expand(&definition.app, &plan.request)).await
    }

    /// The operation that made a stack what it is.
    async fn last_success(&self, actor: &Actor, answer: &Planned) -> Result<OperationView> {
        let plan = &answer.plan;
        let tenant = self.store.tenant_of(&plan.key).await?;
        let mut tx = self.store.begin(tenant).await?;
        let revision = tx.revision(plan.stack, plan.revision).await?;
        drop(tx);
        let revision = revision.ok_or_else(|| Problem::new(Code::PlanOutdated, "the stack has changed meanwhile"))?;
        self.operation(actor, revision.operation).await
    }

    /// Destroys a stack whose name was typed again.
    pub async fn destroy(&self, actor: &Actor, stack: StackId, request: &Destroy) -> Result<OperationView> {
        actor.require(Scope::Deploy)?;
        let found = self.find_stack(actor, stack).await?;
        if request.confirm != found.key.name.as_str() {
            let message =
                format!("{:?} is not the name of the stack that would be destroyed: {}", request.confirm, found.key);
            return Err(Problem::new(Code::NotConfirmed, message).help("give the stack's own name to confirm"));
        }
        let plan = match request.plan {
            Some(plan) => self.kept_plan(actor, plan).await?,
            None => self.plan_destroy(actor, stack, request.dump).await?.plan,
        };
        if plan.stack != found.id || !matches!(plan.purpose, Purpose::Destroy { .. }) {
            return Err(Problem::new(
                Code::NotConfirmed,
                format!("plan {} is not one to destroy {}", plan.id, found.key),
            ));
        }
        self.enqueue(actor, &plan, &Graph::default(), None).await
    }

    async fn enqueue(&self, actor: &Actor, plan: &Plan, graph: &Graph, key: Option<&str>) -> Result<OperationView> {
        let tenant = self.store.tenant_of(&plan.key).await?;
        let secrets = match plan.purpose {
            Purpose::Destroy { .. } => BTreeMap::new(),
            _ => self.digests(&plan.request).await?.stored().clone(),
        };
        let wanted = wanted_connections(graph);
        let (capacity, sharing) = match plan.purpose {
            Purpose::Destroy { .. } => (None, Sharing::Tenants),
            Purpose::Deploy | Purpose::Rollback { .. } => {
                let runtime = self.targets.find(&plan.key.target).await?;
                (runtime.capacity_for(wanted).await?, runtime.sharing())
            }
        };
        let capacity = capacity.unwrap_or(Capacity { usable: 0, promised: BTreeMap::new() });
        // Without a server of the target's there is nothing to be promised.
        let wanted = if capacity.usable == 0 { 0 } else { wanted };
        let connections = WantedConnections { wanted, usable: capacity.usable, limits: &capacity.promised };
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
        match self.store.enqueue(tenant, &new).await {
            Ok(at) => Ok(reading::queued(&new, at)),
            // The answer may have been lost behind the commit: the operation's own id tells.
            Err(StoreError::Unavailable { .. }) if self.operation(actor, id).await.is_ok() => {
                self.operation(actor, id).await
            }
            Err(error) => Err(error.into()),
        }
    }
}
