//! What sessions take of what all databases of the private server share, kept from running out.
//!
//! ```text
//!   a session takes too much ──▶ it is ended ──▶ again, within a minute, and again: its database is closed
//!   connections that don't log in ──▶ the stack that has most of them: its processes are killed
//! ```
//!
//! A connection takes a place of the server's from the moment on at which it says who it wants to be, and a role's limit counts only those
//! that have logged in. So a process that never says its password takes all places.
//!
//! A database that is closed keeps its data, and the next deploy of its stack opens it. Not kept: who took too much before; a
//! restart begins anew.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use freehold_graph::StackId;
use freehold_provider_local::LocalProvider;
use freehold_provider_postgres::pressure::{Excess, Limits, Watch};
use freehold_provider_postgres::usage;
use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::closing;

/// How often to look. What a tenant takes of the locks in between, nobody has.
const LOOK: Duration = Duration::from_millis(500);
/// How long an excess is remembered. Somebody whose migration was ended looks why before it is tried a third time.
const MEMORY: Duration = Duration::from_secs(60);
/// How many of them close a database.
const TOO_OFTEN: usize = 3;

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
    let mut guard = Guard { watch, admin, entrance: Arc::new(entrance), local, record: Record::default() };
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
}

impl Guard {
    /// Kills whoever keeps so many connections without logging in that others might get none.
    async fn turn_away(&self) {
        // Where it isn't known who has logged in, nobody is to blame.
        let Some(sessions) = self.watch.sessions() else { return };
        let (local, entrance) = (Arc::clone(&self.local), Arc::clone(&self.entrance));
        let count = tokio::task::spawn_blocking(move || local.connections_to(&entrance.socket, entrance.port));
        let counts = match count.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(counts) => counts,
            Err(failure) => return warn!("it can't be told who is connected to PostgreSQL: {failure}"),
        };
        let Some((stack, connections)) = intruder(&counts, sessions, self.entrance.places) else { return };
        error!(
            "all processes of the stack {stack} are killed: it has {connections} connections to PostgreSQL, of which most have not \
             logged in, and others would get none"
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
            if !closing::close(&self.admin, usage, &why).await {
                self.record.due.insert(oid, word);
            }
        }
        Ok(())
    }
}

/// The stack that has most connections, and how many, if those that haven't logged in take more than half of what the sessions leave.
fn intruder(connections: &BTreeMap<StackId, usize>, sessions: usize, places: usize) -> Option<(StackId, usize)> {
    let strangers = connections.values().sum::<usize>().saturating_sub(sessions);
    let (stack, most) = connections.iter().max_by_key(|(_, connections)| **connections)?;
    (strangers > places.saturating_sub(sessions) / 2).then_some((*stack, *most))
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
    fn connections_that_log_in_are_nobodys_fault() {
        let stack = |number| StackId(uuid::Uuid::from_u128(number));
        let connections = BTreeMap::from([(stack(1), 2000), (stack(2), 1800)]);
        assert_eq!(intruder(&connections, 3800, 4000), None);
        assert_eq!(intruder(&connections, 3000, 4000), Some((stack(1), 2000)));
        let connections = BTreeMap::from([(stack(1), 900), (stack(2), 1000)]);
        assert_eq!(intruder(&connections, 0, 4000), None);
        assert_eq!(intruder(&connections, 100, 2000), Some((stack(2), 1000)));
        assert_eq!(intruder(&BTreeMap::new(), 0, 100), None);
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
