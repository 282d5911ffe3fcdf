//! From an app and a request to a graph. A module for each kind of target.

pub(crate) mod connection;
mod error;
pub(crate) mod expansion;
pub mod kubernetes;
pub mod local;
pub mod names;
pub mod redirect;
pub(crate) mod references;
mod route;

use freehold_spec::App;

pub use crate::graph::Graph;
pub use crate::request::Request;
pub use crate::target::{
    Authority, ClusterDatabases, Gateway, KubernetesTarget, LocalTarget, PostgresServer, ServerTls, Target,
};
pub use error::{Claimant, ExpandError};

/// Expands for a target.
///
/// # Errors
/// All the definition's faults that hinder it; `check` reports the same ones better.
pub fn expand(app: &App, request: &Request, target: &Target) -> Result<Graph, Vec<ExpandError>> {
    match target {
        Target::Local(_) => local::expand(app, request, target),
        Target::Kubernetes(facts) => kubernetes::expand(app, request, target, facts),
    }
}
