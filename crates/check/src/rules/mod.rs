//! The rules that need nothing but the app. A file for each family.

mod artifacts;
mod buckets;
mod caches;
mod clusters;
mod connections;
mod contract;
mod copies;
mod data;
mod database_servers;
mod hosts;
mod jobs;
mod manifests;
mod memory;
mod network;
mod pods;
mod production;
mod quota;
mod references;
mod routes;
mod secrets;
mod services;

use crate::scope::Scope;

pub(crate) use contract::LONGEST as LONGEST_VARIABLE;
pub(crate) use hosts::{UUID, too_long};
pub(crate) use quota::with_databases;
pub use secrets::{is_for_browsers, looks_secret};

/// Applies every rule.
pub(crate) fn check(scope: &mut Scope<'_>) {
    references::check(scope);
    contract::check(scope);
    secrets::check(scope);
    copies::check(scope);
    quota::check(scope);
    pods::check(scope);
    services::check(scope);
    data::check(scope);
    database_servers::check(scope);
    caches::check(scope);
    buckets::check(scope);
    hosts::check(scope);
    jobs::check(scope);
    routes::check(scope);
    artifacts::check(scope);
    manifests::check(scope);
    clusters::check(scope);
    network::check(scope);
    memory::check(scope);
    connections::check(scope);
    production::check(scope);
}
