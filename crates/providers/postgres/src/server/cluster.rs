//! The cluster's files: made once, completely or not at all.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use freehold_graph::SecretText;
use sha2::{Digest as _, Sha256};

use super::account::Account;
use super::binaries::Binaries;
use super::error::ServerError;

/// The superuser of the private server.
pub(super) const SUPERUSER: &str = "postgres";

/// A Unix socket's address has room for 108 bytes with the final zero; the file is called `.s.PGSQL.65535`.
const LONGEST_SOCKET_DIRECTORY: usize = 107 - "/.s.PGSQL.65535".len();

/// What the directory of a cluster in the making begins with.
const UNFINISHED: &str = "cluster.new";

/// Only with a password, from this machine.
const HBA: &str = "local all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n";

/// Where the files of a private server are.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) home: PathBuf,
    pub(super) socket: PathBuf,
}

impl Layout {
    /// # Errors
    /// The socket's path would be too long.
    pub(super) fn new(home: &Path, socket: Option<&Path>) -> Result<Self, ServerError> {
        let fits = |directory: &Path| directory.as_os_str().len() <= LONGEST_SOCKET_DIRECTORY;
        let socket = match socket {
            Some(socket) => socket.to_owned(),
            None if fits(&home.join("socket")) => home.join("socket"),
            // A short name that is always the same for the same home.
            None => {
                let digest = hex::encode(Sha256::digest(home.as_os_str().as_encoded_bytes()));
                let short: String = digest.chars().take(12).collect();
                std::env::temp_dir().join(format!("freehold-{short}"))
            }
        };
        if !fits(&socket) {
            return Err(ServerError::SocketPath { directory: socket });
        }
        Ok(Self { home: home.to_owned(), socket })
    }

    pub(super) fn cluster(&self) -> PathBuf {
        self.home.join("cluster")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.home.join("log")
    }

    /// A name that nobody else writes to: the `initdb` of a killed predecessor may still be at work on its own.
    fn unfinished(&self) -> PathBuf {
        self.home.join(format!("{UNFINISHED}-{}", uuid::Uuid::new_v4().simple()))
    }

    fn password(&self) -> PathBuf {
        self.home.join("password")
    }
}

/// The major version that made the cluster in `home`; `None` if there is none.
pub(super) fn data_version(home: &Path) -> Option<u32> {
    fs::read_to_string(home.join("cluster").join("PG_VERSION")).ok()?.trim().parse().ok()
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
    directory(&layout.home, 0o711)?;
    account.reach(&layout.home)?;
    for private in [layout.log(), layout.socket.clone()] {
        directory(&private, 0o700)?;
        account.own(&private)?;
    }
    let cluster = layout.cluster();
    if cluster.exists() {
        let found = binaries.version();
        if let Some(data) = data_version(&layout.home).filter(|data| *data != found.major) {
            return Err(ServerError::DataVersion { directory: cluster, data, found });
        }
        let path = layout.password();
        let password = fs::read_to_string(&path).map_err(|_| ServerError::PasswordMissing { path })?;
        return Ok(SecretText::new(password.trim()));
    }
    let password = new_password()?;
    // The password is safe before anything needs it.
    write(&layout.password(), 0o600, password.reveal())?;
    let unfinished = layout.unfinished();
    remove_unfinished(layout);
    let outcome = initialise(&unfinished, binaries, account, &password).await;
    if outcome.is_err() {
        // Leaves nothing behind on a full disk; a failure to remove it is mended by the next start.
        let _ = fs::remove_dir_all(&unfinished);
    }
    outcome?;
    let doing = "putting the new cluster in its place";
    fs::rename(&unfinished, &cluster).map_err(ServerError::io(doing, &cluster))?;
    sync(&layout.home)?;
    Ok(password)
}

/// Writes the rules of access. Done before each start: they are ours, not the cluster's.
pub(super) fn write_access_rules(layout: &Layout, account: &Account) -> Result<(), ServerError> {
    let path = layout.cluster().join("pg_hba.conf");
    write(&path, 0o600, HBA)?;
    account.own(&path)
}

/// Removes what predecessors have left. What can't be removed (now) does no harm; the next start tries again.
fn remove_unfinished(layout: &Layout) {
    let entries = fs::read_dir(&layout.home).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(UNFINISHED)) {
        let _ = fs::remove_dir_all(entry.path());
    }
}

async fn initialise(
    unfinished: &Path,
    binaries: &Binaries,
    account: &Account,
    password: &SecretText,
) -> Result<(), ServerError> {
    directory(unfinished, 0o700)?;
    account.own(unfinished)?;
    // Beside the cluster, which has to be empty.
    let file = unfinished.with_file_name("cluster.password");
    write(&file, 0o600, password.reveal())?;
    account.own(&file)?;
    let mut outcome = initdb(binaries, account, unfinished, &file, "C.UTF-8").await;
    let unknown = |error: &ServerError| match error {
        ServerError::Program { detail, .. } => detail.iter().any(|line| line.contains("locale")),
        _ => false,
    };
    if outcome.as_ref().is_err_and(unknown) {
        // Not every system has it. `C` sorts the same way and only knows no letters outside ASCII.
        outcome = initdb(binaries, account, unfinished, &file, "C").await;
    }
    let _ = fs::remove_file(&file);
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
    if text.contains("No space left on device") || text.contains("Disk quota exceeded") {
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

/// Makes a directory, if need be with those above it, and sets its mode.
fn directory(path: &Path, mode: u32) -> Result<(), ServerError> {
    let doing = "making a directory";
    // In a directory that others write to, too, a link could lead anywhere.
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) && path.starts_with(std::env::temp_dir())
    {
        return Err(ServerError::SocketPath { directory: path.to_owned() });
    }
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(ServerError::io(doing, path))?;
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(ServerError::io(doing, path))
}

/// Replaces a file at once: whoever reads it sees the old or the new content.
fn write(path: &Path, mode: u32, text: &str) -> Result<(), ServerError> {
    let doing = "writing a file";
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let mut options = OpenOptions::new();
    let mut file =
        options.write(true).create_new(true).mode(mode).open(&temporary).map_err(ServerError::io(doing, &temporary))?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(ServerError::io(doing, &temporary))?;
    fs::rename(&temporary, path).map_err(ServerError::io(doing, path))
}

fn sync(directory: &Path) -> Result<(), ServerError> {
    let file = fs::File::open(directory).map_err(ServerError::io("opening a directory", directory))?;
    file.sync_all().map_err(ServerError::io("writing a directory", directory))
}
