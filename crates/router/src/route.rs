//! What the router's owner says about hosts: which service a host's requests go to, within which limits, and which processes serve it.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::connect::{Connect, Direct};

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
