//! A bucket: a server within Freehold on this machine. A cluster's targets have none yet.

use std::collections::BTreeSet;

use freehold_spec::app::Bucket;
use freehold_spec::part::bucket::Output;
use freehold_spec::{Name, PartKind};
use serde_json::Value as Json;

use super::{Expand, Site};
use crate::expand::ExpandError;
use crate::expand::expansion::Expansion;
use crate::expand::kubernetes::Cluster;
use crate::expand::local::LocalExpansion;
use crate::expand::names;
use crate::resource_id::ResourceId;
use crate::target::Target;
use crate::value::Value;

/// What clients are to say as the region of a bucket on this machine. None of Amazon's: for some of those clients fall back to signatures
/// of the second version, which the server refuses.
pub(crate) const REGION: &str = "local";

impl Expand for Bucket {
    type Output = Output;

    const WRITES_LOG: bool = false;

    fn local(&self, name: &Name, stack: &mut LocalExpansion<'_>) {
        stack.bucket(name, self);
    }

    fn kubernetes(&self, name: &Name, stack: &mut Cluster<'_>) {
        let (from, target) = (format!("bucket.{name}"), stack.facts.name.to_string());
        stack.expansion.resolver.errors.push(ExpandError::NoBucketServer { from, target });
    }

    fn outputs(&self, name: &Name, stack: &mut Expansion<'_>) {
        let id = stack.resolver.request.id;
        let address = format!("http://{}/{}", names::bucket_endpoint(id, name), names::bucket(id, name));
        stack.graph.outputs.insert(format!("{}.{name}.address", PartKind::Bucket.plural()), address);
    }

    fn credentials(name: &Name) -> Vec<String> {
        vec![names::bucket_credential(name)]
    }

    fn egress(_: &BTreeSet<&Name>, _: &Cluster<'_>) -> Vec<Json> {
        Vec::new()
    }

    fn value(name: &Name, output: Output, site: &mut Site<'_, '_>) -> Vec<Value> {
        match site.resolver.target {
            Target::Local(_) => drop(site.needs.insert(ResourceId::new("bucket", name))),
            // The expansion has failed for want of a server.
            Target::Kubernetes(_) => return Vec::new(),
        }
        let id = site.resolver.request.id;
        let endpoint = names::bucket_endpoint(id, name);
        vec![match output {
            Output::Endpoint => Value::text(format!("http://{endpoint}")),
            Output::Host => Value::text(endpoint.ip().to_string()),
            Output::Port => Value::text(endpoint.port().to_string()),
            Output::Name => Value::text(names::bucket(id, name)),
            Output::Region => Value::text(REGION),
            Output::AccessKeyId => Value::text(names::access_key_id(id, name)),
            Output::SecretAccessKey => Value::secret(site.resolver.bucket_secret(name)),
        }]
    }
}
