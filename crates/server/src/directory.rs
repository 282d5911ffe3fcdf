//! The data directory of the embedded platform.
//!
//! ```text
//! version        what wrote it; another major version is refused
//! lock           held by the running server (flock), which makes it the only one
//! server.json    how to reach it: address and token (0600); there only while it runs
//! master.key     seals everything (0600)
//! settings.json  the ports and the domain: as they were last
//! postgres/      the private PostgreSQL, with the sockets by which it is reached
//! local/         services and jobs: processes, logs, runs
//! artifacts/     what services run from, by content hash
//! reserve        room on the disk that is given up when there is hardly any left
//! dumps/         final dumps of destroyed databases
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use freehold::{CONNECTION_FILE, Connection};
use freehold_problem::Code;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::start::StartError;

/// The layout that this program reads and writes.
const VERSION: &str = "1";

/// The data directory, locked for this process.
pub(crate) struct DataDirectory {
    path: PathBuf,
    // Held for as long as the platform runs; the kernel gives it back when the process ends, however it ends.
    _lock: File,
}

/// What is chosen once and kept, so that URLs and connection strings stay the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// The port of the private PostgreSQL.
    pub(crate) postgres_port: Option<u16>,
    /// The port that stacks answer on.
    #[serde(default)]
    pub(crate) router_port: Option<u16>,
    /// What their host names end with.
    #[serde(default)]
    pub(crate) domain: Option<String>,
    /// Identifies this platform in leases and names of things on shared servers.
    #[serde(default)]
    pub(crate) platform: Option<uuid::Uuid>,
    /// Proxies whose word about the client is believed: `10.0.0.0/8`, `uid:33`.
    #[serde(default)]
    pub(crate) trusted_proxies: Vec<String>,
    /// How many days lines of the audit log are kept.
    #[serde(default)]
    pub(crate) audit_days: Option<u32>,
    /// Several tenants are wanted even where nothing keeps them apart.
    #[serde(default)]
    pub(crate) insecure_shared_user: bool,
}

impl DataDirectory {
    /// Opens or makes it, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, StartError> {
        let denied = |error: io::Error| unusable(path, &error);
        fs::create_dir_all(path).map_err(denied)?;
        let path = path.canonicalize().map_err(denied)?;
        if fs::metadata(&path).map_err(denied)?.uid() == rustix::process::geteuid().as_raw() {
            // PostgreSQL and the services run as other users where the platform runs as root: they pass through here.
            let mode = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(denied)?;
        }
        check_reachable(&path)?;
        check_ours(&path)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(|error| unusable(&path, &error))?;
        let mut directory = Self { path, _lock: lock };
        directory.take_lock()?;
        directory.check_version()?;
        Ok(directory)
    }

    /// A path below it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn take_lock(&mut self) -> Result<(), StartError> {
        if flock(&self._lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            let _ = self._lock.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another process".to_owned(),
                pid => format!("process {pid}"),
            };
            return Err(StartError::new(
                Code::AlreadyUp,
                format!("a platform is running on {} already: {holder}", self.path.display()),
            )
            .help("use it as it is, stop it with `freehold down`, or choose another --data-dir"));
        }
        let write = |lock: &mut File| {
            lock.set_len(0)?;
            write!(lock, "{}", std::process::id())
        };
        write(&mut self._lock).map_err(|error| unusable(&self.path, &error))
    }

    fn check_version(&self) -> Result<(), StartError> {
        let file = self.join("version");
        match fs::read_to_string(&file) {
            Ok(version) if version.trim() == VERSION => Ok(()),
            Ok(version) => Err(StartError::new(
                Code::DataOfOtherVersion,
                format!(
                    "{} was made by another version of Freehold: its layout is {}, this program knows {VERSION}",
                    self.path.display(),
                    version.trim()
                ),
            )
            .help("use the version of Freehold that made it, or choose another --data-dir")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.write("version", VERSION.as_bytes(), 0o644),
            Err(error) => Err(unusable(&file, &error)),
        }
    }

    fn write_json(&self, name: &str, content: &impl Serialize, mode: u32) -> Result<(), StartError> {
        let text = serde_json::to_vec_pretty(content)
            .map_err(|error| StartError::new(Code::Internal, format!("{name} can't be written: {error}")))?;
        self.write(name, &text, mode)
    }

    /// Writes a file in one piece: what was there stays there until the new one is complete on disk.
    pub(crate) fn write(&self, name: &str, content: &[u8], mode: u32) -> Result<(), StartError> {
        let path = self.join(name);
        let temporary = self.join(&format!(".{name}.new"));
        let write = || {
            let _ = fs::remove_file(&temporary);
            let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(&temporary)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|error| {
            let _ = fs::remove_file(&temporary);
            unusable(&path, &error)
        })
    }

    /// The settings; those of a new directory are empty.
    pub(crate) fn settings(&self) -> Result<Settings, StartError> {
        let path = self.join("settings.json");
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                StartError::new(Code::DataNotWritable, format!("{} can't be read: {error}", path.display()))
                    .help("restore the file from a backup; it holds the ports that the stacks were deployed with")
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Settings::default()),
            Err(error) => Err(unusable(&path, &error)),
        }
    }

    /// Keeps the settings.
    pub(crate) fn keep_settings(&self, settings: &Settings) -> Result<(), StartError> {
        self.write_json("settings.json", settings, 0o644)
    }

    /// Tells the command line how to reach the server.
    pub(crate) fn announce(&self, connection: &Connection) -> Result<(), StartError> {
        self.write_json(CONNECTION_FILE, connection, 0o600)
    }

    /// The server can't be reached any more.
    pub(crate) fn retract(&self) {
        let _ = fs::remove_file(self.join(CONNECTION_FILE));
    }
}

fn unusable(path: &Path, error: &io::Error) -> StartError {
    if error.kind() == io::ErrorKind::StorageFull {
        return StartError::new(Code::DiskFull, format!("the disk is full: can't write {}", path.display()))
            .help("free some room and start again; nothing was lost");
    }
    StartError::new(Code::DataNotWritable, format!("the data directory can't be used: {}: {error}", path.display()))
        .help("make it writable for this user, or choose another one with --data-dir")
}

/// What root writes must not be led elsewhere by a link: nobody but root may put anything into the directory, or into those above it,
/// where theirs isn't safe from others (as in `/tmp`).
fn check_ours(path: &Path) -> Result<(), StartError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    for directory in path.ancestors() {
        let metadata = fs::metadata(directory).map_err(|error| unusable(directory, &error))?;
        let (write, sticky) = (metadata.mode() & 0o022 != 0, metadata.mode() & 0o1000 != 0);
        let why = match metadata.uid() {
            0 if write && (directory == path || !sticky) => "other users may write to it".to_owned(),
            0 => continue,
            owner => format!("it belongs to user {owner}"),
        };
        let message = format!("root's files can't be kept in {}: {why}", directory.display());
        return Err(StartError::new(Code::DataNotWritable, message).help(
            "choose a data directory that is root's, with all above it (the default is /var/lib/freehold), or run Freehold as that user",
        ));
    }
    Ok(())
}

/// As root, PostgreSQL and the services run as other users, which have to be able to enter.
fn check_reachable(path: &Path) -> Result<(), StartError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    for directory in path.ancestors().skip(1) {
        let open = fs::metadata(directory).is_ok_and(|metadata| metadata.mode() & 0o001 != 0);
        if !open {
            return Err(StartError::new(
                Code::DataNotWritable,
                format!("other users can't enter {}, and PostgreSQL does not run as root", directory.display()),
            )
            .help(format!(
                "choose a data directory outside of it (the default for root is /var/lib/freehold), or `chmod o+x {}`",
                directory.display()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As another user's process could do it, which then replaces files by links.
    #[test]
    fn root_keeps_nothing_in_a_directory_that_others_write_to() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let scratch = std::env::temp_dir().join(format!("freehold-owners-{}", uuid::Uuid::new_v4().simple()));
        let (theirs, open) = (scratch.join("theirs"), scratch.join("open"));
        for directory in [&scratch, &theirs, &open] {
            fs::create_dir(directory).unwrap();
            fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::os::unix::fs::chown(&theirs, Some(65_534), Some(65_534)).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let refused = |path: &Path| DataDirectory::open(path).err().map(|error| (error.code, error.message));
        for (path, why) in [(&theirs, "belongs to user 65534"), (&theirs.join("below"), "belongs to user 65534")] {
            let (code, message) = refused(path).unwrap();
            assert!(code == Code::DataNotWritable && message.contains(why), "{message}");
        }
        let (code, message) = refused(&open.join("below")).unwrap();
        assert!(code == Code::DataNotWritable && message.contains("may write"), "{message}");
        assert_eq!(refused(&scratch.join("ours")), None);
        fs::remove_dir_all(&scratch).unwrap();
    }
}
