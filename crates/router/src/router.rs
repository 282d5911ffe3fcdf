//! The router as its owner sees it: routes, upstream sets, inner addresses, draining.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use http::header::HeaderValue;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::backend::Backend;
use crate::connect::{Connect, Direct};
use crate::endpoint::Endpoint;
use crate::entrance::{Inner, Outer};
use crate::listener::{Listener, Service};
use crate::options::Options;
use crate::table::{Entry, Table, host_name};
use crate::worker::Workers;

/// How long the last streams have to be closed in order when the router stops.
const CLOSING: Duration = Duration::from_millis(500);

/// Names a service of a stack: `STACK_UUID/service.web`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointKey(pub String);

/// A process that serves an endpoint. Named again with another `connect`, it is another process.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    /// How connections to it are made.
    pub connect: Arc<dyn Connect>,
}

impl Upstream {
    /// Whoever listens at an address.
    pub fn direct(address: SocketAddr) -> Self {
        static DIRECT: OnceLock<Arc<dyn Connect>> = OnceLock::new();
        Self { address, connect: Arc::clone(DIRECT.get_or_init(|| Arc::new(Direct))) }
    }
}

/// What becomes of the requests for a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The service that they go to.
    pub endpoint: EndpointKey,
    /// Limits by path; a path that no rule covers is answered 404.
    pub rules: Vec<Rule>,
    /// The stack as people know it, "guestbook/tenant/acme"; shown in error pages.
    pub label: String,
}

/// The limits of the requests below a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Covers the paths that are equal to it or go on with a `/`.
    pub prefix: String,
    /// How long an exchange may take from the request's head to the last byte of the answer. A tunnel is limited until it is made.
    pub timeout: Duration,
    /// How often a request is sent again, where that is safe.
    pub retries: u32,
}

/// What [`Router::drain`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Requests, streams and tunnels that were still open at the limit. [`Router::cut`] ends them.
    pub open: usize,
}

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

/// The router. Clones are handles to the same one; it runs until [`Router::shutdown`].
#[derive(Clone)]
pub struct Router {
    core: Arc<Core>,
    address: SocketAddr,
}

/// What requests read and what changes it.
pub(crate) struct Core {
    workers: Arc<Workers>,
    pub(crate) options: Arc<Options>,
    admission: Arc<Admission>,
    table: RwLock<Arc<Table>>,
    control: Mutex<Control>,
    /// Connections of clients, and tunnels.
    pub(crate) tasks: TaskTracker,
    /// Ends the sweeping.
    closed: CancellationToken,
}

/// What only changes need.
#[derive(Default)]
struct Control {
    endpoints: HashMap<EndpointKey, Arc<Endpoint>>,
    /// The upstreams that are in a set or still have something in flight.
    backends: HashMap<SocketAddr, Arc<Backend>>,
    main: Option<Listener>,
    inner: HashMap<EndpointKey, Listener>,
    /// Listeners that were stopped and whose addresses may not be free yet.
    stopping: Vec<Listener>,
}

impl Router {
    /// Listens for clients on `addr` (port 0: any free one) and serves until [`Router::shutdown`].
    ///
    /// # Errors
    /// [`RouterError`] if the address cannot be listened on.
    pub async fn bind(addr: SocketAddr, mut options: Options) -> Result<Router, RouterError> {
        // hyper panics on a smaller buffer.
        options.max_head_bytes = options.max_head_bytes.max(8192);
        let workers = Arc::new(Workers::start(options.threads).map_err(RouterError::Threads)?);
        let core = Arc::new(Core {
            workers,
            admission: Admission::new(options.limits),
            options: Arc::new(options),
            table: RwLock::default(),
            control: Mutex::default(),
            tasks: TaskTracker::new(),
            closed: CancellationToken::new(),
        });
        let port = Arc::new(OnceLock::new());
        let service = Arc::new(Outer { core: Arc::clone(&core), port: Arc::clone(&port) });
        let listener = core.start(addr, service)?;
        let address = listener.address();
        let _ = port.set(HeaderValue::from(address.port()));
        core.control().main = Some(listener);
        let sweeping = sweep(Arc::downgrade(&core), core.closed.clone(), core.options.idle_timeout);
        core.workers.spawn(sweeping);
        Ok(Router { core, address })
    }

    /// The address that clients reach the router at.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends the requests for `host` along `route` from now on; requests under way keep theirs.
    pub fn set_route(&self, host: &str, route: Route) {
        let mut control = self.core.control();
        let endpoint = control.endpoint(&route.endpoint);
        let entry = Arc::new(Entry::new(route, endpoint));
        self.core.change_table(|table| table.insert(normal(host), entry));
    }

    /// Answers the requests for `host` with 404 from now on.
    pub fn remove_route(&self, host: &str) {
        let _control = self.core.control();
        self.core.change_table(|table| table.remove(&normal(host)));
    }

    /// All routes, by host.
    pub fn routes(&self) -> Vec<(String, Route)> {
        let table = self.core.table();
        let mut routes: Vec<_> = table.iter().map(|(host, entry)| (host.clone(), entry.route.clone())).collect();
        routes.sort_by(|one, other| one.0.cmp(&other.0));
        routes
    }

    /// Replaces the processes that serve an endpoint, all at once. Requests under way go on with those that they have. With an empty
    /// set requests are answered 503, or held while the endpoint is [switching](Router::set_switching). An upstream that was not in
    /// the set before ends the switching.
    pub fn set_upstreams(&self, endpoint: &EndpointKey, upstreams: Vec<Upstream>) {
        let mut control = self.core.control();
        let backends = upstreams.iter().map(|upstream| control.backend(upstream, &self.core.options)).collect();
        let before = control.endpoint(endpoint).replace(backends);
        control.retire(&before);
    }

    /// Says whether the endpoint will have a live upstream shortly. While it is switching, requests that find none wait for up to
    /// [`Options::hold`]. To be set before the old upstream is taken out or stopped.
    pub fn set_switching(&self, endpoint: &EndpointKey, switching: bool) {
        self.core.control().endpoint(endpoint).set_switching(switching);
    }

    /// Forgets an endpoint and stops its inner address. Routes to it answer 503 until it gets upstreams again.
    pub fn remove_endpoint(&self, endpoint: &EndpointKey) {
        self.stop_listening(endpoint);
        let mut control = self.core.control();
        let Some(gone) = control.endpoints.get(endpoint).map(Arc::clone) else { return };
        gone.set_switching(false);
        let before = gone.replace(Vec::new());
        if !self.core.table().values().any(|entry| entry.route.endpoint == *endpoint) {
            control.endpoints.remove(endpoint);
        }
        control.retire(&before);
    }

    /// Gives the endpoint an address of its own, at which its stack's other services reach it. Asked for again, nothing changes;
    /// asked for with another address, it moves.
    ///
    /// # Errors
    /// [`RouterError`] if the address cannot be listened on.
    pub async fn listen(&self, endpoint: &EndpointKey, addr: SocketAddr) -> Result<(), RouterError> {
        if self.core.control().inner.get(endpoint).is_some_and(|listener| listener.address() == addr) {
            return Ok(());
        }
        self.stop_listening(endpoint);
        let stopping = std::mem::take(&mut self.core.control().stopping);
        for listener in stopping {
            listener.stopped().await;
        }
        let mut control = self.core.control();
        if control.inner.get(endpoint).is_some_and(|listener| listener.address() == addr) {
            return Ok(());
        }
        let service = Arc::new(Inner { core: Arc::clone(&self.core), endpoint: control.endpoint(endpoint) });
        let listener = self.core.start(addr, service)?;
        if let Some(mut other) = control.inner.insert(endpoint.clone(), listener) {
            other.stop();
            control.stopping.push(other);
        }
        Ok(())
    }

    /// Gives up the endpoint's own address; requests under way are finished.
    pub fn stop_listening(&self, endpoint: &EndpointKey) {
        let mut control = self.core.control();
        if let Some(mut listener) = control.inner.remove(endpoint) {
            listener.stop();
            control.stopping.push(listener);
        }
    }

    /// Waits until everything in flight to `upstream` has ended, requests and streams alike, but no longer than `limit`. The upstream
    /// must be in no set any more.
    pub async fn drain(&self, upstream: SocketAddr, limit: Duration) -> Drained {
        let Some(backend) = self.core.control().backends.get(&upstream).map(Arc::clone) else {
            return Drained { open: 0 };
        };
        // Being too late is told by the count.
        let _ = tokio::time::timeout(limit, backend.drained()).await;
        Drained { open: backend.in_flight() }
    }

    /// Ends what is in flight to `upstream`, and says how many there were: event streams end in order, so that their clients connect
    /// again; tunnels are closed; every other answer breaks off, so that it is not taken for complete; requests without an answer
    /// are tried elsewhere if that is safe.
    pub fn cut(&self, upstream: SocketAddr) -> usize {
        let Some(backend) = self.core.control().backends.remove(&upstream) else { return 0 };
        backend.retire();
        let open = backend.in_flight();
        backend.cut.give();
        open
    }

    /// How many requests, streams and tunnels are in flight to `upstream`.
    pub fn in_flight(&self, upstream: SocketAddr) -> usize {
        self.core.control().backends.get(&upstream).map_or(0, |backend| backend.in_flight())
    }

    /// Takes no more connections, finishes what is under way within `limit`, and closes the rest.
    pub async fn shutdown(&self, limit: Duration) {
        let listeners = self.core.control().stop();
        self.core.closed.cancel();
        self.core.tasks.close();
        if tokio::time::timeout(limit, self.core.tasks.wait()).await.is_err() {
            let backends: Vec<_> = self.core.control().backends.drain().map(|(_, backend)| backend).collect();
            for backend in &backends {
                backend.cut.give();
            }
            if tokio::time::timeout(CLOSING, self.core.tasks.wait()).await.is_err() {
                listeners.iter().for_each(Listener::abort);
            }
        }
        for listener in listeners {
            listener.stopped().await;
        }
    }
}

impl Core {
    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The route of a host, or how many hosts have one.
    pub(crate) fn entry(&self, host: &str) -> Result<Arc<Entry>, usize> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.get(host).map(Arc::clone).ok_or(table.len())
    }

    /// Called with the control lock held, so that changes follow one another.
    fn change_table<T>(&self, change: impl FnOnce(&mut Table) -> T) {
        let mut table = Table::clone(&self.table());
        change(&mut table);
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }

    fn start<S: Service>(&self, addr: SocketAddr, service: Arc<S>) -> Result<Listener, RouterError> {
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
    fn endpoint(&mut self, key: &EndpointKey) -> Arc<Endpoint> {
        Arc::clone(self.endpoints.entry(key.clone()).or_insert_with(Endpoint::new))
    }

    /// The backend for an address that is put in a set. One that was cut is gone from here, so that an address that is used again,
    /// by another process, starts anew.
    fn backend(&mut self, upstream: &Upstream, options: &Arc<Options>) -> Arc<Backend> {
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
    fn retire(&mut self, before: &[Arc<Backend>]) {
        for backend in before {
            if !self.endpoints.values().any(|endpoint| endpoint.has(backend.address)) {
                backend.retire();
            }
        }
        self.backends.retain(|_, backend| !backend.is_retired() || backend.in_flight() > 0);
    }

    fn stop(&mut self) -> Vec<Listener> {
        let mut listeners: Vec<Listener> =
            self.main.take().into_iter().chain(self.inner.drain().map(|(_, one)| one)).collect();
        listeners.iter_mut().for_each(Listener::stop);
        listeners.append(&mut self.stopping);
        listeners
    }
}

/// Closes idle connections to upstreams as they grow old.
async fn sweep(core: std::sync::Weak<Core>, closed: CancellationToken, every: Duration) {
    let mut tick = tokio::time::interval(every.max(Duration::from_millis(100)));
    while closed.run_until_cancelled(tick.tick()).await.is_some() {
        let Some(core) = core.upgrade() else { return };
        let backends: Vec<_> = core.control().backends.values().map(Arc::clone).collect();
        backends.iter().for_each(|backend| backend.sweep());
    }
}

/// A host as the table has it.
fn normal(host: &str) -> String {
    host_name(host).map_or_else(|| host.to_ascii_lowercase(), std::borrow::Cow::into_owned)
}
