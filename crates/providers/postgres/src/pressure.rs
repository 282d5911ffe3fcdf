//! What sessions take of what all databases of a private server share: its table of locks, its queue of notifications, its
//! numbers of transactions.
//!
//! PostgreSQL gives each of them to whoever comes first, and has no limit for a role. One `SELECT` of a tenant's fills the
//! table of locks, and then nobody can log in; a transaction that stays open keeps the numbers of transactions from being used
//! again, until nobody can write.
//!
//! So the sessions are looked at through a connection that is kept open, by statements that read no table: under attack there
//! may be no other connection to be had, and no lock. For the same reason sessions are ended by the signal that
//! `pg_terminate_backend` sends, not by that function, which looks into a catalog first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use freehold_engine::ProviderError;
use freehold_problem::Code;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;
use tokio::time::{Instant, timeout};

use crate::failure::Doing;
use crate::mark::PREFIX;
use crate::row::from_row;
use crate::session::single;

/// How long the server may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How full the queue of notifications may be, 0 to 1, before it doesn't matter any more who filled it.
const NEARLY_FULL: f64 = 0.5;
/// By how much the queue has to shrink, as a share, for those who were ended to be the ones that filled it.
const RELIEF: f64 = 0.1;
/// How long a database isn't suspected again whose transactions were ended for the queue in vain.
const CLEARED: Duration = Duration::from_secs(3600);

/// Something that all databases of a server share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shared {
    /// The table of locks.
    Locks,
    /// The queue of notifications, which keeps what a session hasn't read.
    Notifications,
    /// The numbers of transactions, of which two thousand million may be in use.
    TransactionIds,
}

impl Shared {
    /// What it is called.
    pub fn word(self) -> &'static str {
        match self {
            Self::Locks => "locks",
            Self::Notifications => "unread notifications",
            Self::TransactionIds => "transaction ids",
        }
    }
}

/// From when on somebody takes too much.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of the table of locks, how much all sessions together may take before the greediest are ended: 0 to 1.
    pub locks: f64,
    /// The same of the queue of notifications.
    pub notifications: f64,
    /// How long a transaction may go on, in seconds, while the queue is fuller than that.
    pub listening_seconds: f64,
    /// How many transactions may have begun since one that still goes on.
    pub transactions: i64,
}

impl Default for Limits {
    fn default() -> Self {
        // The queue has room for 8 GB. The server stops at 2,147 million transactions.
        Self { locks: 0.5, notifications: 0.01, listening_seconds: 10.0, transactions: 500_000_000 }
    }
}

/// Sessions of one database that took too much, and were ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excess {
    /// The database, by its oid.
    pub database: i64,
    /// What the stack takes too much of.
    pub of: Shared,
    /// How many sessions were ended.
    pub sessions: usize,
}

/// A watch over the sessions of a private server.
#[derive(Debug)]
pub struct Watch {
    admin: PgConnectOptions,
    limits: Limits,
    connected: Option<Connected>,
    sessions: Option<Vec<LoggedIn>>,
    /// Those that were told to end at the last look.
    told: BTreeSet<i32>,
    queue: Queue,
}

/// A database whose transactions were told to end.
#[derive(Debug, PartialEq)]
struct Suspect {
    database: i64,
    /// The processes of their sessions.
    pids: Vec<i32>,
    /// How full the queue was then.
    full: f64,
}

/// A session of a stack's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoggedIn {
    /// The process that serves it.
    pub pid: i32,
    /// The TCP port that it comes from; `None` if it comes through a Unix socket.
    pub port: Option<u16>,
}

/// What is known of those who keep the queue of notifications full. Only who listens does, and the server doesn't say who that is: so the
/// long transactions of one database after the other are ended, until that helps.
#[derive(Debug, Default)]
struct Queue {
    suspect: Option<Suspect>,
    /// Since when databases are known not to be it.
    cleared: BTreeMap<i64, Instant>,
}

#[derive(Debug)]
struct Connected {
    connection: PgConnection,
    /// The process that all sessions' processes are children of.
    postmaster: i32,
    /// The platform's own roles.
    exempt: Vec<i64>,
    /// How many locks there is room for.
    room: i64,
}

#[derive(Debug, Clone)]
struct SessionRow {
    pid: i32,
    /// -1: it comes through a Unix socket.
    client_port: i32,
    database: i64,
    locks: i64,
    /// Transactions that began since the oldest that it needs.
    age: Option<i32>,
    /// How long its transaction has gone on.
    seconds: Option<f64>,
}

from_row!(SessionRow { pid, client_port, database, locks, age, seconds });

impl Watch {
    /// # Parameters
    /// `admin` leads to the maintenance database, as the superuser.
    pub fn new(admin: PgConnectOptions, limits: Limits) -> Self {
        Self { admin, limits, connected: None, sessions: None, told: BTreeSet::new(), queue: Queue::default() }
    }

    /// The sessions of stacks at the last look; `None` if it failed, or there was none. A connection that hasn't logged in is no session.
    pub fn sessions(&self) -> Option<&[LoggedIn]> {
        self.sessions.as_deref()
    }

    /// How many processes the server has now: one for each connection, logged in or not, and a few of its own. `None` if the last look
    /// failed, or the kernel doesn't say.
    pub fn processes(&self) -> Option<usize> {
        let postmaster = self.connected.as_ref()?.postmaster;
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).ok()?;
        Some(children.split_whitespace().count())
    }

    /// Looks once, and ends the sessions that take too much.
    ///
    /// # Errors
    /// The server doesn't answer; the next call connects anew.
    pub async fn look(&mut self) -> Result<Vec<Excess>, ProviderError> {
        self.sessions = None;
        let mut connected = match self.connected.take() {
            Some(connected) => connected,
            None => Connected::open(&self.admin).await?,
        };
        let (sessions, queue) = connected.sessions().await?;
        self.sessions = Some(sessions.iter().map(SessionRow::logged_in).collect());
        let mut ended: Vec<Excess> = self.queue.guilty(&sessions, queue).into_iter().collect();
        let mut told = BTreeSet::new();
        // Whoever takes some time to end has taken too much once.
        let mut end_new = |pids: &[i32]| {
            let known = &self.told;
            let signalled = pids.iter().filter(|pid| end(**pid, connected.postmaster));
            signalled.filter(|pid| told.insert(**pid) && !known.contains(pid)).count()
        };
        for (database, of, pids) in too_much(&sessions, connected.room, &self.limits) {
            let sessions = end_new(&pids);
            ended.extend((sessions > 0).then_some(Excess { database, of, sessions }));
        }
        for (database, pids) in self.queue.suspects(&sessions, queue, &self.limits) {
            end_new(&pids);
            if queue <= NEARLY_FULL {
                self.queue.suspect = Some(Suspect { database, pids, full: queue });
            }
        }
        self.told = told;
        self.connected = Some(connected);
        Ok(ended)
    }
}

impl SessionRow {
    fn logged_in(&self) -> LoggedIn {
        LoggedIn { pid: self.pid, port: u16::try_from(self.client_port).ok() }
    }
}

impl Queue {
    /// What the queue says of those who were told to end, once they have.
    fn guilty(&mut self, sessions: &[SessionRow], full: f64) -> Option<Excess> {
        self.cleared.retain(|_, since| since.elapsed() < CLEARED);
        let suspect =
            self.suspect.take_if(|suspect| sessions.iter().all(|session| !suspect.pids.contains(&session.pid)))?;
        if full > suspect.full * (1.0 - RELIEF) {
            self.cleared.insert(suspect.database, Instant::now());
            return None;
        }
        Some(Excess { database: suspect.database, of: Shared::Notifications, sessions: suspect.pids.len() })
    }

    /// Whose transactions are ended next, by database: those of the database that has the oldest one, or all once there is hardly any room.
    fn suspects(&self, sessions: &[SessionRow], full: f64, limits: &Limits) -> BTreeMap<i64, Vec<i32>> {
        let mut suspects: BTreeMap<i64, Vec<i32>> = BTreeMap::new();
        if full <= limits.notifications || self.suspect.is_some() && full <= NEARLY_FULL {
            return suspects;
        }
        let long = |session: &&SessionRow| session.seconds.is_some_and(|seconds| seconds >= limits.listening_seconds);
        let suspected = |session: &&SessionRow| full > NEARLY_FULL || !self.cleared.contains_key(&session.database);
        let mut long: Vec<&SessionRow> = sessions.iter().filter(long).filter(suspected).collect();
        long.sort_by(|one, other| other.seconds.partial_cmp(&one.seconds).unwrap_or(std::cmp::Ordering::Equal));
        let first = long.first().map(|session| session.database);
        for session in long {
            if full > NEARLY_FULL || Some(session.database) == first {
                suspects.entry(session.database).or_default().push(session.pid);
            }
        }
        suspects
    }
}

impl Connected {
    async fn open(admin: &PgConnectOptions) -> Result<Self, ProviderError> {
        let doing = doing();
        let mut session = single(admin, &doing, Instant::now() + ANSWER).await?;
        let connection = session.connection();
        // The limit of the statement is that of the whole session.
        let setting: (i32, i64) = sqlx::query_as(
            "SELECT pg_backend_pid(), current_setting('max_locks_per_transaction')::pg_catalog.int8 *
                (current_setting('max_connections')::pg_catalog.int8 + current_setting('max_prepared_transactions')::pg_catalog.int8)",
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(|error| doing.failed(error))?;
        let exempt = sqlx::query_scalar(
            "SELECT oid::pg_catalog.int8 FROM pg_catalog.pg_roles
             WHERE NOT pg_catalog.starts_with(COALESCE(pg_catalog.shobj_description(oid, 'pg_authid'), ''), $1)",
        )
        .bind(PREFIX)
        .fetch_all(&mut *connection)
        .await
        .map_err(|error| doing.failed(error))?;
        let (own, room) = setting;
        let postmaster =
            parent(own).ok_or_else(|| doing.rejected(Code::StepFailed, "its process can't be seen", None, None))?;
        let mut opened = Self { connection: session.into_connection(), postmaster, exempt, room };
        // What the statements need is in the session's memory from here on.
        opened.sessions().await?;
        Ok(opened)
    }

    /// The sessions of stacks, and how full the queue of notifications is: 0 to 1.
    async fn sessions(&mut self) -> Result<(Vec<SessionRow>, f64), ProviderError> {
        const SESSIONS: &str = "
            SELECT a.pid, COALESCE(a.client_port, -1) AS client_port, a.datid::pg_catalog.int8 AS database, COALESCE(l.locks, 0) AS locks,
                GREATEST(pg_catalog.age(a.backend_xid), pg_catalog.age(a.backend_xmin)) AS age,
                EXTRACT(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::pg_catalog.float8 AS seconds
            FROM pg_catalog.pg_stat_get_activity(NULL) a LEFT JOIN (
                SELECT pid, pg_catalog.count(*) AS locks FROM pg_catalog.pg_lock_status() WHERE NOT fastpath GROUP BY pid
            ) l ON l.pid = a.pid
            WHERE a.datid <> 0 AND a.usesysid::pg_catalog.int8 <> ALL ($1)";
        let Self { connection, exempt, .. } = self;
        let ask = async {
            let sessions = sqlx::query_as(SESSIONS).bind(&*exempt).fetch_all(&mut *connection).await?;
            let queue = sqlx::query_scalar("SELECT pg_catalog.pg_notification_queue_usage()");
            Ok::<_, sqlx::Error>((sessions, queue.fetch_one(&mut *connection).await?))
        };
        match timeout(ANSWER, ask).await {
            Ok(answer) => answer.map_err(|error| doing().failed(error)),
            Err(_) => Err(ProviderError::retryable(
                Code::PostgresUnreachable,
                format!("{}: no answer within its time", doing().0),
            )),
        }
    }
}

fn doing() -> Doing {
    Doing("looking at what sessions take of the server".to_owned())
}

/// Which sessions are ended for what they take of the locks and of the transaction ids, by database.
fn too_much(sessions: &[SessionRow], room: i64, limits: &Limits) -> Vec<(i64, Shared, Vec<i32>)> {
    let mut found: BTreeMap<(i64, Shared), Vec<i32>> = BTreeMap::new();
    if let Some((database, pids)) = greediest(sessions, room, limits.locks) {
        found.insert((database, Shared::Locks), pids);
    }
    for session in sessions {
        if session.age.is_some_and(|age| i64::from(age) > limits.transactions) {
            found.entry((session.database, Shared::TransactionIds)).or_default().push(session.pid);
        }
    }
    found.into_iter().map(|((database, of), pids)| (database, of, pids)).collect()
}

/// If more than `share` of the table of locks is taken: of the database that has most of them, the sessions that have more than
/// a hundredth of the table, or else the one that has most.
fn greediest(sessions: &[SessionRow], room: i64, share: f64) -> Option<(i64, Vec<i32>)> {
    let mut taken: BTreeMap<i64, i64> = BTreeMap::new();
    for session in sessions {
        *taken.entry(session.database).or_default() += session.locks;
    }
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let full = taken.values().sum::<i64>() as f64 > room as f64 * share;
    let (database, _) = taken.into_iter().max_by_key(|(_, locks)| *locks).filter(|_| full)?;
    let mut own: Vec<&SessionRow> = sessions.iter().filter(|session| session.database == database).collect();
    own.sort_by_key(|session| std::cmp::Reverse(session.locks));
    let first = own.first().map(|session| session.pid);
    let many = own.iter().filter(|session| session.locks > room / 100).map(|session| session.pid);
    let mut pids: Vec<i32> = many.collect();
    if pids.is_empty() {
        pids.extend(first);
    }
    Some((database, pids))
}

/// Asks a session's process to end. What has its number by now is left alone unless it is a session's, too.
fn end(pid: i32, postmaster: i32) -> bool {
    let Some(process) = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
        return false;
    };
    parent(pid) == Some(postmaster) && pidfd_send_signal(&process, Signal::TERM).is_ok()
}

/// The parent of a process.
fn parent(pid: i32) -> Option<i32> {
    // The name, in parentheses, may have any character in it. Then: state, parent.
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(pid: i32, database: i64, locks: i64) -> SessionRow {
        SessionRow { pid, client_port: -1, database, locks, age: None, seconds: None }
    }

    #[test]
    fn nobody_is_ended_while_there_are_locks_for_all() {
        let sessions = [session(1, 7, 400), session(2, 8, 90)];
        assert_eq!(too_much(&sessions, 1000, &Limits::default()), []);
    }

    #[test]
    fn the_greedy_sessions_of_the_greediest_database_are_ended_and_no_others() {
        let sessions = [session(1, 7, 300), session(2, 7, 5), session(3, 8, 200), session(4, 7, 20)];
        assert_eq!(too_much(&sessions, 1000, &Limits::default()), [(7, Shared::Locks, vec![1, 4])]);
        // Many with little each.
        let sessions: Vec<SessionRow> = (1..=60).map(|pid| session(pid, 7, 10)).collect();
        assert_eq!(too_much(&sessions, 1000, &Limits::default()), [(7, Shared::Locks, vec![1])]);
    }

    #[test]
    fn a_transaction_that_holds_old_ids_is_ended() {
        let old = SessionRow { age: Some(600_000_000), ..session(1, 7, 0) };
        let young = SessionRow { age: Some(5), ..session(2, 7, 0) };
        assert_eq!(too_much(&[old, young], 1000, &Limits::default()), [(7, Shared::TransactionIds, vec![1])]);
    }

    #[test]
    fn for_a_full_queue_one_database_after_the_other_is_suspected_until_ending_its_transactions_helps() {
        let limits = Limits::default();
        let long = |pid, database, seconds| SessionRow { seconds: Some(seconds), ..session(pid, database, 0) };
        let sessions = [long(1, 7, 60.0), long(2, 8, 30.0), long(3, 8, 20.0), long(4, 8, 1.0), long(5, 7, 11.0)];
        let mut queue = Queue::default();
        assert_eq!(queue.suspects(&sessions, 0.005, &limits), BTreeMap::new());
        assert_eq!(queue.suspects(&sessions, 0.02, &limits), BTreeMap::from([(7, vec![1, 5])]));
        // It was of no use.
        let told = |database, pids: &[i32]| Some(Suspect { database, pids: pids.to_vec(), full: 0.02 });
        queue.suspect = told(7, &[1, 5]);
        assert_eq!(queue.guilty(&sessions, 0.02), None);
        assert_eq!(queue.suspects(&sessions, 0.02, &limits), BTreeMap::new(), "they have not ended yet");
        assert_eq!(queue.guilty(&sessions[1..4], 0.02), None);
        assert_eq!(queue.suspects(&sessions, 0.02, &limits), BTreeMap::from([(8, vec![2, 3])]));
        queue.suspect = told(8, &[2, 3]);
        let excess = Excess { database: 8, of: Shared::Notifications, sessions: 2 };
        assert_eq!(queue.guilty(&[], 0.001), Some(excess));
        assert_eq!(queue.guilty(&[], 0.001), None, "once");
        // Where there is hardly any room left, everybody's.
        assert_eq!(queue.suspects(&sessions, 0.6, &limits), BTreeMap::from([(7, vec![1, 5]), (8, vec![2, 3])]));
    }

    #[test]
    fn the_parent_of_this_process_is_found_and_none_of_one_that_is_not_there() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(parent(own), i32::try_from(std::os::unix::process::parent_id()).ok());
        assert_eq!(parent(i32::MAX), None);
    }
}
