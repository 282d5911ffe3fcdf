//! `[stage.X]`, `[tier.X]`, `[preview]`: definitions in part. Their tables are laid over the others before those are read (see
//! [`crate::document`]), so all that is looked at here is whether they can be.

use std::marker::PhantomData;

use serde_json::Value as Json;
use toml::de::DeValue;

use super::context::Context;
use super::kind::{Value, ValueKind, wrong_type};
use super::schema::Definitions;
use super::table::Reader;
use crate::part::{Definition, PartKind};
use crate::span::Span;

/// The tables that layers stand in.
pub(crate) const LAYERS: [&str; 3] = ["stage", "tier", "preview"];

/// A table that overrides others.
pub(crate) struct LayerTable<T>(PhantomData<T>);

impl<T: From<Span>> ValueKind for LayerTable<T> {
    type Value = T;

    fn schema(definitions: &mut Definitions) -> Json {
        if definitions.is_partial() { Definitions::ABSENT } else { definitions.partial(Definition::schema) }
    }

    fn decode(context: &mut Context<'_>, value: &Value<'_>) -> Option<T> {
        let keys = keys();
        let Reader { table, span, .. } = Reader::open(context, value, &keys)?;
        for (word, parts) in table.iter().filter(|(key, _)| keys.contains(&key.get_ref().as_ref())) {
            context.below(word.get_ref(), |context| tables(context, word.get_ref(), parts));
        }
        Some(T::from(span))
    }
}

/// The keys of a definition that a layer may have: the app is one in all environments, and layers aren't nested.
pub(crate) fn keys() -> Vec<&'static str> {
    Definition::KEYS.iter().copied().filter(|key| *key != "app" && !LAYERS.contains(key)).collect()
}

/// What a part, or the definition, has or doesn't have, and that a layer takes away with [`OFF`].
pub(super) const OPTIONAL: [&str; 10] =
    ["autoscale", "backup", "basic_auth", "build", "cors", "max_body", "pooler", "prometheus", "quota", "rate_limit"];

/// What a layer says in place of what it takes away.
pub(super) const OFF: &str = "off";

/// Whether a layer takes a table away.
pub(crate) fn is_off(key: &str, value: &Value<'_>) -> bool {
    OPTIONAL.contains(&key) && matches!(value.get_ref(), DeValue::String(text) if text.as_ref() == OFF)
}

/// Reports what can't be laid over a table because it is none.
fn tables(context: &mut Context<'_>, word: &str, value: &Value<'_>) {
    if is_off(word, value) {
        return;
    }
    let DeValue::Table(parts) = value.get_ref() else { return wrong_type(context, value, "a table") };
    let named = PartKind::of_word(word).is_some();
    for (name, part) in parts.iter().filter(|(_, part)| named && !matches!(part.get_ref(), DeValue::Table(_))) {
        context.below(name.get_ref(), |context| wrong_type(context, part, "a table"));
    }
}
