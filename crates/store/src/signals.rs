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
use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{sleep, timeout};

use crate::error::StoreError;
use crate::pool::pool;
use crate::signal::{CHANNEL, Signal};
use crate::store::Store;
use crate::transaction::TenantTx;

/// How long signals to other processes are gathered.
const GATHER: Duration = Duration::from_millis(20);
/// After how long without a notification the listening connection is asked whether it still lives.
const QUIET: Duration = Duration::from_secs(30);
/// How long its answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a connection may take until it listens.
const CONNECT: Duration = Duration::from_secs(15);
/// The pause before a connection that was lost is made anew, or a store that didn't answer is asked again.
const PAUSE: Duration = Duration::from_secs(1);

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
            let asked = timeout(ANSWER, sqlx::query("SELECT 1").execute(self.engine_pool()));
            if matches!(asked.await, Ok(Ok(_))) {
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
        let listener = timeout(CONNECT, self.listener()).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        let listener = listener.map_err(StoreError::from_sqlx("listen for signals"))?;
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
            match timeout(CONNECT, store.listener()).await {
                Ok(Ok(listener)) => break listener,
                Ok(Err(_)) | Err(_) => sleep(PAUSE).await,
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
            let notify = sqlx::query("SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload")
                .bind(CHANNEL)
                .bind(&payloads)
                .execute(store.engine_pool());
            let sent = timeout(ANSWER, notify).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
            match sent {
                Ok(_) | Err(sqlx::Error::PoolClosed) => break,
                Err(error) => {
                    tracing::warn!(%error, "other processes can't be notified, retrying: the store does not answer")
                }
            }
            sleep(PAUSE).await;
        }
    }
}
