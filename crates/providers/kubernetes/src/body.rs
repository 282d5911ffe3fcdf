//! From an object to the body that is compared: digests in the place of secrets, and nothing that the server keeps for itself.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use freehold_graph::kind::CREDENTIALS_CHECKSUM;
use freehold_graph::value::Special;
use freehold_graph::{Digest, ResourceKind, Value};
use serde_json::{Map, Value as Json};
use sha2::{Digest as _, Sha256};

use crate::projection::Projection;
use crate::render::DIGESTS;

/// What the server keeps about an object.
const KEPT_BY_SERVER: [&str; 6] =
    ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"];

/// What is compared of an object: see [`Projection`].
pub(crate) fn comparable(kind: ResourceKind, object: &Json, desired: &Value) -> Value {
    let projection = Projection::of(object);
    let mut kept = projection.project(object, desired);
    // It isn't managed by anybody, and matters to everybody.
    if let (Some(since), Some(metadata)) =
        (crate::mark::deletion(object), kept.get_mut("metadata").and_then(Json::as_object_mut))
    {
        metadata.insert("deletionTimestamp".to_owned(), since.into());
    }
    let mut body = whole(&kept);
    let annotated = desired.get("metadata").and_then(|metadata| metadata.get("annotations")).is_some();
    if !annotated {
        remove_empty_annotations(&mut body);
    }
    if kind == ResourceKind::ClusterSecret {
        let data = kept.get("data").and_then(Json::as_object);
        let leaves = data.map(|data| leaves(data, object, desired, &projection));
        if let Value::Map(fields) = &mut body {
            match leaves {
                Some(leaves) => fields.insert("data".to_owned(), Value::Map(leaves)),
                None => fields.remove("data"),
            };
        }
    }
    body
}

/// A whole object without the server's own fields. Never of a Secret: see [`masked`].
pub(crate) fn whole(object: &Json) -> Value {
    let mut body = value(object);
    let Value::Map(fields) = &mut body else { return body };
    fields.remove("status");
    if let Some(Value::Map(metadata)) = fields.get_mut("metadata") {
        for name in KEPT_BY_SERVER {
            metadata.remove(name);
        }
        if let Some(Value::Map(annotations)) = metadata.get_mut("annotations") {
            annotations.remove(DIGESTS);
        }
    }
    body
}

/// The same of a Secret: its texts are given as `leaf` says.
pub(crate) fn masked(object: &Json, leaf: impl Fn(&str, &Json) -> Value) -> Value {
    let mut object = object.clone();
    let data = object.as_object_mut().and_then(|object| object.remove("data"));
    let mut body = whole(&object);
    remove_empty_annotations(&mut body);
    if let (Value::Map(fields), Some(Json::Object(data))) = (&mut body, data) {
        let leaves = data.iter().map(|(key, text)| (key.clone(), leaf(key, text)));
        fields.insert("data".to_owned(), Value::Map(leaves.collect()));
    }
    body
}

/// In the place of a secret of which only that it is there can be told.
pub(crate) fn hidden(words: &str) -> Value {
    let hash = Sha256::digest(words.as_bytes());
    let text: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Value::Special(Special::Digest(Digest(text)))
}

fn remove_empty_annotations(body: &mut Value) {
    let Value::Map(fields) = body else { return };
    let Some(Value::Map(metadata)) = fields.get_mut("metadata") else { return };
    if metadata.get("annotations").and_then(Value::as_map).is_some_and(std::collections::BTreeMap::is_empty) {
        metadata.remove("annotations");
    }
}

/// The leaves of a Secret's data. What we wrote has the digest that we wrote beside it; what somebody else wrote has another one.
fn leaves(
    data: &Map<String, Json>,
    object: &Json,
    desired: &Value,
    projection: &Projection,
) -> std::collections::BTreeMap<String, Value> {
    let ours = projection.owns(&["metadata", "annotations", DIGESTS]);
    let digests = object.pointer("/metadata/annotations").and_then(|annotations| annotations.get(DIGESTS)?.as_str());
    let digests: Json = digests.filter(|_| ours).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let desired = desired.get("data");
    let leaf = |(key, text): (&String, &Json)| {
        let owned = projection.owns(&["data", key]);
        let wanted = desired.and_then(|desired| desired.get(key)).and_then(Value::as_text);
        let leaf = match (owned, digests.get(key).and_then(Json::as_str), wanted) {
            (true, Some(digest), _) => Value::Special(Special::Digest(Digest(digest.to_owned()))),
            // A text that is no secret is shown only where it is the one that is known anyway.
            (true, None, Some(wanted)) if text.as_str() == Some(&STANDARD.encode(wanted)) => wanted.into(),
            _ => hidden(&format!("{key} {}", writers(object, key))),
        };
        (key.clone(), leaf)
    };
    data.iter().map(leaf).collect()
}

/// Who wrote a key, and when: changes when the key may have.
fn writers(object: &Json, key: &str) -> String {
    let entries = object.pointer("/metadata/managedFields").and_then(Json::as_array);
    let mut writers = Vec::new();
    for entry in entries.into_iter().flatten() {
        let data = entry.pointer("/fieldsV1/f:data");
        if data.is_some_and(|data| data.get(format!("f:{key}")).is_some()) {
            let text = |field| entry.get(field).and_then(Json::as_str).unwrap_or_default();
            writers.push(format!("{} {} {}", text("manager"), text("operation"), text("time")));
        }
    }
    if writers.is_empty() {
        // Nobody says so: then any change of the object may be one.
        writers.push(object.pointer("/metadata/resourceVersion").map(Json::to_string).unwrap_or_default());
    }
    writers.join(" ")
}

/// The canonical form.
pub(crate) fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => Value::number(number),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(value).collect()),
        Json::Object(fields) => {
            let field = |(name, field): (&String, &Json)| match (name.as_str(), field) {
                (CREDENTIALS_CHECKSUM, Json::String(digest)) => {
                    (name.clone(), Value::Special(Special::Digest(Digest(digest.clone()))))
                }
                _ => (name.clone(), value(field)),
            };
            Value::Map(fields.iter().map(field).collect())
        }
    }
}
