//! The store against a real PostgreSQL.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod bootstrap;
mod bounds;
mod fixture;
mod isolation;
mod journal;
mod leases;
mod lost_answers;
mod operations;
mod requests;
mod sealing;
mod secrets;
mod targets;
mod versions;
