//! A route: a host name of the router or of the gateway.

use std::collections::BTreeSet;

use freehold_spec::app::Route;
use freehold_spec::part::route::Output;
use freehold_spec::{Name, PartKind};
use serde_json::Value as Json;

use super::{Expand, Site};
use crate::expand::expansion::Expansion;
use crate::expand::kubernetes::Cluster;
use crate::expand::local::LocalExpansion;
use crate::value::Value;

impl Expand for Route {
    type Output = Output;

    const WRITES_LOG: bool = false;

    fn local(&self, name: &Name, stack: &mut LocalExpansion<'_>) {
        stack.route(name, self);
    }

    fn kubernetes(&self, name: &Name, stack: &mut Cluster<'_>) {
        stack.route(name, self);
    }

    fn outputs(&self, name: &Name, stack: &mut Expansion<'_>) {
        let url = stack.resolver.route_url(name);
        stack.graph.outputs.insert(format!("{}.{name}.url", PartKind::Route.plural()), url);
    }

    fn credentials(_: &Name) -> Vec<String> {
        Vec::new()
    }

    fn egress(_: &BTreeSet<&Name>, _: &Cluster<'_>) -> Vec<Json> {
        Vec::new()
    }

    fn value(name: &Name, output: Output, site: &mut Site<'_, '_>) -> Vec<Value> {
        match output {
            Output::Url => vec![Value::text(site.resolver.route_url(name))],
        }
    }
}
