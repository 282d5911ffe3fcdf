//! A platform in this process: its own store on a real PostgreSQL, and a fake world to deploy to.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::Utc;
use freehold_engine::capability::{
    Artifacts, Capacity, CommandEvents, CommandRequest, Commands, DatabaseServers, Finding, HiddenArtifact, LogLine,
    LogLines, LogQuery, Logs, Restore, Restored, Scan, System, Voice,
};
use freehold_engine::testing::{FakeProvider, World};
use freehold_engine::{Capabilities, OwnedObject, Provider, ProviderError, Secrets};
use freehold_graph::expand::{LocalTarget, PostgresServer};
use freehold_graph::{ArtifactHash, ProviderName, StackId, StackKind, Target};
use freehold_platform::runtime::{RuntimeParts, TargetRuntime};
use freehold_platform::view::{EventKind, Finished};
use freehold_platform::{
    Actor, Apply, Connected, Deploy, Executor, Facts, OperationId, Platform, TargetChange, TargetFactory, Targets,
};
use freehold_problem::{Code, Problem};
use freehold_store::{Connections, MasterKey, Sharing, Store, StoreNames, StoredTarget, bootstrap};
use freehold_testkit::postgres::TestServer;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use sqlx::{ConnectOptions, Executor as _};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The app that tests deploy.
pub(crate) const NOTES: &str = r#"
[app]
name = "notes"

[database.main]
connections = 20

[service.web]
build = { command = ["true"], artifact = ["notes"] }
command = ["notes"]
port = 8080
reads = ["DATABASE_URL"]

[service.web.env]
DATABASE_URL = "${database.main.url}"
"#;

/// Makes no targets.
pub(crate) struct Nowhere;

#[async_trait]
impl TargetFactory for Nowhere {
    async fn make(&self, _stored: &StoredTarget) -> Result<TargetRuntime, Problem> {
        Err(Problem::new(Code::TargetIncomplete, "no test has such a target"))
    }

    fn installed(&self, _runtime: &TargetRuntime) {}

    async fn connect(&self, _change: &TargetChange<'_>) -> Result<Connected, Problem> {
        Err(Problem::new(Code::ClusterUnreachable, "there is no cluster"))
    }
}

/// What the fake world can do beside being changed.
#[derive(Default)]
pub(crate) struct Abilities {
    /// What its database server has and has promised.
    pub(crate) capacity: Mutex<Capacity>,
    /// Whose stacks are in it.
    pub(crate) platforms: Mutex<BTreeMap<StackId, Uuid>>,
    /// Which logs were asked for.
    pub(crate) asked: Mutex<Vec<LogQuery>>,
    /// Lets a command start, one for each permit; counts those that run.
    pub(crate) starts: Gate,
    /// What was to be brought back after a start: the stack's name and the resource.
    pub(crate) restored: Mutex<Vec<(String, String)>>,
}

/// Commands wait at it before they start.
pub(crate) struct Gate {
    /// How many wait.
    pub(crate) asked: Semaphore,
    pub(crate) open: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        Self { asked: Semaphore::new(0), open: Semaphore::new(0) }
    }
}

#[async_trait]
impl Commands for Abilities {
    async fn start(&self, _request: CommandRequest) -> Result<CommandEvents, ProviderError> {
        self.starts.asked.add_permits(1);
        self.starts.open.acquire().await.unwrap().forget();
        Ok(stream::pending().boxed())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl DatabaseServers for Abilities {
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    async fn capacity(&self, _: Option<&str>) -> Result<Capacity, ProviderError> {
        Ok(locked(&self.capacity).clone())
    }

    async fn unmanaged(&self) -> Result<Vec<Finding>, ProviderError> {
        Ok(vec![Finding::warning("postgresql access", "role ada is unmanaged", "DROP ROLE ada")])
    }
}

#[async_trait]
impl Logs for Abilities {
    async fn logs(&self, query: LogQuery) -> Result<LogLines, ProviderError> {
        let line = LogLine { source: "1".to_owned(), voice: Voice::Program, text: query.of.to_string() };
        locked(&self.asked).push(query.clone());
        let first = stream::iter([Ok(vec![line])]);
        // Who follows waits for more for ever.
        if query.follow { Ok(first.chain(stream::pending()).boxed()) } else { Ok(first.boxed()) }
    }
}

#[async_trait]
impl Scan for Abilities {
    async fn platforms(&self) -> Result<BTreeMap<StackId, Uuid>, ProviderError> {
        Ok(locked(&self.platforms).clone())
    }

    async fn owned_of_every_kind(&self) -> Result<Vec<OwnedObject>, ProviderError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Restore for Abilities {
    fn provider(&self) -> ProviderName {
        ProviderName::Local
    }

    async fn restore(&self, resources: Vec<Restored>, _secrets: Arc<dyn Secrets>) -> Result<(), ProviderError> {
        let these = resources.iter().map(|one| (one.key.name.to_string(), one.resource.id.to_string()));
        locked(&self.restored).extend(these);
        Ok(())
    }
}

#[async_trait]
impl System for Abilities {
    async fn ping(&self) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn inspect(&self) -> Vec<Finding> {
        vec![Finding::ok("world", "it turns")]
    }
}

#[async_trait]
impl Artifacts for Abilities {
    fn has(&self, _artifact: &ArtifactHash) -> bool {
        true
    }

    async fn receive(
        &self,
        _artifact: &ArtifactHash,
        content: BoxStream<'static, io::Result<Bytes>>,
    ) -> Result<(), Problem> {
        let content = content.try_for_each(async |_| Ok(())).await;
        content.map_err(|error| Problem::new(Code::DataNotWritable, error.to_string()))
    }

    fn all(&self) -> Result<BTreeSet<ArtifactHash>, Problem> {
        Ok(BTreeSet::new())
    }

    fn in_use(&self) -> Result<BTreeSet<ArtifactHash>, Problem> {
        Ok(BTreeSet::new())
    }

    fn hide(&self, _artifact: &ArtifactHash) -> Result<Option<Box<dyn HiddenArtifact>>, Problem> {
        Ok(None)
    }
}

/// A platform that works, and the world that it works on.
pub(crate) struct Testbed {
    pub(crate) platform: Arc<Platform>,
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) abilities: Arc<Abilities>,
    pub(crate) store: Store,
    database: String,
}

impl Drop for Testbed {
    fn drop(&mut self) {
        self.platform.stopping.cancel();
    }
}

impl Testbed {
    /// With a machine as its target, where everything takes no time.
    pub(crate) async fn new() -> Self {
        let (connections, database) = store_of_its_own().await;
        Self::on(Store::open(&connections, master()).await.unwrap(), database).await
    }

    /// The same on a store that others use as well, which is in this database.
    pub(crate) async fn on(store: Store, database: String) -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        let abilities = Arc::new(Abilities::default());
        locked(&abilities.capacity).usable = 100;
        let engine = store.engine("a test");
        let fake = |name| Arc::new(FakeProvider::new(name, Arc::clone(&world), Duration::ZERO)) as Arc<dyn Provider>;
        let postgres = PostgresServer::new("/run/nowhere".to_owned(), 5432, 15);
        let parts = RuntimeParts {
            target: Target::Local(LocalTarget {
                name: "local".parse().unwrap(),
                domain: "localhost".to_owned(),
                router_port: 8080,
                postgres,
            }),
            providers: vec![fake(ProviderName::Postgres), fake(ProviderName::Local)],
            capabilities: Capabilities {
                system: Some(Arc::<Abilities>::clone(&abilities)),
                databases: Some(Arc::<Abilities>::clone(&abilities)),
                logs: Some(Arc::<Abilities>::clone(&abilities)),
                scan: Some(Arc::<Abilities>::clone(&abilities)),
                artifacts: Some(Arc::<Abilities>::clone(&abilities)),
                restore: Some(Arc::<Abilities>::clone(&abilities)),
                commands: Some(Arc::<Abilities>::clone(&abilities)),
                ..Capabilities::default()
            },
            not_enforced: vec!["anything"],
            sharing: Sharing::Tenants,
            database: None,
            changed_at: None,
        };
        let runtime = TargetRuntime::new(&store, &engine, parts);
        let targets = Targets::load(&store, Arc::new(Nowhere), Some(runtime)).await.unwrap();
        let platform = platform_on(&store, targets);
        let executor = Executor::new(engine, Arc::clone(&platform.targets));
        tokio::spawn(executor.work(store.signals_from_now(), platform.stopping.clone()));
        Self { platform, world, abilities, store, database }
    }

    /// A deploy of a tenant, as an operator asks for it.
    pub(crate) fn deploy(tenant: &str) -> Deploy {
        let artifacts = BTreeMap::from([("web".to_owned(), format!("sha256:{}", "a".repeat(64)))]);
        Deploy { artifacts, ..Deploy::of(NOTES, StackKind::Tenant, tenant) }
    }

    /// Applies, and waits for the end.
    pub(crate) async fn apply(&self, request: Deploy) -> Finished {
        let begun =
            self.platform.operations.apply(&Actor::operator(), &Apply::Deploy(Box::new(request)), None).await.unwrap();
        self.end_of(begun.id).await
    }

    /// How an operation ends.
    pub(crate) async fn end_of(&self, operation: OperationId) -> Finished {
        let events = self.platform.operations.events(&Actor::operator(), operation, 0).await.unwrap();
        let kinds = events.map(|event| event.kind).collect::<Vec<_>>().await;
        let Some(EventKind::Finished(finished)) = kinds.into_iter().last() else {
            panic!("the stream ends with the end")
        };
        *finished
    }

    /// Writes into the store past the platform, as another release does.
    pub(crate) async fn write(&self, statement: &'static str) {
        let options = TestServer::shared().superuser().database(&self.database);
        options.connect().await.unwrap().execute(statement).await.unwrap();
    }

    /// The same with a value.
    pub(crate) async fn write_with(&self, statement: &'static str, value: &str) {
        let options = TestServer::shared().superuser().database(&self.database);
        let mut connection = options.connect().await.unwrap();
        sqlx::query(statement).bind(value).execute(&mut connection).await.unwrap();
    }

    pub(crate) fn world<T>(&self, ask: impl FnOnce(&mut World) -> T) -> T {
        ask(&mut locked(&self.world))
    }
}

/// A platform with nowhere to deploy to, and its store.
pub(crate) struct Replica {
    pub(crate) platform: Arc<Platform>,
    pub(crate) store: Store,
}

impl Replica {
    /// On a store of its own.
    pub(crate) async fn alone() -> Self {
        Self::pair().await.0.into_iter().next().unwrap()
    }

    /// Two of them on a store of their own, and the database that it is in.
    pub(crate) async fn pair() -> ([Self; 2], String) {
        let (connections, database) = store_of_its_own().await;
        ([Self::on(&connections).await, Self::on(&connections).await], database)
    }

    async fn on(connections: &Connections) -> Self {
        let store = Store::open(connections, master()).await.unwrap();
        let targets = Targets::load(&store, Arc::new(Nowhere), None).await.unwrap();
        Self { platform: platform_on(&store, targets), store }
    }
}

async fn store_of_its_own() -> (Connections, String) {
    let names = StoreNames::with_suffix(&TestServer::unique("platform")).unwrap();
    let connections = bootstrap(&TestServer::shared().superuser(), &names, &master()).await.unwrap();
    (connections, names.database)
}

fn platform_on(store: &Store, targets: Targets) -> Arc<Platform> {
    let facts =
        Facts { data_directory: None, postgres: String::new(), started_at: Utc::now(), started: Instant::now() };
    Arc::new(Platform::new(store, targets, facts, CancellationToken::new()))
}

fn master() -> MasterKey {
    MasterKey::from_bytes([7; 32])
}
