//! The limits that a router keeps to.

use std::time::Duration;

use crate::admission::Limits;
use crate::listener::Terms;
use crate::network::Proxy;

/// Limits and waiting times. The defaults suit one machine with some dozens of stacks.
#[derive(Clone, Debug)]
pub struct Options {
    /// The largest request or response head, in bytes; a larger request is answered 431. At least 8192.
    pub max_head_bytes: usize,
    /// The most header fields of a request or response; a request with more is answered 431.
    pub max_head_fields: usize,
    /// How long a client may take to send the head of a request. It also ends a kept-alive connection on which nothing comes.
    pub head_timeout: Duration,
    /// How long a client may read nothing of an answer that waits for it.
    pub write_timeout: Duration,
    /// How long a tunnel (WebSocket) may carry nothing in either direction.
    pub tunnel_timeout: Duration,
    /// How many connections of clients may be open, over the router's port and all inner addresses together.
    pub limits: Limits,
    /// Proxies whose word about the client is believed, such as one that ends TLS.
    pub trusted_proxies: Vec<Proxy>,
    /// How many threads the router has for itself, so that nothing else of the process can hold it up; 0: it runs on the caller's.
    pub threads: usize,
    /// How long a connection to an upstream may take to be made.
    pub connect_timeout: Duration,
    /// How many idle connections are kept for each upstream.
    pub idle_per_upstream: usize,
    /// How long a connection to an upstream is kept idle. Short, because servers close theirs after 5 s (Node.js) or 2 s (gunicorn),
    /// and a new connection on one machine costs some 50 µs.
    pub idle_timeout: Duration,
    /// How long an upstream that refused a connection is left alone while there is another.
    pub rest: Duration,
    /// How long a request waits for a live upstream of an endpoint that is marked as switching.
    pub hold: Duration,
    /// The limit of an exchange over an inner address ([`crate::Router::listen`]), where no rule of a route applies.
    pub inner_timeout: Duration,
    /// How often a request over an inner address is tried again.
    pub inner_retries: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            max_head_bytes: 64 * 1024,
            max_head_fields: 100,
            head_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            tunnel_timeout: Duration::from_secs(3600),
            limits: Limits::of_a_router(),
            trusted_proxies: Vec::new(),
            threads: 0,
            connect_timeout: Duration::from_secs(2),
            idle_per_upstream: 256,
            idle_timeout: Duration::from_secs(2),
            rest: Duration::from_secs(1),
            hold: Duration::from_secs(5),
            inner_timeout: Duration::from_secs(3600),
            inner_retries: 2,
        }
    }
}

impl Options {
    pub(crate) fn terms(&self) -> Terms {
        Terms {
            max_head_bytes: self.max_head_bytes,
            max_head_fields: self.max_head_fields,
            head_timeout: self.head_timeout,
            write_timeout: self.write_timeout,
            trusted: self.trusted_proxies.clone(),
        }
    }
}
