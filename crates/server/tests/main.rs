//! The platform as replicas on a real PostgreSQL, and with a real control plane to deploy to.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod clusters;
mod health;
mod images;
mod replicas;
mod setting;
