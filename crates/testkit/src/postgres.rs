//! A real PostgreSQL for a test process: private, thrown away, stopped with the process however that ends.
//!
//! The server runs below a small shell that waits for the end of its standard input. The other end of that pipe is held by
//! the test process alone: when it dies, even by `kill -9`, the shell stops the server and removes its folder.
//!
//! `initdb` takes a second or more, so its result is kept in the user's cache folder for each version of PostgreSQL and
//! copied. Durability is off; everything else is as in earnest: SCRAM on every connection, a superuser with a password.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

/// The superuser's password. No secret: the server lives as long as the test.
const PASSWORD: &str = "superuser-of-a-test";
/// Part of the cache's key: to be raised when the arguments of `initdb` change.
const TEMPLATE: u32 = 1;
/// How long a server may take to start.
const START: Duration = Duration::from_secs(120);

/// A running server.
#[derive(Debug)]
pub struct TestServer {
    folder: PathBuf,
    port: u16,
    shell: Child,
    /// Closed to stop the server.
    stdin: Option<ChildStdin>,
}

impl TestServer {
    /// The server that all tests of this process share; started by the first that asks.
    ///
    /// # Panics
    /// If there is no PostgreSQL, or it doesn't start.
    #[expect(clippy::panic, reason = "for tests: there is nobody to tell but the test")]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<TestServer> = OnceLock::new();
        SHARED.get_or_init(|| Self::start().unwrap_or_else(|error| panic!("no PostgreSQL for the tests: {error:#}")))
    }

    /// A server of one's own, for tests that stop it. It stops when dropped.
    ///
    /// # Errors
    /// There is no PostgreSQL, or it doesn't start.
    pub fn start() -> anyhow::Result<Self> {
        let programs = programs()?;
        let account = Account::find()?;
        let folder = account.fresh_folder()?;
        let template = template(&programs, &account)?;
        copy(&template, &folder.join("data"), &account).context("copying the template of a cluster")?;
        // Somebody else may take the free port first: then there is another one.
        for _ in 0..3 {
            let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let (shell, stdin) = run(&programs, &account, &folder, port)?;
            let mut server = Self { folder: folder.clone(), port, shell, stdin: Some(stdin) };
            if server.is_ready()? {
                return Ok(server);
            }
            let log = server.log();
            server.stop();
            account.make_folder(&folder)?;
            copy(&template, &folder.join("data"), &account)?;
            if !log.contains("could not bind") {
                bail!("PostgreSQL did not start:\n{log}");
            }
        }
        bail!("no free port for PostgreSQL")
    }

    /// The port, on 127.0.0.1 and in the name of the socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the socket is.
    pub fn socket_folder(&self) -> &Path {
        &self.folder
    }

    /// What the server has logged: every statement, as it was sent.
    pub fn log(&self) -> String {
        fs::read(self.folder.join("log")).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// As superuser, over the socket, connected to `postgres`.
    pub fn superuser(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.folder)
            .port(self.port)
            .username("postgres")
            .password(PASSWORD)
            .database("postgres")
            .log_statements(tracing::log::LevelFilter::Off)
    }

    /// As superuser, over TCP.
    pub fn superuser_over_tcp(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .ssl_mode(PgSslMode::Disable)
            .username("postgres")
            .password(PASSWORD)
            .database("postgres")
            .log_statements(tracing::log::LevelFilter::Off)
    }

    /// As superuser, over TCP, as a program takes it.
    pub fn url(&self) -> String {
        format!("postgresql://postgres:{PASSWORD}@127.0.0.1:{}/postgres", self.port)
    }

    /// A name that nobody else in this process uses: `prefix_7`.
    pub fn unique(prefix: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        format!("{prefix}_{}", COUNT.fetch_add(1, Ordering::Relaxed))
    }

    /// A new, empty database; as superuser, connected to it.
    ///
    /// # Errors
    /// The server doesn't answer.
    pub async fn fresh_database(&self) -> anyhow::Result<PgConnectOptions> {
        let name = Self::unique("test");
        let mut connection = self.superuser().connect().await?;
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE template0"))).await?;
        connection.close().await?;
        Ok(self.superuser().database(&name))
    }

    /// Waits until connections are let in; `false` if the server has ended instead.
    fn is_ready(&mut self) -> anyhow::Result<bool> {
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            // What `pg_ctl -w` looks at: the eighth line of the file says how far the server has got.
            let status = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap_or_default();
            if status.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
                return Ok(true);
            }
            if self.log().contains("FATAL") {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(5));
        }
        bail!("PostgreSQL did not start within {} s:\n{}", START.as_secs(), self.log())
    }

    fn stop(&mut self) {
        drop(self.stdin.take());
        let _ = self.shell.wait();
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(programs: &Path, account: &Account, folder: &Path, port: u16) -> anyhow::Result<(Child, ChildStdin)> {
    let script = r#"
        folder=$1; shift
        "$@" </dev/null >"$folder/log" 2>&1 &
        server=$!
        cat >/dev/null
        # More than once: a server that has only just been started doesn't listen to signals yet.
        while kill -QUIT "$server" 2>/dev/null; do sleep 0.05; done
        rm -rf "$folder"
    "#;
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(script)
        .arg("sh")
        .arg(folder)
        .arg(programs.join("postgres"))
        .arg("-D")
        .arg(folder.join("data"));
    for setting in [
        format!("port={port}"),
        format!("unix_socket_directories={}", folder.display()),
        "listen_addresses=127.0.0.1".to_owned(),
        "password_encryption=scram-sha-256".to_owned(),
        "max_connections=200".to_owned(),
        "shared_buffers=32MB".to_owned(),
        "fsync=off".to_owned(),
        "full_page_writes=off".to_owned(),
        "autovacuum=off".to_owned(),
        "log_statement=all".to_owned(),
        "logging_collector=off".to_owned(),
    ] {
        command.arg("-c").arg(setting);
    }
    account.become_it(&mut command);
    // A group of its own: Ctrl-C is for the test, whose end the shell notices.
    command.process_group(0).current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut shell = command.spawn().context("starting PostgreSQL")?;
    let stdin = shell.stdin.take().context("the shell has no standard input")?;
    Ok((shell, stdin))
}

/// The folder of the server's programs: the newest that is on this machine.
fn programs() -> anyhow::Result<PathBuf> {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = installed
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, folder)| folder.join("postgres").exists())
        .collect();
    found.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path =
        std::env::split_paths(&path).find(|folder| folder.join("postgres").exists() && folder.join("initdb").exists());
    let newest = found.pop().map(|(_, folder)| folder).or(on_path);
    newest.context("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
}

/// The user that the server runs as: PostgreSQL refuses to run as root.
struct Account {
    ids: Option<(u32, u32)>,
}

impl Account {
    fn find() -> anyhow::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { ids: None });
        }
        let accounts = fs::read_to_string("/etc/passwd")?;
        let ids = accounts.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let (user, group) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            (name == "postgres").then_some((user, group))
        });
        Ok(Self { ids: Some(ids.context("there is no user `postgres` to run the server as")?) })
    }

    fn become_it(&self, command: &mut Command) {
        if let Some((user, group)) = self.ids {
            command.uid(user).gid(group);
        }
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        self.ids.map_or(Ok(()), |(user, group)| chown(path, Some(user), Some(group)))
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(folder)?;
        self.give(folder)
    }

    /// A folder of the account, with a short name: a socket's path has little room.
    fn fresh_folder(&self) -> anyhow::Result<PathBuf> {
        let name = TestServer::unique(&format!("freehold-test-{}", std::process::id()));
        let folder = std::env::temp_dir().join(name);
        // One of an earlier process with the same number, which could not clean up.
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        self.make_folder(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(folder)
    }
}

/// The cached result of `initdb`; made if there is none for this version.
fn template(programs: &Path, account: &Account) -> anyhow::Result<PathBuf> {
    let version = Command::new(programs.join("postgres")).arg("--version").output()?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let version = version.split_whitespace().nth(2).unwrap_or("unknown").to_owned();
    let cache = crate::cache().join("test-postgres");
    let template = cache.join(format!("{version}-{TEMPLATE}"));
    if template.exists() {
        return Ok(template);
    }
    let folder = account.fresh_folder()?;
    initialize(programs, account, &folder)?;
    fs::create_dir_all(&cache)?;
    // Unique among processes and among the threads of this one: several may make the template at once.
    let unfinished = cache.join(TestServer::unique(&format!("{version}-{TEMPLATE}.{}", std::process::id())));
    copy(&folder.join("data"), &unfinished, &Account { ids: None })?;
    fs::remove_dir_all(&folder)?;
    // The first to finish wins; what the others made is as good. A rename that failed for another reason is an error.
    if let Err(error) = fs::rename(&unfinished, &template) {
        fs::remove_dir_all(&unfinished)?;
        if !template.exists() {
            return Err(error).with_context(|| format!("putting {} in place", template.display()));
        }
    }
    Ok(template)
}

fn initialize(programs: &Path, account: &Account, folder: &Path) -> anyhow::Result<()> {
    let password = folder.join("password");
    fs::write(&password, PASSWORD)?;
    account.give(&password)?;
    let mut initdb = Command::new(programs.join("initdb"));
    initdb.arg("-D").arg(folder.join("data")).arg("--pwfile").arg(&password);
    initdb.args(["-U", "postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]);
    account.become_it(&mut initdb);
    let output = initdb.current_dir("/").output().context("running initdb")?;
    if !output.status.success() {
        bail!("initdb failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Copies a folder with all that is in it, and gives it to the account.
fn copy(from: &Path, to: &Path, account: &Account) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(to)?;
    account.give(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target, account)?;
        } else {
            fs::copy(entry.path(), &target)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(0o600))?;
            account.give(&target)?;
        }
    }
    Ok(())
}
