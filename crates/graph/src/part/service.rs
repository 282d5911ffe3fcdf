//! A service: processes on this machine, Pods and what goes with them in a cluster.

use std::collections::BTreeSet;

use freehold_spec::Name;
use freehold_spec::app::Service;
use freehold_spec::part::service::Output;
use serde_json::Value as Json;

use super::{Expand, Site};
use crate::expand::expansion::Expansion;
use crate::expand::kubernetes::Cluster;
use crate::expand::local::LocalExpansion;
use crate::expand::names;
use crate::target::Target;
use crate::value::Value;

impl Expand for Service {
    type Output = Output;

    const WRITES_LOG: bool = true;

    fn local(&self, name: &Name, stack: &mut LocalExpansion<'_>) {
        stack.service(name, self);
    }

    fn kubernetes(&self, name: &Name, stack: &mut Cluster<'_>) {
        stack.service(name, self);
    }

    fn outputs(&self, _: &Name, _: &mut Expansion<'_>) {}

    fn credentials(_: &Name) -> Vec<String> {
        Vec::new()
    }

    fn egress(names: &BTreeSet<&Name>, cluster: &Cluster<'_>) -> Vec<Json> {
        cluster.egress_to_services(names)
    }

    fn value(name: &Name, output: Output, site: &mut Site<'_, '_>) -> Vec<Value> {
        let resolver = &mut site.resolver;
        match output {
            Output::Url => {
                resolver.endpoints.insert(name.clone());
                // No edge: the address is known before the service runs, and services may know each other.
                vec![Value::text(match resolver.target {
                    Target::Local(_) => format!("http://{}", names::endpoint(resolver.request.id, name)),
                    // Its Service, in the same namespace, on port 80.
                    Target::Kubernetes(_) => format!("http://{name}"),
                })]
            }
        }
    }
}
