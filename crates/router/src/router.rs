//! The router as its owner sees it: routes, upstream sets, inner addresses, draining.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::header::HeaderValue;

use crate::endpoint::Endpoint;
use crate::entrance::{Inner, Outer};
use crate::listener::Listener;
use crate::options::Options;
use crate::route::{Action, EndpointKey, Route, RouteKey, Rule, Upstream};
use crate::state::{Core, RouterError, sweep};
use crate::table::{Entry, host_name};
use crate::worker::Workers;

/// How long the last streams have to be closed in order when the router stops.
const CLOSING: Duration = Duration::from_millis(500);

/// What [`Router::drain`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Requests, streams and tunnels that were still open at the limit. [`Router::cut`] ends them.
    pub open: usize,
}

/// The router. Clones are handles to the same one; it runs until [`Router::shutdown`].
#[derive(Clone)]
pub struct Router {
    core: Arc<Core>,
    address: SocketAddr,
}

impl Router {
    /// Listens for clients on `addr` (port 0: any free one) and serves until [`Router::shutdown`].
    ///
    /// # Errors
    /// [`RouterError`] if the address cannot be listened on.
    pub async fn bind(addr: SocketAddr, mut options: Options) -> Result<Router, RouterError> {
        // hyper panics on a smaller buffer.
        options.max_head_bytes = options.max_head_bytes.max(8192);
        let workers = Workers::start(options.threads).map_err(RouterError::Threads)?;
        let core = Core::new(workers, options);
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

    /// Sends the requests for a route's hosts along it from now on; requests under way go on as they began.
    pub fn set_route(&self, key: &RouteKey, mut route: Route) {
        for host in route.hosts.iter_mut().chain(&mut route.redirect_from) {
            *host = normal(host);
        }
        let mut control = self.core.control();
        let table = self.core.table();
        let former = table.routes().get(key).map(Arc::as_ref);
        let entry = Arc::new(Entry::new(route, |endpoint| control.endpoint(endpoint), former));
        self.core.change_table(|table| table.set(key, Some(entry)));
    }

    /// Takes a route away. What its hosts have no other route for is answered 404 from now on.
    pub fn remove_route(&self, key: &RouteKey) {
        let _control = self.core.control();
        self.core.change_table(|table| table.set(key, None));
    }

    /// All routes, in the order of their keys.
    pub fn routes(&self) -> Vec<(RouteKey, Route)> {
        let table = self.core.table();
        table.routes().iter().map(|(key, entry)| (key.clone(), entry.route.clone())).collect()
    }

    /// Whether there is a route.
    pub fn has_route(&self, key: &RouteKey) -> bool {
        self.core.table().routes().contains_key(key)
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
        let leads_there =
            |rule: &Rule| matches!(&rule.action, Action::Forward { endpoint: one, .. } if one == endpoint);
        if !self.core.table().routes().values().any(|entry| entry.route.rules.iter().any(leads_there)) {
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

    /// An endpoint, and how long requests to it wait for an upstream while it is switching.
    pub(crate) fn of_endpoint(&self, key: &EndpointKey) -> (Arc<Endpoint>, Duration) {
        (self.core.control().endpoint(key), self.core.options.hold)
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

/// A host as the table has it.
fn normal(host: &str) -> String {
    host_name(host).map_or_else(|| host.to_ascii_lowercase(), std::borrow::Cow::into_owned)
}
