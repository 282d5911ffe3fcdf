//! A job: a run for each revision, or a schedule.

use std::collections::BTreeSet;

use freehold_spec::Name;
use freehold_spec::app::Job;
use freehold_spec::part::job::Output;
use serde_json::Value as Json;

use super::{Expand, Site};
use crate::expand::expansion::Expansion;
use crate::expand::kubernetes::Cluster;
use crate::expand::local::LocalExpansion;
use crate::value::Value;

impl Expand for Job {
    type Output = Output;

    const WRITES_LOG: bool = true;

    fn local(&self, name: &Name, stack: &mut LocalExpansion<'_>) {
        stack.job(name, self);
    }

    /// After the services, whose variables wait for the jobs.
    fn kubernetes(&self, name: &Name, stack: &mut Cluster<'_>) {
        stack.job(name, self);
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
