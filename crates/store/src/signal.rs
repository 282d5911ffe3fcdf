//! What is told to those who wait, and how it reaches them: [`Signal`] and the two ways out of the store's `Signals`.

use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Utc};
use freehold_engine::{OperationId, Record};
use sqlx::PgConnection;
use tokio::sync::{broadcast, mpsc};
use uuid::Uuid;

use crate::error::StoreError;
use crate::record::without_state;

/// What PostgreSQL calls the channel of NOTIFY.
pub(crate) const CHANNEL: &str = "freehold";
/// How many signals a slow receiver may lag behind before it is told that it has missed some.
const BACKLOG: usize = 1024;

/// Something that has happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Signal {
    /// An operation waits to be acquired.
    Queued(OperationId),
    /// This process has written to an operation's journal.
    Appended(Arc<Appended>),
    /// An operation's journal has grown; by what, the store knows.
    Grown(OperationId),
    /// An operation is asked to stop.
    Cancel(OperationId),
    /// An operation has ended.
    Finished(OperationId),
    /// A target was added, changed or removed.
    Targets,
    /// Signals were lost, of whatever kind: what they would have told has to be read.
    Missed,
}

/// What was written to an operation's journal.
#[derive(Debug, PartialEq)]
pub struct Appended {
    /// The operation whose journal has grown.
    pub operation: OperationId,
    /// In their order; never empty.
    pub entries: Vec<Entry>,
}

/// A record of a journal, as those who watch see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its place in the journal. Counts from 1, without gaps.
    pub sequence: u64,
    /// When it was written, by the store's clock.
    pub at: DateTime<Utc>,
    /// Without what it says of resources: see [`Entry::of`]. `None`: a newer release wrote it, and this one can't read it.
    pub record: Option<Record>,
}

impl Entry {
    /// Without its state: those who watch see the journal as it is written ([`crate::journal`]).
    pub fn of(sequence: u64, at: DateTime<Utc>, record: Option<&Record>) -> Self {
        Self { sequence, at, record: record.map(without_state) }
    }
}

impl Signal {
    /// As other processes get it: `ORIGIN WORD`, with the operation behind it where there is one. The words are those of earlier releases.
    /// `None` for what doesn't leave the process.
    fn payload(&self, origin: Uuid) -> Option<String> {
        match self {
            Self::Queued(operation) => Some(format!("{origin} queued {operation}")),
            Self::Appended(appended) => Self::Grown(appended.operation).payload(origin),
            Self::Grown(operation) => Some(format!("{origin} progress {operation}")),
            Self::Cancel(operation) => Some(format!("{origin} cancel {operation}")),
            Self::Finished(operation) => Some(format!("{origin} finished {operation}")),
            Self::Targets => Some(format!("{origin} targets")),
            Self::Missed => None,
        }
    }

    /// Where a payload comes from, and what it says. `None` for what a later release has to say.
    pub(crate) fn parse(payload: &str) -> Option<(Uuid, Self)> {
        let mut words = payload.split(' ');
        let (origin, word) = (words.next()?.parse().ok()?, words.next()?);
        let mut operation = || Some(OperationId(words.next()?.parse().ok()?));
        let signal = match word {
            "queued" => Self::Queued(operation()?),
            "progress" => Self::Grown(operation()?),
            "cancel" => Self::Cancel(operation()?),
            "finished" => Self::Finished(operation()?),
            "targets" => Self::Targets,
            _ => return None,
        };
        Some((origin, signal))
    }
}

pub(crate) struct Signals {
    pub(crate) local: broadcast::Sender<Signal>,
    /// Payloads for other processes.
    pub(crate) remote: OnceLock<mpsc::UnboundedSender<String>>,
    /// Which process a notification comes from: one's own are skipped.
    pub(crate) origin: Uuid,
}

impl Signals {
    pub(crate) fn new() -> Self {
        Self { local: broadcast::Sender::new(BACKLOG), remote: OnceLock::new(), origin: Uuid::new_v4() }
    }

    /// Tells this process at once, and others soon.
    pub(crate) fn send(&self, signal: Signal) {
        if let Some(remote) = self.remote.get()
            && let Some(payload) = signal.payload(self.origin)
        {
            let _ = remote.send(payload);
        }
        self.send_here(signal);
    }

    /// Tells this process only: others learn it from the transaction itself ([`Signals::announce`]). It doesn't matter if nobody listens.
    pub(crate) fn send_here(&self, signal: Signal) {
        let _ = self.local.send(signal);
    }

    /// Tells other processes with a transaction's commit. Costs nothing where there are no others.
    pub(crate) async fn announce(&self, connection: &mut PgConnection, signal: &Signal) -> Result<(), StoreError> {
        let Some(payload) = self.remote.get().and_then(|_| signal.payload(self.origin)) else { return Ok(()) };
        sqlx::query("SELECT pg_notify($1, $2)")
            .bind(CHANNEL)
            .bind(payload)
            .execute(connection)
            .await
            .map(drop)
            .map_err(StoreError::from_sqlx("tell other processes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_process_says_another_reads() {
        let (origin, operation) = (Uuid::from_u128(7), OperationId(Uuid::from_u128(9)));
        let said = [
            Signal::Queued(operation),
            Signal::Grown(operation),
            Signal::Cancel(operation),
            Signal::Finished(operation),
            Signal::Targets,
        ];
        for signal in said {
            assert_eq!(Signal::parse(&signal.payload(origin).unwrap()), Some((origin, signal)));
        }
        for unknown in
            ["", "x", "00000000-0000-0000-0000-000000000007 later", "00000000-0000-0000-0000-000000000007 queued x"]
        {
            assert_eq!(Signal::parse(unknown), None, "{unknown}");
        }
    }
}
