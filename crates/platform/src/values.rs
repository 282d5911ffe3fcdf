//! What a definition says otherwise than when the stack was last deployed, and where each value comes from.

use std::collections::BTreeMap;

use freehold_spec::{Document, Environment, Layer, Written};
use freehold_store::StoredDefinition;

/// How many values are told.
const TOLD: usize = 100;
/// The longest text of a value that is told, in bytes.
const LONGEST: usize = 200;

/// A value of the definition that isn't what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueChange {
    /// Where in the definition: `service.web.replicas`.
    pub path: String,
    /// As it was written; `None`: it wasn't.
    pub before: Option<String>,
    /// As it is written; `None`: it no longer is.
    pub after: Option<String>,
    /// The line of the definition in which it is written, from 1.
    pub line: Option<usize>,
    /// The table that overrides it there, if one does: `stage.production`.
    pub layer: Option<String>,
    /// The table that overrode it before, if one did.
    pub layer_before: Option<String>,
}

/// The values that differ between two definitions, each as it holds in an environment.
pub(crate) fn changed(
    before: (&StoredDefinition, &Environment),
    after: (&StoredDefinition, &Environment),
) -> Vec<ValueChange> {
    let (before, after) = (written(before), written(after));
    let paths = before.keys().chain(after.keys().filter(|path| !before.contains_key(*path)));
    let differing = paths.filter_map(|path| {
        let (was, is) = (before.get(path), after.get(path));
        (was.map(|value| &value.text) != is.map(|value| &value.text)).then(|| ValueChange {
            path: path.clone(),
            before: was.map(|value| shortened(&value.text)),
            after: is.map(|value| shortened(&value.text)),
            line: is.map(|value| value.line),
            layer: is.and_then(|value| value.layer.as_ref()).map(Layer::to_string),
            layer_before: was.and_then(|value| value.layer.as_ref()).map(Layer::to_string),
        })
    });
    let mut differing: Vec<ValueChange> = differing.collect();
    differing.sort_by(|one, other| one.path.cmp(&other.path));
    differing.truncate(TOLD);
    differing
}

/// The values of a definition by their paths.
fn written((stored, environment): (&StoredDefinition, &Environment)) -> BTreeMap<String, Written> {
    let StoredDefinition { source, files, language } = stored;
    let values = Document::parse(*language, source, files).values(Some(environment));
    values.into_iter().map(|value| (value.path.clone(), value)).collect()
}

fn shortened(text: &str) -> String {
    match text.get(..text.floor_char_boundary(LONGEST)) {
        Some(start) if start.len() < text.len() => format!("{start}…"),
        _ => text.to_owned(),
    }
}
