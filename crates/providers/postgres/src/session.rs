//! Connections: a few kept ones of the provisioner, to a database of its own ([`crate::own_database`]), and short ones to stacks'
//! databases, which the provisioner never enters ([`crate::in_database`]).
//!
//! Locks are held in the provisioner's own database only: in one that tenants enter, they could hold them, too.
//!
//! What always holds: no wait is without a deadline. Getting a connection, connecting and each statement end in time,
//! the statements by the server's own `statement_timeout`, so that nothing goes on there after we gave up here. A
//! connection goes back into the pool only after everything on it went well; in any other case it is closed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use freehold_engine::ProviderError;
use freehold_graph::SecretText;
use freehold_problem::Code;
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::failure::{self, Doing};
use crate::fault::{Fault, FaultAction};
use crate::in_database::{self, Key};
use crate::own_database;
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
    Change(&'a Identifier),
    /// Dumps it: one at a time, while others may look.
    Dump(&'a Identifier),
    /// Deletes it, which neither a change nor a dump may go on beside.
    Delete(&'a Identifier),
    /// Has the rights of this owner.
    Assume(&'a Identifier),
}

impl Turn<'_> {
    fn statement(self) -> Option<String> {
        let change = |name: &Identifier| key("change", name);
        let dump = |name: &Identifier| key("dump", name);
        match self {
            Self::None => None,
            Self::Assume(name) => Some(format!("SELECT pg_advisory_lock({})", key("assume", name))),
            Self::Look(name) => Some(format!("SELECT pg_advisory_lock_shared({})", change(name))),
            Self::Change(name) => Some(format!("SELECT pg_advisory_lock({})", change(name))),
            Self::Dump(name) => Some(format!("SELECT pg_advisory_lock({})", dump(name))),
            Self::Delete(name) => {
                Some(format!("SELECT pg_advisory_lock({}), pg_advisory_lock({})", change(name), dump(name)))
            }
        }
    }
}

/// Names for a list in a statement.
pub(crate) fn listed(names: &[&Identifier]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The number that stands for a name in advisory locks.
fn key(what: &str, name: &Identifier) -> i64 {
    let digest = Sha256::digest(format!("freehold {what} {}", name.as_str()).as_bytes());
    digest.iter().take(8).fold(0, |key, byte| key << 8 | i64::from(*byte))
}

/// The connections to one server.
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    /// To the provisioner's own database.
    options: PgConnectOptions,
    /// The database that was given, where there is no own one yet.
    given: Option<Identifier>,
    key: Key,
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<PgConnection>>>,
    fault: Option<Fault>,
}

/// Who enters a stack's database, and what for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// The keeper or the dumper.
    pub(crate) login: &'a Identifier,
    /// Whom it acts as, where not as itself.
    pub(crate) acts_as: Option<&'a Identifier>,
    /// [`in_database::CHANGING`] or [`in_database::LOOKING`].
    pub(crate) called: &'static str,
}

impl<'a> Entry<'a> {
    pub(crate) fn look(login: &'a Identifier) -> Self {
        Self { login, acts_as: None, called: in_database::LOOKING }
    }

    pub(crate) fn change(login: &'a Identifier, acts_as: &'a Identifier) -> Self {
        Self { login, acts_as: Some(acts_as), called: in_database::CHANGING }
    }
}

impl Sessions {
    /// At most `size` connections to the provisioner's own database at once; none is opened before it is needed.
    pub(crate) fn new(options: PgConnectOptions, key: Key, size: usize) -> Self {
        let given = options.get_database().and_then(|name| Identifier::new(name).ok());
        let options = ours(options);
        let options = match own_database::name(options.get_username()) {
            Ok(home) => options.database(home.as_str()),
            Err(_) => options,
        };
        Self { options, given, key, permits: Arc::new(Semaphore::new(size)), idle: Arc::default(), fault: None }
    }

    pub(crate) fn with_fault(self, fault: Option<Fault>) -> Self {
        Self { fault, ..self }
    }

    /// The server that they lead to.
    pub(crate) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    pub(crate) fn password(&self, login: &Identifier) -> SecretText {
        self.key.password(login)
    }

    pub(crate) fn digest(&self, login: &Identifier) -> String {
        self.key.digest(login)
    }

    /// A connection as the provisioner, for statements that end before `deadline`.
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
        let mut session = self.home(doing, deadline).await?;
        session.take(turn, doing, deadline).await?;
        Ok(session)
    }

    async fn unlocked(&self, doing: &Doing, deadline: Instant) -> Result<Session, ProviderError> {
        let permit = timeout_at(deadline, self.permits.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(ProviderError::retryable(Code::NotNow, format!("{}: all connections were busy", doing.0)));
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
        let mut session = self.home(doing, deadline).await?;
        session.home = Some((self.idle.clone(), permit));
        Ok(session)
    }

    /// To the provisioner's own database, which is made where it isn't there.
    async fn home(&self, doing: &Doing, deadline: Instant) -> Result<Session, ProviderError> {
        let error = match self.connect(&self.options, doing, deadline).await? {
            Ok(session) => return Ok(session),
            Err(error) => error,
        };
        let state = failure::sqlstate(&error);
        let (Some("3D000" | "53300"), Some(given)) = (state.as_deref(), &self.given) else {
            return Err(doing.connecting(error));
        };
        // Not there, or not open yet because whoever made it was interrupted; else nobody gets in there either.
        let elsewhere = self.options.clone().database(given.as_str());
        let mut session = match self.connect(&elsewhere, doing, deadline).await? {
            Ok(session) => session,
            Err(error) => return Err(doing.connecting(error)),
        };
        session.make_home(self.options.get_username(), doing, deadline).await?;
        session.finish().await;
        self.connect(&self.options, doing, deadline).await?.map_err(|error| doing.connecting(error))
    }

    /// A connection of its own to a stack's database.
    pub(crate) async fn inside(
        &self,
        database: &Identifier,
        entry: Entry<'_>,
        doing: &Doing,
        deadline: Instant,
    ) -> Result<Session, ProviderError> {
        let opened = self.attempt_inside(database, entry, doing, deadline).await?;
        opened.map_err(|error| doing.connecting(error))
    }

    /// The same, with the server's refusal as it is.
    pub(crate) async fn attempt_inside(
        &self,
        database: &Identifier,
        entry: Entry<'_>,
        doing: &Doing,
        deadline: Instant,
    ) -> Result<Result<Session, sqlx::Error>, ProviderError> {
        let options = self.options.clone().username(entry.login.as_str()).password(self.password(entry.login).reveal());
        let options = options.database(database.as_str()).application_name(entry.called).options(in_database::OPTIONS);
        let options = options.options([("role", entry.acts_as.map_or("none", Identifier::as_str))]);
        self.connect(&options, doing, deadline).await
    }

    async fn connect(
        &self,
        options: &PgConnectOptions,
        doing: &Doing,
        deadline: Instant,
    ) -> Result<Result<Session, sqlx::Error>, ProviderError> {
        // With the options of the connection instead of a statement: one round trip less.
        let options = options.clone().options(limits(deadline));
        match timeout_at(deadline, options.connect()).await {
            Ok(Ok(connection)) => Ok(Ok(Session { connection, home: None, locked: false, fault: self.fault.clone() })),
            Ok(Err(error)) => Ok(Err(error)),
            Err(_) => Err(ProviderError::retryable(
                Code::PostgresUnreachable,
                format!("{}: the PostgreSQL server does not answer", doing.0),
            )),
        }
    }
}

/// What all of our connections have in common.
fn ours(options: PgConnectOptions) -> PgConnectOptions {
    options.disable_statement_logging().application_name("freehold").options([
        ("search_path", "pg_catalog,pg_temp"),
        ("standard_conforming_strings", "on"),
        ("client_min_messages", "error"),
    ])
}

/// A connection that isn't pooled, to the database that the options name.
pub(crate) async fn single(
    options: &PgConnectOptions,
    doing: &Doing,
    deadline: Instant,
) -> Result<Session, ProviderError> {
    match timeout_at(deadline, ours(options.clone()).options(limits(deadline)).connect()).await {
        Ok(Ok(connection)) => Ok(Session { connection, home: None, locked: false, fault: None }),
        Ok(Err(error)) => Err(doing.connecting(error)),
        Err(_) => Err(ProviderError::retryable(
            Code::PostgresUnreachable,
            format!("{}: the PostgreSQL server does not answer", doing.0),
        )),
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
    /// Makes the provisioner's own database ([`crate::own_database`]), closed to all but its owner: who runs this. Repeating it changes nothing.
    pub(crate) async fn make_home(
        &mut self,
        provisioner: &str,
        doing: &Doing,
        deadline: Instant,
    ) -> Result<(), ProviderError> {
        let home = own_database::name(provisioner)?;
        // Closed until PUBLIC's rights are gone.
        let create = format!("CREATE DATABASE {home} TEMPLATE template0 ENCODING 'UTF8' CONNECTION LIMIT 0");
        match self.attempt(deadline, create).await {
            Ok(()) => {}
            // There already, or made by another process in this moment.
            Err(Some(error)) if matches!(failure::sqlstate(&error).as_deref(), Some("42P04" | "23505")) => {}
            Err(Some(error)) => return Err(doing.failed(error)),
            Err(None) => {
                return Err(ProviderError::retryable(
                    Code::PostgresUnreachable,
                    format!("{}: no answer within its time", doing.0),
                ));
            }
        }
        let close = format!("REVOKE ALL ON DATABASE {home} FROM PUBLIC; ALTER DATABASE {home} CONNECTION LIMIT -1");
        self.run(doing, deadline, close).await
    }

    /// For queries with parameters.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// The connection itself, with the limits that it was opened with.
    pub(crate) fn into_connection(self) -> PgConnection {
        self.connection
    }

    /// Runs statements, all of them in one transaction. They are built from literals of this crate, numbers and what
    /// [`crate::quote`] quoted, and nothing else.
    pub(crate) async fn run(&mut self, doing: &Doing, deadline: Instant, sql: String) -> Result<(), ProviderError> {
        self.attempt(deadline, sql).await.map_err(|error| match error {
            Some(error) => doing.failed(error),
            None => {
                ProviderError::unknown(Code::PostgresUnreachable, format!("{}: no answer within its time", doing.0))
            }
        })
    }

    /// The same, with the error as it is; `None` if there was no answer in time.
    pub(crate) async fn attempt(&mut self, deadline: Instant, sql: String) -> Result<(), Option<sqlx::Error>> {
        let action = self.fault.as_ref().map_or(FaultAction::Succeeds, Fault::next_action);
        let broken = || Some(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()));
        if action == FaultAction::IsNotSent {
            return Err(broken());
        }
        self.send(deadline, sql).await?;
        if action == FaultAction::IsNotAnswered { Err(broken()) } else { Ok(()) }
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
            Some(ProviderError::Rejected(_)) | None => {
                ProviderError::retryable(Code::PostgresUnreachable, format!("{}: no answer within its time", doing.0))
            }
            Some(ProviderError::Retryable { .. }) => ProviderError::retryable(
                Code::NotNow,
                format!("{}: an earlier call about it is still at work", doing.0),
            ),
            Some(unknown) => unknown,
        })
    }

    /// Gains the rights of roles of ours, for statements that need them.
    ///
    /// The provisioner is a member of a stack's roles only while it works on them, and only by a grant of the very session
    /// that uses it. A server process that computes what it is a member of while others commit grants may keep a list
    /// that lacks theirs; a grant of its own it never misses. One at a time for each owner, so that nobody takes the rights
    /// from another; who dies in between leaves a membership that the next one ends.
    pub(crate) async fn assume(
        &mut self,
        owner: &Identifier,
        roles: &[&Identifier],
        doing: &Doing,
        deadline: Instant,
    ) -> Result<(), ProviderError> {
        self.take(Turn::Assume(owner), doing, deadline).await?;
        // Doesn't wait for the disk: what it is for is committed behind it. A crash that loses both leaves nothing to be done.
        let grant = format!("SET LOCAL synchronous_commit = off; GRANT {} TO CURRENT_USER", listed(roles));
        self.run(doing, deadline, grant).await
    }

    /// Gives the rights back.
    pub(crate) async fn resign(
        &mut self,
        owner: &Identifier,
        roles: &[&Identifier],
        doing: &Doing,
        deadline: Instant,
    ) -> Result<(), ProviderError> {
        self.resign_after("", owner, roles, doing, deadline).await
    }

    /// Runs the last statements that need the rights, each ended by a semicolon, and gives the rights back, in one transaction.
    pub(crate) async fn resign_after(
        &mut self,
        statements: &str,
        owner: &Identifier,
        roles: &[&Identifier],
        doing: &Doing,
        deadline: Instant,
    ) -> Result<(), ProviderError> {
        let unlock = format!("SELECT pg_advisory_unlock({})", key("assume", owner));
        let revoke =
            if roles.is_empty() { String::new() } else { format!("REVOKE {} FROM CURRENT_USER; ", listed(roles)) };
        self.run(doing, deadline, format!("{statements}{revoke}{unlock}")).await
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
