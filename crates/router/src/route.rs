//! What the router's owner says: what becomes of the requests for a host, by path, and which processes serve a service.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use ipnet::IpNet;

use crate::connect::{Connect, Direct};
use crate::cors::Cors;
use crate::password::PasswordHash;
use crate::rate_limit::RateLimit;

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

/// Names a route of a stack: `STACK_UUID/acme/web`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteKey(pub String);

/// What becomes of the requests for some hosts. Several routes may have a host, each with paths of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The hosts that it serves.
    pub hosts: Vec<String>,
    /// Hosts whose requests are redirected to the first of those.
    pub redirect_from: Vec<String>,
    /// What is done by path. A path that none covers is answered 404.
    pub rules: Vec<Rule>,
    /// What holds for all paths.
    pub policies: Policies,
    /// The stack as people know it, "guestbook/tenant/acme"; shown in error pages.
    pub label: String,
}

/// What is done to the requests below a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Covers the paths that are equal to it or go on with a `/`.
    pub prefix: String,
    /// A service, or the router itself.
    pub action: Action,
}

/// What answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A service, asked by the router.
    Forward {
        /// The service's, whichever processes serve it.
        endpoint: EndpointKey,
        /// How long and how often it is asked.
        patience: Patience,
    },
    /// The router, with another address.
    Redirect {
        /// A URL or a path, without a query; that of the request is appended.
        to: String,
        /// Append what follows the prefix in the request's path.
        keep_path: bool,
        /// One of 3xx.
        status: StatusCode,
    },
    /// The router, always with the same.
    Respond {
        /// Any of 200 to 599.
        status: StatusCode,
        /// The body; empty for none.
        body: Bytes,
        /// The body's media type.
        content_type: HeaderValue,
    },
}

/// How long and how often a service is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long an exchange may take from the request's head to the last byte of the answer. A tunnel is limited until it is made.
    pub timeout: Duration,
    /// How long one attempt may take until the head of its answer; `None`: all the time that there is.
    pub attempt_timeout: Option<Duration>,
    /// How often a request is sent again, where that is safe.
    pub retries: u32,
}

/// What holds for all paths of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// Changes of the header that goes to a service.
    pub request_headers: HeaderChanges,
    /// Changes of the header of a service's answer.
    pub response_headers: HeaderChanges,
    /// The pages of other origins that may read answers.
    pub cors: Option<Cors>,
    /// The largest body of a request, in bytes.
    pub max_body: Option<u64>,
    /// Who is let in, by user name; empty for everybody.
    pub users: BTreeMap<String, PasswordHash>,
    /// The networks of the clients that are let in; empty for all.
    pub allow_from: Vec<IpNet>,
    /// How many requests a client may send.
    pub rate_limit: Option<RateLimit>,
}

/// Changes of a header. Fields are taken out first, then set, then added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    /// Fields that get this value alone.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Fields that get this value as well.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// Fields that are taken out.
    pub remove: Vec<HeaderName>,
}

impl HeaderChanges {
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }
}
