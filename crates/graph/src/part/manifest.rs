//! Manifests: objects of a cluster as they stand in a file. On one machine there is nothing for them.

use std::collections::BTreeSet;

use freehold_spec::Name;
use freehold_spec::app::Manifest;
use freehold_spec::part::manifest::Output;
use serde_json::Value as Json;

use super::{Expand, Site};
use crate::expand::expansion::Expansion;
use crate::expand::kubernetes::Cluster;
use crate::expand::local::LocalExpansion;
use crate::value::Value;

impl Expand for Manifest {
    type Output = Output;

    const WRITES_LOG: bool = false;

    /// Said by [`LocalExpansion`] together with all else that only a cluster has.
    fn local(&self, _: &Name, _: &mut LocalExpansion<'_>) {}

    fn kubernetes(&self, name: &Name, stack: &mut Cluster<'_>) {
        stack.manifest(name, self);
    }

    fn outputs(&self, _: &Name, _: &mut Expansion<'_>) {}

    fn credentials(_: &Name) -> Vec<String> {
        Vec::new()
    }

    fn egress(_: &BTreeSet<&Name>, _: &Cluster<'_>) -> Vec<Json> {
        Vec::new()
    }

    fn value(_: &Name, output: Output, _: &mut Site<'_, '_>) -> Vec<Value> {
        match output {}
    }
}
