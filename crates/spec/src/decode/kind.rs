//! The ways to read a value, and those that are made of others: with its place, as a list, as a map.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde_json::{Value as Json, json};
use toml::Spanned as Node;
use toml::de::DeValue;

use super::context::Context;
use super::error::DecodeErrorKind;
use super::schema::Definitions;
use super::text::TextKind;
use crate::part::{NAMED_WITHIN, PartKind};
use crate::span::Spanned;

/// A value in the source.
pub(crate) type Value<'i> = Node<DeValue<'i>>;

/// A way to read a value.
pub(crate) trait ValueKind {
    /// What comes out.
    type Value;

    /// How the JSON Schema describes it.
    fn schema(definitions: &mut Definitions) -> Json;

    /// Reads it. `None`: it is wrong, and that has been reported.
    fn decode(context: &mut Context<'_>, value: &Value<'_>) -> Option<Self::Value>;
}

/// Reports that a value is of another type.
pub(crate) fn wrong_type(context: &mut Context<'_>, value: &Value<'_>, expected: &str) {
    let found = match value.get_ref() {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    let span = context.span(value.span());
    let error = super::DecodeError::new(
        DecodeErrorKind::WrongType,
        span,
        format!("`{}` should be {expected}, not {found}", context.path()),
    );
    let error = error.label(format!("this is {found}"));
    // `[service]` or `[service.web.sidecar]` with keys in it: the name was forgotten.
    let path = context.path();
    if let [outer, name, key, _] = path.split('.').collect::<Vec<_>>().as_slice()
        && expected == "a table"
        && NAMED_WITHIN.contains(&(*outer, *key))
    {
        context.report(error.help(format!("each has a name: `[{outer}.{name}.{key}.NAME]`")));
        return;
    }
    context.report(match path.split_once('.') {
        Some((word, key)) if !key.contains('.') && expected == "a table" && PartKind::of_word(word).is_some() => {
            error.help(format!("each has a name: `[{word}.NAME]`"))
        }
        None if PartKind::of_word(&path).is_some() => error.help(format!("each has a name: `[{path}.NAME]`")),
        _ => error,
    });
}

/// A value together with its place.
pub(crate) struct At<K>(PhantomData<K>);

impl<K: ValueKind> ValueKind for At<K> {
    type Value = Spanned<K::Value>;

    fn schema(definitions: &mut Definitions) -> Json {
        K::schema(definitions)
    }

    fn decode(context: &mut Context<'_>, value: &Value<'_>) -> Option<Self::Value> {
        let span = context.span(value.span());
        K::decode(context, value).map(|value| Spanned::new(value, span))
    }
}

/// A list with at least `LEAST` items, no two of them the same.
pub(crate) struct List<K, const LEAST: usize>(PhantomData<K>);

impl<K: ValueKind<Value: PartialEq>, const LEAST: usize> ValueKind for List<K, LEAST> {
    type Value = Vec<K::Value>;

    fn schema(definitions: &mut Definitions) -> Json {
        json!({ "type": "array", "items": K::schema(definitions), "minItems": LEAST, "uniqueItems": true })
    }

    fn decode(context: &mut Context<'_>, value: &Value<'_>) -> Option<Self::Value> {
        let items = Sequence::<K, LEAST>::decode_each(context, value)?;
        let mut whole = true;
        let mut kept: Vec<(K::Value, crate::Span)> = Vec::new();
        for (item, span) in items {
            let Some(item) = item else {
                whole = false;
                continue;
            };
            match kept.iter().find(|(other, _)| *other == item) {
                Some((_, first)) => {
                    whole = false;
                    let message = format!("`{}` lists the same thing twice", context.path());
                    let mut error = super::DecodeError::new(DecodeErrorKind::ListedTwice, span, message);
                    error.related = Some((*first, "the first time".to_owned()));
                    context.report(error.label("again").help("leave one of them out"));
                }
                None => kept.push((item, span)),
            }
        }
        whole.then(|| kept.into_iter().map(|(item, _)| item).collect())
    }
}

/// A list with at least `LEAST` items, in which items may come again.
pub(crate) struct Sequence<K, const LEAST: usize>(PhantomData<K>);

/// The most entries of a list.
const MOST_ENTRIES: usize = 1000;

impl<K: ValueKind, const LEAST: usize> Sequence<K, LEAST> {
    /// Reads each item; `None` where one is wrong.
    fn decode_each(context: &mut Context<'_>, value: &Value<'_>) -> Option<Vec<(Option<K::Value>, crate::Span)>> {
        let DeValue::Array(items) = value.get_ref() else {
            wrong_type(context, value, "a list");
            return None;
        };
        if items.len() < LEAST {
            let span = context.span(value.span());
            context.report_here(DecodeErrorKind::OutOfRange, span, format!("needs at least {LEAST} entry"));
            return None;
        }
        if items.len() > MOST_ENTRIES {
            let span = context.span(value.span());
            let what = format!("has {} entries; {MOST_ENTRIES} are the most", items.len());
            context.report_here(DecodeErrorKind::OutOfRange, span, what);
            return None;
        }
        Some(items.iter().map(|item| (K::decode(context, item), context.span(item.span()))).collect())
    }
}

impl<K: ValueKind, const LEAST: usize> ValueKind for Sequence<K, LEAST> {
    type Value = Vec<K::Value>;

    fn schema(definitions: &mut Definitions) -> Json {
        json!({ "type": "array", "items": K::schema(definitions), "minItems": LEAST })
    }

    fn decode(context: &mut Context<'_>, value: &Value<'_>) -> Option<Self::Value> {
        Self::decode_each(context, value)?.into_iter().map(|(item, _)| item).collect()
    }
}

/// A list or a map with at most `MOST` entries.
pub(crate) struct Few<K, const MOST: usize>(PhantomData<K>);

impl<K: ValueKind, const MOST: usize> ValueKind for Few<K, MOST> {
    type Value = K::Value;

    fn schema(definitions: &mut Definitions) -> Json {
        let mut schema = K::schema(definitions);
        let is_list = schema.get("type").is_some_and(|word| word == "array");
        let key = if is_list { "maxItems" } else { "maxProperties" };
        if let Json::Object(fields) = &mut schema {
            fields.insert(key.to_owned(), json!(MOST));
        }
        schema
    }

    fn decode(context: &mut Context<'_>, value: &Value<'_>) -> Option<Self::Value> {
        let entries = match value.get_ref() {
            DeValue::Array(items) => items.len(),
            DeValue::Table(table) => table.len(),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => 0,
        };
        if entries > MOST {
            let span = context.span(value.span());
            context.report_here(
                DecodeErrorKind::OutOfRange,
                span,
                format!("has {entries} entries; {MOST} are the most"),
            );
            return None;
        }
        K::decode(context, value)
    }
}

/// Values by name: `[service.NAME]`, `[service.web.env]`. What is wrong is left out.
pub(crate) struct Map<N, K>(PhantomData<(N, K)>);

impl<N: TextKind<Value: Ord>, K: ValueKind> ValueKind for Map<N, K> {
    type Value = BTreeMap<N::Value, K::Value>;

    fn schema(definitions: &mut Definitions) -> Json {
        json!({ "type": "object", "propertyNames": N::schema(), "additionalProperties": K::schema(definitions) })
    }

    fn decode(context: &mut Context<'_>, value: &Value<'_>) -> Option<Self::Value> {
        let DeValue::Table(table) = value.get_ref() else {
            wrong_type(context, value, "a table");
            return None;
        };
        let mut entries = BTreeMap::new();
        for (key, value) in table.iter() {
            let name = N::read(context, key.span(), key.get_ref());
            let value = context.below(key.get_ref(), |context| K::decode(context, value));
            match (name, value) {
                (Some(name), Some(value)) => {
                    // TOML has each key once, but two may be written differently and name the same thing.
                    if entries.insert(name, value).is_some() {
                        let message = format!("`{}` has {} twice, written in two ways", context.path(), key.get_ref());
                        let span = context.span(key.span());
                        context.report(super::DecodeError::new(DecodeErrorKind::ListedTwice, span, message));
                    }
                }
                _ => context.leave_out(key.get_ref()),
            }
        }
        Some(entries)
    }
}
