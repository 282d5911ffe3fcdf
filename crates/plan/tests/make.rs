//! Plans: what they contain, and what they refuse.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may fail")]

use std::collections::{BTreeMap, BTreeSet};

use freehold_graph::value::Digests;
use freehold_graph::{
    Digest, Due, Graph, Request, Resource, ResourceId, ResourceKind, Run, SecretRef, StackId, StackKey, StackKind,
    Value,
};
use freehold_plan::{
    Action, Change, Conflict, Inputs, Observation, Ownership, Plan, PlanError, Preview, Previous, Purpose, Recorded,
    make, remainder, subjects,
};
use proptest::prelude::*;
use uuid::Uuid;

/// Every secret's digest is its name and a version.
struct Versions(u32);

impl Digests for Versions {
    fn of_secret(&self, secret: &SecretRef) -> Option<Digest> {
        Some(Digest(format!("{secret} v{}", self.0)))
    }

    fn of_text(&self, text: &str) -> Digest {
        Digest(text.to_owned())
    }
}

struct World {
    graph: Graph,
    recorded: BTreeMap<ResourceId, Recorded>,
    observed: BTreeMap<ResourceId, Option<Observation>>,
    previous: Option<Previous>,
    secrets: u32,
    purpose: Purpose,
    adopt: BTreeSet<String>,
    delete_data: BTreeSet<String>,
    succeeded: BTreeSet<ResourceId>,
    previews: BTreeMap<ResourceId, Preview>,
}

impl World {
    fn empty() -> Self {
        Self {
            graph: Graph::default(),
            recorded: BTreeMap::new(),
            observed: BTreeMap::new(),
            previous: None,
            secrets: 1,
            purpose: Purpose::Deploy,
            adopt: BTreeSet::new(),
            delete_data: BTreeSet::new(),
            succeeded: BTreeSet::new(),
            previews: BTreeMap::new(),
        }
    }

    fn wants(mut self, resource: Resource) -> Self {
        self.graph.resources.insert(resource.id.clone(), resource);
        self
    }

    fn runs(mut self, name: &str) -> Self {
        let id = ResourceId::new("job", name);
        let run = Run {
            id: id.clone(),
            provider: freehold_graph::ProviderName::Local,
            body: Value::Null,
            due: freehold_graph::Due::Revision,
            depends_on: BTreeSet::new(),
            before: BTreeSet::new(),
        };
        self.graph.runs.insert(id, run);
        self
    }

    fn plan(&self) -> Result<Plan, Vec<PlanError>> {
        self.with(make)
    }

    /// What a refused plan would have beside the reasons.
    fn remainder(&self) -> Vec<Change> {
        self.with(remainder)
    }

    fn with<T>(&self, made: impl FnOnce(&Inputs<'_>) -> T) -> T {
        let key = StackKey {
            target: "local".parse().unwrap(),
            app: "app".parse().unwrap(),
            kind: StackKind::Tenant,
            name: "acme".parse().unwrap(),
        };
        let request = Request {
            key,
            id: StackId(Uuid::nil()),
            tier: None,
            stage: None,
            artifacts: BTreeMap::new(),
            containers: BTreeMap::new(),
            rotations: BTreeMap::new(),
            revision: 0,
            former_ports: Default::default(),
        };
        made(&Inputs {
            id: Uuid::nil(),
            purpose: self.purpose,
            generation: 0,
            last_revision: self.previous.as_ref().map_or(0, |previous| previous.revision),
            definition: "",
            request: &request,
            graph: &self.graph,
            recorded: &self.recorded,
            observed: &self.observed,
            previews: &self.previews,
            previous: self.previous.as_ref(),
            digests: &Versions(self.secrets),
            adopt: &self.adopt,
            delete_data: &self.delete_data,
            succeeded: &self.succeeded,
        })
    }

    /// What the world is like when all that is wanted was applied.
    fn applied(mut self) -> Self {
        let revision = self.previous.as_ref().map_or(0, |previous| previous.revision) + 1;
        self.previous = Some(Previous { revision, graph: self.graph.clone() });
        self.recorded.clear();
        self.observed.clear();
        for (id, resource) in &self.graph.resources {
            let object = Some(format!("object of {id}"));
            self.recorded.insert(id.clone(), Recorded { resource: resource.clone(), object });
            let body = resource.body.comparable(&Versions(self.secrets));
            let observation = Observation {
                object: format!("object of {id}"),
                ownership: Ownership::Ours,
                body,
                foreign_fields: Vec::new(),
            };
            self.observed.insert(id.clone(), Some(observation));
        }
        self
    }

    fn forget(mut self, id: &str) -> Self {
        self.graph.resources.remove(&ResourceId(id.to_owned()));
        self
    }

    fn sees(mut self, id: &str, change: impl FnOnce(&mut Observation)) -> Self {
        let observation = self.observed.get_mut(&ResourceId(id.to_owned())).unwrap().as_mut().unwrap();
        change(observation);
        self
    }
}

fn resource(id: &str, kind: ResourceKind, body: Value) -> Resource {
    let id = ResourceId(id.to_owned());
    Resource { identity: format!("acme {}", id.name()), id, kind, body, depends_on: BTreeSet::new() }
}

fn database() -> Resource {
    resource("database.main", ResourceKind::PostgresDatabase, Value::map([("owner", Value::from("o"))]))
}

fn service(level: &str) -> Resource {
    let env = Value::map([
        ("LOG_LEVEL", Value::from(level)),
        ("SESSION_KEY", Value::secret(SecretRef::Stored("session-key".to_owned()))),
    ]);
    resource("service.web", ResourceKind::LocalService, Value::map([("env", env), ("replicas", Value::from(1_u32))]))
}

fn action(plan: &Plan, id: &str) -> Action {
    plan.changes[&ResourceId(id.to_owned())].action
}

#[test]
fn what_does_not_exist_is_created_and_jobs_run_once_for_the_revision() {
    let plan = World::empty().wants(database()).wants(service("info")).runs("migrate").plan().unwrap();
    assert_eq!((plan.count(Action::Create), plan.runs.len(), plan.revision), (2, 1, 1));
}

#[test]
fn what_is_as_it_should_be_is_left_alone_and_makes_no_revision_and_runs_nothing() {
    let plan = World::empty().wants(database()).wants(service("info")).runs("migrate").applied().plan().unwrap();
    assert!(plan.is_noop());
    assert_eq!(plan.revision, 1);
}

#[test]
fn a_rotated_secret_restarts_exactly_its_readers_and_is_not_shown() {
    let mut world = World::empty().wants(database()).wants(service("info")).applied();
    world.secrets = 2;
    let plan = world.plan().unwrap();
    assert_eq!((action(&plan, "database.main"), action(&plan, "service.web")), (Action::NoOp, Action::Update));
    let change = &plan.changes[&ResourceId("service.web".to_owned())];
    assert_eq!(change.reasons, ["restarts: secret session-key changed (reads SESSION_KEY)"]);
}

#[test]
fn what_was_changed_outside_is_called_drift_and_mended_without_a_revision() {
    let world = World::empty().wants(service("info")).runs("migrate").applied().sees("service.web", |observation| {
        let Value::Map(fields) = &mut observation.body else { unreachable!() };
        fields.insert("replicas".to_owned(), Value::from(7_u32));
    });
    let plan = world.plan().unwrap();
    assert_eq!(action(&plan, "service.web"), Action::Update);
    assert!(
        plan.changes.values().any(|change| change.reasons.iter().any(|reason| reason.starts_with("drift: replicas")))
    );
    assert_eq!((plan.revision, plan.runs.len()), (1, 0));
}

#[test]
fn a_database_that_was_dropped_outside_is_told_with_its_data() {
    let mut world = World::empty().wants(database()).applied();
    world.observed.insert(ResourceId("database.main".to_owned()), None);
    let plan = world.plan().unwrap();
    let reasons = &plan.changes[&ResourceId("database.main".to_owned())].reasons;
    assert!(reasons.iter().any(|reason| reason.contains("data is gone")), "{reasons:?}");
}

#[test]
fn a_database_that_is_made_anew_gets_its_tables_from_the_jobs_again() {
    let mut world = World::empty().wants(database()).runs("migrate").applied();
    assert!(world.plan().unwrap().runs.is_empty());
    world.observed.insert(ResourceId("database.main".to_owned()), None);
    let plan = world.plan().unwrap();
    assert_eq!((plan.revision, plan.runs.len()), (2, 1));
}

#[test]
fn foreign_objects_are_refused_unless_adopted_and_other_stacks_always() {
    let foreign = |ownership: Ownership| {
        let mut world = World::empty().wants(database()).applied().sees("database.main", |o| o.ownership = ownership);
        world.recorded.clear();
        world.previous = None;
        world
    };
    let mut world = foreign(Ownership::Foreign("owned by role bob".to_owned()));
    assert!(matches!(world.plan().unwrap_err().as_slice(), [PlanError::NotOurs { .. }]));
    world.adopt.insert("database/acme main".to_owned());
    assert_eq!(action(&world.plan().unwrap(), "database.main"), Action::Adopt);
    let mut world = foreign(Ownership::OtherStack(StackId(Uuid::max())));
    world.adopt.insert("database/acme main".to_owned());
    assert!(world.plan().is_err());
}

#[test]
fn what_would_have_to_be_made_anew_is_not_adopted() {
    let mut world = World::empty().wants(database()).applied();
    world = world.sees("database.main", |o| o.ownership = Ownership::Foreign("made by bob".to_owned()));
    world.adopt.insert("database/acme main".to_owned());
    assert_eq!(action(&world.plan().unwrap(), "database.main"), Action::Adopt);
    let preview = Preview { immutable: vec!["encoding".to_owned()], ..Preview::exact(Value::Null) };
    world.previews.insert(ResourceId("database.main".to_owned()), preview);
    let errors = world.plan().unwrap_err();
    assert!(matches!(errors.as_slice(), [PlanError::NotAdoptable { .. }]), "{errors:?}");
    assert!(errors[0].to_string().contains("it differs in encoding, which can't be changed"), "{}", errors[0]);
}

#[test]
fn what_cannot_be_changed_in_place_is_replaced_and_never_updated() {
    let id = ResourceId("service.web".to_owned());
    let mut world = World::empty().wants(service("info")).applied();
    let immutable = || Preview { immutable: vec!["env".to_owned()], ..Preview::exact(Value::Null) };
    world.previews.insert(id.clone(), immutable());
    assert_eq!(action(&world.plan().unwrap(), "service.web"), Action::Replace);
    // Naming it to take somebody's fields makes it no less of a replacement.
    let conflicts = vec![Conflict { path: "env".to_owned(), manager: "kubectl-edit".to_owned() }];
    world.previews.insert(id.clone(), Preview { conflicts: conflicts.clone(), ..immutable() });
    assert!(matches!(world.plan().unwrap_err().as_slice(), [PlanError::Conflicts { .. }]));
    let handle = format!("service/{}", world.graph.resources[&id].identity);
    world.adopt.insert(handle);
    assert_eq!(action(&world.plan().unwrap(), "service.web"), Action::Replace);
    world.previews.insert(id.clone(), Preview { conflicts: conflicts.clone(), ..Preview::exact(Value::Null) });
    let plan = world.plan().unwrap();
    assert_eq!(action(&plan, "service.web"), Action::Adopt);
    assert_eq!(plan.changes[&id].takes, conflicts, "so that no other field is taken");
}

#[test]
fn a_field_that_is_given_up_and_stays_is_an_update() {
    let id = ResourceId("service.web".to_owned());
    let mut world = World::empty().wants(service("info")).applied();
    assert_eq!(action(&world.plan().unwrap(), "service.web"), Action::NoOp);
    let body = world.observed[&id].as_ref().unwrap().body.clone();
    world.previews.insert(id.clone(), Preview { given_up: vec!["spec.replicas".to_owned()], ..Preview::exact(body) });
    let plan = world.plan().unwrap();
    assert_eq!(action(&plan, "service.web"), Action::Update);
    assert_eq!(plan.changes[&id].fields, []);
    assert_eq!(plan.changes[&id].reasons, ["releases spec.replicas; its value stays"]);
}

#[test]
fn what_others_have_added_is_told_and_changes_nothing() {
    let id = ResourceId("service.web".to_owned());
    let field = |path: String, manager: &str| Conflict { path, manager: manager.to_owned() };
    let mut foreign_fields: Vec<Conflict> = (0..7).map(|at| field(format!("env[V{at}]"), "kubectl-edit")).collect();
    foreign_fields.push(field("labels.team".to_owned(), "kubectl-label"));
    let world = World::empty().wants(service("info")).applied();
    let quiet = world.plan().unwrap().changes[&id].fingerprint.clone();
    let plan = world.sees("service.web", |observation| observation.foreign_fields = foreign_fields).plan().unwrap();
    assert!(plan.is_noop());
    let change = &plan.changes[&id];
    assert_eq!(change.fingerprint, quiet, "it makes no plan outdated");
    let what = format!("{} {}", change.kind.word(), change.identity);
    let told = [
        format!(
            "{what}: kubectl-edit manages env[V0], env[V1], env[V2], env[V3], env[V4] and 2 more, which the definition doesn't have"
        ),
        format!("{what}: kubectl-label manages labels.team, which the definition doesn't have"),
    ];
    assert_eq!(change.notes(), told);
}

#[test]
fn data_is_deleted_or_replaced_only_where_it_was_named() {
    let mut world = World::empty().wants(database()).wants(service("info")).applied().forget("database.main");
    assert!(matches!(world.plan().unwrap_err().as_slice(), [PlanError::LosesData { .. }]));
    world.delete_data.insert("main".to_owned());
    let plan = world.plan().unwrap();
    assert!(plan.changes[&ResourceId("database.main".to_owned())].loses_data);

    let replaced = World::empty().wants(database()).applied().sees("database.main", |observation| {
        observation.body = Value::map([("owner", Value::from("somebody else"))]);
    });
    let refused = replaced.plan().unwrap_err();
    assert!(matches!(refused.as_slice(), [PlanError::LosesData { .. }]));
    assert!(refused[0].to_string().ends_with("would be deleted: owner can't be changed in place"), "{}", refused[0]);
}

#[test]
fn a_secret_that_is_not_wanted_any_more_is_kept_until_it_is_named_or_the_stack_is_destroyed() {
    let secret = resource("secret.key", ResourceKind::StoreSecret, Value::Null);
    let mut world = World::empty().wants(secret.clone()).wants(service("info")).applied().forget("secret.key");
    for purpose in [Purpose::Deploy, Purpose::Rollback { to: 1 }] {
        world.purpose = purpose;
        let plan = world.plan().unwrap();
        assert!(!plan.changes.contains_key(&secret.id), "{purpose:?}");
        assert!(
            plan.notes.iter().any(|note| note.contains("secret.key is not in this definition and is kept")),
            "{purpose:?}"
        );
        // Its short name may be that of a database.
        world.delete_data = BTreeSet::from(["key".to_owned()]);
        assert!(!world.plan().unwrap().changes.contains_key(&secret.id));
        world.delete_data = BTreeSet::from(["secret.key".to_owned()]);
        assert_eq!(action(&world.plan().unwrap(), "secret.key"), Action::Delete);
        world.delete_data.clear();
    }
    world.purpose = Purpose::Destroy { dump: false };
    world.graph = Graph::default();
    assert_eq!(action(&world.plan().unwrap(), "secret.key"), Action::Delete);
}

#[test]
fn a_rollback_keeps_data_that_the_older_revision_does_not_have_and_what_it_needs() {
    let roles = resource("roles.main", ResourceKind::PostgresRoles, Value::Null);
    let database = Resource { depends_on: BTreeSet::from([roles.id.clone()]), ..database() };
    let mut world = World::empty().wants(roles).wants(database).wants(service("info")).applied();
    world = world.forget("database.main").forget("roles.main");
    world.purpose = Purpose::Rollback { to: 1 };
    let plan = world.plan().unwrap();
    assert_eq!(plan.changes.keys().map(|id| id.0.as_str()).collect::<Vec<_>>(), ["service.web"]);
    assert!(plan.notes.iter().any(|note| note.contains("database.main is not in this definition and is kept")));
    world.delete_data = BTreeSet::from(["database.main".to_owned()]);
    let plan = world.plan().unwrap();
    assert_eq!((action(&plan, "database.main"), action(&plan, "roles.main")), (Action::Delete, Action::Delete));
}

#[test]
fn what_was_kept_and_is_wanted_again_makes_a_revision_although_nothing_changes() {
    let secret = resource("secret.key", ResourceKind::StoreSecret, Value::Null);
    let world = World::empty().wants(secret.clone()).wants(service("info")).applied();
    assert!(world.plan().unwrap().same, "nothing to do");
    // The next revision does without it, and the one after has it again.
    let kept = (world.recorded.clone(), world.observed.clone());
    let mut world = world.forget("secret.key");
    let without = world.plan().unwrap();
    assert!(without.is_noop() && !without.same && without.revision == 2, "{without:?}");
    world = world.applied();
    (world.recorded, world.observed) = kept;
    assert!(world.plan().unwrap().same, "nothing to do");
    let again = world.wants(secret).plan().unwrap();
    assert!(again.is_noop() && !again.same && again.revision == 3, "{again:?}");
    assert_eq!(again.notes, ["secret.key is back in the definition and is reused unchanged"]);
}

#[test]
fn a_rollback_says_what_it_does_to_data_and_secrets() {
    let secret = resource("secret.key", ResourceKind::StoreSecret, Value::Null);
    let all = World::empty().wants(secret).wants(database()).wants(service("info")).applied();
    let mut world = all.wants(service("debug")).forget("secret.key").forget("database.main");
    world.purpose = Purpose::Rollback { to: 1 };
    let note = |world: &World| world.plan().unwrap().notes.last().unwrap().clone();
    assert_eq!(note(&world), "runs no job and touches no data; secrets keep their present values");
    world.delete_data = ["secret.key", "database.main"].map(str::to_owned).into();
    assert_eq!(
        note(&world),
        "runs no job; of what holds data it changes database.main; all secrets but secret.key keep their present values"
    );
    // Drift that is mended on the way back makes a revision nevertheless.
    let mut drifted =
        World::empty().wants(service("info")).applied().sees("service.web", |seen| seen.body = Value::Null);
    drifted.purpose = Purpose::Rollback { to: 1 };
    let plan = drifted.plan().unwrap();
    assert_eq!(plan.revision, 2);
    assert!(!plan.notes.iter().any(|note| note.contains("no new revision")), "{:?}", plan.notes);
}

#[test]
fn where_there_can_be_no_plan_the_rest_of_it_is_told_all_the_same() {
    let conflict = |path: &str, manager: &str| Conflict { path: path.to_owned(), manager: manager.to_owned() };
    let web = resource("deployment.web", ResourceKind::Deployment, Value::map([("x", Value::from("a"))]));
    let world = World::empty().wants(web.clone()).wants(service("info")).applied();
    let mut world = world.wants(service("debug")).sees("deployment.web", |seen| {
        seen.foreign_fields = vec![conflict("env[DEBUG]", "kubectl-set")];
    });
    let preview = Preview { conflicts: vec![conflict("spec.replicas", "kubectl")], ..Preview::exact(web.body.clone()) };
    world.previews.insert(web.id.clone(), preview);
    assert!(matches!(world.plan().unwrap_err().as_slice(), [PlanError::Conflicts { .. }]));
    let rest = world.remainder();
    let told: Vec<String> =
        rest.iter().filter_map(Change::summary).chain(rest.iter().flat_map(Change::notes)).collect();
    let told = told.join("\n");
    assert!(told.contains("service acme web differs in") && told.contains("kubectl-set manages env[DEBUG]"), "{told}");
}

#[test]
fn a_destroy_deletes_all_that_is_ours_and_nothing_else() {
    let mut world =
        World::empty().wants(database()).wants(service("info")).applied().sees("service.web", |observation| {
            observation.ownership = Ownership::Foreign("somebody".to_owned());
        });
    world.graph = Graph::default();
    world.purpose = Purpose::Destroy { dump: true };
    let plan = world.plan().unwrap();
    assert_eq!(plan.changes.keys().map(ToString::to_string).collect::<Vec<_>>(), ["database.main"]);
    assert_eq!(plan.notes.len(), 1);
}

#[test]
fn a_changed_outside_name_deletes_the_old_object_and_creates_the_new_one() {
    let route = |host: &str| Resource {
        identity: host.to_owned(),
        ..resource("route.web", ResourceKind::LocalRoute, Value::map([("host", Value::from(host))]))
    };
    let mut world = World::empty().wants(route("old.localhost")).applied().wants(route("new.localhost"));
    let old = world.observed.remove(&ResourceId("route.web".to_owned())).unwrap();
    world.observed.insert(ResourceId("route.web@old.localhost".to_owned()), old);
    world.observed.insert(ResourceId("route.web".to_owned()), None);
    assert_eq!(subjects(&world.graph, &world.recorded).len(), 2);
    let plan = world.plan().unwrap();
    assert_eq!(action(&plan, "route.web"), Action::Create);
    assert_eq!(action(&plan, "route.web@old.localhost"), Action::Delete);
}

#[test]
fn a_plan_leads_to_the_graph_that_it_was_made_for_and_to_no_other() {
    let world = World::empty().wants(database()).wants(service("info")).runs("migrate");
    let first = world.plan().unwrap();
    assert!(first.leads_to(&world.graph));
    let without = |change: fn(&mut Graph)| {
        let mut graph = world.graph.clone();
        change(&mut graph);
        graph
    };
    for other in [
        without(|graph| drop(graph.resources.remove(&ResourceId("service.web".to_owned())))),
        without(|graph| drop(graph.resources.insert(ResourceId("service.web".to_owned()), service("debug")))),
        without(|graph| graph.runs.clear()),
        without(|graph| drop(graph.outputs.insert("routes.web.url".to_owned(), "http://elsewhere".to_owned()))),
    ] {
        assert!(!first.leads_to(&other), "{other:?}");
    }
    // What goes is no part of the graph, and a repair runs no job.
    let less = world.applied().forget("service.web");
    let plan = less.plan().unwrap();
    assert!(plan.count(Action::Delete) == 1 && plan.leads_to(&less.graph));
    let repaired = less.applied();
    let plan = repaired.plan().unwrap();
    assert!(plan.runs.is_empty() && plan.leads_to(&repaired.graph));
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Integer),
        "[a-z]{0,6}".prop_map(Value::Text),
        "[a-z]{1,3}".prop_map(|name| Value::secret(SecretRef::Stored(name))),
    ];
    leaf.prop_recursive(3, 20, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            proptest::collection::btree_map("[a-z]{1,4}", inner, 0..4).prop_map(Value::Map),
        ]
    })
}

proptest! {
    #[test]
    fn a_plan_of_what_was_just_applied_changes_nothing(bodies in proptest::collection::vec(value(), 1..6)) {
        let world = bodies.into_iter().enumerate().fold(World::empty(), |world, (number, body)| {
            world.wants(resource(&format!("service.s{number}"), ResourceKind::LocalService, body))
        });
        prop_assert!(world.applied().plan().unwrap().is_noop());
    }

    #[test]
    fn a_plan_survives_being_stored(body in value()) {
        let plan = World::empty().wants(resource("service.web", ResourceKind::LocalService, body)).plan().unwrap();
        let text = serde_json::to_string(&plan).unwrap();
        prop_assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }

    #[test]
    fn any_difference_of_a_body_is_seen(before in value(), after in value()) {
        prop_assume!(before != after && before != Value::Null && after != Value::Null);
        let world = World::empty().wants(resource("service.web", ResourceKind::LocalService, Value::map([("x", before)])));
        let world = world.applied().wants(resource("service.web", ResourceKind::LocalService, Value::map([("x", after)])));
        prop_assert!(!world.plan().unwrap().is_noop());
    }
}

/// The jobs that a plan runs, each with those that it waits for.
fn runs(plan: &Plan) -> Vec<(&str, Vec<&str>)> {
    let runs = plan.runs.values();
    runs.map(|run| (run.id.0.as_str(), run.depends_on.iter().map(|id| id.0.as_str()).collect())).collect()
}

#[test]
fn what_runs_once_does_not_run_again_and_nobody_waits_for_it_in_vain() {
    let id = |name: &str| ResourceId::new("job", name);
    let mut world = World::empty().wants(service("info")).runs("migrate").runs("seed").runs("index").runs("shell");
    let mut set = |job: &str, due, after: &[&str]| {
        let run = world.graph.runs.get_mut(&id(job)).unwrap();
        (run.due, run.depends_on) = (due, after.iter().map(|name| id(name)).collect());
    };
    set("seed", Due::Once, &["migrate"]);
    set("index", Due::Revision, &["seed"]);
    set("shell", Due::Demand, &[]);
    let first = world.plan().unwrap();
    let (migrate, seed) = (vec!["job.migrate"], vec!["job.seed"]);
    assert_eq!(runs(&first), [("job.index", seed), ("job.migrate", vec![]), ("job.seed", migrate.clone())]);
    assert!(first.leads_to(&world.graph));
    world.succeeded = [id("seed"), id("gone")].into();
    let second = world.plan().unwrap();
    assert_eq!(runs(&second), [("job.index", migrate), ("job.migrate", vec![])]);
    assert!(second.leads_to(&world.graph));
    world.graph.runs.get_mut(&id("index")).unwrap().depends_on.clear();
    assert!(!second.leads_to(&world.graph));
}

#[test]
fn what_has_run_once_runs_again_if_its_data_is_made_anew() {
    let mut world = World::empty().wants(database()).runs("seed").applied();
    let run = world.graph.runs.get_mut(&ResourceId::new("job", "seed")).unwrap();
    (run.due, run.depends_on) = (Due::Once, BTreeSet::from([ResourceId("database.main".to_owned())]));
    world.succeeded = [ResourceId::new("job", "seed")].into();
    assert!(world.plan().unwrap().runs.is_empty());
    world.observed.insert(ResourceId("database.main".to_owned()), None);
    assert_eq!(runs(&world.plan().unwrap()), [("job.seed", vec!["database.main"])]);
}
