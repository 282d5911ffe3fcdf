//! A fresh store for each test, and the small things that tests put into it.

use std::collections::{BTreeMap, BTreeSet};

use freehold_engine::journal::Outcome;
use freehold_engine::{Fence, Journal, Leases, OperationId, Record};
use freehold_graph::{Graph, Request, Resource, ResourceId, ResourceKind, StackId, StackKey, StackKind, Value};
use freehold_plan::{Plan, Purpose};
use freehold_spec::{Files, Language};
use freehold_store::{
    Claim, ConnectionRequest, Connections, End, EngineStore, MasterKey, NewOperation, Sharing, Store, StoreError,
    StoreNames, StoredDefinition, TenantId, bootstrap,
};
use freehold_testkit::postgres::TestServer;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};
use tokio::sync::OnceCell;
use uuid::Uuid;

pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) connections: Connections,
    pub(crate) names: StoreNames,
    pub(crate) master: MasterKey,
}

impl Fixture {
    /// A copy of a store that was prepared once. The roles are shared with other tests.
    pub(crate) async fn new() -> Self {
        static PREPARED: OnceCell<(StoreNames, Connections)> = OnceCell::const_new();
        let prepare = async || {
            let names = fresh_names();
            let connections = bootstrap(&TestServer::shared().superuser(), &names, &master()).await.unwrap();
            (names, connections)
        };
        let (prepared, connections) = PREPARED.get_or_init(prepare).await;
        let names = StoreNames { database: TestServer::unique("copy"), ..prepared.clone() };
        let mut superuser = TestServer::shared().superuser().connect().await.unwrap();
        for statement in [
            format!("CREATE DATABASE {} TEMPLATE {} OWNER {}", names.database, prepared.database, names.owner),
            format!("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", names.database),
            format!("GRANT CONNECT ON DATABASE {} TO {}, {}", names.database, names.tenant, names.engine),
        ] {
            superuser.execute(AssertSqlSafe(statement)).await.unwrap();
        }
        let connections = Connections {
            owner: connections.owner.clone().database(&names.database),
            tenant: connections.tenant.clone().database(&names.database),
            engine: connections.engine.clone().database(&names.database),
            provisioner: connections.provisioner.clone(),
        };
        let store = Store::open(&connections, master()).await.unwrap();
        Self { store, connections, names, master: master() }
    }

    /// A store with roles of its own, for tests that change them.
    pub(crate) async fn alone() -> Self {
        let names = fresh_names();
        let connections = bootstrap(&TestServer::shared().superuser(), &names, &master()).await.unwrap();
        let store = Store::open(&connections, master()).await.unwrap();
        Self { store, connections, names, master: master() }
    }

    /// The engine of one server process.
    pub(crate) fn engine(&self, holder: &str) -> EngineStore {
        self.store.engine(holder)
    }

    /// As superuser, in the store's database: to look behind the curtain.
    pub(crate) async fn superuser(&self) -> PgConnection {
        TestServer::shared().superuser().database(&self.names.database).connect().await.unwrap()
    }

    /// A bare session of a role, as an attacker who got hold of its password would have.
    pub(crate) async fn session(options: &PgConnectOptions) -> PgConnection {
        options.clone().connect().await.unwrap()
    }

    pub(crate) async fn tenant(&self, name: &str) -> TenantId {
        self.store.tenant_of(&key(name)).await.unwrap()
    }

    /// Puts an operation on a tenant's stack into the queue.
    pub(crate) async fn enqueue(&self, plan: &Plan, claims: &[(&str, &str)]) -> Result<OperationId, StoreError> {
        let none = ConnectionRequest { wanted: 0, usable: 0, limits: &BTreeMap::new() };
        self.enqueue_where(plan, claims, none, Sharing::Tenants).await
    }

    /// The same, with connections of the database server.
    pub(crate) async fn enqueue_with(
        &self,
        plan: &Plan,
        claims: &[(&str, &str)],
        connections: ConnectionRequest<'_>,
    ) -> Result<OperationId, StoreError> {
        self.enqueue_where(plan, claims, connections, Sharing::Tenants).await
    }

    /// The same on a target that may have one tenant only.
    pub(crate) async fn enqueue_alone(&self, plan: &Plan) -> Result<OperationId, StoreError> {
        let none = ConnectionRequest { wanted: 0, usable: 0, limits: &BTreeMap::new() };
        self.enqueue_where(plan, &[], none, Sharing::OneTenant).await
    }

    async fn enqueue_where(
        &self,
        plan: &Plan,
        claims: &[(&str, &str)],
        connections: ConnectionRequest<'_>,
        sharing: Sharing,
    ) -> Result<OperationId, StoreError> {
        let tenant = self.store.tenant_of(&plan.key).await?;
        let mut tx = self.store.begin(tenant).await?;
        let source = "[app]\nname = \"guestbook\"\n".to_owned();
        let files = Files::from([("deploy/a.yaml".to_owned(), "kind: \0\n".to_owned())]);
        let definition = StoredDefinition { source, files, language: Language::V1 };
        tx.save_definition(&plan.definition, "guestbook", &definition).await?;
        tx.commit().await?;
        let claims: BTreeSet<Claim> =
            claims.iter().map(|(scope, name)| Claim { scope: (*scope).to_owned(), name: (*name).to_owned() }).collect();
        let id = OperationId(Uuid::now_v7());
        let new = NewOperation {
            id,
            plan,
            graph: &Graph::default(),
            secrets: &BTreeMap::new(),
            claims: &claims,
            connections,
            sharing,
            requested_by: "a test",
            idempotency_key: None,
        };
        self.store.enqueue(tenant, &new).await.map(|_| id)
    }

    /// Puts a first deploy into the queue and takes its lease.
    pub(crate) async fn running(&self, name: &str, engine: &EngineStore) -> (Plan, OperationId, Fence) {
        let plan = deploy(name, 0);
        let operation = self.enqueue(&plan, &[]).await.unwrap();
        let lease = engine.acquire(operation).await.unwrap().unwrap();
        (plan, operation, lease.fence)
    }

    /// Deploys a stack from the beginning to the end.
    pub(crate) async fn deployed(&self, name: &str) -> Plan {
        let engine = self.engine("deployer");
        let (plan, operation, fence) = self.running(name, &engine).await;
        finish(&engine, operation, fence, &end(Outcome::Succeeded)).await.unwrap();
        plan
    }
}

/// Ends an operation as the executor does: the journal says so first.
pub(crate) async fn finish(
    engine: &EngineStore,
    operation: OperationId,
    fence: Fence,
    end: &End,
) -> Result<(), StoreError> {
    let told = [Record::Finished { outcome: end.outcome }];
    engine.append(operation, fence, &told).await.map_err(|error| StoreError::Unavailable(error.to_string()))?;
    engine.finish(operation, fence, end).await
}

/// The operations that wait for somebody.
pub(crate) async fn waiting(engine: &EngineStore) -> Vec<OperationId> {
    engine.queue().await.unwrap().waiting.into_iter().map(|waiting| waiting.operation).collect()
}

fn master() -> MasterKey {
    MasterKey::from_bytes([7; 32])
}

/// Names that no other test on the shared server uses. Other test binaries have servers of their own.
pub(crate) fn fresh_names() -> StoreNames {
    StoreNames::with_suffix(&TestServer::unique("t")).unwrap()
}

pub(crate) fn key(name: &str) -> StackKey {
    StackKey {
        target: "local".parse().unwrap(),
        app: "guestbook".parse().unwrap(),
        kind: StackKind::Tenant,
        name: name.parse().unwrap(),
    }
}

/// The first plan of a new stack, or a later one of the stack of `earlier`.
pub(crate) fn deploy(name: &str, generation: u64) -> Plan {
    plan(name, StackId(Uuid::now_v7()), generation, Purpose::Deploy)
}

/// The next plan of a stack, behind the end of an operation that carried out an earlier one: its beginning and its end count.
pub(crate) fn next(earlier: &Plan, purpose: Purpose) -> Plan {
    let mut next = plan(earlier.key.name.as_str(), earlier.stack, earlier.generation + 2, purpose);
    next.revision = earlier.revision + 1;
    next
}

fn plan(name: &str, stack: StackId, generation: u64, purpose: Purpose) -> Plan {
    let request = Request {
        key: key(name),
        id: stack,
        tier: Some("pro".parse().unwrap()),
        stage: None,
        artifacts: BTreeMap::from([("web".parse().unwrap(), format!("sha256:{}", "a".repeat(64)))]),
        containers: BTreeMap::new(),
        rotations: BTreeMap::new(),
        revision: 0,
        former_ports: Default::default(),
    };
    Plan {
        id: Uuid::now_v7(),
        stack,
        key: key(name),
        purpose,
        generation,
        revision: generation + 1,
        definition: "d".repeat(64),
        request,
        changes: BTreeMap::new(),
        runs: BTreeMap::new(),
        outputs: BTreeMap::new(),
        layout: 0,
        not_enforced: Vec::new(),
        same: false,
        settle: true,
        notes: Vec::new(),
    }
}

pub(crate) fn resource(name: &str) -> Resource {
    Resource {
        id: ResourceId::new("database", name),
        kind: ResourceKind::PostgresDatabase,
        identity: format!("guestbook__{name}"),
        body: Value::map([("name", Value::text(name))]),
        depends_on: BTreeSet::from([ResourceId::new("roles", name)]),
    }
}

pub(crate) fn end(outcome: Outcome) -> End {
    End { outcome, outputs: BTreeMap::from([("url".to_owned(), "http://acme.localhost".to_owned())]), failure: None }
}
