//! Why the private server isn't there.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use freehold_problem::Code;
use thiserror::Error;

use super::version::{LEAST_MAJOR, Version};

/// What went wrong with the private server or with PostgreSQL's programs.
#[derive(Debug, Error)]
pub enum ServerError {
    /// PostgreSQL's programs are in none of the usual places.
    #[error("PostgreSQL is not installed: found no {} in {}", .programs.join(", "), paths(.looked))]
    NotFound {
        /// What was looked for.
        programs: Vec<&'static str>,
        /// The directories that were searched.
        looked: Vec<PathBuf>,
    },
    /// Programs that are too old.
    #[error("PostgreSQL {found} in {} is too old: {LEAST_MAJOR} or newer is needed", .directory.display())]
    TooOld {
        /// The newest that was found.
        found: Version,
        /// The directory with its programs.
        directory: PathBuf,
    },
    /// PostgreSQL refuses to run as root, and there is nobody else.
    #[error("PostgreSQL can't run as root, and there is no account {name} on this machine")]
    NoAccount {
        /// The account that was looked for.
        name: String,
    },
    /// The account can't get to the directory.
    #[error("account {account} cannot traverse {}, which leads to {}", .barrier.display(), .directory.display())]
    OutOfReach {
        /// The account that PostgreSQL runs as.
        account: String,
        /// The server's directory.
        directory: PathBuf,
        /// The directory above it that is closed.
        barrier: PathBuf,
    },
    /// Another user's folder, where root's files could be replaced by links.
    #[error("{} belongs to user {owner}, and not to the one that runs Freehold", .path.display())]
    NotOurs {
        /// The folder that should be ours.
        path: PathBuf,
        /// The id of its user.
        owner: u32,
    },
    /// A Unix socket's path has 107 bytes at the most.
    #[error("the path of the socket would be too long: {}", .directory.display())]
    SocketPath {
        /// Where it should have been.
        directory: PathBuf,
    },
    /// Made by another major version.
    #[error("the data in {} was made by PostgreSQL {data}, and PostgreSQL {found} can't read it", .directory.display())]
    DataVersion {
        /// The data directory of the cluster.
        directory: PathBuf,
        /// What made it.
        data: u32,
        /// What is there.
        found: Version,
    },
    /// Somebody else listens there.
    #[error("port {port} of 127.0.0.1 is taken by another program")]
    PortTaken {
        /// The port that was asked for.
        port: u16,
    },
    /// The file system is full, or this user's quota is used up.
    #[error("the disk is full: {doing} in {}", .path.display())]
    DiskFull {
        /// What was being done.
        doing: &'static str,
        /// The file or directory that was being written.
        path: PathBuf,
    },
    /// The cluster is there and its password isn't.
    #[error("the password file {} is missing, and the cluster beside it can't be used without", .path.display())]
    PasswordMissing {
        /// Where the password should be.
        path: PathBuf,
    },
    /// Something else holds the cluster.
    #[error("process {pid} holds {} and doesn't let Freehold in: {reason}", .cluster.display())]
    Held {
        /// The process that `postmaster.pid` names.
        pid: i32,
        /// The data directory of the cluster.
        cluster: PathBuf,
        /// What happened when it was asked.
        reason: String,
    },
    /// A server has crashed, and its sessions still use the memory that they shared.
    #[error("sessions of a server that crashed are still ending in {}", .cluster.display())]
    Ending {
        /// The data directory of the cluster.
        cluster: PathBuf,
    },
    /// A program of PostgreSQL failed.
    #[error("{program} failed{}", lines(.detail))]
    Program {
        /// Its name: `initdb`.
        program: &'static str,
        /// The end of what it wrote.
        detail: Vec<String>,
    },
    /// It ended, or wasn't ready in time.
    #[error("PostgreSQL did not start: {reason}{}", lines(.detail))]
    NotStarted {
        /// How it ended, or how long it was waited for.
        reason: String,
        /// The end of its log.
        detail: Vec<String>,
    },
    /// It didn't end in time.
    #[error("PostgreSQL (process {pid}) did not stop within {} s", .waited.as_secs())]
    NotStopped {
        /// The process that was told to stop.
        pid: i32,
        /// How long we waited.
        waited: Duration,
    },
    /// The file system said no.
    #[error("{doing}: {}: {source}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file or directory that it was done to.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The server refused something during its set-up.
    #[error("setting up the private PostgreSQL: {0}")]
    Sql(#[from] sqlx::Error),
    /// No randomness for the password.
    #[error("the system provides no random numbers: {0}")]
    Random(getrandom::Error),
}

impl ServerError {
    /// Wraps an I/O error; a full disk becomes [`ServerError::DiskFull`].
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { doing, path },
            _ => Self::Io { doing, path, source },
        }
    }

    /// The diagnostic's code.
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } => Code::PostgresNotFound,
            Self::TooOld { .. } => Code::PostgresTooOld,
            Self::NoAccount { .. }
            | Self::Held { .. }
            | Self::Ending { .. }
            | Self::Program { .. }
            | Self::NotStarted { .. }
            | Self::NotStopped { .. } => Code::PostgresDidNotStart,
            Self::Sql(_) => Code::PostgresUnreachable,
            Self::OutOfReach { .. }
            | Self::NotOurs { .. }
            | Self::SocketPath { .. }
            | Self::PasswordMissing { .. }
            | Self::Io { .. } => Code::DataNotWritable,
            Self::DataVersion { .. } => Code::DataOfOtherVersion,
            Self::PortTaken { .. } => Code::PortTaken,
            Self::DiskFull { .. } => Code::DiskFull,
            Self::Random(_) => Code::NoRandomness,
        }
    }

    /// What to do next.
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Self::NotFound { .. } | Self::TooOld { .. } => format!(
                "install PostgreSQL {LEAST_MAJOR} or newer (Debian, Ubuntu: `apt install postgresql`; Fedora: `dnf install \
                 postgresql-server`; macOS: `brew install postgresql@17`), or name a server with `--database-url`"
            ),
            Self::NoAccount { .. } => "name an account that may run it, or run Freehold as an ordinary user".to_owned(),
            Self::OutOfReach { barrier, .. } => {
                format!("choose a directory outside {} with `--data-dir`, such as /var/lib/freehold", barrier.display())
            }
            Self::NotOurs { path, .. } => {
                format!("choose another `--data-dir`, or give {} to the user that runs Freehold", path.display())
            }
            Self::SocketPath { .. } => "choose a shorter `--data-dir`".to_owned(),
            Self::DataVersion { data, .. } => format!(
                "install PostgreSQL {data} beside it, or dump the data with it and restore into a new `--data-dir`"
            ),
            Self::PortTaken { .. } => "end that program, or choose another port".to_owned(),
            Self::DiskFull { .. } => "free some space and try again; nothing was lost".to_owned(),
            Self::PasswordMissing { .. } => "restore the file from a backup, or choose another `--data-dir`".to_owned(),
            Self::Ending { .. } => {
                "wait until they have ended (`ps -C postgres`), or end them, and try again".to_owned()
            }
            Self::Held { pid, .. } => format!("see what process {pid} is, end it, and try again"),
            _ => return None,
        };
        Some(help)
    }
}

fn paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn lines(detail: &[String]) -> String {
    detail.iter().map(|line| format!("\n  | {line}")).collect()
}
