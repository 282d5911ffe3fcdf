//! A stage: figures that other parts look up. It has no resource of its own.

use std::collections::BTreeSet;

use freehold_spec::Name;
use freehold_spec::app::Stage;
use freehold_spec::part::stage::Output;
use serde_json::Value as Json;

use super::{Expand, Site};
use crate::expand::expansion::Expansion;
use crate::expand::kubernetes::Cluster;
use crate::expand::local::LocalExpansion;
use crate::value::Value;

impl Expand for Stage {
    type Output = Output;

    const WRITES_LOG: bool = false;

    fn local(&self, _: &Name, _: &mut LocalExpansion<'_>) {}

    fn kubernetes(&self, _: &Name, _: &mut Cluster<'_>) {}

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
