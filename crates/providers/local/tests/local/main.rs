//! The provider against real processes, a real router and a real file system.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod artifact;
mod cache;
mod isolation;
mod job;
mod killed;
mod log;
mod restart;
mod schedule;
mod service;
mod settling;
mod standstill;
mod tenants;
mod update;
mod world;
