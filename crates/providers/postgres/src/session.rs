//! Connections: a few kept ones to the maintenance database, and short ones to tenants' databases.
//!
//! What always holds: no wait is without a deadline. Getting a connection, connecting and each statement end in time,
//! the statements by the server's own `statement_timeout`, so that nothing goes on there after we gave up here. A
//! connection goes back into the pool only after everything on it went well; in any other case it is closed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use freehold_engine::ProviderError;
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::failure::Doing;
use crate::fault::{Fate, Fault};
use crate::quote::Identifier;

/// Of the time that a call has, what is left for its answer to arrive after the server gave a statement up.
const MARGIN: Duration = Duration::from_millis(250);
/// How long to wait for a lock that somebody else holds.
const LOCK: Duration = Duration::from_secs(5);

/// Whose turn it is: what a session waits for before it does anything, and keeps others from meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Turn<'a> {
    /// Anybody's: a look that may be a little out of date.
    None,
    /// Looks at the object of this name, after those who change it.
    Look(&'a Identifier),
    /// Changes it.
    Change(&'a Identifier),
    /// Dumps it: one at a time, while others may look.
    Dump(&'a Identifier),
    /// Deletes it, which neither a change nor a dump may go on beside.
    Delete(&'a Identifier),
}

impl Turn<'_> {
    fn statement(self) -> Option<String> {
        let change = |name: &Identifier| key("change", name);
        let dump = |name: &Identifier| key("dump", name);
        match self {
            Self::None => None,
            Self::Look(name) => Some(format!("SELECT pg_advisory_lock_shared({})", change(name))),
            Self::Change(name) => Some(format!("SELECT pg_advisory_lock({})", change(name))),
            Self::Dump(name) => Some(format!("SELECT pg_advisory_lock({})", dump(name))),
            Self::Delete(name) => {
                Some(format!("SELECT pg_advisory_lock({}), pg_advisory_lock({})", change(name), dump(name)))
            }
        }
    }
}

/// The number that stands for a name in advisory locks.
fn key(what: &str, name: &Identifier) -> i64 {
    let digest = Sha256::digest(format!("freehold {what} {}", name.as_str()).as_bytes());
    digest.iter().take(8).fold(0, |key, byte| key << 8 | i64::from(*byte))
}

/// For the beginning of a transaction in a tenant's own database that changes something in there.
pub(crate) fn lock_inside(name: &Identifier) -> String {
    format!("SELECT pg_advisory_xact_lock({});\n", key("change", name))
}

/// The connections to one server.
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    options: PgConnectOptions,
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<PgConnection>>>,
    fault: Option<Fault>,
}

impl Sessions {
    /// At most `size` connections to the maintenance database at once; none is opened before it is needed.
    pub(crate) fn new(options: PgConnectOptions, size: usize) -> Self {
        let options = options.disable_statement_logging().application_name("freehold");
        let options = options.options([("standard_conforming_strings", "on"), ("client_min_messages", "warning")]);
        Self { options, permits: Arc::new(Semaphore::new(size)), idle: Arc::default(), fault: None }
    }

    pub(crate) fn with_fault(self, fault: Option<Fault>) -> Self {
        Self { fault, ..self }
    }

    /// The server that they lead to.
    pub(crate) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// A connection to the maintenance database, for statements that end before `deadline`.
    pub(crate) async fn maintenance(
        &self,
        turn: Turn<'_>,
        doing: &Doing,
        deadline: Instant,
    ) -> Result<Session, ProviderError> {
        let mut session = self.unlocked(doing, deadline).await?;
        session.take(turn, doing, deadline).await?;
        Ok(session)
    }

    /// The same with a connection of its own, for work so long that it would keep others from the few.
    pub(crate) async fn own(&self, turn: Turn<'_>, doing: &Doing, deadline: Instant) -> Result<Session, ProviderError> {
        let mut session = self.open(self.options.clone(), doing, deadline).await?;
        session.take(turn, doing, deadline).await?;
        Ok(session)
    }

    async fn unlocked(&self, doing: &Doing, deadline: Instant) -> Result<Session, ProviderError> {
        let permit = timeout_at(deadline, self.permits.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(ProviderError::retryable(format!("{}: all connections were busy", doing.0)));
        };
        loop {
            let kept = self.idle.lock().map(|mut idle| idle.pop()).unwrap_or_default();
            let Some(kept) = kept else { break };
            let mut session = Session { connection: kept, home: None, locked: false, fault: None };
            // It may have died with the server since it was used last.
            if session.limit(deadline).await.is_ok() {
                session.home = Some((self.idle.clone(), permit));
                session.fault.clone_from(&self.fault);
                return Ok(session);
            }
        }
        let mut session = self.open(self.options.clone(), doing, deadline).await?;
        session.home = Some((self.idle.clone(), permit));
        Ok(session)
    }

    /// A connection of its own to another database, as the provisioner or as a role that it is a member of.
    pub(crate) async fn database(
        &self,
        name: &Identifier,
        role: Option<&Identifier>,
        doing: &Doing,
        deadline: Instant,
    ) -> Result<Session, ProviderError> {
        let mut options = self.options.clone().database(name.as_str());
        if let Some(role) = role {
            options = options.options([("role", role.as_str())]);
        }
        self.open(options, doing, deadline).await
    }

    async fn open(
        &self,
        options: PgConnectOptions,
        doing: &Doing,
        deadline: Instant,
    ) -> Result<Session, ProviderError> {
        // With the options of the connection instead of a statement: one round trip less.
        let options = options.options(limits(deadline));
        match timeout_at(deadline, options.connect()).await {
            Ok(Ok(connection)) => Ok(Session { connection, home: None, locked: false, fault: self.fault.clone() }),
            Ok(Err(error)) => Err(doing.connecting(error)),
            Err(_) => Err(ProviderError::retryable(format!("{}: the PostgreSQL server does not answer", doing.0))),
        }
    }
}

fn limits(deadline: Instant) -> [(&'static str, String); 3] {
    let left = deadline.saturating_duration_since(Instant::now()).saturating_sub(MARGIN).as_millis().max(1);
    [
        ("statement_timeout", left.to_string()),
        ("lock_timeout", LOCK.as_millis().min(left).to_string()),
        ("idle_in_transaction_session_timeout", left.to_string()),
    ]
}

/// One connection in use.
pub(crate) struct Session {
    connection: PgConnection,
    /// Where it goes back to.
    home: Option<(Arc<Mutex<Vec<PgConnection>>>, OwnedSemaphorePermit)>,
    /// It holds advisory locks.
    locked: bool,
    fault: Option<Fault>,
}

impl Session {
    /// For queries with parameters.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Runs statements, all of them in one transaction. They are built from literals of this crate, numbers and what
    /// [`crate::quote`] quoted, and nothing else.
    pub(crate) async fn run(&mut self, doing: &Doing, deadline: Instant, sql: String) -> Result<(), ProviderError> {
        self.attempt(deadline, sql).await.map_err(|error| match error {
            Some(error) => doing.failed(error),
            None => ProviderError::Unknown { message: format!("{}: no answer within its time", doing.0) },
        })
    }

    /// The same, with the error as it is; `None` if there was no answer in time.
    pub(crate) async fn attempt(&mut self, deadline: Instant, sql: String) -> Result<(), Option<sqlx::Error>> {
        let fate = self.fault.as_ref().map_or(Fate::Succeeds, Fault::fate);
        let broken = || Some(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()));
        if fate == Fate::IsNotSent {
            return Err(broken());
        }
        self.send(deadline, sql).await?;
        if fate == Fate::IsNotAnswered { Err(broken()) } else { Ok(()) }
    }

    async fn send(&mut self, deadline: Instant, sql: String) -> Result<(), Option<sqlx::Error>> {
        match timeout_at(deadline, self.connection.execute(sqlx::raw_sql(AssertSqlSafe(sql)))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Some(error)),
            Err(_) => Err(None),
        }
    }

    /// Waits until others are done with an object.
    pub(crate) async fn take(&mut self, turn: Turn<'_>, doing: &Doing, deadline: Instant) -> Result<(), ProviderError> {
        let Some(sql) = turn.statement() else { return Ok(()) };
        self.locked = true;
        self.send(deadline, sql).await.map_err(|error| match error.map(|error| doing.failed(error)) {
            Some(ProviderError::Rejected { .. }) | None => {
                ProviderError::retryable(format!("{}: no answer within its time", doing.0))
            }
            Some(ProviderError::Retryable { .. }) => {
                ProviderError::retryable(format!("{}: an earlier call about it is still at work", doing.0))
            }
            Some(unknown) => unknown,
        })
    }

    /// Gives it back after everything went well; one of its own is closed.
    pub(crate) async fn finish(mut self) {
        if self.locked && self.home.is_some() {
            let released = self.send(Instant::now() + MARGIN, "SELECT pg_advisory_unlock_all()".to_owned()).await;
            if released.is_err() {
                return;
            }
        }
        match self.home {
            Some((idle, _permit)) => {
                if let Ok(mut idle) = idle.lock() {
                    idle.push(self.connection);
                }
            }
            None => {
                // The server notices the end of the connection by itself, too.
                let _ = tokio::time::timeout(MARGIN, self.connection.close()).await;
            }
        }
    }

    async fn limit(&mut self, deadline: Instant) -> Result<(), Option<sqlx::Error>> {
        let settings = limits(deadline).map(|(name, milliseconds)| format!("SET {name} = {milliseconds};"));
        self.send(deadline, settings.concat()).await
    }
}
