//! Objects of a cluster in few words. A stack is some two dozen of them; people think of five or so.
//!
//! So a plan folds the plumbing that is new into the line that it belongs to: quota, limits, policies and account into the
//! namespace's; variables, address and budget into those of the service or job. Only what is made anew and has nothing to be
//! said about is ever folded: a change, a replacement, an adoption, a deletion and a note always keep a line of their own.

use std::collections::{BTreeMap, BTreeSet};

use freehold::wire::{Action, Change, Plan};
use freehold_graph::kind::{Fold, New};
use freehold_graph::{ProviderName, ResourceId, ResourceKind, Row, Value};

/// What of a plan is folded, and what is said in its place.
#[derive(Debug, Default)]
pub(super) struct Folding {
    /// Has no line of its own.
    pub hidden: BTreeSet<ResourceId>,
    /// What the lines of others say besides.
    pub words: BTreeMap<ResourceId, Vec<String>>,
    /// Reasons that several have in common.
    pub shared: BTreeMap<String, Vec<String>>,
}

impl Folding {
    /// Folds a plan.
    pub(super) fn of(plan: &Plan) -> Self {
        let new = || plan.changes.values().filter(|change| change.action == Action::Create && is_object(change.kind));
        let mut shared: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for change in new() {
            for reason in &change.reasons {
                shared.entry(reason.clone()).or_default().push(format!("{} {}", label(change.kind), name(change)));
            }
        }
        shared.retain(|_, subjects| subjects.len() > 1);
        let mut folding = Self { shared, ..Self::default() };
        let mut folded: BTreeMap<ResourceId, Vec<&Change>> = BTreeMap::new();
        for change in new() {
            let silent = change.reasons.iter().all(|reason| folding.shared.contains_key(reason));
            let whole = silent && change.fields.is_empty() && !change.loses_data;
            if let Some(leader) = leader(change, plan).filter(|_| whole) {
                folding.hidden.insert(change.id.clone());
                folded.entry(leader).or_default().push(change);
            }
        }
        folding.words = folded.into_iter().map(|(leader, changes)| (leader, together(&changes, plan))).collect();
        folding
    }
}

/// Whether it is an object of a cluster.
fn is_object(kind: ResourceKind) -> bool {
    kind.provider() == ProviderName::Kubernetes
}

/// Whether progress and `status` fold what has this word at the beginning of its id.
pub(super) fn is_plumbing(word: &str) -> bool {
    row(word).is_some_and(|row| row.plumbing)
}

/// The row of the kind whose ids begin with this; `None` for jobs, and for what a later release knows.
pub(super) fn row(word: &str) -> Option<&'static Row> {
    ResourceKind::of_id_word(word).map(ResourceKind::row)
}

/// Whose line shows it, too.
fn leader(change: &Change, plan: &Plan) -> Option<ResourceId> {
    let shown = |id: &ResourceId| {
        let is_new = plan.changes.get(id).is_some_and(|change| change.action == Action::Create);
        is_new || plan.runs.contains_key(id)
    };
    match &change.kind.row().fold {
        Fold::Own => None,
        Fold::Into { lines, .. } => lines(change.id.name()).into_iter().find(shown),
    }
}

/// All that is folded into one line, in words.
fn together(changes: &[&Change], plan: &Plan) -> Vec<String> {
    let mut places: BTreeMap<u8, Vec<&Change>> = BTreeMap::new();
    for change in changes {
        if let Fold::Into { place, .. } = &change.kind.row().fold {
            places.entry(*place).or_default().push(change);
        }
    }
    let words = places.values().filter_map(|all| {
        let first = all.first()?;
        match &first.kind.row().fold {
            Fold::Own => None,
            Fold::Into { words, .. } => Some(described(first, plan, None, |new| words(new, all.len()))),
        }
    });
    words.collect()
}

/// The word that stands for a kind: as short as `kubectl` has it, where its own is long.
pub(super) fn label(kind: ResourceKind) -> &'static str {
    kind.row().label
}

/// The same for the first part of an id.
pub(super) fn short(word: &str) -> &str {
    row(word).map_or(word, |row| row.label)
}

/// What a resource is called in a plan.
pub(super) fn name(change: &Change) -> String {
    change.kind.row().name(&change.id, &change.identity, &change.resource.body)
}

/// Hands a change to what describes new resources, with what stands around it.
pub(super) fn described<T>(
    change: &Change,
    plan: &Plan,
    server: Option<&str>,
    describe: impl FnOnce(&New<'_>) -> T,
) -> T {
    let other = |id: &ResourceId| plan.changes.get(id).map(|change| &change.resource.body);
    let (id, identity, body) = (&change.id, change.identity.as_str(), &change.resource.body);
    describe(&New { id, identity, body, server, other: &other })
}

/// The paths of what is known only after apply.
pub(super) fn unknown(body: &Value) -> Vec<String> {
    fn walk(value: &Value, path: &str, found: &mut Vec<String>) {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match value {
            Value::Special(_) if value.has_unknown() => found.push(path.to_owned()),
            Value::Map(fields) => fields.iter().for_each(|(name, value)| walk(value, &below(name), found)),
            Value::List(items) => {
                items.iter().enumerate().for_each(|(at, value)| walk(value, &format!("{path}[{at}]"), found));
            }
            Value::Special(_) | Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Text(_) => {}
        }
    }
    let mut found = Vec::new();
    walk(body, "", &mut found);
    found
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
