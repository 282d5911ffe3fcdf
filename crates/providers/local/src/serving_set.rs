//! Which instances of a service take requests, and telling the router.
//!
//! The router is told under the same lock that the set changes under, so it always has the newest one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use freehold_router::{Connect, EndpointKey, Router, Upstream};

/// The instances of one service.
pub(crate) struct ServingSet {
    router: Router,
    endpoint: EndpointKey,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The generation whose instances take requests.
    serving: u64,
    /// By the slot's generation and number.
    members: BTreeMap<u64, Member>,
    told: Vec<Upstream>,
}

struct Member {
    generation: u64,
    upstream: Upstream,
    ready: bool,
}

impl ServingSet {
    pub(crate) fn new(router: Router, endpoint: EndpointKey) -> Self {
        Self { router, endpoint, inner: Mutex::default() }
    }

    pub(crate) fn endpoint(&self) -> &EndpointKey {
        &self.endpoint
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An instance is ready, or isn't any more.
    pub(crate) fn set(&self, slot: u64, generation: u64, address: SocketAddr, connect: Arc<dyn Connect>, ready: bool) {
        let mut inner = self.inner();
        inner.members.insert(slot, Member { generation, upstream: Upstream { address, connect }, ready });
        self.tell(&mut inner);
    }

    /// An instance is gone, or is to get no more requests.
    pub(crate) fn leave(&self, slot: u64) {
        let mut inner = self.inner();
        inner.members.remove(&slot);
        self.tell(&mut inner);
    }

    /// From now on the instances of this generation take the requests, and no others: one exchange.
    pub(crate) fn serve(&self, generation: u64) {
        let mut inner = self.inner();
        inner.serving = generation;
        self.tell(&mut inner);
    }

    /// Says that there will be an instance shortly: requests wait for it.
    pub(crate) fn expect_one(&self, expected: bool) {
        let inner = self.inner();
        if inner.told.is_empty() {
            self.router.set_switching(&self.endpoint, expected);
        }
    }

    fn tell(&self, inner: &mut Inner) {
        let serving = || inner.members.values().filter(|member| member.generation == inner.serving);
        let mut upstreams: Vec<Upstream> =
            serving().filter(|member| member.ready).map(|member| member.upstream.clone()).collect();
        if upstreams.is_empty() {
            // Its own answer says more than one of ours that nobody is ready.
            upstreams = serving().map(|member| member.upstream.clone()).collect();
        }
        let same = upstreams.len() == inner.told.len()
            && upstreams
                .iter()
                .zip(&inner.told)
                .all(|(new, old)| new.address == old.address && Arc::ptr_eq(&new.connect, &old.connect));
        if !same {
            self.router.set_upstreams(&self.endpoint, upstreams.clone());
            inner.told = upstreams;
        }
    }
}
