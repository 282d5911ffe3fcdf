//! The Kubernetes target: a namespace for each stack, and in it the manifests of all that the stack consists of.
//!
//! ```text
//! namespace ── quota · limit range · service account · policies (deny all, then what the references say)
//!     ├── objects of manifests, as they stand in their files
//!     └── config, credentials · volumes · databases (roles and database on a server, or a cluster of CloudNativePG)
//!             └── [runs] ── deployments, cron jobs · services · budgets · autoscalers
//!                                └── routes (with a listener and a certificate where there is an issuer)
//! ```
//!
//! A body is a manifest, with quantities as the API server writes them. A Secret's `data` holds its texts as leaves, not as
//! base64; no other body has a secret in it. Names and ids are plain within the namespace: `deployment.web` is
//! `acme--guestbook/web`. Everything but the namespace comes after it, Pods after all that they use.

mod cache;
mod database;
mod environment;
mod file;
mod gateway;
mod given;
mod job;
mod manifest;
mod minimal;
mod namespace;
pub mod object;
mod pod;
mod pod_security;
mod policy;
mod probe;
mod quantity;
mod route;
mod schedule;
mod service;

use std::collections::{BTreeMap, BTreeSet};

use freehold_spec::{App, Name};

use super::error::{Claimant, ExpandError};
use super::expansion::Expansion;
use super::names;
use crate::graph::Graph;
use crate::part;
use crate::request::Request;
use crate::resource_id::ResourceId;
use crate::target::{ClusterDatabases, KubernetesTarget, Target};

pub(crate) use manifest::literal;
pub use minimal::hindrances;
pub use namespace::limits;
pub use pod_security::POD_SECURITY;
pub use quantity::{CPU_DEFAULT, MEMORY_DEFAULT};
pub use schedule::cron;
pub use service::service_ports;

/// Expands an app for a cluster.
///
/// # Errors
/// All the definition's faults that hinder it.
pub fn expand(
    app: &App,
    request: &Request,
    target: &Target,
    facts: &KubernetesTarget,
) -> Result<Graph, Vec<ExpandError>> {
    let mut cluster = Cluster {
        expansion: Expansion::new(app, request, target),
        facts,
        namespace: names::namespace(&request.key),
        prerequisites: BTreeSet::new(),
        listeners: BTreeMap::new(),
        taken: BTreeMap::new(),
    };
    cluster.namespace_objects();
    cluster.authority();
    cluster.policies();
    if let ClusterDatabases::Server { server, addresses } = &facts.databases
        && addresses.is_empty()
        && !app.databases.is_empty()
    {
        let unknown = ExpandError::NoDatabaseAddress { host: server.host.clone() };
        cluster.expansion.resolver.errors.push(unknown);
    }
    part::kubernetes(&mut cluster);
    cluster.guards_first();
    cluster.expansion.logins();
    cluster.outputs();
    cluster.not_enforced();
    cluster.expansion.sizes_are_not_watched();
    cluster.expansion.finish()
}

/// The expansion of one stack for a cluster.
pub(crate) struct Cluster<'a> {
    pub(crate) expansion: Expansion<'a>,
    pub(crate) facts: &'a KubernetesTarget,
    namespace: String,
    /// What has to be there before any Pod.
    prerequisites: BTreeSet<ResourceId>,
    /// The hosts that have listeners of their own, and the set that these are in.
    listeners: BTreeMap<String, Name>,
    /// Who has which name, by group, kind and name.
    taken: BTreeMap<[String; 3], Claimant>,
}

impl Cluster<'_> {
    fn outputs(&mut self) {
        part::outputs(&mut self.expansion);
        let graph = &mut self.expansion.graph;
        graph.claims.insert(("namespace".to_owned(), self.namespace.clone()));
        graph.outputs.insert("namespace".to_owned(), self.namespace.clone());
        let resolver = &self.expansion.resolver;
        for (service, image) in &resolver.request.artifacts {
            graph.outputs.insert(format!("images.{service}"), image.clone());
        }
        for (service, containers) in &resolver.request.containers {
            for (container, image) in containers {
                let name = names::part(service.as_str(), container.as_str());
                graph.outputs.insert(format!("images.{name}"), image.clone());
            }
        }
    }

    fn not_enforced(&mut self) {
        let mut lines = vec!["network policy, unless the cluster's network plugin does it".to_owned()];
        if !self.facts.gateway.retries {
            let retried = |route: &freehold_spec::app::Route| route.paths.iter().any(|rule| rule.retries.value > 0);
            let routes = &self.expansion.resolver.app.routes;
            let names = routes.iter().filter(|(_, route)| retried(route)).map(|(name, _)| name.as_str());
            let names = names.collect::<Vec<_>>().join(", ");
            if !names.is_empty() {
                lines.push(format!("retries of route {names} (the cluster's HTTPRoute has none)"));
            }
        }
        if self.facts.issuer.is_some() && !self.facts.gateway.listener_sets {
            lines.push("a certificate of its own (the cluster has no ListenerSet): the gateway's is used".to_owned());
        }
        match &self.facts.databases {
            ClusterDatabases::CloudNativePg { .. } if !self.expansion.resolver.app.databases.is_empty() => {
                lines.push(
                    "a role of its own for migrations, statement_timeout, lock_timeout (CloudNativePG: one role owns the database)"
                        .to_owned(),
                );
            }
            ClusterDatabases::CloudNativePg { .. } | ClusterDatabases::Server { .. } => {}
        }
        self.expansion.graph.not_enforced.extend(lines);
        self.expansion.unsupported();
    }
}
