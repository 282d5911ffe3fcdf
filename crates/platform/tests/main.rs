//! What callers can ask for, called in process.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod actors;
mod capabilities;
mod environments;
mod left_for_later;
mod revisions;
mod spans;
mod testbed;
mod versions;
mod watching;
