//! Those who watch operations: one feed for each operation that somebody watches on this replica, filled once and read by all of them.
//!
//! ```text
//!   this process writes a record ──▶ signal with the record ─┐
//!   another process does ──▶ NOTIFY ──▶ signal ──▶ one read ─┼──▶ feed ──▶ each who watches, in the journal's order
//!   signals were lost ──▶ signal ──▶ one read of each feed ──┘
//! ```
//!
//! A feed holds its operation's journal from the first record on, without gaps: a record that doesn't continue it makes it read what is
//! missing. Nothing is looked at while nothing happens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use freehold_engine::OperationId;
use freehold_engine::backoff::Backoff;
use freehold_store::{Appended, Entry, Operation, OperationEnd, Signal, Store, StoreError};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{mpsc, watch};
use tracing::warn;

/// The pauses before a store that didn't answer is read again.
const RETRIES: Backoff = Backoff::doubling(Duration::from_secs(1), Duration::from_secs(15));

/// The feeds of this replica.
pub(crate) struct Hub {
    store: Store,
    feeds: Arc<Feeds>,
}

#[derive(Default)]
struct Feeds(Mutex<HashMap<OperationId, Handle>>);

impl Feeds {
    /// Every change is a single step of the map: a panic elsewhere leaves nothing half changed.
    fn all(&self) -> MutexGuard<'_, HashMap<OperationId, Handle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A feed that lives for as long as somebody reads it.
struct Handle {
    inbox: mpsc::UnboundedSender<News>,
    feed: Weak<Feed>,
}

/// What a feed is told.
enum News {
    /// Records that this process has written.
    Appended(Arc<Appended>),
    /// The journal has grown by something else.
    Grown,
    /// The operation has ended.
    Ended,
    /// Anything may have happened.
    Changed,
}

/// What a feed reads. Each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Look {
    /// The records behind those that it has.
    More,
    /// Whether the operation has ended, and how.
    End,
    /// All of the journal: a crash of the server may have cost it records that the feed has.
    All,
}

/// What is known of an operation that somebody watches.
pub(crate) struct Feed {
    /// As it was when the first who watches came.
    pub(crate) operation: Arc<Operation>,
    feeds: Arc<Feeds>,
    entries: RwLock<Vec<Arc<Entry>>>,
    end: OnceLock<OperationEnd>,
    changed: watch::Sender<()>,
}

impl Hub {
    /// Of a store. Whatever is signalled from now on is taken note of. To be called within the runtime.
    pub(crate) fn new(store: &Store) -> Self {
        let feeds = Arc::default();
        tokio::spawn(pass_on(store.signals_from_now(), Arc::downgrade(&feeds)));
        Self { store: store.clone(), feeds }
    }

    /// The feed of an operation. To be called within the runtime.
    pub(crate) fn watch(&self, operation: Operation) -> Arc<Feed> {
        let id = operation.id;
        let mut feeds = self.feeds.all();
        if let Some(feed) = feeds.get(&id).and_then(|handle| handle.feed.upgrade()) {
            return feed;
        }
        let (inbox, news) = mpsc::unbounded_channel();
        let feed = Arc::new(Feed {
            operation: Arc::new(operation),
            feeds: Arc::clone(&self.feeds),
            entries: RwLock::default(),
            end: OnceLock::new(),
            changed: watch::Sender::new(()),
        });
        // It may have ended since the caller read it.
        let _ = inbox.send(News::Changed);
        feeds.insert(id, Handle { inbox, feed: Arc::downgrade(&feed) });
        drop(feeds);
        tokio::spawn(fill(self.store.clone(), Arc::downgrade(&feed), news));
        feed
    }
}

/// Passes signals on to the feeds that they concern, for as long as the hub lives.
async fn pass_on(mut signals: broadcast::Receiver<Signal>, feeds: Weak<Feeds>) {
    loop {
        let signal = match signals.recv().await {
            Ok(signal) => signal,
            Err(RecvError::Lagged(_)) => Signal::Missed,
            Err(RecvError::Closed) => return,
        };
        let Some(feeds) = feeds.upgrade() else { return };
        let feeds = feeds.all();
        let tell = |operation: &OperationId, news: News| {
            if let Some(handle) = feeds.get(operation) {
                let _ = handle.inbox.send(news);
            }
        };
        match signal {
            Signal::Appended(appended) => tell(&appended.operation, News::Appended(Arc::clone(&appended))),
            Signal::Grown(operation) => tell(&operation, News::Grown),
            Signal::Finished(operation) => tell(&operation, News::Ended),
            Signal::Missed => feeds.keys().for_each(|operation| tell(operation, News::Changed)),
            // A request to stop becomes a record.
            Signal::Cancel(_) | Signal::Queued(_) | Signal::Targets => {}
        }
    }
}

/// Fills a feed until it has ended or nobody reads it.
async fn fill(store: Store, feed: Weak<Feed>, mut news: mpsc::UnboundedReceiver<News>) {
    while let Some(first) = news.recv().await {
        let mut look = None;
        let mut next = Some(first);
        while let Some(news_now) = next {
            let Some(feed) = feed.upgrade() else { return };
            let wanted = match news_now {
                News::Appended(appended) if feed.continue_with(&appended.entries) => None,
                News::Appended(_) | News::Grown => Some(Look::More),
                News::Ended => Some(Look::End),
                News::Changed => Some(Look::All),
            };
            look = look.max(wanted);
            next = news.try_recv().ok();
        }
        if let Some(look) = look
            && !catch_up(&store, &feed, look).await
        {
            return;
        }
    }
}

/// Reads what a feed lacks, as often as it takes; whether more is to come for somebody who reads it.
async fn catch_up(store: &Store, feed: &Weak<Feed>, look: Look) -> bool {
    let mut waits = RETRIES.waits();
    loop {
        // Held for no longer than the read: whoever read it last may leave meanwhile.
        let Some(feed) = feed.upgrade() else { return false };
        let operation = feed.operation.id;
        match feed.read(store, look).await {
            Ok(()) => return feed.end.get().is_none(),
            Err(error) => warn!(%operation, "its events can't be read; retrying: {error}"),
        }
        drop(feed);
        tokio::time::sleep(waits.take()).await;
    }
}

impl Feed {
    /// Told whenever there is more: subscribe, read, then wait.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// How the operation ended. To be read before the entries: these are then complete.
    pub(crate) fn end(&self) -> Option<&OperationEnd> {
        self.end.get()
    }

    /// The journal's entries behind this many, or behind those that are left of them: a crash of the server may have cost it its end. Gives
    /// also how many are before them.
    pub(crate) fn entries_behind(&self, seen: usize) -> (usize, Vec<Arc<Entry>>) {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.min(entries.len());
        (seen, entries.get(seen..).map(<[_]>::to_vec).unwrap_or_default())
    }

    fn length(&self) -> u64 {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    /// Takes in what continues it; whether nothing is missing. A record in the place of another one is the end of a journal that lost its end
    /// in a crash of the server: what was behind it is forgotten.
    fn continue_with(&self, more: &[Entry]) -> bool {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        for entry in more {
            let place = usize::try_from(entry.sequence.saturating_sub(1)).unwrap_or(usize::MAX);
            if place > entries.len() {
                return false;
            }
            if entries.get(place).is_none_or(|known| known.at != entry.at) {
                entries.truncate(place);
                entries.push(Arc::new(entry.clone()));
            }
        }
        drop(entries);
        self.changed.send_replace(());
        true
    }

    /// Forgets what is behind this many records.
    fn shorten(&self, length: usize) {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).truncate(length);
    }

    /// Reads what is missing.
    async fn read(&self, store: &Store, look: Look) -> Result<(), StoreError> {
        let mut tx = store.begin(self.operation.tenant).await?;
        let id = self.operation.id;
        // Before the journal: of an operation that has ended by now, the journal is complete.
        let end = match look {
            Look::More => None,
            Look::End | Look::All => tx.operation_end(id).await?,
        };
        let known = match look {
            Look::More | Look::End => self.length(),
            Look::All => 0,
        };
        let records = tx.journal(id, known).await?;
        let entries: Vec<Entry> =
            records.iter().map(|(sequence, at, record)| Entry::of(*sequence, *at, record.as_ref())).collect();
        if look == Look::All {
            self.shorten(entries.len());
        }
        self.continue_with(&entries);
        if let Some(end) = end {
            let _ = self.end.set(end);
            self.changed.send_replace(());
        }
        Ok(())
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut feeds = self.feeds.all();
        // Somebody may have begun a new one since the last who read this one left.
        if feeds.get(&self.operation.id).is_some_and(|handle| std::ptr::eq(handle.feed.as_ptr(), self)) {
            feeds.remove(&self.operation.id);
        }
    }
}
