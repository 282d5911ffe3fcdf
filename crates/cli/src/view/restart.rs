//! Why the Pods of a service are made anew, in the words of the definition. In a cluster a changed variable reaches them as a
//! checksum in an annotation: true, and of no help to a reader.

use freehold::wire::{Change, Plan};
use freehold_graph::ResourceId;

const RESTARTS: &str = "restarts: ";
/// The annotations with the checksums, and the objects that these are of.
const CHECKSUMS: [(&str, &str); 2] =
    [("freehold.dev/config", "configmap"), ("freehold.dev/credentials", "credentials")];
const POD: &str = "spec.template.spec.";

/// A reason of a plan as people read it.
pub(super) fn reason(change: &Change, reason: &str, plan: &Plan) -> String {
    let row = change.kind.row();
    let causes = reason.strip_prefix(RESTARTS).filter(|_| row.program.is_some() && row.api.is_some());
    let Some(causes) = causes else { return reason.to_owned() };
    let mut words: Vec<String> = Vec::new();
    for word in causes.split(", ").flat_map(|cause| cause_in_words(change, cause, plan)) {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    format!("{RESTARTS}{}", words.join(", "))
}

fn cause_in_words(change: &Change, cause: &str, plan: &Plan) -> Vec<String> {
    let path = cause.strip_suffix(" changed").unwrap_or(cause);
    if let Some((_, of)) = checksum(path) {
        let variables = variables(change, of, plan);
        return match variables.is_empty() {
            true => vec![if of == "credentials" { "secret variables changed" } else { "variables changed" }.to_owned()],
            false => variables.iter().map(|variable| format!("{variable} changed")).collect(),
        };
    }
    match path.strip_prefix(POD) {
        Some(path) if path.starts_with("containers[") && path.ends_with(".image") => vec!["new image".to_owned()],
        Some(path) => vec![format!("{path} changed")],
        None => vec![cause.to_owned()],
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
