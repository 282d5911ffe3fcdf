//! The platform: HTTP API, planner, executor, doctor, and the wiring of the parts.

mod closing;
pub mod cluster;
mod directory;
mod disk;
pub mod embedded;
mod http;
mod loopback;
mod pressure;
mod serving;
mod start;

pub use http::openapi;
pub use start::StartError;
