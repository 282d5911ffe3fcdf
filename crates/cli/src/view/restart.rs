//! Why the Pods of a service are made anew, in the words of the definition. In a cluster a changed variable reaches them as a
//! checksum in an annotation: true, and of no help to a reader.

use std::collections::BTreeSet;

use freehold::wire::{Change, Effect, Plan};
use freehold_graph::ResourceId;

/// The annotations with the checksums, and the objects that these are of.
const CHECKSUMS: [(&str, &str); 2] =
    [("freehold.dev/config", "configmap"), ("freehold.dev/credentials", "credentials")];
const POD: &str = "spec.template.spec.";

/// A change's reasons as people read them. The first one tells what restarts it, where something does.
pub(super) fn reasons(change: &Change, plan: &Plan) -> Vec<String> {
    let mut reasons = change.reasons.clone();
    let row = change.kind.row();
    let fields = change.fields.iter().filter(|field| field.effect == Effect::Restart);
    let paths: BTreeSet<&str> = fields.map(|field| field.path.as_str()).collect();
    if let Some(first) = reasons.first_mut().filter(|_| row.program.is_some() && row.api.is_some() && !paths.is_empty())
    {
        let mut words: Vec<String> = Vec::new();
        for word in paths.into_iter().flat_map(|path| cause(change, path, plan)) {
            if !words.contains(&word) {
                words.push(word);
            }
        }
        *first = format!("restarts: {}", words.join(", "));
    }
    reasons
}

/// What the change of a field comes from.
fn cause(change: &Change, path: &str, plan: &Plan) -> Vec<String> {
    if let Some((_, of)) = checksum(path) {
        let variables = variables(change, of, plan);
        return match variables.is_empty() {
            true => vec![if of == "credentials" { "secret variables changed" } else { "variables changed" }.to_owned()],
            false => variables.iter().map(|variable| format!("{variable} changed")).collect(),
        };
    }
    match path.strip_prefix(POD).unwrap_or(path) {
        path if path.starts_with("containers[") && path.ends_with(".image") => vec!["new image".to_owned()],
        path => vec![format!("{path} changed")],
    }
}

/// Whether a field is nothing but the checksum of variables whose own change the plan shows.
pub(super) fn is_derived(change: &Change, path: &str, plan: &Plan) -> bool {
    checksum(path).is_some_and(|(_, of)| !variables(change, of, plan).is_empty())
}

fn checksum(path: &str) -> Option<(&'static str, &'static str)> {
    CHECKSUMS.into_iter().find(|(annotation, _)| path.contains("annotations") && path.contains(annotation))
}

/// The variables that the plan changes in a service's config or credentials.
fn variables(change: &Change, of: &str, plan: &Plan) -> Vec<String> {
    let names = [change.id.name().to_owned(), format!("job-{}", change.id.name())];
    let sources = names.iter().filter_map(|name| plan.changes.get(&ResourceId::new(of, name)));
    let fields = sources.flat_map(|source| &source.fields);
    fields.filter_map(|field| field.path.strip_prefix("data.").map(str::to_owned)).collect()
}
