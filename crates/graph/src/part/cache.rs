//! A cache: a server of its own, as a process on this machine, as a Pod in a cluster.

use std::collections::BTreeSet;

use freehold_spec::app::Cache;
use freehold_spec::part::cache::Output;
use freehold_spec::{Name, PartKind};
use serde_json::Value as Json;

use super::{Expand, Site};
use crate::cache::{PORT, USER};
use crate::expand::expansion::Expansion;
use crate::expand::kubernetes::Cluster;
use crate::expand::local::LocalExpansion;
use crate::expand::names;
use crate::expand::references::Resolver;
use crate::resource_id::ResourceId;
use crate::target::Target;
use crate::value::Value;

impl Expand for Cache {
    type Output = Output;

    const WRITES_LOG: bool = true;

    fn local(&self, name: &Name, stack: &mut LocalExpansion<'_>) {
        stack.cache(name, self);
    }

    fn kubernetes(&self, name: &Name, stack: &mut Cluster<'_>) {
        stack.cache(name, self);
    }

    fn outputs(&self, name: &Name, stack: &mut Expansion<'_>) {
        let (host, port) = address(name, &stack.resolver);
        stack.graph.outputs.insert(format!("{}.{name}.address", PartKind::Cache.plural()), format!("{host}:{port}"));
    }

    fn credentials(name: &Name) -> Vec<String> {
        vec![names::cache_credential(name)]
    }

    fn egress(names: &BTreeSet<&Name>, cluster: &Cluster<'_>) -> Vec<Json> {
        cluster.egress_to_caches(names)
    }

    fn value(name: &Name, output: Output, site: &mut Site<'_, '_>) -> Vec<Value> {
        site.needs.insert(match site.resolver.target {
            Target::Local(_) => ResourceId::new("cache", name),
            Target::Kubernetes(_) => ResourceId::new("deployment", names::joined("cache", name.as_str())),
        });
        let (host, port) = address(name, site.resolver);
        let password = Value::secret(site.resolver.cache_password(name));
        match output {
            // Names and derived passwords (base64url) have nothing that a URL would have to encode.
            Output::Url => {
                vec![Value::text(format!("redis://{USER}:")), password, Value::text(format!("@{host}:{port}"))]
            }
            Output::Host => vec![Value::text(host)],
            Output::Port => vec![Value::text(port.to_string())],
            Output::User => vec![Value::text(USER)],
            Output::Password => vec![password],
        }
    }
}

/// Where the stack's programs reach it.
fn address(name: &Name, resolver: &Resolver<'_>) -> (String, u16) {
    match resolver.target {
        Target::Local(_) => {
            let endpoint = names::cache_endpoint(resolver.request.id, name);
            (endpoint.ip().to_string(), endpoint.port())
        }
        Target::Kubernetes(_) => (names::joined("cache", name.as_str()), PORT),
    }
}
