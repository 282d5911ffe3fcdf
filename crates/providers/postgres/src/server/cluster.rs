//! The cluster's files: made once, completely or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use freehold_graph::SecretText;
use sha2::{Digest as _, Sha256};

use super::account::Account;
use super::binaries::Binaries;
use super::error::ServerError;
use super::folder::{Folder, Foreign, data_version};
use crate::failure::says_full;

/// The superuser of the private server.
pub(super) const SUPERUSER: &str = "postgres";

/// A Unix socket's address has room for 108 bytes with the final zero; the file is called `.s.PGSQL.65535`.
const LONGEST_SOCKET_DIRECTORY: usize = 107 - "/.s.PGSQL.65535".len();

/// What the directory of a cluster in the making begins with.
const UNFINISHED: &str = "cluster.new";

/// The directory in `home` of the superuser's socket, which only Freehold and PostgreSQL may enter.
const OWN_SOCKET: &str = "socket";
/// The directory in `home` of everybody else's socket: all may enter, nobody but PostgreSQL may write.
const APPS_SOCKET: &str = "apps";
/// The rules of access.
const RULES: &str = "pg_hba.conf";
/// Operating system users are mapped to no role.
const IDENTITIES: &str = "pg_ident.conf";
/// The configuration, instead of the one in the cluster.
const CONFIGURATION: &str = "postgresql.conf";
/// What the server says before it writes its own log.
const START_LOG: &str = "start.log";

/// Only with a password, from this machine.
const HBA: &str = "local all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n";

/// What `initdb` would write there and is not the server's own default. All else is on the command line.
const SETTINGS: &str = "# Written by Freehold at each start.\ndefault_text_search_config = 'pg_catalog.english'\n";

/// Where the files of a private server are.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) home: PathBuf,
    /// The directory of the two directories with sockets: `home`, unless their paths would be too long.
    sockets: PathBuf,
}

impl Layout {
    /// # Errors
    /// The sockets' paths would be too long.
    pub(super) fn new(home: &Path, sockets: Option<&Path>) -> Result<Self, ServerError> {
        let fits = |directory: &Path| directory.join(OWN_SOCKET).as_os_str().len() <= LONGEST_SOCKET_DIRECTORY;
        let sockets = match sockets {
            Some(sockets) => sockets.to_owned(),
            None if fits(home) => home.to_owned(),
            // A short name that is always the same for the same home.
            None => {
                let digest = hex::encode(Sha256::digest(home.as_os_str().as_encoded_bytes()));
                let short: String = digest.chars().take(12).collect();
                short_paths().join(format!("freehold-{short}"))
            }
        };
        if !fits(&sockets) {
            return Err(ServerError::SocketPath { directory: sockets });
        }
        Ok(Self { home: home.to_owned(), sockets })
    }

    pub(super) fn cluster(&self) -> PathBuf {
        self.home.join("cluster")
    }

    pub(super) fn log(&self) -> PathBuf {
        log(&self.home)
    }

    /// Where Freehold itself connects.
    pub(super) fn own_socket(&self) -> PathBuf {
        self.sockets.join(OWN_SOCKET)
    }

    /// Where everybody else does.
    pub(super) fn apps_socket(&self) -> PathBuf {
        self.sockets.join(APPS_SOCKET)
    }

    pub(super) fn access_rules(&self) -> PathBuf {
        self.home.join(RULES)
    }

    pub(super) fn identities(&self) -> PathBuf {
        self.home.join(IDENTITIES)
    }

    pub(super) fn configuration(&self) -> PathBuf {
        self.home.join(CONFIGURATION)
    }

    /// The folder of all this, which is ours.
    pub(super) fn folder(&self) -> Result<Folder, ServerError> {
        Folder::open(&self.home, 0o711)
    }

    /// A new file for what the server says before it writes its own log.
    pub(super) fn start_log(&self) -> Result<fs::File, ServerError> {
        self.folder()?.create(START_LOG, 0o600)
    }

    /// The end of what the server said when it was started, and of its own log.
    pub(super) fn last_words(&self, bytes: u64) -> Vec<String> {
        let own = Foreign::open(&self.log()).and_then(|log| log.read(log.files().last()?, bytes));
        let mut words = self.start_words(bytes);
        words.extend(lines(own));
        words
    }

    /// The end of what the server said when it was started last, before its own log was open.
    pub(super) fn start_words(&self, bytes: u64) -> Vec<String> {
        lines(Foreign::open(&self.home).and_then(|home| home.read(START_LOG, bytes)))
    }
}

fn lines(text: Option<String>) -> Vec<String> {
    text.unwrap_or_default().lines().map(str::to_owned).collect()
}

/// The directory of the server's own log.
pub(super) fn log(home: &Path) -> PathBuf {
    home.join("log")
}

/// Where paths are short: for root a folder of root's, so that nobody can be there first.
fn short_paths() -> PathBuf {
    let run = Path::new("/run");
    if rustix::process::geteuid().is_root() && run.is_dir() { run.to_owned() } else { std::env::temp_dir() }
}

/// Makes the directories, and the cluster if there is none. Returns the superuser's password.
///
/// # Errors
/// What hindered it. A cluster that isn't complete is never left under its final name.
pub(super) async fn prepare(
    layout: &Layout,
    binaries: &Binaries,
    account: &Account,
) -> Result<SecretText, ServerError> {
    let home = layout.folder()?;
    account.reach(&layout.home)?;
    home.give("log", 0o700, account.ids())?;
    let sockets = Folder::open(&layout.sockets, 0o711)?;
    sockets.give(OWN_SOCKET, 0o700, account.ids())?;
    sockets.give(APPS_SOCKET, 0o711, account.ids())?;
    let cluster = layout.cluster();
    if cluster.exists() {
        let found = binaries.version();
        if let Some(data) = data_version(&layout.home).filter(|data| *data != found.major) {
            return Err(ServerError::DataVersion { directory: cluster, data, found });
        }
        let path = home.join("password");
        let password = fs::read_to_string(&path).map_err(|_| ServerError::PasswordMissing { path })?;
        return Ok(SecretText::new(password.trim()));
    }
    let password = new_password()?;
    // The password is safe before anything needs it.
    home.write("password", 0o600, password.reveal(), None)?;
    remove_unfinished(layout);
    // A name that nobody else writes to: the `initdb` of a killed predecessor may still be at work on its own.
    let unfinished = format!("{UNFINISHED}-{}", uuid::Uuid::new_v4().simple());
    let outcome = initialise(&home, &unfinished, binaries, account, &password).await;
    if outcome.is_err() {
        // Leaves nothing behind on a full disk; a failure to remove it is repaired by the next start.
        let _ = fs::remove_dir_all(home.join(&unfinished));
    }
    outcome?;
    home.rename(&unfinished, "cluster")?;
    Ok(password)
}

/// Writes the rules of access and the configuration, beside the cluster: they are ours, not the cluster's, and the account
/// that runs the server can only read them. Done before each start.
pub(super) fn write_rules(layout: &Layout) -> Result<(), ServerError> {
    let home = layout.folder()?;
    home.write(RULES, 0o644, HBA, None)?;
    home.write(IDENTITIES, 0o644, "", None)?;
    home.write(CONFIGURATION, 0o644, SETTINGS, None)
}

/// Removes what predecessors have left. What can't be removed (now) does no harm; the next start tries again.
fn remove_unfinished(layout: &Layout) {
    let entries = fs::read_dir(&layout.home).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(UNFINISHED)) {
        let _ = fs::remove_dir_all(entry.path());
    }
}

async fn initialise(
    home: &Folder,
    unfinished: &str,
    binaries: &Binaries,
    account: &Account,
    password: &SecretText,
) -> Result<(), ServerError> {
    const PASSWORD: &str = "cluster.password";
    home.give(unfinished, 0o700, account.ids())?;
    // Beside the cluster, which has to be empty.
    home.write(PASSWORD, 0o600, password.reveal(), account.ids())?;
    let (cluster, file) = (home.join(unfinished), home.join(PASSWORD));
    let mut outcome = initdb(binaries, account, &cluster, &file, "C.UTF-8").await;
    let unknown = |error: &ServerError| match error {
        ServerError::Program { detail, .. } => detail.iter().any(|line| line.contains("locale")),
        _ => false,
    };
    if outcome.as_ref().is_err_and(unknown) {
        // Not every system has it. `C` sorts the same way and only knows no letters outside ASCII.
        outcome = initdb(binaries, account, &cluster, &file, "C").await;
    }
    let _ = home.remove(PASSWORD);
    outcome
}

async fn initdb(
    binaries: &Binaries,
    account: &Account,
    cluster: &Path,
    password_file: &Path,
    character_type: &str,
) -> Result<(), ServerError> {
    let doing = "making the cluster with initdb";
    let mut command = account.command(&binaries.program("initdb"));
    command.arg("--pgdata").arg(cluster).arg("--pwfile").arg(password_file).args(["--username", SUPERUSER]);
    command.args(["--auth=scram-sha-256", "--data-checksums", "--encoding=UTF8", "--no-instructions", "--locale=C"]);
    if binaries.version().major >= 17 {
        command.args(["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]);
    } else {
        command.arg(format!("--lc-ctype={character_type}"));
    }
    let output = command.kill_on_drop(true).output().await.map_err(ServerError::io(doing, cluster))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    if says_full(&text) {
        return Err(ServerError::DiskFull { doing, path: cluster.to_owned() });
    }
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let detail = lines.iter().skip(lines.len().saturating_sub(8)).cloned().collect();
    Err(ServerError::Program { program: "initdb", detail })
}

fn new_password() -> Result<SecretText, ServerError> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(ServerError::Random)?;
    Ok(SecretText::new(BASE64_URL_SAFE_NO_PAD.encode(bytes)))
}
