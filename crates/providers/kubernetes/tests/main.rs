//! The provider against a real control plane.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod caches;
mod commands;
mod facts;
mod fixture;
mod health;
mod interruptions;
mod kinds;
mod lists;
mod manifests;
mod matrix;
mod network;
mod node;
mod objects;
mod ownership;
mod permissions;
mod proxy;
mod readiness;
mod rejections;
mod runs;
mod scaling;
mod settings;
mod stage;
mod targets;
mod volumes;
mod watching;
