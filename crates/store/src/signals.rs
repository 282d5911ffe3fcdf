//! Tells who waits that something has happened: event streams, the queue, a running engine, those who keep targets.
//!
//! Within the process at once, and with what was written to a journal, so that nobody has to read it again. To other processes by NOTIFY,
//! when [`Store::listen`] was called: their signals carry no content, and whoever gets one reads the store. PostgreSQL delivers each
//! notification to each connection that listens; where a connection was lost, [`Signal::Missed`] says so once there is a new one. So nobody
//! who waits for a signal has to look at the store now and then, as long as each signal is sent:
//!
//! * What would be missed for good (something is queued, cancelled, over, left to others; a target has changed) is part of the transaction
//!   that it tells of.
//! * A journal that has grown isn't: commits with a NOTIFY are done one at a time over the whole server, each with its own write to disk,
//!   which would make the journal slow. A task of its own sends these, gathered, behind the commits. If the process dies in between, whoever
//!   goes on with the operation writes the next record.
//! * Where a commit wasn't answered, the signal is sent once more when the store answers again (`Store::signal_again`).

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use freehold_engine::{OperationId, Record};
use sqlx::PgConnection;
use sqlx::postgres::PgListener;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::error::StoreError;
use crate::journal;
use crate::store::{Store, pool};
use crate::transaction::TenantTx;

const CHANNEL: &str = "freehold";
/// How many signals a slow receiver may lag behind before it is told that it has missed some.
const BACKLOG: usize = 1024;
/// How long signals to other processes are gathered.
const GATHER: Duration = Duration::from_millis(20);
/// After how long without a notification the listening connection is asked whether it still lives.
const QUIET: Duration = Duration::from_secs(30);
/// How long its answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// The pause before a connection that was lost is made anew, or a store that didn't answer is asked again.
const PAUSE: Duration = Duration::from_secs(1);

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
    /// Whose journal.
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
        Self { sequence, at, record: record.map(journal::without_state) }
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
    fn parse(payload: &str) -> Option<(Uuid, Self)> {
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
    local: broadcast::Sender<Signal>,
    /// Payloads for other processes.
    remote: OnceLock<mpsc::UnboundedSender<String>>,
    /// Which process a notification comes from: one's own are skipped.
    origin: Uuid,
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

impl Store {
    /// The signals from now on. A receiver that lags behind is told so, and should take it for [`Signal::Missed`].
    pub fn signals_from_now(&self) -> broadcast::Receiver<Signal> {
        self.signals().local.subscribe()
    }

    /// Commits, and tells what the transaction was about: other processes by the commit itself, this one behind it. Where there was no answer
    /// it is told once the store answers again, since whoever looks then sees what became of it. Whoever asked may leave meanwhile: the commit
    /// is on its way, and so is the signal.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if there was no answer: it may or may not have been done.
    pub(crate) async fn commit_and_tell(&self, mut tx: TenantTx<'static>, signal: Signal) -> Result<(), StoreError> {
        self.signals().announce(tx.connection(), &signal).await?;
        let store = self.clone();
        let commit = async move {
            let committed = tx.commit().await;
            match &committed {
                Ok(()) => store.signals().send_here(signal),
                Err(_) => drop(tokio::spawn(store.signal_again(signal))),
            }
            committed
        };
        tokio::spawn(commit).await.unwrap_or_else(|stopped| Err(StoreError::Unavailable(stopped.to_string())))
    }

    /// Sends a signal once the store answers.
    async fn signal_again(self, signal: Signal) {
        loop {
            // What was sent before the connection broke is at an end by then.
            sleep(PAUSE).await;
            if sqlx::query("SELECT 1").execute(self.engine_pool()).await.is_ok() {
                return self.signals().send(signal);
            }
        }
    }

    /// Exchanges signals with other processes on the same store, until the runtime ends. Takes one connection more. One
    /// process alone doesn't need it.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn listen(&self) -> Result<(), StoreError> {
        let listener = self.listener().await.map_err(StoreError::from_sqlx("listen for signals"))?;
        let (remote, outbox) = mpsc::unbounded_channel();
        if self.signals().remote.set(remote).is_ok() {
            tokio::spawn(receive(self.clone(), listener));
            tokio::spawn(pass_on(self.clone(), outbox));
        }
        Ok(())
    }

    async fn listener(&self) -> Result<PgListener, sqlx::Error> {
        let mut listener = PgListener::connect_with(&pool(self.engine_options().clone(), 1)).await?;
        // A loss is to be heard of: with it the listener connects anew within the call that finds the loss, and a deadline may end that.
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        Ok(listener)
    }
}

/// Hears of other processes for as long as this one runs.
async fn receive(store: Store, mut listener: PgListener) {
    loop {
        let error = hear(&store, &mut listener).await;
        tracing::warn!(%error, "signals from other processes are interrupted");
        listener = loop {
            match store.listener().await {
                Ok(listener) => break listener,
                Err(_) => sleep(PAUSE).await,
            }
        };
        // Only now: what happens from here on is heard of, and what happened before is seen by whoever looks.
        store.signals().send_here(Signal::Missed);
    }
}

/// Passes notifications on until the connection is lost; why it was.
async fn hear(store: &Store, listener: &mut PgListener) -> sqlx::Error {
    loop {
        let heard = match timeout(QUIET, listener.try_recv()).await {
            Ok(heard) => heard,
            // Nothing for long: a peer that has vanished without a word looks the same.
            Err(_) => match timeout(ANSWER, sqlx::query("SELECT 1").execute(&mut *listener)).await {
                Ok(Ok(_)) => continue,
                Ok(Err(error)) => return error,
                Err(_) => return sqlx::Error::PoolTimedOut,
            },
        };
        match heard {
            Ok(Some(notification)) => {
                if let Some((origin, signal)) = Signal::parse(notification.payload())
                    && origin != store.signals().origin
                {
                    store.signals().send_here(signal);
                }
            }
            // It connects anew by itself, but what came meanwhile is lost.
            Ok(None) => return sqlx::Error::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
            Err(error) => return error,
        }
    }
}

async fn pass_on(store: Store, mut outbox: mpsc::UnboundedReceiver<String>) {
    while let Some(first) = outbox.recv().await {
        sleep(GATHER).await;
        let mut payloads = BTreeSet::from([first]);
        while let Ok(next) = outbox.try_recv() {
            payloads.insert(next);
        }
        let payloads = Vec::from_iter(payloads);
        loop {
            let sent = sqlx::query("SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload")
                .bind(CHANNEL)
                .bind(&payloads)
                .execute(store.engine_pool())
                .await;
            match sent {
                Ok(_) | Err(sqlx::Error::PoolClosed) => break,
                Err(error) => tracing::warn!(%error, "other processes are told later: the store does not answer"),
            }
            sleep(PAUSE).await;
        }
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
