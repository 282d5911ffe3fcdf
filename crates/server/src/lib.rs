//! Start and stop of the platform, on one machine and in a cluster: the wiring of the parts.

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

mod close_database;
pub mod cluster;
mod database_tls;
mod directory;
mod disk;
pub mod embedded;
mod listeners;
mod loopback;
mod pressure;
mod start;
mod targets;

pub use start::StartError;
