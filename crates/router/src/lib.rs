//! The HTTP router of the local target: one port for every host of every stack, and a stable inner address for each service.
//!
//! ```text
//!   browser ──► 127.0.0.1:7080 ──► host ──► longest prefix ──┐
//!                                                            ├──► endpoint ──► one of its live upstreams
//!   a service of the same stack ──► 127.a.b.c:port ──────────┘
//! ```
//!
//! hyper speaks HTTP on both sides; what is here is the choice of where a request goes, what is tried again, and how a service
//! is exchanged under load. `docs/adr/0004-router.md` has the reasons.
//!
//! What always holds:
//! - A request that may have reached an upstream is sent again only where its method is idempotent and its body is empty.
//! - A choice of upstream and the count of requests in flight change together, under the same lock that [`Router::set_upstreams`]
//!   writes under. Once it has returned, no new request goes to an upstream that it took out, so [`Router::drain`] misses none.
//! - Nobody's connections keep others out ([`Limits`]), and no wait for a client or an upstream is without end.
//! - No lock is held across an await.
//! - What a client sees never names an inner address.
//!
//! Not kept: any history. The provider sets routes and upstreams again after a start.

mod admission;
mod alarm;
mod backend;
mod client;
mod connect;
mod cors;
mod endpoint;
mod entrance;
mod exchange;
mod header;
mod line;
mod listener;
mod network;
mod options;
mod page;
mod password;
mod path;
mod quiet;
mod rate_limit;
mod response_body;
mod route;
mod router;
mod signal;
pub mod socket;
mod state;
mod stream;
mod table;
mod tunnel;
mod upload;
mod wire;
mod worker;

pub use admission::Limits;
pub use connect::{Connect, Connecting, Direct};
pub use cors::Cors;
pub use line::Line;
pub use listener::{Client, Door, Service, Terms};
pub use network::{Proxy, ProxyError};
pub use options::Options;
pub use password::PasswordHash;
pub use rate_limit::RateLimit;
pub use route::{Action, EndpointKey, HeaderChanges, Patience, Policies, Route, RouteKey, Rule, Upstream};
pub use router::{Drained, Router};
pub use state::RouterError;
