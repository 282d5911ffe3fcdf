//! Tables that are laid over others.

use std::collections::BTreeSet;

use toml::de::{DeTable, DeValue};

use super::tree::AsTable as _;
use crate::decode::context::Context;
use crate::decode::kind::Value;
use crate::decode::layer::{self, LAYERS};
use crate::decode::{DecodeError, DecodeErrorKind};
use crate::environment::Layer;
use crate::nearest::{listed, nearest};
use crate::part::PartKind;

/// The table within a part that has such as can be taken away.
const SERVER: &str = "server";

/// The table of a layer, if the definition has it.
pub(super) fn table<'t, 'i>(root: &'t DeTable<'i>, layer: &Layer) -> Option<&'t DeTable<'i>> {
    let named = |word: &str, name: &str| root.get(word)?.table()?.get(name)?.table();
    match layer {
        Layer::Stage(name) => named("stage", name),
        Layer::Tier(name) => named("tier", name),
        Layer::Preview => root.get("preview")?.table(),
    }
}

/// Lays a layer over a definition. What isn't there to be overridden, or isn't a table where it has to be one, is left out: it has been
/// reported.
pub(super) fn lay<'i>(tree: &mut DeTable<'i>, layer: &DeTable<'i>) {
    let keys = layer::keys();
    for (key, value) in layer.iter().filter(|(key, _)| keys.contains(&key.get_ref().as_ref())) {
        if layer::is_off(key.get_ref(), value) {
            tree.remove(&**key.get_ref());
            continue;
        }
        let Some(over) = value.table() else { continue };
        if PartKind::of_word(key.get_ref()).is_none() {
            merge_at(tree, key, value);
            continue;
        }
        let Some(parts) = tree.get_mut(&**key.get_ref()).and_then(|parts| parts.table_mut()) else { continue };
        for (name, part) in over.iter().filter(|(_, part)| part.table().is_some()) {
            let there = parts.get_mut(&**name.get_ref()).and_then(|there| there.table_mut());
            let (Some(there), Some(over)) = (there, part.table()) else { continue };
            for (key, value) in over.iter() {
                if layer::is_off(key.get_ref(), value) {
                    there.remove(&**key.get_ref());
                } else {
                    merge_at(there, key, value);
                }
            }
        }
    }
}

/// Puts a value under a key: merged, if both it and what is there are tables.
fn merge_at<'i>(table: &mut DeTable<'i>, key: &toml::Spanned<toml::de::DeString<'i>>, value: &Value<'i>) {
    match (table.get_mut(&**key.get_ref()).and_then(|there| there.table_mut()), value.table()) {
        (Some(there), Some(over)) => {
            for (inner, value) in over.iter() {
                // Other tables within a part have names that somebody chose: there it is a value like any.
                if key.get_ref() == SERVER && layer::is_off(inner.get_ref(), value) {
                    there.remove(&**inner.get_ref());
                } else {
                    merge_at(there, inner, value);
                }
            }
        }
        // The key goes with its value: what is said about it points there.
        _ => {
            table.remove(&**key.get_ref());
            table.insert(key.clone(), value.clone());
        }
    }
}

/// Reports what layers override that isn't there.
pub(super) fn check(root: &DeTable<'_>, context: &mut Context<'_>) {
    let keys = layer::keys();
    let parts = PartKind::ALL.iter().map(|part| part.word()).filter(|word| keys.contains(word));
    let defined: Vec<(&str, BTreeSet<&str>)> = parts.map(|word| (word, names(root, word))).collect();
    for word in LAYERS {
        let Some(table) = root.get(word).and_then(|table| table.table()) else { continue };
        // The previews have one layer; the others are parts, each with a name.
        if PartKind::of_word(word).is_none() {
            missing(&defined, table, word, context);
            continue;
        }
        for (name, layer) in table.iter() {
            if let Some(layer) = layer.table() {
                missing(&defined, layer, &format!("{word}.{}", quoted(name.get_ref())), context);
            }
        }
    }
}

/// The names below a key.
pub(super) fn names<'t>(root: &'t DeTable<'_>, word: &str) -> BTreeSet<&'t str> {
    let table = root.get(word).and_then(|parts| parts.table());
    table.into_iter().flat_map(|parts| parts.keys()).map(|name| name.get_ref().as_ref()).collect()
}

/// Reports the parts that a layer names and the definition doesn't have.
fn missing(defined: &[(&str, BTreeSet<&str>)], layer: &DeTable<'_>, place: &str, context: &mut Context<'_>) {
    for (word, names) in defined {
        let Some(over) = layer.get(*word).and_then(|over| over.table()) else { continue };
        for (name, _) in over.iter().filter(|(name, _)| !names.contains(name.get_ref().as_ref())) {
            let span = context.span(name.span());
            let what = format!("`{place}` overrides the {word} {}, which isn't defined", name.get_ref());
            let error = DecodeError::new(DecodeErrorKind::UnknownOverride, span, what);
            let near = if context.is_crowded() { None } else { nearest(name.get_ref(), names.iter().copied()) };
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None if names.is_empty() => {
                    format!("the app has no {word}: define it in `[{word}.{}]`", name.get_ref())
                }
                None => format!("the app has {}; define others in `[{word}.NAME]`", listed(names.iter().copied())),
            };
            context.report(error.label(format!("no {word} `{}`", name.get_ref())).help(help));
        }
    }
}

/// Takes the layers away.
pub(super) fn without_layers(tree: &mut DeTable<'_>) {
    for word in LAYERS {
        tree.remove(word);
    }
}

/// Every value that is no table, or an empty one, with its path.
pub(super) fn leaves<'t, 'i>(table: &'t DeTable<'i>) -> Vec<(String, &'t Value<'i>)> {
    let mut leaves = Vec::new();
    below("", table, &mut leaves);
    leaves
}

fn below<'t, 'i>(path: &str, table: &'t DeTable<'i>, leaves: &mut Vec<(String, &'t Value<'i>)>) {
    for (key, value) in table.iter() {
        let key = quoted(key.get_ref());
        let path = if path.is_empty() { key } else { format!("{path}.{key}") };
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => below(&path, inner, leaves),
            DeValue::Table(_)
            | DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => leaves.push((path, value)),
        }
    }
}

/// A key as TOML has it between dots.
fn quoted(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if bare { key.to_owned() } else { format!("{key:?}") }
}
