//! The shared server, and stacks to try things with.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use freehold_engine::{
    CallWaits, CancellationToken, Context, Lookup, OperationId, Performed, Provider as _, ProviderError, Secrets, Task,
};
use freehold_graph::secret::Digest;
use freehold_graph::value::Digests;
use freehold_graph::{Resource, ResourceId, ResourceKind, SecretRef, SecretText, StackId, StackKey, StackKind, Value};
use freehold_plan::{Observation, diff};
use freehold_problem::{Code, Problem};
use freehold_provider_postgres::{
    Binaries, Fault, PostgresOptions, PostgresProvider, PrivateServer, ServerOptions, ensure_provisioner,
};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, PgConnection};
use tokio::time::Instant;
use uuid::Uuid;

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
pub(crate) const PROVISIONER: &str = "freehold_provisioner";
pub(crate) const PROVISIONER_PASSWORD: &str = "provisioner-password-7f3a";
pub(crate) const LOGIN_KEY: &str = "login-key-91bd";

/// The server that all tests share.
pub(crate) struct Shared {
    pub(crate) admin: PgConnectOptions,
    pub(crate) provisioner: PgConnectOptions,
    pub(crate) port: u16,
    pub(crate) pid: i32,
    pub(crate) logs: PathBuf,
    pub(crate) home: PathBuf,
    pub(crate) binaries: Binaries,
}

/// A directory that every account can get through, as the server may run under another one.
pub(crate) fn open_directory(name: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = std::env::temp_dir().join(format!("freehold-{name}-{}", Uuid::new_v4().simple()));
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// Stops a server and removes its directory as soon as this process ends, however it ends: a shell waits for the end of a
/// pipe that only we hold.
pub(crate) fn tie_to_this_process(pid_file: &Path, directory: &Path) {
    use std::os::unix::process::CommandExt as _;
    let script = r#"read -r line; pid=$(head -1 "$1" 2>/dev/null)
        if [ -n "$pid" ]; then kill -INT "$pid"; while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done; fi
        rm -rf "$2""#;
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(pid_file).arg(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    #[expect(clippy::zombie_processes, reason = "it outlives this process")]
    let mut child = command.spawn().unwrap();
    // Never closed by us: the end of the process closes it.
    std::mem::forget(child.stdin.take());
}

/// Those of another version where the environment names their directory.
fn binaries() -> Binaries {
    let directory = std::env::var_os("FREEHOLD_TEST_POSTGRES").map(PathBuf::from);
    Binaries::find(directory.as_deref()).unwrap()
}

pub(crate) fn server_options(home: &Path) -> ServerOptions {
    ServerOptions {
        binaries: binaries(),
        home: home.to_owned(),
        socket_directory: None,
        port: None,
        max_connections: 120,
        run_as: None,
    }
}

pub(crate) fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let start = async {
            let directory = open_directory("shared");
            let home = directory.join("postgres");
            tie_to_this_process(&home.join("cluster/postmaster.pid"), &directory);
            let server = PrivateServer::start(server_options(&home)).await.unwrap();
            // The disk's pace is no part of these tests.
            let mut superuser = server.admin_options().connect().await.unwrap();
            for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
                run(&mut superuser, &format!("ALTER SYSTEM SET {setting} = off")).await;
            }
            run(&mut superuser, "SELECT pg_reload_conf()").await;
            let password = SecretText::new(PROVISIONER_PASSWORD);
            ensure_provisioner(&server.admin_options(), PROVISIONER, &password).await.unwrap();
            Shared {
                admin: server.admin_options(),
                provisioner: server.connect_options(PROVISIONER, &password),
                port: server.port(),
                pid: server.pid(),
                logs: server.log_directory(),
                home,
                binaries: server.binaries().clone(),
            }
        };
        // The test's own runtime may not block; this one ends with the thread, the server runs on.
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        std::thread::scope(|scope| scope.spawn(|| runtime().block_on(start)).join().unwrap())
    })
}

/// Passwords and digests that follow from the secret's name.
pub(crate) struct Known;

pub(crate) fn password(secret: &SecretRef) -> String {
    match secret {
        SecretRef::Stored(name) => format!("stored-{name}"),
        SecretRef::Derived { purpose, rotation } => format!("pw'{rotation}-{}\\", purpose.replace('/', "-")),
        SecretRef::Target(name) => format!("target-{name}"),
    }
}

#[async_trait]
impl Secrets for Known {
    async fn reveal(&self, _: StackId, secret: &SecretRef) -> Result<SecretText, ProviderError> {
        Ok(SecretText::new(password(secret)))
    }
}

impl Digests for Known {
    fn of_secret(&self, secret: &SecretRef) -> Option<Digest> {
        Some(Digest(format!("digest-of-{}", password(secret).len()) + &format!("{secret:?}").replace(' ', "")))
    }

    fn of_text(&self, text: &str) -> Digest {
        Digest(text.to_owned())
    }
}

/// One stack with one database, and the provider that makes it.
pub(crate) struct Stack {
    pub(crate) id: StackId,
    pub(crate) name: String,
    pub(crate) provider: PostgresProvider,
    pub(crate) dumps: PathBuf,
    pub(crate) extensions: Vec<String>,
    pub(crate) connections: u32,
    pub(crate) rotation: u32,
    pub(crate) max_bytes: Option<i64>,
    /// Fields of the database's body that only some have.
    pub(crate) chosen: Vec<(&'static str, Value)>,
    /// Each rotation has logins of its own.
    own_logins: bool,
    operation: OperationId,
}

impl Stack {
    /// With a name that no other test has.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self::named(&format!("acme{}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    pub(crate) fn named(name: &str) -> Self {
        Self::with_fault(name, None)
    }

    pub(crate) fn with_fault(name: &str, fault: Option<Fault>) -> Self {
        let dumps = shared().home.with_file_name(format!("dumps-{}", Uuid::new_v4().simple()));
        let options = PostgresOptions {
            provisioner: shared().provisioner.clone(),
            login_key: SecretText::new(LOGIN_KEY),
            dump_directory: dumps.clone(),
            binaries: Some(shared().binaries.clone()),
            reserved_connections: 10,
            sole: None,
            concurrency: 4,
            fault,
        };
        Self {
            id: StackId(Uuid::new_v4()),
            name: name.to_owned(),
            provider: PostgresProvider::new(options),
            dumps,
            extensions: vec!["pgcrypto".to_owned()],
            connections: 7,
            rotation: 0,
            max_bytes: None,
            chosen: Vec::new(),
            own_logins: false,
            operation: OperationId(Uuid::now_v7()),
        }
    }

    pub(crate) fn role(&self, role: &str) -> String {
        format!("{}__{role}", self.name)
    }

    /// The role that comes as `app` or `migrator`.
    pub(crate) fn login(&self, role: &str) -> String {
        if self.own_logins { format!("{}_r{}", self.role(role), self.rotation) } else { self.role(role) }
    }

    /// As `secret rotate` does it: the next deploy has other logins with other passwords.
    pub(crate) fn rotate(&mut self) {
        self.rotation += 1;
        self.own_logins = true;
    }

    pub(crate) fn password(&self, role: &str) -> String {
        password(&self.credential(role))
    }

    fn credential(&self, role: &str) -> SecretRef {
        SecretRef::Derived { purpose: format!("postgres/main/{role}"), rotation: self.rotation }
    }

    pub(crate) fn roles(&self) -> Resource {
        let role = |role: &str| Value::text(self.role(role));
        let mut fields = vec![
            ("owner", role("owner")),
            ("migrator", role("migrator")),
            ("app", role("app")),
            ("connections", Value::from(self.connections)),
            ("statement_timeout_seconds", Value::from(30_u32)),
            ("lock_timeout_seconds", Value::from(10_u32)),
            ("migrator_password", Value::secret(self.credential("migrator"))),
            ("app_password", Value::secret(self.credential("app"))),
        ];
        if let Some(most) = self.max_bytes {
            fields.push(("max_bytes", Value::Integer(most)));
        }
        if self.own_logins {
            fields.push(("migrator_user", Value::text(self.login("migrator"))));
            fields.push(("app_user", Value::text(self.login("app"))));
        }
        self.resource("roles", ResourceKind::PostgresRoles, Value::map(fields))
    }

    /// The logins of the present rotation, and of no other.
    pub(crate) fn logins(&self) -> Resource {
        let role = |role: &str| Value::text(self.role(role));
        let open = vec![self.login("app"), self.login("migrator")];
        let body = Value::map([
            ("owner", role("owner")),
            ("migrator", role("migrator")),
            ("app", role("app")),
            ("open", Value::from(open)),
        ]);
        self.resource("logins", ResourceKind::PostgresLogins, body)
    }

    pub(crate) fn database(&self) -> Resource {
        let role = |role: &str| Value::text(self.role(role));
        let fields = [
            ("name", Value::text(self.name.clone())),
            ("owner", role("owner")),
            ("migrator", role("migrator")),
            ("app", role("app")),
            ("extensions", Value::from(self.extensions.clone())),
        ];
        let body = Value::map(fields.into_iter().chain(self.chosen.iter().cloned()));
        self.resource("database", ResourceKind::PostgresDatabase, body)
    }

    fn resource(&self, word: &str, kind: ResourceKind, body: Value) -> Resource {
        let id = ResourceId::new(word, "main");
        Resource { id, kind, identity: self.name.clone(), body, depends_on: [].into() }
    }

    pub(crate) fn context(&self) -> Context {
        Context {
            stack: self.id,
            key: StackKey {
                target: "local".parse().unwrap(),
                app: "guestbook".parse().unwrap(),
                kind: StackKind::Tenant,
                name: "acme".parse().unwrap(),
            },
            operation: self.operation,
            step: "create/database.main".parse().unwrap(),
            revision: 1,
            deadline: Instant::now() + PATIENCE,
            secrets: Arc::new(Known),
            waits: CallWaits::default(),
            cancel: Default::default(),
        }
    }

    pub(crate) async fn perform(&self, task: Task) -> Result<Performed, ProviderError> {
        self.provider.perform(&self.context(), &task).await
    }

    pub(crate) async fn apply(&self, resource: Resource) -> Result<Performed, ProviderError> {
        let desired = resource.body.comparable(&Known);
        self.perform(Task::Apply { resource, desired, object: None, adopt: false, takes: Vec::new() }).await
    }

    pub(crate) async fn adopt(&self, resource: Resource) -> Result<Performed, ProviderError> {
        let desired = resource.body.comparable(&Known);
        self.perform(Task::Apply { resource, desired, object: None, adopt: true, takes: Vec::new() }).await
    }

    pub(crate) async fn delete(&self, resource: &Resource, object: Option<&str>) -> Result<Performed, ProviderError> {
        self.perform(Task::Delete { lookup: resource.into(), object: object.map(str::to_owned) }).await
    }

    pub(crate) async fn dump(&self) -> Result<Performed, ProviderError> {
        self.perform(Task::Dump { lookup: (&self.database()).into() }).await
    }

    /// The same, as long as nobody asks to stop.
    pub(crate) async fn dump_until(&self, cancel: &CancellationToken) -> Result<Performed, ProviderError> {
        let context = Context { cancel: cancel.clone(), ..self.context() };
        self.provider.perform(&context, &Task::Dump { lookup: (&self.database()).into() }).await
    }

    pub(crate) async fn observe(&self, resource: &Resource) -> Option<Observation> {
        self.provider.observe(self.id, &Lookup::from(resource)).await.unwrap()
    }

    /// Makes roles and database.
    pub(crate) async fn deploy(&self) {
        self.apply(self.roles()).await.unwrap();
        self.apply(self.database()).await.unwrap();
    }

    pub(crate) async fn destroy(&self) {
        self.delete(&self.database(), None).await.unwrap();
        self.delete(&self.roles(), None).await.unwrap();
    }

    /// The paths of the fields in which what is there differs from what is wanted.
    pub(crate) async fn drift(&self, resource: &Resource) -> Vec<String> {
        let observed = self.observe(resource).await.expect("it is gone");
        let row = resource.kind.row();
        let changes = diff::fields(row, &observed.body, &resource.body.comparable(&Known));
        changes.into_iter().map(|change| change.path).collect()
    }

    /// What bears the stack's mark.
    pub(crate) async fn owned(&self) -> Vec<String> {
        let owned = self.provider.owned(Some(self.id)).await.unwrap();
        let mut names: Vec<String> = owned.iter().map(|object| format!("{} {}", object.kind, object.name)).collect();
        names.sort();
        names
    }

    /// How one of the two roles that log in connects: over TCP, as services do.
    pub(crate) fn connect_options(&self, role: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(shared().port)
            .username(&self.login(role))
            .password(&password(&self.credential(role)))
            .database(&self.name)
            .ssl_mode(PgSslMode::Disable)
    }

    /// As it connected before the first rotation.
    pub(crate) fn first_connect_options(&self, role: &str) -> PgConnectOptions {
        let secret = SecretRef::Derived { purpose: format!("postgres/main/{role}"), rotation: 0 };
        self.connect_options(role).username(&self.role(role)).password(&password(&secret))
    }

    pub(crate) async fn connect(&self, role: &str) -> PgConnection {
        self.connect_options(role).connect().await.unwrap()
    }
}

/// A connection as the superuser.
pub(crate) async fn admin(database: &str) -> PgConnection {
    shared().admin.clone().database(database).connect().await.unwrap()
}

/// Runs statements that are part of a test.
pub(crate) async fn run(connection: &mut PgConnection, sql: &str) {
    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.unwrap();
}

/// The code of the error that statements fail with.
pub(crate) async fn refused(connection: &mut PgConnection, sql: &str) -> String {
    let error = connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.expect_err("it was let through");
    code(&error)
}

pub(crate) fn code(error: &sqlx::Error) -> String {
    error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned()).unwrap_or(error.to_string())
}

pub(crate) async fn count(connection: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(connection).await.unwrap()
}

/// The code and message of a refusal.
pub(crate) fn rejection(outcome: Result<Performed, ProviderError>) -> (Code, String) {
    match outcome {
        Err(ProviderError::Rejected(Problem { code, message, lines: detail, .. })) => {
            (code, format!("{message} {}", detail.join("; ")))
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
}
