//! A service that requests go to, whichever processes serve it at the moment.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::backend::{Backend, Flight};
use crate::quiet::Quiet;

/// A set of upstreams that is replaced as a whole. Requests that find it empty can wait for the next one.
pub(crate) struct Endpoint {
    live: watch::Sender<Live>,
    turn: AtomicUsize,
    /// Lines about requests that it gave no answer to.
    pub(crate) failures: Quiet,
    /// Lines about what answered in the place of one of its upstreams.
    pub(crate) unproved: Quiet,
}

/// The upstreams of one moment.
#[derive(Clone, Default)]
struct Live {
    backends: Arc<[Arc<Backend>]>,
    /// An exchange is under way: no live upstream means "soon", not "stopped".
    switching: bool,
}

impl Endpoint {
    pub(crate) fn new() -> Arc<Endpoint> {
        Arc::new(Endpoint {
            live: watch::Sender::new(Live::default()),
            turn: AtomicUsize::new(0),
            failures: Quiet::default(),
            unproved: Quiet::default(),
        })
    }

    /// Replaces the set and returns the one before. An upstream that was not in it ends the switching; taking out one of several
    /// does not.
    pub(crate) fn replace(&self, backends: Vec<Arc<Backend>>) -> Arc<[Arc<Backend>]> {
        let mut before = Arc::default();
        self.live.send_modify(|live| {
            let is_new = |one: &Arc<Backend>| !live.backends.iter().any(|other| other.address == one.address);
            live.switching &= !backends.iter().any(is_new);
            before = std::mem::replace(&mut live.backends, backends.into());
        });
        before
    }

    pub(crate) fn set_switching(&self, switching: bool) {
        self.live.send_modify(|live| live.switching = switching);
    }

    pub(crate) fn is_switching(&self) -> bool {
        self.live.borrow().switching
    }

    pub(crate) fn has(&self, address: SocketAddr) -> bool {
        self.live.borrow().backends.iter().any(|backend| backend.address == address)
    }

    pub(crate) fn count(&self) -> usize {
        self.live.borrow().backends.len()
    }

    /// The upstream with the fewest requests in flight, in turn where several have the same; one that was tried before, or that is
    /// resting, only if there is no other. Counts the request as in flight before the set can change.
    pub(crate) fn pick(&self, tried: &[SocketAddr]) -> Option<Flight> {
        let live = self.live.borrow();
        let count = live.backends.len();
        let chosen = if count <= 1 {
            live.backends.first()
        } else {
            let start = self.turn.fetch_add(1, Ordering::Relaxed) % count;
            let in_turn = live.backends.iter().cycle().skip(start).take(count);
            in_turn.min_by_key(|one| (tried.contains(&one.address), one.is_resting(), one.in_flight()))
        };
        chosen.map(Flight::begin)
    }

    /// Waits, while the endpoint is switching, for a set that is not `refused` (all of whose members refused) and not empty.
    /// Says whether there is one.
    pub(crate) async fn wait(&self, refused: &[SocketAddr], until: Instant) -> bool {
        let is_new = |live: &Live| live.backends.iter().any(|backend| !refused.contains(&backend.address));
        let mut watched = self.live.subscribe();
        let changed = watched.wait_for(|live| is_new(live) || !live.switching);
        match tokio::time::timeout_at(until, changed).await {
            Ok(Ok(live)) => !live.backends.is_empty(),
            _ => false,
        }
    }
}
