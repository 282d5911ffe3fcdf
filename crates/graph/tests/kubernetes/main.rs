//! What an app comes to in a cluster.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may fail")]

mod behaviour;
mod caches;
mod connections;
mod databases;
mod fixture;
mod jobs;
mod manifests;
mod properties;
mod routes;
mod services;
mod snapshots;
