//! Plans as the real planner makes them, from small random or fixed definitions and the fake world.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use freehold_engine::testing::World;
use freehold_engine::{Lookup, OperationId};
use freehold_graph::value::Digests;
use freehold_graph::{
    Digest, Graph, Request, Resource, ResourceId, ResourceKind, Run, SecretRef, StackId, StackKey, StackKind, Value,
};
use freehold_plan::{Inputs, Plan, PlanError, Previous, Purpose, Recorded, make, subjects};
use uuid::Uuid;

pub(crate) const STACK: StackId = StackId(Uuid::from_u128(7));

pub(crate) static REQUEST: LazyLock<Request> = LazyLock::new(|| Request {
    key: StackKey {
        target: "local".parse().unwrap(),
        app: "guestbook".parse().unwrap(),
        kind: StackKind::Tenant,
        name: "acme".parse().unwrap(),
    },
    id: STACK,
    tier: None,
    stage: None,
    artifacts: BTreeMap::new(),
    containers: BTreeMap::new(),
    rotations: BTreeMap::new(),
    revision: 0,
    former_ports: Default::default(),
});

pub(crate) fn operation(number: u64) -> OperationId {
    OperationId(Uuid::from_u128(u128::from(number)))
}

/// A definition, as far as the engine is concerned: what there is, and in which version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Shape {
    pub(crate) secrets: BTreeMap<&'static str, u32>,
    /// Version, and a field that can't be changed.
    pub(crate) databases: BTreeMap<&'static str, (u32, u32)>,
    /// The rotations of databases' logins.
    pub(crate) logins: BTreeMap<&'static str, u32>,
    pub(crate) services: BTreeMap<&'static str, u32>,
    pub(crate) schedules: BTreeMap<&'static str, u32>,
    /// Version, and host name.
    pub(crate) routes: BTreeMap<&'static str, (u32, u32)>,
    /// Whether it may be repeated.
    pub(crate) jobs: BTreeMap<&'static str, bool>,
}

impl Shape {
    /// The guestbook.
    pub(crate) fn guestbook(version: u32) -> Self {
        Self {
            secrets: BTreeMap::from([("session-key", 1)]),
            databases: BTreeMap::from([("main", (1, 1))]),
            logins: BTreeMap::new(),
            services: BTreeMap::from([("web", version)]),
            schedules: BTreeMap::from([("digest", version)]),
            routes: BTreeMap::from([("web", (1, 1))]),
            jobs: BTreeMap::from([("migrate", false)]),
        }
    }

    pub(crate) fn graph(&self) -> Graph {
        let mut graph = Graph::default();
        let mut add = |word: &str, name: &str, kind, identity: String, body: Value, needs: &[ResourceId]| {
            let id = ResourceId::new(word, name);
            let depends_on = needs.iter().cloned().collect();
            graph.resources.insert(id.clone(), Resource { id: id.clone(), kind, identity, body, depends_on });
            id
        };
        let version = |version: u32| ("version", Value::from(version));
        let mut base = Vec::new();
        for (name, number) in &self.secrets {
            let body = Value::map([version(*number)]);
            base.push(add("secret", name, ResourceKind::StoreSecret, (*name).to_owned(), body, &[]));
        }
        for (name, (number, owner)) in &self.databases {
            let identity = format!("acme__{name}");
            let body = Value::map([version(*number), ("owner", Value::text(format!("owner-{owner}")))]);
            let kind = ResourceKind::PostgresRoles;
            let roles = add("roles", name, kind, identity.clone(), body.clone(), &[]);
            base.push(add("database", name, ResourceKind::PostgresDatabase, identity, body, &[roles]));
        }
        for (name, number) in &self.services {
            let env = Value::map([("VERSION", Value::from(*number))]);
            let body = Value::map([("env", env), ("start_timeout_seconds", Value::from(30_u32))]);
            add("service", name, ResourceKind::LocalService, format!("acme/{name}"), body, &base);
        }
        for (name, number) in &self.schedules {
            let body = Value::map([version(*number)]);
            add("schedule", name, ResourceKind::LocalSchedule, (*name).to_owned(), body, &base);
        }
        for (name, rotation) in &self.logins {
            let users = self.services.keys().map(|service| ResourceId::new("service", service));
            let needs: Vec<ResourceId> = users.chain([ResourceId::new("roles", name)]).collect();
            let body = Value::map([("open", Value::from(*rotation))]);
            add("logins", name, ResourceKind::PostgresLogins, format!("acme__{name}"), body, &needs);
        }
        for (name, (number, host)) in &self.routes {
            let service = ResourceId::new("service", name);
            let host = format!("{name}{host}.localhost");
            let body = Value::map([version(*number), ("host", Value::text(host.clone()))]);
            add("route", name, ResourceKind::LocalRoute, host, body, &[service]);
        }
        let services: BTreeSet<ResourceId> =
            self.services.keys().map(|name| ResourceId::new("service", name)).collect();
        for (name, safe) in &self.jobs {
            let id = ResourceId::new("job", name);
            let retry = if *safe { "safe" } else { "ask" };
            let body = Value::map([("timeout_seconds", Value::from(600_u32)), ("retry", Value::from(retry))]);
            let depends_on = base.iter().cloned().collect();
            graph.runs.insert(
                id.clone(),
                Run {
                    id,
                    provider: freehold_graph::ProviderName::Local,
                    body,
                    due: freehold_graph::Due::Revision,
                    depends_on,
                    before: services.clone(),
                },
            );
        }
        graph
    }
}

struct NoDigests;

impl Digests for NoDigests {
    fn of_secret(&self, _: &SecretRef) -> Option<Digest> {
        None
    }

    fn of_text(&self, text: &str) -> Digest {
        Digest(text.to_owned())
    }
}

/// What is known of the stack between operations.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) recorded: BTreeMap<ResourceId, Recorded>,
    pub(crate) previous: Option<Previous>,
    pub(crate) last_revision: u64,
    pub(crate) generation: u64,
}

/// Makes a plan from what the world is like now.
pub(crate) fn plan(
    world: &World,
    known: &Known,
    purpose: Purpose,
    graph: &Graph,
    adopt: bool,
) -> Result<Plan, Vec<PlanError>> {
    let all = subjects(graph, &known.recorded);
    let observed =
        all.iter().map(|(id, resource)| (id.clone(), world.observe(STACK, &Lookup::from(resource)))).collect();
    let handles =
        all.values().filter(|_| adopt).map(|resource| format!("{}/{}", resource.kind.word(), resource.identity));
    let adopt = handles.collect();
    let delete_data = all.keys().flat_map(|id| [id.name().to_owned(), id.0.clone()]).collect();
    make(&Inputs {
        id: Uuid::from_u128(1),
        purpose,
        generation: known.generation,
        last_revision: known.last_revision,
        definition: "",
        request: &REQUEST,
        graph,
        recorded: &known.recorded,
        observed: &observed,
        previews: &BTreeMap::new(),
        previous: known.previous.as_ref(),
        digests: &NoDigests,
        adopt: &adopt,
        delete_data: &delete_data,
        succeeded: &BTreeSet::new(),
    })
}
