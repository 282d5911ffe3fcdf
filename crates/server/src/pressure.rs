//! What sessions take of what all databases of the private server share, kept from running out.
//!
//! ```text
//!   a session takes too much ──▶ it is ended ──▶ others of its database, within a minute, twice: the database is closed
//!   connections that don't log in ──▶ the stack that keeps having most of them: its processes are killed
//! ```
//!
//! A connection takes a place of the server's from the moment on at which it says who it wants to be, and a role's limit counts only those
//! that have logged in. So a process that never says its password takes all places.
//!
//! A database that is closed keeps its data, and the next deploy of its stack opens it. Not kept: who took too much before; a
//! restart begins anew.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use freehold_graph::StackId;
use freehold_provider_local::LocalProvider;
use freehold_provider_postgres::pressure::{Excess, Limits, LoggedIn, Watch};
use freehold_provider_postgres::usage;
use freehold_router::socket::Way;
use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::close_database;

/// How often to look. What a tenant takes of the locks in between, nobody has.
const LOOK: Duration = Duration::from_millis(500);
/// How long an excess is remembered. Somebody whose migration was ended looks why before it is tried a third time.
const MEMORY: Duration = Duration::from_secs(60);
/// How many of them close a database.
const TOO_OFTEN: usize = 3;
/// How many looks in a row have to find a stack's connections not logged in: when all log in again after the server was restarted, most of
/// them are through before that.
const PATIENCE: u32 = 6;

/// Where stacks' programs reach the server.
pub(crate) struct Entrance {
    /// The path of its Unix socket.
    pub(crate) socket: PathBuf,
    /// Its port on 127.0.0.1.
    pub(crate) port: u16,
    /// How many connections it takes.
    pub(crate) places: usize,
}

/// Watches the sessions of a private server until `stop`.
pub(crate) async fn watch(
    admin: PgConnectOptions,
    entrance: Entrance,
    local: Arc<LocalProvider>,
    stop: CancellationToken,
) {
    let watch = Watch::new(admin.clone(), Limits::default());
    let mut guard =
        Guard { watch, admin, entrance: Arc::new(entrance), local, record: Record::default(), suspect: None };
    let mut answers = true;
    loop {
        let looked = guard.look().await;
        guard.turn_away().await;
        match looked {
            Ok(()) => answers = true,
            // Once, not twice a second for as long as the server is down.
            Err(failure) if std::mem::take(&mut answers) => warn!("{failure}"),
            Err(_) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

struct Guard {
    watch: Watch,
    admin: PgConnectOptions,
    entrance: Arc<Entrance>,
    local: Arc<LocalProvider>,
    record: Record,
    /// The stack that had most of the connections that had not logged in, and at how many looks in a row.
    suspect: Option<(StackId, u32)>,
}

impl Guard {
    /// Kills whoever keeps so many connections without logging in that others might get none.
    async fn turn_away(&mut self) {
        // Where it isn't known who has logged in, nobody is to blame.
        let Some(sessions) = self.watch.sessions().map(<[_]>::to_vec) else { return };
        // Who is connected is a walk through all sockets of the kernel.
        if self.watch.processes().is_some_and(|processes| processes < self.entrance.places / 4) {
            self.suspect = None;
            return;
        }
        let (local, entrance) = (Arc::clone(&self.local), Arc::clone(&self.entrance));
        let look = move || {
            most_unauthenticated(&local.connections_to(&entrance.socket, entrance.port)?, &sessions, entrance.places)
        };
        let found = match tokio::task::spawn_blocking(look).await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(found) => found,
            Err(failure) => return warn!("the connections to PostgreSQL can't be listed: {failure}"),
        };
        self.suspect = found.map(|(stack, _)| match self.suspect {
            Some((earlier, looks)) if earlier == stack => (stack, looks + 1),
            _ => (stack, 1),
        });
        let Some((stack, connections)) = found.filter(|_| self.suspect.is_some_and(|(_, looks)| looks >= PATIENCE))
        else {
            return;
        };
        self.suspect = None;
        error!(
            "all processes of the stack {stack} are killed: it keeps {connections} connections to PostgreSQL that have not logged in, \
             and others would get none"
        );
        if !self.local.kill(stack).await {
            error!("the processes of the stack {stack} could not all be killed");
        }
    }

    async fn look(&mut self) -> Result<(), freehold_engine::ProviderError> {
        let found = self.watch.look().await?;
        for excess in &found {
            warn!(
                "{} sessions of the database with the oid {} were ended: it took too many {} of all databases",
                excess.sessions,
                excess.database,
                excess.of.word()
            );
        }
        self.record.add(&found, Instant::now());
        if self.record.due.is_empty() {
            return Ok(());
        }
        let databases = usage::usage(&self.admin).await?;
        for (oid, word) in std::mem::take(&mut self.record.due) {
            let Some(usage) = databases.iter().find(|usage| usage.oid == oid) else { continue };
            let why = format!("again and again it took too many {word} of all databases");
            if !close_database::close(&self.admin, usage, &why).await {
                self.record.due.insert(oid, word);
            }
        }
        Ok(())
    }
}

/// The stack that has most connections which haven't logged in, and how many, if all such connections take more than half of what the
/// sessions leave. Blocks.
fn most_unauthenticated(
    connections: &[(StackId, Way)],
    sessions: &[LoggedIn],
    places: usize,
) -> io::Result<Option<(StackId, usize)>> {
    if !is_tight(connections.len().saturating_sub(sessions.len()), sessions.len(), places) {
        return Ok(None);
    }
    let mut ways = BTreeSet::new();
    for session in sessions {
        match session.port {
            Some(port) => drop(ways.insert(Way::Port(port))),
            None => ways.extend(sockets_of(session.pid)?),
        }
    }
    Ok(intruder(connections, &ways, places))
}

/// Never with fewer connections altogether than half of all places.
fn is_tight(unauthenticated: usize, sessions: usize, places: usize) -> bool {
    unauthenticated > places.saturating_sub(sessions) / 2
}

fn intruder(connections: &[(StackId, Way)], logged_in: &BTreeSet<Way>, places: usize) -> Option<(StackId, usize)> {
    let mut counts: BTreeMap<StackId, usize> = BTreeMap::new();
    for (stack, way) in connections {
        if !logged_in.contains(way) {
            *counts.entry(*stack).or_default() += 1;
        }
    }
    let all: usize = counts.values().sum();
    let most = counts.into_iter().max_by_key(|(_, unauthenticated)| *unauthenticated)?;
    is_tight(all, connections.len() - all, places).then_some(most)
}

/// The sockets that a process has; none of one that has ended.
fn sockets_of(pid: i32) -> io::Result<Vec<Way>> {
    let entries = match std::fs::read_dir(format!("/proc/{pid}/fd")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let links = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let inode = |link: PathBuf| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    Ok(links.filter_map(inode).map(Way::Inode).collect())
}

/// Who took too much, and when.
#[derive(Debug, Default)]
struct Record {
    excesses: BTreeMap<i64, Vec<Instant>>,
    /// Databases to be closed, by their oids, and what for.
    due: BTreeMap<i64, &'static str>,
}

impl Record {
    fn add(&mut self, found: &[Excess], now: Instant) {
        for excess in found {
            let times = self.excesses.entry(excess.database).or_default();
            times.push(now);
            times.retain(|time| now.duration_since(*time) <= MEMORY);
            if times.len() >= TOO_OFTEN {
                times.clear();
                self.due.insert(excess.database, excess.of.word());
            }
        }
        self.excesses.retain(|_, times| times.iter().any(|time| now.duration_since(*time) <= MEMORY));
    }
}

#[cfg(test)]
mod tests {
    use freehold_provider_postgres::pressure::Shared;

    use super::*;

    #[test]
    fn who_has_most_connections_without_a_login_is_to_blame_however_many_others_have_with_one() {
        let stack = |number| StackId(uuid::Uuid::from_u128(number));
        let of =
            |number: u128, inodes: std::ops::Range<u64>| inodes.map(move |inode| (stack(number), Way::Inode(inode)));
        let connections: Vec<_> = of(1, 0..1500).chain(of(2, 1500..2800)).collect();
        let logged_in = |inodes: std::ops::Range<u64>| inodes.map(Way::Inode).collect::<BTreeSet<_>>();
        assert_eq!(intruder(&connections, &logged_in(0..1500), 4000), Some((stack(2), 1300)));
        assert_eq!(intruder(&connections, &logged_in(0..2800), 4000), None);
        assert_eq!(intruder(&connections, &logged_in(500..2800), 4000), None, "there is room enough");
        assert_eq!(intruder(&[], &logged_in(0..1), 100), None);
    }

    #[test]
    fn the_sockets_of_a_process_are_found_and_none_of_one_that_has_ended() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let inode = rustix::fs::fstat(&one).unwrap().st_ino;
        assert!(sockets_of(std::process::id().cast_signed()).unwrap().contains(&Way::Inode(inode)));
        assert_eq!(sockets_of(i32::MAX).unwrap(), []);
    }

    #[test]
    fn a_database_is_closed_after_three_excesses_within_a_minute() {
        let excess = |database| [Excess { database, of: Shared::Locks, sessions: 1 }];
        let begin = Instant::now();
        let mut record = Record::default();
        for seconds in [0, 1, 62, 63] {
            record.add(&excess(7), begin + Duration::from_secs(seconds));
        }
        record.add(&excess(8), begin + Duration::from_secs(64));
        assert_eq!(record.due, BTreeMap::new());
        record.add(&excess(7), begin + Duration::from_secs(64));
        assert_eq!(record.due, BTreeMap::from([(7, "locks")]));
        record.add(&[], begin + Duration::from_secs(200));
        assert!(record.excesses.is_empty());
    }
}
