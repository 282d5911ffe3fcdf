//! Which instances of a service take requests, and telling the router: for each of the service's ports.
//!
//! The router is told under the same lock that the set changes under, so it always has the newest one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use freehold_router::{Connect, EndpointKey, Router, Upstream};
use freehold_spec::Name;

/// The instances of one service.
pub(crate) struct ServingSet {
    router: Router,
    endpoint: EndpointKey,
    inner: Mutex<Inner>,
}

/// Where an instance takes connections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// Its `PORT`.
    pub(crate) own: Option<SocketAddr>,
    /// Its named ports.
    pub(crate) named: BTreeMap<Name, SocketAddr>,
}

impl Addresses {
    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = SocketAddr> {
        self.own.into_iter().chain(self.named.values().copied())
    }

    fn at(&self, port: Option<&Name>) -> Option<SocketAddr> {
        match port {
            Some(name) => self.named.get(name).copied(),
            None => self.own,
        }
    }
}

#[derive(Default)]
struct Inner {
    /// The generation whose instances take requests.
    serving: u64,
    /// By the slot's generation and number.
    members: BTreeMap<u64, Member>,
    /// What the router knows of each port.
    told: BTreeMap<Option<Name>, Vec<Upstream>>,
}

struct Member {
    generation: u64,
    addresses: Addresses,
    connect: Arc<dyn Connect>,
    ready: bool,
}

impl ServingSet {
    pub(crate) fn new(router: Router, endpoint: EndpointKey) -> Self {
        Self { router, endpoint, inner: Mutex::default() }
    }

    /// How the router knows a port of the service: a named one, or its own.
    pub(crate) fn endpoint(&self, port: Option<&Name>) -> EndpointKey {
        of_port(&self.endpoint, port)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An instance is ready, or isn't any more.
    pub(crate) fn set(
        &self,
        slot: u64,
        generation: u64,
        addresses: &Addresses,
        connect: &Arc<dyn Connect>,
        ready: bool,
    ) {
        let mut inner = self.inner();
        let member = Member { generation, addresses: addresses.clone(), connect: Arc::clone(connect), ready };
        inner.members.insert(slot, member);
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
        for port in inner.ports() {
            if inner.told.get(&port).is_none_or(Vec::is_empty) {
                self.router.set_switching(&self.endpoint(port.as_ref()), expected);
            }
        }
    }

    /// Says that the instances that serve are about to be replaced: requests wait for the new ones.
    pub(crate) fn switch(&self) {
        for port in self.inner().ports() {
            self.router.set_switching(&self.endpoint(port.as_ref()), true);
        }
    }

    /// The router forgets the service.
    pub(crate) fn remove(&self) {
        for port in self.inner().ports() {
            self.router.remove_endpoint(&self.endpoint(port.as_ref()));
        }
    }

    fn tell(&self, inner: &mut Inner) {
        for port in inner.ports() {
            let upstreams = inner.upstreams(port.as_ref());
            let told = inner.told.entry(port.clone()).or_default();
            let same = upstreams.len() == told.len()
                && upstreams
                    .iter()
                    .zip(told.iter())
                    .all(|(new, old)| new.address == old.address && Arc::ptr_eq(&new.connect, &old.connect));
            if !same {
                self.router.set_upstreams(&self.endpoint(port.as_ref()), upstreams.clone());
                *told = upstreams;
            }
        }
    }
}

impl Inner {
    /// The service's own port, and all named ones that an instance has or had.
    fn ports(&self) -> BTreeSet<Option<Name>> {
        let named = self.members.values().flat_map(|member| member.addresses.named.keys().cloned().map(Some));
        named.chain(self.told.keys().cloned()).chain([None]).collect()
    }

    fn upstreams(&self, port: Option<&Name>) -> Vec<Upstream> {
        let serving = || self.members.values().filter(|member| member.generation == self.serving);
        let upstream = |member: &Member| {
            Some(Upstream { address: member.addresses.at(port)?, connect: Arc::clone(&member.connect) })
        };
        let ready: Vec<Upstream> = serving().filter(|member| member.ready).filter_map(upstream).collect();
        // Its own answer says more than one of ours that nobody is ready.
        if ready.is_empty() { serving().filter_map(upstream).collect() } else { ready }
    }
}

/// How the router knows a port of a service. No name has a colon in it.
pub(crate) fn of_port(service: &EndpointKey, port: Option<&Name>) -> EndpointKey {
    match port {
        Some(name) => EndpointKey(format!("{}:{name}", service.0)),
        None => service.clone(),
    }
}
