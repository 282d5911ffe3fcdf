//! A database: on the target's server, or a PostgreSQL cluster of the stack's own.

use std::collections::BTreeSet;

use freehold_spec::app::Database;
use freehold_spec::part::database::Output;
use freehold_spec::{Name, PartKind};
use serde_json::Value as Json;

use super::{Expand, Site};
use crate::expand::expansion::Expansion;
use crate::expand::kubernetes::Cluster;
use crate::expand::local::LocalExpansion;
use crate::expand::names;
use crate::target::ClusterDatabases;
use crate::value::Value;

impl Expand for Database {
    type Output = Output;

    const WRITES_LOG: bool = false;

    fn local(&self, name: &Name, stack: &mut LocalExpansion<'_>) {
        stack.expansion.database(name, self);
    }

    fn kubernetes(&self, name: &Name, stack: &mut Cluster<'_>) {
        match &stack.facts.databases {
            ClusterDatabases::Server { .. } => stack.expansion.database(name, self),
            ClusterDatabases::CloudNativePg { operator_namespace } => {
                stack.cloudnative_pg(name, self, operator_namespace);
            }
        }
    }

    fn outputs(&self, name: &Name, stack: &mut Expansion<'_>) {
        let database = names::database(&stack.resolver.request.key, name);
        stack.graph.outputs.insert(format!("{}.{name}.name", PartKind::Database.plural()), database);
    }

    fn credentials(name: &Name) -> Vec<String> {
        ["app", "migrator"].map(|role| names::credential(name, role)).to_vec()
    }

    fn egress(names: &BTreeSet<&Name>, cluster: &Cluster<'_>) -> Vec<Json> {
        cluster.egress_to_databases(names)
    }

    fn value(name: &Name, output: Output, site: &mut Site<'_, '_>) -> Vec<Value> {
        site.needs.extend(site.resolver.way_to(name));
        match output {
            Output::Name => vec![Value::text(names::database(&site.resolver.request.key, name))],
            Output::Sslmode => vec![Value::text(site.resolver.tls_to(name).0)],
            Output::CaFile => vec![Value::text(site.resolver.tls_to(name).1.unwrap_or_default())],
            Output::Connection(role, connection) => site.resolver.connection(site.from, name, role, connection),
        }
    }
}
