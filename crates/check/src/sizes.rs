//! What becomes too long or too large with the values of secrets: known for a stack, not for its definition.

use std::collections::BTreeMap;

use freehold_graph::expand::names::FILES;
use freehold_graph::kind::Texts;
use freehold_graph::{Graph, Resource, SecretRef, Value};
use freehold_problem::Code;

use crate::diagnostic::Diagnostic;
use crate::rules::LONGEST_VARIABLE;

/// The most that the values of a Secret or a ConfigMap may have together (Kubernetes' `MaxSecretSize`).
const LARGEST: usize = 1 << 20;
/// How many variables are named.
const NAMED: usize = 3;
/// The type of a Secret that a container gets its variables from.
const VARIABLES: &str = "Opaque";

/// Checks the graph of a stack whose secrets are so long.
pub fn sizes(graph: &Graph, length: &dyn Fn(&SecretRef) -> usize) -> Vec<Diagnostic> {
    let resources = graph.resources.values().flat_map(|resource| of_resource(resource, length));
    let runs = graph.runs.values().flat_map(|run| match run.body.get("env").and_then(Value::as_map) {
        Some(env) => too_long(&format!("job {}", run.id.name()), &lengths(env, length)),
        None => Vec::new(),
    });
    resources.chain(runs).collect()
}

fn of_resource(resource: &Resource, length: &dyn Fn(&SecretRef) -> usize) -> Vec<Diagnostic> {
    let map = |field: &str| resource.body.get(field).and_then(Value::as_map);
    let name = resource.identity.rsplit('/').next().unwrap_or_default();
    match resource.kind.row().texts {
        Texts::None => Vec::new(),
        Texts::Environment(word) => {
            map("env").map(|env| too_long(&format!("{word} {name}"), &lengths(env, length))).unwrap_or_default()
        }
        Texts::Data(word) => {
            let Some(data) = map("data") else { return Vec::new() };
            let lengths = lengths(data, length);
            let object = format!("{word} {}", resource.identity);
            let large = too_large(&object, &lengths);
            let of_type = resource.body.get("type").and_then(Value::as_text);
            let is_variables = of_type.is_none_or(|of_type| of_type == VARIABLES) && !name.ends_with(FILES);
            let long = if is_variables { too_long(&object, &lengths) } else { Vec::new() };
            large.into_iter().chain(long).collect()
        }
    }
}

type Lengths<'a> = Vec<(&'a str, usize)>;

/// The longest first.
fn lengths<'a>(values: &'a BTreeMap<String, Value>, length: &dyn Fn(&SecretRef) -> usize) -> Lengths<'a> {
    let mut lengths: Vec<_> = values.iter().map(|(name, value)| (name.as_str(), value.text_length(length))).collect();
    lengths.sort_by_key(|(_, length)| std::cmp::Reverse(*length));
    lengths
}

/// Values that no object of a cluster holds together.
fn too_large(object: &str, lengths: &Lengths<'_>) -> Option<Diagnostic> {
    let bytes: usize = lengths.iter().map(|(_, length)| length).sum();
    if bytes <= LARGEST {
        return None;
    }
    let message = format!("{object} would hold {bytes} bytes, and a cluster takes {LARGEST}");
    let named = lengths.iter().take(NAMED).map(|(name, length)| format!("{name} has {length}")).collect::<Vec<_>>();
    let more = lengths.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(", and there are {more} more") } else { String::new() };
    let help = "keep what is long in a file of the image or in the database, sealed under a key that is a secret; or let a \
                service or job of its own read a part of it";
    let diagnostic = Diagnostic::error(Code::ObjectTooLarge, message);
    Some(diagnostic.note(format!("{}{more}", named.join(", "))).help(help))
}

/// Variables that no process can be started with.
fn too_long(of: &str, lengths: &Lengths<'_>) -> Vec<Diagnostic> {
    let long = lengths.iter().filter(|(name, length)| name.len() + length + 2 > LONGEST_VARIABLE);
    let told = long.map(|(name, length)| {
        let message =
            format!("{name} of {of} has {length} bytes, and a variable ends at {LONGEST_VARIABLE}, its name included");
        let help = "keep what is long in a file or in the database, sealed under a key that is a secret";
        Diagnostic::error(Code::TooLongForProcess, message).help(help)
    });
    told.collect()
}
