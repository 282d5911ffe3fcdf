//! The limits that a router keeps to.

use std::time::Duration;

/// Limits and waiting times. The defaults suit one machine with some dozens of stacks.
#[derive(Clone, Debug)]
pub struct Options {
    /// The largest request or response head, in bytes; a larger request is answered 431. At least 8192.
    pub max_head_bytes: usize,
    /// How long a client may take to send the head of a request. It also ends a kept-alive connection on which nothing comes.
    pub head_timeout: Duration,
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
            head_timeout: Duration::from_secs(60),
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
