//! Why the processes of a service are replaced, in the words of the definition. Where a changed variable reaches them as a checksum,
//! "the checksum changed" is true, and of no help to a reader: the row of the kind says what it is a checksum of.

use std::collections::BTreeSet;

use freehold::wire::{Change, Effect, Plan};
use freehold_graph::ResourceId;
use freehold_graph::kind::Cause;

/// A change's reasons as people read them. The first one tells what restarts it, where something does.
pub(super) fn reasons(change: &Change, plan: &Plan) -> Vec<String> {
    let mut reasons = change.reasons.clone();
    let fields = change.fields.iter().filter(|field| field.effect == Effect::Restart);
    let paths: BTreeSet<&str> = fields.map(|field| field.path.as_str()).collect();
    let Some(cause) = change.kind.row().cause.filter(|_| !paths.is_empty()) else { return reasons };
    if let Some(first) = reasons.first_mut() {
        let mut words: Vec<String> = Vec::new();
        for word in paths.into_iter().flat_map(|path| told(cause(change.id.name(), path), plan)) {
            if !words.contains(&word) {
                words.push(word);
            }
        }
        *first = format!("restarts: {}", words.join(", "));
    }
    reasons
}

/// What the change of a field comes from, in words.
fn told(cause: Cause, plan: &Plan) -> Vec<String> {
    match cause {
        Cause::Field(words) => vec![words],
        Cause::Variables { of, words } => match variables(&of, plan) {
            variables if variables.is_empty() => vec![words.to_owned()],
            variables => variables.iter().map(|variable| format!("{variable} changed")).collect(),
        },
    }
}

/// Whether a field is nothing but the checksum of variables whose own change the plan shows.
pub(super) fn is_derived(change: &Change, path: &str, plan: &Plan) -> bool {
    let cause = change.kind.row().cause.map(|cause| cause(change.id.name(), path));
    match cause {
        Some(Cause::Variables { of, .. }) => !variables(&of, plan).is_empty(),
        Some(Cause::Field(_)) | None => false,
    }
}

/// The variables that the plan changes in these resources.
fn variables(of: &[ResourceId], plan: &Plan) -> Vec<String> {
    let fields = of.iter().filter_map(|id| plan.changes.get(id)).flat_map(|source| &source.fields);
    fields.filter_map(|field| field.path.strip_prefix("data.").map(str::to_owned)).collect()
}
