//! What was foretold against what came, leaf by leaf.

use std::collections::{BTreeMap, BTreeSet};

use freehold_graph::Value;
use freehold_plan::change::FieldChange;
use freehold_plan::{Preview, diff};
use serde::Serialize;
use serde_json::Value as Json;

use crate::cases::Case;

/// What the server keeps about an object.
const KEPT_BY_SERVER: [&str; 6] =
    ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"];
/// Written by a controller some time after.
const REVISION: &str = "deployment.kubernetes.io/revision";

/// The sums over all cases.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Count {
    cases: u32,
    /// By kind of case.
    kinds: BTreeMap<String, u32>,
    /// Leaves of the objects.
    fields: usize,
    exact: usize,
    /// Leaves that were to change, or did.
    changed: usize,
    changed_exact: usize,
    /// Of those that changed, how many the manifest alone would have foretold: what the dry run is for.
    changed_exact_by_manifest: usize,
    /// Said to be known only after apply; not exact.
    unknown: usize,
    pub(crate) unpredicted_deletions: u32,
    pub(crate) unpredicted_replacements: u32,
    /// Generated cases that the API server refuses, which the plan says: no case.
    refused: usize,
    #[serde(skip)]
    refusals: BTreeSet<String>,
}

type Leaves = BTreeMap<String, Option<Json>>;

impl Count {
    pub(crate) fn refuse(&mut self, case: &Case, error: &anyhow::Error) -> Vec<String> {
        self.refused += 1;
        self.refusals.insert(case.name.clone());
        vec![format!("{case}: refused, no case: {error:#}")]
    }

    pub(crate) fn is_refused(&self, case: &Case) -> bool {
        self.refusals.contains(&case.name)
    }

    fn take(&mut self, case: &Case) {
        self.cases += 1;
        *self.kinds.entry(case.scenario.to_owned()).or_default() += 1;
    }

    /// An object that was made: what a plan shows of it against what is seen of it.
    pub(crate) fn created(&mut self, case: &Case, manifest: &Value, foretold: &Value, seen: &Value) -> Vec<String> {
        self.take(case);
        self.by_manifest(&leaves("", manifest), &leaves("", seen));
        let (foretold, seen) = (leaves("", foretold), leaves("", seen));
        let (all, wrong) = self.differing(&foretold, &seen);
        self.fields += all;
        self.exact += all - wrong.len();
        self.changed += all;
        self.changed_exact += all - wrong.len();
        told(case, &wrong, &foretold, &seen)
    }

    /// One that was changed: the changes of a plan against the difference of the two whole objects.
    pub(crate) fn changed(
        &mut self,
        case: &Case,
        (observed, manifest): (&Value, &Value),
        preview: &Preview,
        (before, after): (&Json, &Json),
    ) -> anyhow::Result<Vec<String>> {
        self.take(case);
        let (before, after) = (whole(before)?, whole(after)?);
        let came = changes(&diff::fields(case.kind.row(), &before, &after));
        let foretold = changes(preview.fields.as_deref().unwrap_or_default());
        self.by_manifest(&changes(&diff::fields(case.kind.row(), observed, manifest)), &came);
        let (changed, wrong) = self.differing(&foretold, &came);
        let removed = came.values().filter(|leaf| leaf.is_none()).count();
        let all = (leaves("", &after).len() + removed).max(changed);
        self.fields += all;
        self.exact += all - wrong.len();
        self.changed += changed;
        self.changed_exact += changed - wrong.len();
        Ok(told(case, &wrong, &foretold, &came))
    }

    fn by_manifest(&mut self, manifest: &Leaves, came: &Leaves) {
        let all: BTreeSet<&String> = manifest.keys().chain(came.keys()).collect();
        self.changed_exact_by_manifest += all.iter().filter(|path| manifest.get(**path) == came.get(**path)).count();
    }

    /// How many leaves there are in both together, and which differ.
    fn differing(&mut self, foretold: &Leaves, came: &Leaves) -> (usize, Vec<String>) {
        let all: BTreeSet<&String> = foretold.keys().chain(came.keys()).collect();
        let wrong: Vec<String> =
            all.iter().filter(|path| foretold.get(**path) != came.get(**path)).map(ToString::to_string).collect();
        self.unknown += foretold.values().flatten().filter(|leaf| leaf.get("$unknown").is_some()).count();
        (all.len(), wrong)
    }
}

fn told(case: &Case, wrong: &[String], foretold: &Leaves, came: &Leaves) -> Vec<String> {
    let words = |leaf: Option<&Option<Json>>| match leaf {
        None => "no change".to_owned(),
        Some(None) => "nothing".to_owned(),
        Some(Some(leaf)) => leaf.to_string(),
    };
    let line = |path: &String| {
        format!("{case}: {path}: foretold {}, came {}", words(foretold.get(path)), words(came.get(path)))
    };
    wrong.iter().map(line).collect()
}

/// A live object without what the server keeps for itself.
fn whole(object: &Json) -> anyhow::Result<Value> {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
        if let Some(metadata) = fields.get_mut("metadata").and_then(Json::as_object_mut) {
            for name in KEPT_BY_SERVER {
                metadata.remove(name);
            }
            if let Some(annotations) = metadata.get_mut("annotations").and_then(Json::as_object_mut) {
                annotations.remove(REVISION);
                annotations.remove("freehold.dev/digests");
                if annotations.is_empty() {
                    metadata.remove("annotations");
                }
            }
        }
    }
    Ok(serde_json::from_value(object)?)
}

/// Changes as leaves: `None` for what goes away.
fn changes(fields: &[FieldChange]) -> Leaves {
    let mut all = Leaves::new();
    for field in fields.iter().filter(|field| !field.path.contains(REVISION)) {
        let before = field.before.as_ref().map(|value| leaves(&field.path, value)).unwrap_or_default();
        let after = field.after.as_ref().map(|value| leaves(&field.path, value)).unwrap_or_default();
        let stays = |path: &String, leaf: &Option<Json>| before.get(path) == Some(leaf);
        all.extend(before.keys().filter(|path| !after.contains_key(*path)).map(|path| (path.clone(), None)));
        all.extend(
            after.iter().filter(|(path, leaf)| !stays(path, leaf)).map(|(path, leaf)| (path.clone(), leaf.clone())),
        );
    }
    all
}

/// Texts, numbers and empty lists by their paths.
fn leaves(path: &str, value: &Value) -> Leaves {
    match value {
        Value::Map(fields) if !fields.is_empty() => {
            let dotted = |name: &String| if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            fields.iter().flat_map(|(name, field)| leaves(&dotted(name), field)).collect()
        }
        Value::List(items) if !items.is_empty() => {
            items.iter().enumerate().flat_map(|(index, item)| leaves(&format!("{path}[{index}]"), item)).collect()
        }
        leaf => Leaves::from([(path.to_owned(), serde_json::to_value(leaf).ok())]),
    }
}
