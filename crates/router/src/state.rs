//! What the router consists of while it runs. Requests read it, [`crate::Router`] changes it: changes follow one another under one lock,
//! which no request ever takes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::backend::Backend;
use crate::endpoint::Endpoint;
use crate::listener::{Listener, Service};
use crate::options::Options;
use crate::route::{EndpointKey, Upstream};
use crate::table::{Host, Table};
use crate::worker::Workers;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// Another program has the port.
    #[error("port {} of {} is taken by another program; stop it or choose another port", .addr.port(), .addr.ip())]
    PortTaken {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Anything else that keeps from listening.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The system gives no threads.
    #[error("the router's threads cannot be started")]
    Threads(#[source] std::io::Error),
}

/// What requests read and what changes it.
pub(crate) struct Core {
    pub(crate) workers: Arc<Workers>,
    pub(crate) options: Arc<Options>,
    admission: Arc<Admission>,
    table: RwLock<Arc<Table>>,
    control: Mutex<Control>,
    /// Connections of clients, and tunnels.
    pub(crate) tasks: TaskTracker,
    /// Ends the sweeping.
    pub(crate) closed: CancellationToken,
}

/// What only changes need.
#[derive(Default)]
pub(crate) struct Control {
    pub(crate) endpoints: HashMap<EndpointKey, Arc<Endpoint>>,
    /// The upstreams that are in a set or still have something in flight.
    pub(crate) backends: HashMap<SocketAddr, Arc<Backend>>,
    pub(crate) main: Option<Listener>,
    pub(crate) inner: HashMap<EndpointKey, Listener>,
    /// Listeners that were stopped and whose addresses may not be free yet.
    pub(crate) stopping: Vec<Listener>,
}

impl Core {
    /// Nothing is routed yet.
    pub(crate) fn new(workers: Workers, options: Options) -> Arc<Self> {
        Arc::new(Self {
            workers: Arc::new(workers),
            admission: Admission::new(options.limits),
            options: Arc::new(options),
            table: RwLock::default(),
            control: Mutex::default(),
            tasks: TaskTracker::new(),
            closed: CancellationToken::new(),
        })
    }

    pub(crate) fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What routes make of a host, or how many hosts have one.
    pub(crate) fn host(&self, host: &str) -> Result<Arc<Host>, usize> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.host(host).map(Arc::clone).ok_or(table.host_count())
    }

    /// Called with the control lock held, so that changes follow one another.
    pub(crate) fn change_table<T>(&self, change: impl FnOnce(&mut Table) -> T) {
        let mut table = Table::clone(&self.table());
        change(&mut table);
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }

    pub(crate) fn start<S: Service>(&self, addr: SocketAddr, service: Arc<S>) -> Result<Listener, RouterError> {
        // Where the listener's task is spawned and its socket is watched.
        let _worker = self.workers.enter();
        let (terms, admission) = (self.options.terms(), &self.admission);
        Listener::start(addr, &terms, admission, &self.tasks, &self.workers, service).map_err(|source| {
            if source.kind() == std::io::ErrorKind::AddrInUse {
                RouterError::PortTaken { addr, source }
            } else {
                RouterError::Listen { addr, source }
            }
        })
    }
}

impl Control {
    pub(crate) fn endpoint(&mut self, key: &EndpointKey) -> Arc<Endpoint> {
        Arc::clone(self.endpoints.entry(key.clone()).or_insert_with(Endpoint::new))
    }

    /// The backend for an address that is put in a set. One that was cut is gone from here, so that an address that is used again,
    /// by another process, starts anew.
    pub(crate) fn backend(&mut self, upstream: &Upstream, options: &Arc<Options>) -> Arc<Backend> {
        let begin = || Backend::new(upstream.address, Arc::clone(&upstream.connect), options);
        let backend = self.backends.entry(upstream.address).or_insert_with(begin);
        if !Arc::ptr_eq(backend.connector(), &upstream.connect) {
            // Connections that were proved to lead to another process serve nobody else.
            backend.retire();
            *backend = begin();
        }
        backend.serve();
        Arc::clone(backend)
    }

    /// Retires those that are in no set any more, and forgets the retired ones with nothing in flight.
    pub(crate) fn retire(&mut self, before: &[Arc<Backend>]) {
        for backend in before {
            if !self.endpoints.values().any(|endpoint| endpoint.has(backend.address)) {
                backend.retire();
            }
        }
        self.backends.retain(|_, backend| !backend.is_retired() || backend.in_flight() > 0);
    }

    pub(crate) fn stop(&mut self) -> Vec<Listener> {
        let mut listeners: Vec<Listener> =
            self.main.take().into_iter().chain(self.inner.drain().map(|(_, one)| one)).collect();
        listeners.iter_mut().for_each(Listener::stop);
        listeners.append(&mut self.stopping);
        listeners
    }
}

/// Closes idle connections to upstreams as they grow old.
pub(crate) async fn sweep(core: std::sync::Weak<Core>, closed: CancellationToken, every: Duration) {
    let mut tick = tokio::time::interval(every.max(Duration::from_millis(100)));
    while closed.run_until_cancelled(tick.tick()).await.is_some() {
        let Some(core) = core.upgrade() else { return };
        let backends: Vec<_> = core.control().backends.values().map(Arc::clone).collect();
        backends.iter().for_each(|backend| backend.sweep());
    }
}
