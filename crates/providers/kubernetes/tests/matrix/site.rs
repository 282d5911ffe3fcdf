//! One stack in the cluster, with its own engine, journal and faults; planned as the server does it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use freehold_engine::provider::Proposal;
use freehold_engine::testing::{FakeProvider, FakeStore, Faults, Faulty, World, complete};
use freehold_engine::{Dependencies, Lookup, OperationId, Outcome, Provider, Record, StepId};
use freehold_graph::expand::{KubernetesTarget, names};
use freehold_graph::{Graph, ProviderName, Request, Resource, ResourceId, ResourceKind, StackId, StackKey, StackKind};
use freehold_plan::{Inputs, Observation, Ownership, Plan, Preview, Previous, Purpose, Recorded};
use freehold_problem::Problem;
use freehold_provider_kubernetes::{Access, Cluster, KubernetesProvider, prepare};
use freehold_testkit::kubernetes::ControlPlane;
use futures::future::try_join_all;
use serde_json::{Value as Json, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::api::Api;
use super::disruption::Disruption;
use super::shape::Shape;
use super::witness::Witness;
use crate::fixture::{access, facts};
use crate::stage::Known;

const GATEWAY: &str = "matrix-gateway";

/// A gateway that is there, and has no controller: the witness does its work.
fn gateway() -> Json {
    let listener = json!({"name": "all", "port": 80, "protocol": "HTTP"});
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": GATEWAY}},
        {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
         "metadata": {"name": GATEWAY, "namespace": GATEWAY},
         "spec": {"gatewayClassName": GATEWAY, "listeners": [listener]}},
    ]})
}

/// What all stacks share.
pub(super) struct Bed {
    pub(super) api: Api,
    pub(super) witness: Arc<Witness>,
    pub(super) facts: KubernetesTarget,
    /// Of two processes: what one has just seen, the other hasn't.
    providers: [Arc<KubernetesProvider>; 2],
}

impl Bed {
    pub(super) async fn new(control: &ControlPlane) -> Result<Self> {
        Self::reached_by(control, access(control.admin())).await
    }

    pub(super) async fn reached_by(control: &ControlPlane, access: Access) -> Result<Self> {
        let cluster = Cluster::connect(&access).await?;
        let mut facts = facts(&cluster);
        prepare(&cluster, &mut facts).await?;
        (facts.gateway.namespace, facts.gateway.name) = (GATEWAY.to_owned(), GATEWAY.to_owned());
        control.apply(&gateway().to_string())?;
        let api = Api::connect(control).await?;
        let witness = Witness::start(api.clone()).await?;
        let providers = [(); 2].map(|()| Arc::new(KubernetesProvider::new(access.clone(), facts.clone())));
        Ok(Self { api, witness, facts, providers })
    }
}

/// A stack, and what its store knows of it.
pub(super) struct Site {
    pub(super) bed: Arc<Bed>,
    pub(super) namespace: String,
    pub(super) request: Request,
    store: Arc<FakeStore>,
    faults: Arc<Faults>,
    world: Arc<Mutex<World>>,
    secrets: Arc<Known>,
    recorded: BTreeMap<ResourceId, Recorded>,
    previous: Option<Previous>,
    revision: u64,
    generation: u64,
    /// Which process works on it.
    process: usize,
    /// The revisions whose jobs have run, and those whose jobs may have.
    pub(super) ran: BTreeSet<u64>,
    pub(super) may_have_run: BTreeSet<u64>,
}

impl Site {
    pub(super) fn new(bed: &Arc<Bed>) -> Result<Self> {
        let key = StackKey {
            target: "prod".parse()?,
            app: "matrix".parse()?,
            kind: StackKind::Tenant,
            name: ControlPlane::unique("case").parse()?,
        };
        let id = StackId(Uuid::new_v4());
        let request: Request = serde_json::from_value(json!({"key": key, "id": id, "tier": "free", "artifacts": {}}))?;
        Ok(Self {
            bed: Arc::clone(bed),
            namespace: names::namespace(&request.key),
            request,
            store: Arc::default(),
            faults: Arc::default(),
            world: Arc::default(),
            secrets: Arc::default(),
            recorded: BTreeMap::new(),
            previous: None,
            revision: 0,
            generation: 0,
            process: 0,
            ran: BTreeSet::new(),
            may_have_run: BTreeSet::new(),
        })
    }

    /// Everything of this stack that is out there, to those who look for its mark.
    pub(super) async fn owned(&self) -> Result<Vec<(String, String)>> {
        let owned = self.kubernetes().owned(Some(self.request.id)).await?;
        Ok(owned.into_iter().map(|object| (object.kind, object.name)).collect())
    }

    fn kubernetes(&self) -> &Arc<KubernetesProvider> {
        &self.bed.providers[self.process % 2]
    }

    fn providers(&self) -> [Arc<dyn Provider>; 2] {
        let sealed = FakeProvider::new(ProviderName::Store, Arc::clone(&self.world), Duration::ZERO);
        let cluster = Faulty::new(Arc::clone(self.kubernetes()) as Arc<dyn Provider>, Arc::clone(&self.faults));
        [Arc::new(sealed), Arc::new(cluster)]
    }

    /// What a process has that works on it.
    fn parts(&self) -> Dependencies {
        let (journal, secrets) = (Arc::clone(&self.store), Arc::clone(&self.secrets));
        Dependencies::new(journal.clone(), journal, secrets, self.providers())
    }

    pub(super) async fn plan(&mut self, purpose: Purpose, shape: Shape, adopts: bool) -> Result<Plan> {
        let graph = shape.graph(&mut self.request, &self.bed.facts)?;
        // A rollback reverts no secret.
        if purpose == Purpose::Deploy {
            self.secrets.set("key", &format!("the secret of version {}", shape.version));
        }
        let subjects = freehold_plan::subjects(&graph, &self.recorded);
        let providers: BTreeMap<_, _> = self.providers().into_iter().map(|one| (one.name(), one)).collect();
        let stack = self.request.id;
        let look = |(id, resource): (&ResourceId, &Resource)| {
            let (provider, lookup) = (&providers[&resource.kind.provider()], Lookup::from(resource));
            let id = id.clone();
            async move { anyhow::Ok((id, provider.observe(stack, &lookup).await?)) }
        };
        let (spaces, others): (Vec<_>, Vec<_>) =
            subjects.iter().partition(|(_, resource)| resource.kind == ResourceKind::Namespace);
        let mut observed: BTreeMap<ResourceId, Option<Observation>> = BTreeMap::new();
        for group in [spaces, others] {
            observed.extend(try_join_all(group.into_iter().map(look)).await?);
        }
        let adopt: BTreeSet<String> = graph.resources.values().filter(|_| adopts).map(handle).collect();
        let previews = self.preview(&graph, &observed, adopts).await?;
        freehold_plan::make(&Inputs {
            id: Uuid::now_v7(),
            purpose,
            generation: self.generation,
            last_revision: self.revision,
            definition: "",
            request: &self.request,
            graph: &graph,
            recorded: &self.recorded,
            observed: &observed,
            previews: &previews,
            previous: self.previous.as_ref(),
            digests: &*self.secrets,
            adopt: &adopt,
            delete_data: &BTreeSet::new(),
            succeeded: &BTreeSet::new(),
        })
        .map_err(|errors| anyhow!("no plan: {errors:#?}"))
    }

    async fn preview(
        &self,
        graph: &Graph,
        observed: &BTreeMap<ResourceId, Option<Observation>>,
        adopt: bool,
    ) -> Result<BTreeMap<ResourceId, Preview>> {
        let own = graph.resources.values().filter(|resource| resource.kind.provider() == ProviderName::Kubernetes);
        let trials = own.map(|resource| async move {
            let (desired, observed) = (resource.body.comparable(&*self.secrets), observed[&resource.id].as_ref());
            let is_so = observed.is_some_and(|seen| seen.ownership == Ownership::Ours && seen.body == desired);
            let proposal = Proposal { resource, desired: &desired, observed, adopt };
            let preview = match is_so {
                true => Preview::exact(desired),
                false => self.kubernetes().preview(self.request.id, &proposal).await?,
            };
            anyhow::Ok((resource.id.clone(), preview))
        });
        Ok(try_join_all(trials).await?.into_iter().collect())
    }

    /// Plans and carries out, and nothing goes wrong.
    pub(super) async fn deploy(&mut self, shape: Shape) -> Result<()> {
        let plan = self.plan(Purpose::Deploy, shape, false).await?;
        self.carry_out(&plan, shape).await
    }

    /// Carries a plan out, and nothing goes wrong.
    pub(super) async fn carry_out(&mut self, plan: &Plan, shape: Shape) -> Result<()> {
        let (outcome, failures) = self.work(plan, shape, None).await?;
        ensure!(outcome == Outcome::Succeeded, "{:?}: {failures:#?}", plan.purpose);
        Ok(())
    }

    /// Carries a plan out, however often the process dies; and takes note of what the server would.
    pub(super) async fn work(
        &mut self,
        plan: &Plan,
        shape: Shape,
        disruption: Option<(&StepId, Disruption, usize)>,
    ) -> Result<(Outcome, Vec<Problem>)> {
        let operation = OperationId(Uuid::now_v7());
        if let Some((step, disruption, call)) = disruption {
            disruption.prepare(&self.faults, &self.store, step, call);
        }
        if !plan.runs.is_empty() {
            self.may_have_run.insert(plan.revision);
        }
        let dies = disruption.is_some_and(|(_, disruption, _)| disruption.kills());
        let (cancel, mut deaths) = (CancellationToken::new(), 0);
        let outcome = loop {
            let parts = self.parts();
            tokio::select! {
                outcome = complete(operation, plan, &parts, &cancel) => break outcome?,
                () = self.store.stopped() => {}
                () = self.faults.hung.notified() => {}
            }
            deaths += 1;
            self.process += 1;
            self.store.forget_leases();
        };
        let failures: Vec<Problem> = self.store.journal(operation).into_iter().filter_map(failure).collect();
        let happened = self.faults.are_over() && !self.store.will_stop() && deaths == u32::from(dies);
        ensure!(happened, "what should go wrong did not: {outcome:?}, {failures:#?}");
        self.settle(plan, shape, outcome)?;
        Ok((outcome, failures))
    }

    fn settle(&mut self, plan: &Plan, shape: Shape, outcome: Outcome) -> Result<()> {
        self.recorded = self.store.resources();
        self.revision = plan.revision;
        self.generation += 1;
        let serves = outcome == Outcome::Succeeded && !matches!(plan.purpose, Purpose::Destroy { .. });
        let graph = shape.graph(&mut self.request, &self.bed.facts)?;
        self.previous = serves.then_some(Previous { revision: plan.revision, graph });
        if outcome == Outcome::Succeeded && !plan.runs.is_empty() {
            self.ran.insert(plan.revision);
        }
        Ok(())
    }
}

fn failure(record: Record) -> Option<Problem> {
    match record {
        Record::StepFailed { failure, .. } => Some(failure),
        _ => None,
    }
}

/// How it is named to be adopted.
fn handle(resource: &Resource) -> String {
    format!("{}/{}", resource.kind.word(), resource.identity)
}
