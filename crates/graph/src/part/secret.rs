//! A secret: sealed in the store, on every target.

use std::collections::BTreeSet;

use freehold_spec::Name;
use freehold_spec::app::Secret;
use freehold_spec::part::secret::Output;
use serde_json::Value as Json;

use super::{Expand, Site};
use crate::expand::expansion::Expansion;
use crate::expand::kubernetes::Cluster;
use crate::expand::local::LocalExpansion;
use crate::resource_id::ResourceId;
use crate::secret::SecretRef;
use crate::value::Value;

impl Expand for Secret {
    type Output = Output;

    const WRITES_LOG: bool = false;

    fn local(&self, name: &Name, stack: &mut LocalExpansion<'_>) {
        stack.expansion.secret(name, self);
    }

    fn kubernetes(&self, name: &Name, stack: &mut Cluster<'_>) {
        stack.expansion.secret(name, self);
    }

    fn outputs(&self, _: &Name, _: &mut Expansion<'_>) {}

    fn credentials(_: &Name) -> Vec<String> {
        Vec::new()
    }

    fn egress(_: &BTreeSet<&Name>, _: &Cluster<'_>) -> Vec<Json> {
        Vec::new()
    }

    fn value(name: &Name, output: Output, site: &mut Site<'_, '_>) -> Vec<Value> {
        match output {
            Output::Value => {
                site.needs.insert(ResourceId::new("secret", name));
                vec![Value::secret(SecretRef::Stored(name.to_string()))]
            }
        }
    }
}
