//! Why the store didn't do what it was asked to.

use std::borrow::Cow;

use freehold_engine::{OperationId, ProviderError};
use freehold_graph::StackId;
use freehold_problem::{About, Code, Problem};
use thiserror::Error;

/// Why the store didn't do what it was asked to. [`StoreError::code`] is the diagnostic's code.
#[derive(Debug, Error)]
pub enum StoreError {
    /// PostgreSQL doesn't answer, or lets nobody in just now. What was asked may or may not have been done.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// PostgreSQL has no room left on its disk. Nothing was done.
    #[error("the disk of the store is full: {0}")]
    DiskFull(String),
    /// PostgreSQL lets nobody in, because all its connections are taken. Nothing was done.
    #[error("the store's server is out of connections: {0}")]
    NoConnections(String),
    /// PostgreSQL refused a statement: a defect of this program, or a schema that was tampered with.
    #[error("the store refused to {doing}: {message}")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// The message of PostgreSQL.
        message: String,
    },
    /// Something in the store can't be read: a newer release wrote it, or it was damaged.
    #[error("{what} in the store can't be read: {message}")]
    Unreadable {
        /// What was read: `plan`, `graph`.
        what: &'static str,
        /// Why it can't be read.
        message: String,
    },
    /// The server is older than what Freehold needs.
    #[error("PostgreSQL {found} is too old: Freehold needs version 15 or newer")]
    TooOld {
        /// The server's version.
        found: String,
    },
    /// The schema could not be brought up to date.
    #[error("the store's schema could not be brought up to date: {0}")]
    Migration(String),
    /// The file of the master key is missing beside data that was sealed under it.
    #[error("the master key {path} is missing, and the store holds data that is sealed under it")]
    MasterKeyMissing {
        /// Where it should be.
        path: String,
    },
    /// The file holds another key than the one that the store was sealed under.
    #[error("the master key is not the one that this store was sealed under")]
    MasterKeyWrong,
    /// The file can't be read or written, or holds no key.
    #[error("the master key {path}: {message}")]
    MasterKeyFile {
        /// The file that was read or written.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// A sealed value doesn't open: it was changed, or moved from another row.
    #[error("the sealed value of {what} does not open: it was changed, or it belongs to another row")]
    Tampered {
        /// What was sealed: `secret session-key`.
        what: String,
    },
    /// The system gives no random numbers.
    #[error("the system provides no random numbers: {0}")]
    Random(String),
    /// A pool's role could pass by row-level security.
    #[error("role {role} must not be used: it {why}, so row-level security would not hold")]
    RoleTooPowerful {
        /// The role that the connection uses.
        role: String,
        /// What it is or has.
        why: String,
    },
    /// A name for a role, a database or a schema that isn't one.
    #[error("{0:?} is not a valid role or database name: use a-z, 0-9 and _, at most 63")]
    Name(String),
    /// Another plan was carried out since this one was made.
    #[error("the plan is outdated: {subject} has changed since it was made")]
    PlanOutdated {
        /// The stack's name.
        subject: String,
    },
    /// Another operation works on the stack.
    #[error("another operation works on {subject}: {operation}")]
    AnotherRunning {
        /// The stack's name.
        subject: String,
        /// The operation that holds the stack.
        operation: OperationId,
    },
    /// Another stack holds a name of the outside world.
    #[error("{scope} {name} is taken by {by}")]
    ClaimTaken {
        /// What kind of name: `host`, `database`.
        scope: String,
        /// The name that both want.
        name: String,
        /// The stack that holds it.
        holder: StackId,
        /// The name of that stack.
        by: String,
    },
    /// A stack asks for more connections than it has, and there are not so many left.
    #[error(
        "{subject} needs {wanted} database connections; it has {has}, and the PostgreSQL server of {target} has at most {left} for it"
    )]
    ConnectionsTaken {
        /// The stack's name.
        subject: String,
        /// The target whose server it is.
        target: String,
        /// What it wants.
        wanted: u32,
        /// What others don't have, its own included.
        left: u32,
        /// What it has.
        has: u32,
    },
    /// A second tenant, on a target that may have one only.
    #[error(
        "{subject} would be a second tenant beside {beside}, and tenants are not isolated on this machine: all programs run as the same user"
    )]
    SecondTenant {
        /// The stack's name.
        subject: String,
        /// The tenant that is there.
        beside: String,
    },
    /// The lease has passed to another process.
    #[error("another process has taken over this operation")]
    Fenced,
    /// There is no such thing, for this tenant.
    #[error("there is no {what} {name}")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// The name or id that was asked for.
        name: String,
    },
    /// No such target.
    #[error("there is no target {0}")]
    UnknownTarget(String),
    /// Stacks are on the target.
    #[error("target {target} has stacks: {}", stacks.join(", "))]
    TargetInUse {
        /// The target that was to be removed.
        target: String,
        /// The stacks: `guestbook/tenant/acme`.
        stacks: Vec<String>,
    },
}

impl StoreError {
    /// The diagnostic's code.
    pub const fn code(&self) -> Code {
        match self {
            Self::TooOld { .. } => Code::PostgresTooOld,
            Self::Unavailable(_) => Code::PostgresUnreachable,
            Self::MasterKeyMissing { .. } => Code::MasterKeyMissing,
            Self::MasterKeyWrong => Code::MasterKeyWrong,
            Self::DiskFull(_) => Code::DiskFull,
            Self::RoleTooPowerful { .. } => Code::RoleTooPowerful,
            Self::NoConnections(_) => Code::NoConnectionsLeft,
            Self::Migration(_) => Code::StoreNotMigrated,
            Self::Unreadable { .. } => Code::StoreUnreadable,
            Self::Tampered { .. } => Code::SealBroken,
            Self::MasterKeyFile { .. } => Code::MasterKeyUnreadable,
            Self::Refused { .. } => Code::StoreRefused,
            Self::Random(_) => Code::NoRandomness,
            Self::ClaimTaken { .. } => Code::NameClaimed,
            Self::PlanOutdated { .. } => Code::PlanOutdated,
            Self::AnotherRunning { .. } => Code::OperationRunning,
            Self::ConnectionsTaken { .. } => Code::ConnectionsExceeded,
            Self::SecondTenant { .. } => Code::TenantsNotIsolated,
            Self::Fenced => Code::LeaseLost,
            Self::Name(_) => Code::RequestName,
            Self::NotFound { .. } => Code::NotFound,
            Self::UnknownTarget(_) => Code::UnknownTarget,
            Self::TargetInUse { .. } => Code::TargetInUse,
        }
    }

    /// What to do next, where there is something to say.
    pub fn help(&self) -> Option<Cow<'static, str>> {
        let help = match self {
            Self::MasterKeyMissing { .. } => {
                "put the file back from its backup; without it, nothing that it sealed can be read"
            }
            Self::MasterKeyWrong => "put the right file back; a new one can't open what the old one sealed",
            Self::RoleTooPowerful { .. } => "take the attribute from the role, or let Freehold make its own roles",
            Self::DiskFull(_) => "free disk space; what was in progress continues by itself",
            Self::NoConnections(_) => "raise max_connections, or close unused connections",
            Self::PlanOutdated { .. } => "plan again and look at what is different now",
            Self::MasterKeyFile { .. } => "make it a file of 32 bytes that only Freehold's user may read: mode 600",
            Self::Unavailable(_) => {
                "check that PostgreSQL runs and accepts Freehold's address, user and password; then try again"
            }
            Self::AnotherRunning { .. } => {
                "wait until it has ended: `freehold status` shows it; Ctrl-C in the command that follows it stops it"
            }
            Self::UnknownTarget(_) => "`freehold target list` shows the targets; `freehold target add` adds one",
            Self::TargetInUse { .. } => "destroy these stacks first",
            Self::ClaimTaken { scope, by, .. } => {
                return Some(
                    format!("choose another {scope} in the definition, another name for the stack, or destroy {by}")
                        .into(),
                );
            }
            Self::ConnectionsTaken { .. } => {
                "lower `connections` in the definition, or raise max_connections of the server"
            }
            Self::SecondTenant { .. } => {
                "run the platform as root, or accept that tenants can harm each other: `freehold down`, then `freehold up \
                 --insecure-shared-user`, which it remembers"
            }
            Self::Migration(_) => {
                "fix the cause named above, usually a missing privilege of the role that owns the tables; a store that a newer \
                 release has changed needs that release"
            }
            Self::TooOld { .. } => "install PostgreSQL 15 or newer, or give another server with --database-url",
            Self::Refused { .. }
            | Self::Unreadable { .. }
            | Self::Tampered { .. }
            | Self::Random(_)
            | Self::Name(_)
            | Self::Fenced
            | Self::NotFound { .. } => return None,
        };
        Some(help.into())
    }

    /// Makes an error of sqlx into one of the store: connection errors apart from errors of the statement.
    pub(crate) fn from_sqlx(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |error| {
            match sql_state(&error).as_deref() {
                Some("53100") => return Self::DiskFull(error.to_string()),
                Some("53300") => return Self::NoConnections(error.to_string()),
                // A wrong password, a role or a database that isn't there: what the URL says, not what was asked.
                Some(state) if state.starts_with("28") || state == "3D000" => {
                    return Self::Unavailable(error.to_string());
                }
                _ if is_unavailable(&error) => return Self::Unavailable(error.to_string()),
                _ => {}
            }
            if matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) {
                return Self::Unreadable { what: "a row", message: error.to_string() };
            }
            Self::Refused { doing, message: error.to_string() }
        }
    }
}

/// For providers that use the store.
impl From<StoreError> for ProviderError {
    fn from(error: StoreError) -> Self {
        let passes =
            matches!(error, StoreError::Unavailable(_) | StoreError::NoConnections(_) | StoreError::DiskFull(_));
        let problem = Problem::from(error);
        if passes { Self::Retryable { problem, after: None } } else { Self::Rejected(problem) }
    }
}

/// Whether it is an error of the connection or the server's state, so that trying again may help.
pub(crate) fn is_unavailable(error: &sqlx::Error) -> bool {
    let of_connection = matches!(
        error,
        sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed
    );
    // 08 connection, 53 out of resources (connections, disk), 57P shutting down or starting up, 40 deadlock or
    // serialization, 55P03 a lock that wasn't had in time, 57014 a statement that took too long.
    let passing = ["08", "53", "57P", "40", "55P03", "57014", "25P0"];
    of_connection || sql_state(error).is_some_and(|code| passing.iter().any(|class| code.starts_with(class)))
}

/// The code that PostgreSQL gave the error.
fn sql_state(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error().and_then(|database| database.code())
}

/// The name of the constraint that a statement broke, if it broke one.
pub(crate) fn broken_constraint(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error()?.constraint()
}

/// Code, message and help are those of the error.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let problem = Self::new(error.code(), error.to_string()).maybe_help(error.help());
        match error {
            StoreError::AnotherRunning { operation, .. } => problem.about(About::Operation(operation.0)),
            StoreError::Unavailable(_)
            | StoreError::DiskFull(_)
            | StoreError::NoConnections(_)
            | StoreError::Refused { .. }
            | StoreError::Unreadable { .. }
            | StoreError::TooOld { .. }
            | StoreError::Migration(_)
            | StoreError::MasterKeyMissing { .. }
            | StoreError::MasterKeyWrong
            | StoreError::MasterKeyFile { .. }
            | StoreError::Tampered { .. }
            | StoreError::Random(_)
            | StoreError::RoleTooPowerful { .. }
            | StoreError::Name(_)
            | StoreError::PlanOutdated { .. }
            | StoreError::ClaimTaken { .. }
            | StoreError::ConnectionsTaken { .. }
            | StoreError::SecondTenant { .. }
            | StoreError::Fenced
            | StoreError::NotFound { .. }
            | StoreError::UnknownTarget(_)
            | StoreError::TargetInUse { .. } => problem,
        }
    }
}
