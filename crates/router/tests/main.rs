//! The router between real sockets: clients on one side, real servers on the other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod attacks;
mod framing;
mod handover;
mod headers;
mod limits;
mod lines;
mod pages;
mod policies;
mod retries;
mod routing;
mod stage;
mod streams;
