//! What the API server answers with, read by path. Objects stay the JSON that they are: the kinds that matter here come from several
//! API groups, of which some are there only on some clusters, and only a few of their fields are ever looked at.

use chrono::{DateTime, Utc};
use serde_json::Value as Json;

/// Fields of a document by JSON pointer. What is missing is empty.
pub(crate) trait Fields {
    /// The text at a pointer; empty where there is none.
    fn text(&self, pointer: &str) -> &str;
    /// A whole number, or 0.
    fn number(&self, pointer: &str) -> i64;
    /// Whether it is `true`.
    fn flag(&self, pointer: &str) -> bool;
    /// The items of a list.
    fn items(&self, pointer: &str) -> &[Json];
    /// The fields of a map.
    fn entries(&self, pointer: &str) -> Vec<(&str, &Json)>;
    /// The RFC 3339 time at a pointer.
    fn time(&self, pointer: &str) -> Option<DateTime<Utc>>;
    /// An item of `status.conditions` by its type.
    fn condition(&self, kind: &str) -> Option<Condition<'_>>;
}

impl Fields for Json {
    fn text(&self, pointer: &str) -> &str {
        self.pointer(pointer).and_then(Json::as_str).unwrap_or_default()
    }

    fn number(&self, pointer: &str) -> i64 {
        self.pointer(pointer).and_then(Json::as_i64).unwrap_or_default()
    }

    fn flag(&self, pointer: &str) -> bool {
        self.pointer(pointer).and_then(Json::as_bool).unwrap_or_default()
    }

    fn items(&self, pointer: &str) -> &[Json] {
        self.pointer(pointer).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    fn entries(&self, pointer: &str) -> Vec<(&str, &Json)> {
        let map = self.pointer(pointer).and_then(Json::as_object);
        map.into_iter().flatten().map(|(key, value)| (key.as_str(), value)).collect()
    }

    fn time(&self, pointer: &str) -> Option<DateTime<Utc>> {
        self.text(pointer).parse().ok()
    }

    fn condition(&self, kind: &str) -> Option<Condition<'_>> {
        Condition::among(self.items("/status/conditions"), kind)
    }
}

/// One of an object's conditions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Condition<'a>(&'a Json);

impl<'a> Condition<'a> {
    /// The one of that type.
    pub(crate) fn among(conditions: &'a [Json], kind: &str) -> Option<Self> {
        conditions.iter().find(|condition| condition.text("/type") == kind).map(Self)
    }

    pub(crate) fn is_true(self) -> bool {
        self.0.text("/status") == "True"
    }

    pub(crate) fn is_false(self) -> bool {
        self.0.text("/status") == "False"
    }

    pub(crate) fn reason(self) -> &'a str {
        self.0.text("/reason")
    }

    pub(crate) fn message(self) -> &'a str {
        self.0.text("/message")
    }

    /// Since when it has been so.
    pub(crate) fn since(self) -> Option<DateTime<Utc>> {
        self.0.time("/lastTransitionTime")
    }

    /// Whether it speaks of this generation of the object. One that doesn't say counts as up to date.
    pub(crate) fn is_about(self, generation: i64) -> bool {
        self.0.pointer("/observedGeneration").and_then(Json::as_i64).is_none_or(|seen| seen >= generation)
    }

    /// Reason and message for people: `NotAllowedByListeners: no listener lets this namespace in`.
    pub(crate) fn words(self) -> String {
        match (self.reason(), self.message()) {
            ("", message) => message.to_owned(),
            (reason, "") => reason.to_owned(),
            (reason, message) => format!("{reason}: {message}"),
        }
    }
}

/// Whether an object is owned (in the sense of `ownerReferences`) by the one with this uid.
pub(crate) fn is_owned_by(object: &Json, uid: &str) -> bool {
    object.items("/metadata/ownerReferences").iter().any(|owner| owner.text("/uid") == uid)
}

/// A label selector of a `matchLabels` map.
pub(crate) fn selector(labels: &[(&str, &Json)]) -> String {
    let pairs: Vec<String> =
        labels.iter().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect();
    pairs.join(",")
}
