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
        let text = match output {
            // No edge: the address is known before the service runs, and services may know each other.
            Output::Url => {
                let (host, port) = resolver.service_address(name);
                let protocol = resolver.app.services.get(name).map(|service| service.protocol.value);
                protocol.unwrap_or_default().url(&host, port)
            }
            Output::Host => resolver.service_address(name).0,
            Output::Port => resolver.service_address(name).1.to_string(),
            Output::Image => resolver.request.artifacts.get(name).cloned().unwrap_or_default(),
            Output::ImageDigest => {
                let image = resolver.request.artifacts.get(name).map(String::as_str).unwrap_or_default();
                image.rsplit_once('@').map_or(image, |(_, digest)| digest).to_owned()
            }
        };
        vec![Value::text(text)]
    }
}
