//! The embedded platform: everything on one machine, started and stopped as one.
//!
//! ```text
//!   data directory (locked) → PostgreSQL → master key → store → router → providers → what ran before → executor → HTTP API
//! ```
//! It stops in the opposite order, all of it before one deadline (`STOP`); what isn't through by then is left to the next start, as if it
//! had been killed. Killed, it leaves PostgreSQL and the services running; the next start takes them over. A job that is running goes on, and
//! keeps its database: PostgreSQL is left running as well. The file that says where the API is goes last.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use freehold::Connection;
use freehold_api::{Api, Token};
use freehold_engine::backoff::Backoff;
use freehold_graph::Target;
use freehold_graph::expand::{LocalTarget, PostgresServer, ServerTls};
use freehold_platform::{Facts, Platform, Targets};
use freehold_problem::Code;
use freehold_provider_local::{ArtifactStore, LocalOptions, LocalProvider, RunAs, ServerGroup, USERS};
use freehold_provider_postgres::{
    Binaries, PostgresOptions, PostgresProvider, PostgresServers, PrivateServer, ServerError, ServerOptions,
    ensure_provisioner,
};
pub use freehold_router::Proxy;
use freehold_router::Router;
use freehold_spec::Name;
use freehold_store::{MasterKey, Store, StoreNames};
use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::database_tls;
use crate::directory::{DataDirectory, Settings};
use crate::listeners::{serve_api, start_executor, start_maintenance};
use crate::loopback::{self, Kept};
use crate::start::{StartError, prepare_store, server_at, store_failed};
use crate::targets::{Wiring, named};

/// The private PostgreSQL's connections: what all databases of all stacks may be promised together. An unused one costs a few
/// kilobytes.
const POSTGRES_CONNECTIONS: u32 = 4000;
/// What the platform itself may use of them: the store's pools and the providers'.
const OWN_CONNECTIONS: u32 = 32;
/// The port that stacks answer on unless another one is chosen.
const ROUTER_PORT: u16 = 7080;
/// What host names end with unless something else is chosen: browsers take it for this machine.
const DOMAIN: &str = "localhost";
/// How long the whole stop may take: less than systemd waits before it kills (90 s), and than `freehold down` waits (120 s).
const STOP: Duration = Duration::from_secs(60);
/// The part of it that services may take.
const SERVICES_PATIENCE: Duration = Duration::from_secs(35);
/// The part of it that running jobs are waited for, before they are left to themselves.
const RUNS_PATIENCE: Duration = Duration::from_secs(45);
/// How often it is looked whether a job still runs.
const LOOK: Duration = Duration::from_millis(100);
/// How long PostgreSQL may take to end its sessions, at the least and at the most.
const POSTGRES_PATIENCE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(20)];
/// How long a private PostgreSQL that doesn't start is left alone.
const RESTARTS: Backoff = Backoff::doubling(Duration::from_secs(1), Duration::from_secs(10));
/// How long PostgreSQL's last helpers may take to end after it.
const GROUP_PATIENCE: Duration = Duration::from_secs(2);
/// How long requests under way may take when the platform stops.
const ROUTER_PATIENCE: Duration = Duration::from_secs(5);

/// What `freehold up` was told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where everything is kept.
    pub data_directory: PathBuf,
    /// The router's port on the loopback; 0: any. `None`: the one that it had last, or `ROUTER_PORT`.
    pub router_port: Option<u16>,
    /// Proxies whose word about the client is believed; `None`: those that were named last.
    pub trusted_proxies: Option<Vec<Proxy>>,
    /// How many days lines of the audit log are kept. `None`: as last, or [`freehold_store::audit::KEPT_DAYS`].
    pub audit_days: Option<u32>,
    /// Whether several tenants are wanted even where nothing keeps them apart; `None`: as it was last, at first not.
    pub insecure_shared_user: Option<bool>,
    /// The API's port on the loopback; 0: any.
    pub api_port: u16,
    /// A PostgreSQL server that is there, instead of a private one: a role that may make databases and roles.
    pub database_url: Option<String>,
    /// Other servers for databases, by their names: an administrator's URL of each.
    pub database_servers: BTreeMap<Name, String>,
    /// Where PostgreSQL's programs are, instead of the usual places.
    pub postgres_binaries: Option<PathBuf>,
    /// What host names end with. `None`: as last, or `localhost`.
    pub domain: Option<String>,
    /// The `freehold` program itself, which also supervises jobs.
    pub executable: PathBuf,
}

/// What runs now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Where the API is.
    pub api_url: String,
    /// Where the router is.
    pub router_port: u16,
    /// What host names end with.
    pub domain: String,
    /// PostgreSQL in words.
    pub postgres: String,
    /// How many stacks there are.
    pub stacks: usize,
    /// How long the start took.
    pub milliseconds: u64,
}

/// Starts the platform, calls `ready`, and runs until `stop`.
///
/// # Errors
/// It can't start: what had been started is stopped again. Or a part of it that the others can't do without has ended.
pub async fn run(
    options: Options,
    ready: impl FnOnce(&Ready) + Send,
    stop: CancellationToken,
) -> Result<(), StartError> {
    let begin = Instant::now();
    // Before anything is opened: the router and the API keep their limits by it.
    freehold_provider_local::descriptors::raise();
    if let Some(limit) = freehold_provider_local::descriptors::low() {
        warn!("{}", freehold_provider_local::descriptors::few(limit));
    }
    let directory = DataDirectory::open(&options.data_directory)?;
    let mut settings = directory.settings()?;
    if let Some(proxies) = &options.trusted_proxies {
        settings.trusted_proxies = proxies.iter().map(ToString::to_string).collect();
        directory.keep_settings(&settings)?;
    }
    if options.audit_days.is_some() {
        settings.audit_days = options.audit_days;
        directory.keep_settings(&settings)?;
    }
    if let Some(shared) = options.insecure_shared_user {
        settings.insecure_shared_user = shared;
        directory.keep_settings(&settings)?;
    }
    let mut postgres = Postgres::start(&options, &directory, &mut settings).await?;
    let result = serve(&options, &directory, &settings, &mut postgres, ready, &stop, begin).await;
    match &result {
        Ok(Stopped { runs, deadline, .. }) if runs.is_empty() => postgres.stop(*deadline).await,
        Ok(Stopped { runs, .. }) => {
            warn!(
                "PostgreSQL keeps running because jobs are still running: {}; the next start adopts both",
                runs.join(", ")
            );
        }
        // A start that fails leaves what it found.
        Err(_) if postgres.private.as_ref().is_some_and(PrivateServer::was_running) => {
            warn!("PostgreSQL keeps running: it ran before this start, and jobs may be using it");
        }
        Err(_) => postgres.stop(Instant::now() + STOP).await,
    }
    directory.retract();
    result?.failure.map_or(Ok(()), Err)
}

/// How the part that needs PostgreSQL has ended.
struct Stopped {
    /// The jobs that still run.
    runs: Vec<String>,
    /// When all has to be over.
    deadline: Instant,
    /// What stopped it, if nobody asked it to stop.
    failure: Option<StartError>,
}

/// The part that needs PostgreSQL.
async fn serve(
    options: &Options,
    directory: &DataDirectory,
    settings: &Settings,
    postgres: &mut Postgres,
    ready: impl FnOnce(&Ready) + Send,
    stop: &CancellationToken,
    begin: Instant,
) -> Result<Stopped, StartError> {
    let port = options.router_port.or(settings.router_port).unwrap_or(ROUTER_PORT);
    let users = users_of(settings, RunAs::detect());
    let (listener, _beside_api) =
        loopback::freed(users, options.api_port, async || loopback::listen(options.api_port).await).await?;
    let api = listener.local_addr().map_err(|error| StartError::new(Code::PortTaken, error.to_string()))?;
    let (router, _beside_router) =
        loopback::freed(users, port, async || loopback::start_router(port, settings).await).await?;
    let reached = reached(options, &router, settings);
    let (store, provisioner, login_key) = open_store(directory, &postgres.admin).await?;
    let engine = store.engine(holder(settings));
    engine
        .take_over_predecessors()
        .await
        .map_err(|error| StartError::new(Code::PostgresUnreachable, error.to_string()))?;
    let artifacts = ArtifactStore::open(&directory.join("artifacts")).map_err(unusable)?;
    let mut local = LocalOptions::new(directory.path(), router.clone(), artifacts, options.executable.clone());
    local.run_as = users_of(settings, local.run_as);
    local.sockets = postgres.private.as_ref().map(|_| PathBuf::from(&postgres.host)).into_iter().collect();
    let local = Arc::new(LocalProvider::new(local).map_err(unusable)?);
    let databases = Arc::new(PostgresProvider::new(PostgresOptions {
        provisioner,
        login_key,
        dump_directory: directory.join("dumps"),
        binaries: postgres.binaries.clone(),
        reserved_connections: OWN_CONNECTIONS,
        sole: postgres.private.as_ref().map(|_| StoreNames::default().all().map(str::to_owned).into()),
        concurrency: 4,
        fault: None,
    }));
    let (named, others) = named_servers(&store, options, directory, postgres.binaries.as_ref()).await?;
    // For people: what stacks are given leads elsewhere. So it is no reason not to start.
    let _beside_postgres = postgres.private.as_ref().map(|_| Kept::new(postgres.port));
    let words = postgres.words(&databases).await?;
    let wiring = Wiring::new(&store, &engine, directory.join("dumps"), postgres.binaries.clone());
    let databases = Arc::new(PostgresServers::new(databases, others));
    let target = target(&reached, postgres, named)?;
    let runtime = wiring.machine(target, words.clone(), &local, &databases, settings.insecure_shared_user);
    let targets = Targets::load(&store, Arc::new(wiring), Some(runtime)).await?;
    let facts = Facts {
        data_directory: Some(directory.path().to_owned()),
        postgres: words.clone(),
        started_at: Utc::now(),
        started: begin,
    };
    let platform = Arc::new(Platform::new(&store, targets, facts, stop.clone()));
    let stacks = tokio::select! {
        stacks = platform.stacks.restore() => stacks?,
        () = stop.cancelled() => 0,
    };
    if reached != *settings && !stop.is_cancelled() {
        // Whoever can't be told its new address is no reason not to start; the next start tries again.
        match platform.stacks.refresh_outputs().await {
            Ok(()) => directory.keep_settings(&reached)?,
            Err(problem) => warn!("not every stack's addresses are what they should be: {problem}"),
        }
    }
    let executor = start_executor(&platform, &store, engine.clone(), stop);
    let maintenance = start_maintenance(&platform, engine, settings.audit_days, stop);
    if postgres.private.is_some() {
        tokio::spawn(crate::disk::watch(directory.path().to_owned(), postgres.admin.clone(), stop.clone()));
        let socket = PathBuf::from(&postgres.host).join(format!(".s.PGSQL.{}", postgres.port));
        let entrance = crate::pressure::Entrance { socket, port: postgres.port, places: POSTGRES_CONNECTIONS as usize };
        tokio::spawn(crate::pressure::watch(postgres.admin.clone(), entrance, Arc::clone(&local), stop.clone()));
    }
    let token = new_token()?;
    let api_of = Api { platform: Arc::clone(&platform), token: Token::new(&token), loopback_only: true };
    let http = serve_api(listener, api_of, stop.clone());
    let url = format!("http://{api}");
    directory.announce(&Connection { url: url.clone(), token, pid: std::process::id() })?;
    let milliseconds = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (router_port, domain) = (router.address().port(), reached.domain.unwrap_or_default());
    ready(&Ready { api_url: url, router_port, domain, postgres: words, stacks, milliseconds });
    postgres.watch(stop).await;
    info!("stopping: operations pause, services end, then PostgreSQL");
    let deadline = Instant::now() + STOP;
    let services = async {
        let failure = executor.ended().await;
        if tokio::time::timeout(SERVICES_PATIENCE, local.shutdown()).await.is_err() {
            warn!("some services have not ended in time; the next start takes them over");
        }
        failure
    };
    let (_, maintenance, executor) = tokio::join!(http, maintenance.ended(), services);
    router.shutdown(ROUTER_PATIENCE).await;
    let runs = await_runs(&local, deadline.checked_sub(STOP.saturating_sub(RUNS_PATIENCE)).unwrap_or(deadline)).await;
    if tokio::time::timeout(ROUTER_PATIENCE, store.close()).await.is_err() {
        warn!("the store's connections have not ended in time");
    }
    Ok(Stopped { runs, deadline, failure: executor.or(maintenance) })
}

/// Waits for running jobs until `deadline`: they must not lose their database. Returns those that still run.
async fn await_runs(local: &LocalProvider, deadline: Instant) -> Vec<String> {
    let mut told = false;
    loop {
        let runs = match local.runs_under_way() {
            Ok(runs) => runs,
            // What can't be seen is taken for running.
            Err(failure) => vec![format!("unknown ({failure})")],
        };
        if runs.is_empty() || Instant::now() >= deadline {
            return runs;
        }
        if !std::mem::replace(&mut told, true) {
            info!("waiting for running jobs: {}", runs.join(", "));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The PostgreSQL that everything stands on: a private one, or one that is there.
struct Postgres {
    admin: PgConnectOptions,
    host: String,
    port: u16,
    binaries: Option<Binaries>,
    private: Option<PrivateServer>,
    /// The control group of a private server.
    group: Option<ServerGroup>,
    version: Option<u32>,
    /// What a given server's URL says of TLS.
    tls: Option<ServerTls>,
}

impl Postgres {
    async fn start(options: &Options, directory: &DataDirectory, settings: &mut Settings) -> Result<Self, StartError> {
        if settings.platform.is_none() {
            settings.platform = Some(uuid::Uuid::new_v4());
            directory.keep_settings(settings)?;
        }
        match &options.database_url {
            Some(url) => Self::given(options, url),
            None => Self::private(options, directory, settings).await,
        }
    }

    fn given(options: &Options, url: &str) -> Result<Self, StartError> {
        let admin = server_at(url)?;
        let binaries = Binaries::find_client(options.postgres_binaries.as_deref()).ok();
        let (host, port) = (admin.get_host().to_owned(), admin.get_port());
        let tls = database_tls::stated(&admin, url, None);
        Ok(Self { admin, host, port, binaries, private: None, group: None, version: None, tls })
    }

    async fn private(
        options: &Options,
        directory: &DataDirectory,
        settings: &mut Settings,
    ) -> Result<Self, StartError> {
        let home = directory.join("postgres");
        let binaries = Binaries::find_for(options.postgres_binaries.as_deref(), &home).map_err(not_started)?;
        let version = binaries.version().major;
        let server = PrivateServer::start(ServerOptions {
            binaries,
            home,
            socket_directory: None,
            port: settings.postgres_port,
            max_connections: POSTGRES_CONNECTIONS,
            run_as: None,
        });
        let server = server.await.map_err(not_started)?;
        let group = settings.platform.map(ServerGroup::open);
        if let Some(group) = &group {
            group.enter(server.pid());
        }
        if settings.postgres_port != Some(server.port()) {
            settings.postgres_port = Some(server.port());
            directory.keep_settings(settings)?;
        }
        if !server.listens_on_loopback() {
            let port = server.port();
            warn!("port {port} of 127.0.0.1 is taken by another program: PostgreSQL listens on its sockets only");
        }
        Ok(Self {
            admin: server.admin_options(),
            // The stacks' programs, and people, come through a folder in which none of them can put anything. A port of the
            // loopback address anybody may take while the server is down.
            host: server.apps_directory().display().to_string(),
            port: server.port(),
            binaries: Some(server.binaries().clone()),
            private: Some(server),
            group,
            version: Some(version),
            tls: None,
        })
    }

    /// In words: `PostgreSQL 15.18, private, port 54329`. Also learns the version of a given server.
    async fn words(&mut self, databases: &PostgresProvider) -> Result<String, StartError> {
        let version = databases
            .server_version()
            .await
            .map_err(|error| StartError::new(Code::PostgresUnreachable, error.to_string()))?;
        self.version.get_or_insert(version.major);
        let whose = if self.private.is_some() { "private" } else { "given" };
        Ok(format!("PostgreSQL {version}, {whose}, port {}", self.port))
    }

    /// Waits for `stop`. A private server that dies meanwhile is started again.
    async fn watch(&mut self, stop: &CancellationToken) {
        let Some(server) = &mut self.private else { return stop.cancelled().await };
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = server.wait_exit() => {}
            }
            error!("PostgreSQL exited unexpectedly and is restarted");
            let mut waits = RESTARTS.waits();
            while let Err(failure) = server.restart().await {
                error!("PostgreSQL does not start: {failure}");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(waits.take()) => {}
                }
            }
            if let Some(group) = &self.group {
                group.enter(server.pid());
            }
            info!("PostgreSQL is back");
        }
    }

    async fn stop(&mut self, deadline: Instant) {
        let [least, most] = POSTGRES_PATIENCE;
        let patience = deadline.saturating_duration_since(Instant::now()).clamp(least, most);
        if let Some(server) = &mut self.private
            && let Err(failure) = server.stop(patience).await
        {
            error!("PostgreSQL does not stop: {failure}");
        }
        if let Some(group) = &self.group {
            group.close(GROUP_PATIENCE).await;
        }
    }
}

async fn open_store(
    directory: &DataDirectory,
    admin: &PgConnectOptions,
) -> Result<(Store, PgConnectOptions, freehold_graph::SecretText), StartError> {
    let file = directory.join("master.key");
    let (connections, master) = prepare_store(admin, |check| MasterKey::load_or_create(&file, check)).await?;
    let provisioner = StoreNames::default().provisioner;
    let password = master.password(&format!("role {provisioner}"));
    if let Err(failure) = ensure_provisioner(admin, &provisioner, &password).await {
        // A managed server's administrator is no superuser. All but dumps of tables under forced row-level security works.
        warn!("the role {provisioner} could not be given all it should have: {failure}");
    }
    let login_key = master.password("logins in databases");
    let store = Store::open(&connections, master).await.map_err(store_failed)?;
    Ok((store, connections.provisioner, login_key))
}

/// The other servers for databases: what stacks need to know of each, and what works on it.
async fn named_servers(
    store: &Store,
    options: &Options,
    directory: &DataDirectory,
    binaries: Option<&Binaries>,
) -> Result<(BTreeMap<Name, PostgresServer>, BTreeMap<String, Arc<PostgresProvider>>), StartError> {
    let (mut facts, mut providers) = (BTreeMap::new(), BTreeMap::new());
    for (name, url) in &options.database_servers {
        let connected = named::connect(store, name, url, &directory.join("dumps"), binaries).await;
        let (server, provider) = connected.map_err(|problem| StartError {
            code: problem.code,
            message: problem.message,
            detail: problem.lines,
            help: problem.help,
        })?;
        facts.insert(name.clone(), server);
        providers.insert(name.to_string(), provider);
    }
    Ok((facts, providers))
}

/// As root each stack has a user of its own. Platforms on the same machine have ranges of their own, so that neither takes the other's
/// processes for its own: twenty thousand ranges, all below 2³¹, above which some programs take numbers for negative ones.
fn users_of(settings: &Settings, detected: RunAs) -> RunAs {
    match detected {
        RunAs::Separate(first) => {
            let range = settings.platform.map_or(0, |platform| platform.as_u128() % 20_000);
            RunAs::Separate(first.saturating_add(u32::try_from(range).unwrap_or_default().saturating_mul(USERS)))
        }
        RunAs::Same => RunAs::Same,
    }
}

/// The settings with where stacks are reached now.
fn reached(options: &Options, router: &Router, settings: &Settings) -> Settings {
    let domain = options.domain.clone().or_else(|| settings.domain.clone());
    Settings {
        router_port: Some(router.address().port()),
        domain: Some(domain.unwrap_or_else(|| DOMAIN.to_owned())),
        ..settings.clone()
    }
}

fn target(
    reached: &Settings,
    postgres: &Postgres,
    named: BTreeMap<Name, PostgresServer>,
) -> Result<Target, StartError> {
    let name = "local".parse().map_err(|_| StartError::new(Code::RequestName, "the target has no name"))?;
    Ok(Target::Local(LocalTarget {
        name,
        domain: reached.domain.clone().unwrap_or_default(),
        router_port: reached.router_port.unwrap_or_default(),
        postgres: PostgresServer {
            host: postgres.host.clone(),
            port: postgres.port,
            version: postgres.version.unwrap_or_default(),
            tls: postgres.tls.clone(),
            named,
            loopback: postgres.private.as_ref().is_some_and(PrivateServer::listens_on_loopback),
        },
    }))
}

fn not_started(error: ServerError) -> StartError {
    let mut failure = StartError::new(error.code(), error.to_string());
    failure.help = error.help();
    failure
}

fn unusable(error: impl std::fmt::Display) -> StartError {
    StartError::new(Code::DataNotWritable, error.to_string()).help("make the data directory writable for this user")
}

/// A new one for each start: who had the last one has to read the file again.
fn new_token() -> Result<String, StartError> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        StartError::new(Code::NoRandomness, format!("the system provides no random numbers: {error}"))
    })?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Who takes leases: this start of this platform.
fn holder(settings: &Settings) -> String {
    let platform = settings.platform.map(|id| id.to_string()).unwrap_or_default();
    format!("{platform}/{}", uuid::Uuid::new_v4())
}
