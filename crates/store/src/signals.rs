//! Tells who waits that something has happened to an operation: event streams, the queue, a running engine.
//!
//! Within the process at once; to other processes by NOTIFY, when [`Store::listen`] was called. A signal carries no news,
//! only that there are some: who gets one looks into the store. One that is lost is made up for by the next look.
//!
//! NOTIFY isn't part of the transactions that it tells of: commits with a NOTIFY are done one at a time over the whole server,
//! each with its own write to disk, which would make the journal slow. A task of its own sends them, gathered, behind the
//! commits.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

use freehold_engine::OperationId;
use sqlx::postgres::PgListener;
use tokio::sync::{broadcast, mpsc};
use uuid::Uuid;

use crate::error::StoreError;
use crate::store::{Store, pool};

const CHANNEL: &str = "freehold";
/// How many signals a slow receiver may lag behind before it is told that it has missed some.
const BACKLOG: usize = 1024;
/// How long signals to other processes are gathered.
const GATHER: Duration = Duration::from_millis(20);

/// What there is news of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// An operation waits to be taken up.
    Queued,
    /// Its journal has grown.
    Progress,
    /// Somebody asked it to stop.
    Cancel,
    /// It has ended.
    Finished,
}

impl Topic {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Queued, "queued"),
        (Self::Progress, "progress"),
        (Self::Cancel, "cancel"),
        (Self::Finished, "finished"),
    ];

    fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(topic, _)| *topic == self).map_or("", |(_, text)| text)
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == text).map(|(topic, _)| *topic)
    }
}

/// There is news of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal {
    /// Which.
    pub operation: OperationId,
    /// What of it.
    pub topic: Topic,
}

pub(crate) struct Signals {
    local: broadcast::Sender<Signal>,
    remote: OnceLock<mpsc::UnboundedSender<Signal>>,
    /// Which process a notification comes from: one's own are skipped.
    origin: Uuid,
}

impl Signals {
    pub(crate) fn new() -> Self {
        Self { local: broadcast::Sender::new(BACKLOG), remote: OnceLock::new(), origin: Uuid::new_v4() }
    }

    pub(crate) fn send(&self, operation: OperationId, topic: Topic) {
        let signal = Signal { operation, topic };
        // Neither matters if nobody listens.
        let _ = self.local.send(signal);
        if let Some(remote) = self.remote.get() {
            let _ = remote.send(signal);
        }
    }
}

impl Store {
    /// The signals from now on. A receiver that lags behind is told so, and should look at everything.
    pub fn signals_from_now(&self) -> broadcast::Receiver<Signal> {
        self.signals().local.subscribe()
    }

    /// Exchanges signals with other processes on the same store, until the runtime ends. Takes one connection more. One
    /// process alone doesn't need it.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn listen(&self) -> Result<(), StoreError> {
        let failed = "listen for signals";
        let pool = pool(self.engine_options().clone(), 1);
        let mut listener = PgListener::connect_with(&pool).await.map_err(StoreError::from_sqlx(failed))?;
        listener.listen(CHANNEL).await.map_err(StoreError::from_sqlx(failed))?;
        let (remote, outbox) = mpsc::unbounded_channel();
        if self.signals().remote.set(remote).is_ok() {
            tokio::spawn(receive(self.clone(), listener));
            tokio::spawn(pass_on(self.clone(), outbox));
        }
        Ok(())
    }
}

async fn receive(store: Store, mut listener: PgListener) {
    loop {
        match listener.recv().await {
            Ok(notification) => {
                if let Some((origin, signal)) = parse(notification.payload())
                    && origin != store.signals().origin
                {
                    let _ = store.signals().local.send(signal);
                }
            }
            Err(sqlx::Error::PoolClosed) => return,
            // The listener connects anew with the next call; this keeps it from doing so in a tight loop.
            Err(error) => {
                tracing::warn!(%error, "signals from other processes are interrupted");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn pass_on(store: Store, mut outbox: mpsc::UnboundedReceiver<Signal>) {
    while let Some(first) = outbox.recv().await {
        tokio::time::sleep(GATHER).await;
        let mut signals = BTreeSet::from([first]);
        while let Ok(next) = outbox.try_recv() {
            signals.insert(next);
        }
        let origin = store.signals().origin;
        let payloads: Vec<String> =
            signals.iter().map(|signal| format!("{origin} {} {}", signal.topic.as_str(), signal.operation)).collect();
        let sent = sqlx::query("SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload")
            .bind(CHANNEL)
            .bind(payloads)
            .execute(store.engine_pool())
            .await;
        if let Err(error) = sent {
            tracing::warn!(%error, "signals to other processes are lost");
        }
    }
}

fn parse(payload: &str) -> Option<(Uuid, Signal)> {
    let mut words = payload.split(' ');
    let origin = words.next()?.parse().ok()?;
    let topic = Topic::parse(words.next()?)?;
    let operation = OperationId(words.next()?.parse().ok()?);
    Some((origin, Signal { operation, topic }))
}
