//! The private server as a whole: start or take over, watch, restart, stop.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use freehold_graph::SecretText;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use tokio::time::{Instant, sleep};

use super::account::Account;
use super::binaries::Binaries;
use super::cluster::{self, Layout, SUPERUSER};
use super::error::ServerError;
use super::folder::Foreign;
use super::postmaster::{self, POSTMASTER_PID, PidFile, Postmaster};
use crate::failure::says_full;

/// How long a start may take. Recovery after a power failure replays at most `max_wal_size`.
const START: Duration = Duration::from_secs(60);
/// How often to try whether it is ready.
const POLL: Duration = Duration::from_millis(10);
/// How long a server that another release started may take to stop.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long to wait before it is tried again where sessions of a server that crashed are still ending.
const ENDING_WAIT: Duration = Duration::from_millis(100);
/// How much is read of what the server wrote before it ended.
const LAST_WORDS: u64 = 16 << 10;
/// What one session may use of the disk for sorting and hashing, in kB. The databases share the disk with the store.
const TEMPORARY_FILES_KB: u32 = 2 << 20;
/// How often a statement that runs looks whether its client is still there. Without that, what a killed program has begun goes
/// on, and waits for locks, for as long as it likes.
const CLIENT_CHECK_MS: u32 = 2000;

/// How to run a private server.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// PostgreSQL's programs; see [`Binaries::find_for`].
    pub binaries: Binaries,
    /// The directory for its files. Made if need be; nothing else may be in it.
    pub home: PathBuf,
    /// Where the folders of the Unix sockets are to be. By default `home`, or where that path is too long, one in `/run` (as
    /// root) or in the temporary directory.
    pub socket_directory: Option<PathBuf>,
    /// The number in the sockets' names, and the port on 127.0.0.1; `None` takes a free one. The caller remembers it
    /// ([`PrivateServer::port`]).
    pub port: Option<u16>,
    /// How many connections it accepts. An unused one costs some 10 kB.
    pub max_connections: u32,
    /// As root: the account that runs it. By default `postgres`.
    pub run_as: Option<String>,
}

/// A private server that runs. Dropping it leaves it running; see [`PrivateServer::stop`].
#[derive(Debug)]
pub struct PrivateServer {
    options: ServerOptions,
    layout: Layout,
    account: Account,
    password: SecretText,
    port: u16,
    /// Whether it is on 127.0.0.1, too: somebody else may have the port.
    on_loopback: bool,
    postmaster: Postmaster,
}

impl PrivateServer {
    /// Starts the server, or takes over one that a killed predecessor left, and waits until it is ready.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub async fn start(mut options: ServerOptions) -> Result<Self, ServerError> {
        let account = Account::choose(options.run_as.as_deref()).await?;
        options.binaries = options.binaries.under(account.ids());
        let layout = Layout::new(&options.home, options.socket_directory.as_deref())?;
        let password = cluster::prepare(&layout, &options.binaries, &account).await?;
        let mut server = Self {
            port: options.port.unwrap_or_default(),
            on_loopback: false,
            postmaster: Postmaster::adopted(0),
            password,
            options,
            layout,
            account,
        };
        server.launch().await?;
        server.close_to_public().await?;
        Ok(server)
    }

    /// The number in the sockets' names, and the port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it listens on 127.0.0.1, too. It does unless another program has the port.
    pub fn listens_on_loopback(&self) -> bool {
        self.on_loopback
    }

    /// Whether it ran already when it was to be started: a killed predecessor left it, and jobs that it started may be at work on it.
    pub fn was_running(&self) -> bool {
        self.postmaster.is_adopted()
    }

    /// The postmaster's process id.
    pub fn pid(&self) -> i32 {
        self.postmaster.pid()
    }

    /// PostgreSQL's programs that it runs with; they run under its account.
    pub fn binaries(&self) -> &Binaries {
        &self.options.binaries
    }

    /// The directory of its logs.
    pub fn log_directory(&self) -> PathBuf {
        self.layout.log()
    }

    /// The directory of the socket for everybody but Freehold: who answers there is the server.
    pub fn apps_directory(&self) -> PathBuf {
        self.layout.apps_socket()
    }

    /// How to connect as the superuser, through the socket, to the database `postgres`. Statements aren't logged by us.
    pub fn admin_options(&self) -> PgConnectOptions {
        self.connect_options(SUPERUSER, &self.password)
    }

    /// How to connect as anybody else, through the socket, to the database `postgres`.
    pub fn connect_options(&self, user: &str, password: &SecretText) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(self.layout.own_socket())
            .port(self.port)
            .username(user)
            .password(password.reveal())
            .database("postgres")
            .ssl_mode(PgSslMode::Disable)
            .application_name("freehold")
            .disable_statement_logging()
    }

    /// Waits until the server ends without having been told to. Safe to cancel.
    pub async fn wait_exit(&mut self) {
        self.postmaster.wait().await;
    }

    /// Starts it again after it has ended, on the same port.
    ///
    /// # Errors
    /// As [`PrivateServer::start`].
    pub async fn restart(&mut self) -> Result<(), ServerError> {
        self.launch().await
    }

    /// Ends all sessions and stops it. After `patience` it is stopped at once, and recovers at the next start.
    ///
    /// # Errors
    /// [`ServerError::NotStopped`].
    pub async fn stop(&mut self, patience: Duration) -> Result<(), ServerError> {
        self.postmaster.stop(patience).await
    }

    async fn launch(&mut self) -> Result<(), ServerError> {
        let deadline = Instant::now() + START;
        loop {
            match self.try_launch(deadline).await {
                // They end by themselves, once they notice that their postmaster is gone.
                Err(ServerError::Ending { .. }) if Instant::now() < deadline => sleep(ENDING_WAIT).await,
                outcome => return outcome,
            }
        }
    }

    async fn try_launch(&mut self, deadline: Instant) -> Result<(), ServerError> {
        if self.take_over(deadline).await? {
            return Ok(());
        }
        match self.start_postmaster(deadline).await {
            Ok(()) => Ok(()),
            // A predecessor that was killed in the very moment of its start may have been ahead of us.
            Err(error) => {
                if self.take_over(deadline).await? {
                    Ok(())
                } else {
                    Err(error)
                }
            }
        }
    }

    async fn start_postmaster(&mut self, deadline: Instant) -> Result<(), ServerError> {
        let wanted = self.options.port.or(Some(self.port).filter(|port| *port != 0));
        (self.port, self.on_loopback) = match (free_port(wanted), wanted) {
            (Ok(port), _) => (port, true),
            // Whoever has the port keeps nobody from the sockets.
            (Err(ServerError::PortTaken { .. }), Some(port)) => (port, false),
            (Err(error), _) => return Err(error),
        };
        cluster::write_rules(&self.layout)?;
        loop {
            self.postmaster = Postmaster::start(&self.layout, &self.options.binaries, &self.account, &self.settings())?;
            match self.wait_ready(deadline).await {
                // Somebody took it in between.
                Err(ServerError::PortTaken { .. }) if self.on_loopback => self.on_loopback = false,
                outcome => return outcome,
            }
        }
    }

    /// Finds the postmaster of a predecessor; `false` if there is none.
    async fn take_over(&mut self, deadline: Instant) -> Result<bool, ServerError> {
        let cluster = self.layout.cluster();
        let Some(file) = PidFile::read(&cluster).filter(|file| postmaster::is_alive(file.pid)) else {
            return Ok(false);
        };
        if file.holds(&cluster, &self.account) == Some(false) {
            // The number went to another process. PostgreSQL would refuse to start because of it.
            if file.memory_in_use() {
                return Err(ServerError::Ending { cluster });
            }
            let removed = Foreign::open(&cluster).map_or(Ok(()), |cluster| cluster.remove(POSTMASTER_PID));
            removed.map_err(ServerError::io("removing a stale file", &cluster.join(POSTMASTER_PID)))?;
            return Ok(false);
        }
        self.port = file.port;
        self.postmaster = Postmaster::adopted(file.pid);
        match self.wait_ready(deadline).await {
            Ok(()) if self.is_as_we_would_start_it(deadline).await => Ok(true),
            // Another release of Freehold started it, with other sockets or rules.
            Ok(()) => {
                self.postmaster.stop(PATIENCE).await?;
                Ok(false)
            }
            // It was just ending.
            Err(_) if !self.postmaster.is_alive() => Ok(false),
            Err(error) => Err(ServerError::Held { pid: file.pid, cluster, reason: error.to_string() }),
        }
    }

    /// Whether a server that was found running has the rules and sockets that this release would give it. Also finds out whether
    /// it is on the loopback address.
    async fn is_as_we_would_start_it(&mut self, deadline: Instant) -> bool {
        const SQL: &str = "SELECT name::text, setting::text FROM pg_catalog.pg_settings
            WHERE name IN ('hba_file', 'unix_socket_directories', 'temp_file_limit', 'client_connection_check_interval')";
        let options = self.admin_options();
        let look = async {
            let mut connection = options.connect().await?;
            let found: Vec<(String, String)> = sqlx::query_as(SQL).fetch_all(&mut connection).await?;
            let addresses: String = sqlx::query_scalar("SHOW listen_addresses").fetch_one(&mut connection).await?;
            connection.close().await?;
            Ok::<_, sqlx::Error>((found, addresses))
        };
        let Ok(Ok((found, addresses))) = tokio::time::timeout_at(deadline, look).await else { return false };
        self.on_loopback = !addresses.is_empty();
        let wanted = self.settings();
        found.len() == 4
            && found.iter().all(|(name, value)| {
                let mut same = wanted.iter().filter(|(wanted, _)| wanted == name);
                same.any(|(_, wanted)| wanted == value)
            })
    }

    /// Waits until it lets us in, and makes sure that it is the server of this cluster.
    async fn wait_ready(&mut self, deadline: Instant) -> Result<(), ServerError> {
        let options = self.admin_options();
        loop {
            let attempt = tokio::time::timeout_at(deadline, data_directory(&options)).await;
            let reason = match attempt {
                Ok(Ok(directory)) if same(&directory, &self.layout.cluster()) => return Ok(()),
                Ok(Ok(directory)) => format!("another server answers, that of {directory}"),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it does not answer".to_owned(),
            };
            if !self.postmaster.is_alive() {
                return Err(self.died());
            }
            if Instant::now() >= deadline {
                let reason = format!("it was not ready after {} s: {reason}", START.as_secs());
                return Err(ServerError::NotStarted { reason, detail: self.last_words() });
            }
            sleep(POLL).await;
        }
    }

    /// Why a postmaster ended at once.
    fn died(&self) -> ServerError {
        let detail = self.last_words();
        if detail.iter().any(|line| line.contains("Address already in use")) {
            return ServerError::PortTaken { port: self.port };
        }
        if self.layout.start_words(LAST_WORDS).iter().any(|line| line.contains("pre-existing shared memory block")) {
            return ServerError::Ending { cluster: self.layout.cluster() };
        }
        if detail.iter().any(|line| says_full(line)) {
            return ServerError::DiskFull { doing: "starting PostgreSQL", path: self.layout.home.clone() };
        }
        ServerError::NotStarted { reason: "it ended at once".to_owned(), detail }
    }

    /// The end of what it wrote.
    fn last_words(&self) -> Vec<String> {
        let mut lines = self.layout.last_words(LAST_WORDS);
        lines.split_off(lines.len().saturating_sub(12))
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.display().to_string();
        // A list of names in quotes.
        let quoted = |path: PathBuf| format!("\"{}\"", text(&path).replace('"', "\"\""));
        let sockets = [self.layout.own_socket(), self.layout.apps_socket()].map(quoted).join(", ");
        // The tables of locks have room for this figure times the connections, in memory that is touched at the start. The
        // sessions share them, so many connections need fewer each.
        let locks = (64 * 400 / self.options.max_connections.max(1)).clamp(10, 64).to_string();
        vec![
            ("cluster_name", "freehold".to_owned()),
            ("listen_addresses", if self.on_loopback { Ipv4Addr::LOCALHOST.to_string() } else { String::new() }),
            ("port", self.port.to_string()),
            ("unix_socket_directories", sockets),
            // Who may come to a socket, its folder says.
            ("unix_socket_permissions", "0777".to_owned()),
            ("config_file", text(&self.layout.configuration())),
            ("hba_file", text(&self.layout.access_rules())),
            ("ident_file", text(&self.layout.identities())),
            ("max_connections", self.options.max_connections.to_string()),
            ("max_locks_per_transaction", locks.clone()),
            ("max_pred_locks_per_transaction", locks),
            ("password_encryption", "scram-sha-256".to_owned()),
            // In the units in which the server reports them: kilobytes, milliseconds.
            ("temp_file_limit", TEMPORARY_FILES_KB.to_string()),
            ("client_connection_check_interval", CLIENT_CHECK_MS.to_string()),
            ("shared_buffers", "64MB".to_owned()),
            ("max_wal_size", "1GB".to_owned()),
            ("timezone", "UTC".to_owned()),
            ("jit", "off".to_owned()),
            ("logging_collector", "on".to_owned()),
            ("log_directory", text(&self.layout.log())),
            // One file a weekday, each begun anew after a week.
            ("log_filename", "postgresql-%a.log".to_owned()),
            ("log_truncate_on_rotation", "on".to_owned()),
            ("log_rotation_age", "1d".to_owned()),
            ("log_rotation_size", "0".to_owned()),
            ("log_timezone", "UTC".to_owned()),
            ("log_line_prefix", "%m [%p] %q%u@%d ".to_owned()),
            ("log_statement", "none".to_owned()),
            ("log_min_duration_statement", "-1".to_owned()),
            ("log_parameter_max_length_on_error", "0".to_owned()),
        ]
    }

    /// By default everybody may connect to these two databases. Repeated at each start: a crash may have come before it.
    async fn close_to_public(&self) -> Result<(), ServerError> {
        let mut connection = self.admin_options().connect().await?;
        connection.execute("REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC").await?;
        connection.close().await?;
        Ok(())
    }
}

async fn data_directory(options: &PgConnectOptions) -> Result<String, sqlx::Error> {
    let mut connection = options.connect().await?;
    let directory = sqlx::query_scalar("SHOW data_directory").fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(directory)
}

fn same(one: &str, other: &Path) -> bool {
    match (Path::new(one).canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => Path::new(one) == other,
    }
}

/// The wanted port if nobody has it, else any free one.
fn free_port(wanted: Option<u16>) -> Result<u16, ServerError> {
    let port = wanted.unwrap_or_default();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => ServerError::PortTaken { port },
        _ => {
            ServerError::Io { doing: "taking a port", path: PathBuf::from(format!("127.0.0.1:{port}")), source: error }
        }
    })?;
    let address = listener.local_addr().map_err(ServerError::io("taking a port", Path::new("127.0.0.1")))?;
    Ok(address.port())
}
