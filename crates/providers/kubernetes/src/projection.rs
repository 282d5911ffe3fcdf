//! What of an object is compared: the fields that we manage, and those that are desired. What controllers, defaults and other people
//! add beside them is no concern of a stack.
//!
//! Which fields somebody manages, the object itself says (`metadata.managedFields`, as FieldsV1):
//!
//! ```text
//! {"f:spec": {"f:replicas": {},                                       a field
//!             "f:ports": {"k:{\"port\":80}": {".": {}, "f:name": {}}}  an item of a list by its key
//!             "f:selector": {}}}                                      a map or list that is managed as a whole
//! "v:\"x\""                                                           an item of a set
//! ```
//!
//! The entries of all managers together also say which lists are keyed, sets, or one whole, so no schema is needed.

use freehold_graph::Value;
use serde_json::{Map, Value as Json};

use crate::document::Fields;
use crate::field_manager::MANAGER;

/// Where an object says who manages what.
pub(crate) const MANAGERS: &str = "/metadata/managedFields";

/// The fields of an object that matter.
pub(crate) struct Projection {
    /// What is ours.
    owned: Option<Json>,
    /// What is others'.
    others: Option<Json>,
    /// What is anybody's.
    all: Option<Json>,
}

impl Projection {
    /// Reads an object's field managers.
    pub(crate) fn of(object: &Json) -> Self {
        let (mut owned, mut others, mut all) = (None, None, None);
        for entry in object.items(MANAGERS) {
            let Some(fields) = entry.get("fieldsV1") else { continue };
            join(&mut all, fields);
            join(if is_ours(entry) { &mut owned } else { &mut others }, fields);
        }
        Self { owned, others, all }
    }

    /// The fields that we manage.
    pub(crate) const fn owned(&self) -> Option<&Json> {
        self.owned.as_ref()
    }

    /// Whether we manage the field at this path of maps.
    pub(crate) fn owns(&self, path: &[&str]) -> bool {
        has(self.owned.as_ref(), path)
    }

    /// Whether others manage the field at this path of maps.
    pub(crate) fn shares(&self, path: &[&str]) -> bool {
        has(self.others.as_ref(), path)
    }

    /// The part of the object that is ours or desired.
    pub(crate) fn project(&self, object: &Json, desired: &Value) -> Json {
        project(object, self.owned.as_ref(), Some(desired), self.all.as_ref()).unwrap_or_default()
    }
}

/// Takes the field at this path of maps from what we manage of an object.
pub(crate) fn disown(object: &mut Json, path: &[&str]) {
    let Some((last, above)) = path.split_last() else { return };
    let entries = object.pointer_mut(MANAGERS).and_then(Json::as_array_mut);
    for entry in entries.into_iter().flatten().filter(|entry| is_ours(entry)) {
        let fields = entry.get_mut("fieldsV1");
        let above = above.iter().try_fold(fields, |fields, name| Some(fields?.get_mut(format!("f:{name}"))));
        if let Some(Some(Json::Object(fields))) = above {
            fields.remove(&format!("f:{last}"));
        }
    }
}

fn has(fields: Option<&Json>, path: &[&str]) -> bool {
    fields.and_then(|fields| path.iter().try_fold(fields, |fields, name| field(fields, name))).is_some()
}

fn is_ours(entry: &Json) -> bool {
    let is = |field: &str, text: &str| entry.get(field).and_then(Json::as_str) == Some(text);
    is("manager", MANAGER) && is("operation", "Apply") && entry.get("subresource").is_none_or(|of| of == "")
}

fn join(all: &mut Option<Json>, fields: &Json) {
    match (all, fields) {
        (Some(Json::Object(all)), Json::Object(fields)) => {
            for (step, below) in fields {
                let mut joined = all.remove(step);
                join(&mut joined, below);
                all.insert(step.clone(), joined.unwrap_or_default());
            }
        }
        (all, fields) => *all = Some(fields.clone()),
    }
}

/// The entry of a map's field.
pub(crate) fn field<'a>(fields: &'a Json, name: &str) -> Option<&'a Json> {
    fields.get(format!("f:{name}"))
}

/// Managed as a whole: nothing below is told apart.
pub(crate) fn is_whole(fields: &Json) -> bool {
    fields.as_object().is_some_and(Map::is_empty)
}

fn project(live: &Json, owned: Option<&Json>, desired: Option<&Value>, all: Option<&Json>) -> Option<Json> {
    if owned.is_none() && desired.is_none_or(|desired| *desired == Value::Null) {
        return None;
    }
    match live {
        Json::Object(_) | Json::Array(_) if all.is_some_and(is_whole) => Some(live.clone()),
        Json::Object(live) => map(live, owned, desired, all),
        Json::Array(live) => Some(list(live, owned, desired, all)),
        scalar => Some(scalar.clone()),
    }
}

fn map(live: &Map<String, Json>, owned: Option<&Json>, desired: Option<&Value>, all: Option<&Json>) -> Option<Json> {
    let mut kept = Map::new();
    for (name, value) in live {
        let (owned, all) = (owned.and_then(|fields| field(fields, name)), all.and_then(|fields| field(fields, name)));
        let desired = desired.and_then(|desired| desired.get(name));
        if let Some(value) = project(value, owned, desired, all) {
            kept.insert(name.clone(), value);
        }
    }
    let itself = owned.is_some_and(|owned| is_whole(owned) || owned.get(".").is_some());
    (!kept.is_empty() || itself || desired.is_some()).then_some(Json::Object(kept))
}

fn list(live: &[Json], owned: Option<&Json>, desired: Option<&Value>, all: Option<&Json>) -> Json {
    let keyed = steps(all, "k:");
    let items = desired.and_then(Value::as_list).unwrap_or_default();
    if !keyed.is_empty() {
        let ours = steps(owned, "k:");
        let kept = live.iter().filter_map(|item| {
            let find = |steps: &[(Json, &'_ Json)]| steps.iter().position(|(key, _)| has_key(item, key));
            let all = find(&keyed).and_then(|at| keyed.get(at));
            let owned = find(&ours).and_then(|at| ours.get(at));
            // An item that nobody manages was put there by the server: the keys are those of its neighbours.
            let keys = all.or(keyed.first()).map(|(key, _)| key);
            let desired = keys.and_then(|keys| items.iter().find(|wanted| is_item(item, wanted, keys)));
            project(item, owned.map(|(_, below)| *below), desired, all.map(|(_, below)| *below))
        });
        return Json::Array(kept.collect());
    }
    let members = steps(all, "v:");
    if !members.is_empty() {
        let ours = steps(owned, "v:");
        let kept = live.iter().filter(|item| {
            ours.iter().any(|(member, _)| member == *item)
                || items.iter().any(|wanted| plain(wanted) == Some((*item).clone()))
        });
        return Json::Array(kept.cloned().collect());
    }
    Json::Array(live.to_vec())
}

/// The entries of a list's items: by key (`k:`) or by value (`v:`).
fn steps<'a>(fields: Option<&'a Json>, prefix: &str) -> Vec<(Json, &'a Json)> {
    let fields = fields.and_then(Json::as_object).into_iter().flatten();
    let step = |(step, below): (&String, &'a Json)| {
        let key = serde_json::from_str(step.strip_prefix(prefix)?).ok()?;
        Some((key, below))
    };
    fields.filter_map(step).collect()
}

fn has_key(item: &Json, key: &Json) -> bool {
    let fields = key.as_object().into_iter().flatten();
    fields.into_iter().all(|(name, value)| item.get(name) == Some(value))
}

/// Whether a desired item means this one: keys that it leaves out have a default.
pub(crate) fn is_item(item: &Json, wanted: &Value, keys: &Json) -> bool {
    let names = keys.as_object().into_iter().flatten().map(|(name, _)| name);
    names.into_iter().all(|name| wanted.get(name).is_none_or(|value| plain(value).as_ref() == item.get(name)))
}

/// A scalar of a body as JSON.
pub(crate) fn plain(value: &Value) -> Option<Json> {
    match value {
        Value::Bool(value) => Some((*value).into()),
        Value::Integer(number) => Some((*number).into()),
        Value::Text(text) => Some(text.clone().into()),
        _ => None,
    }
}

/// A scalar as paths have it: without quotation marks.
pub(crate) fn plain_text(scalar: &Json) -> String {
    scalar.as_str().map_or_else(|| scalar.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn desired(json: Json) -> Value {
        serde_json::from_value(json).unwrap()
    }

    fn object(fields: &Json, others: &Json, mut object: Json) -> Json {
        object["metadata"]["managedFields"] = json!([
            {"manager": "freehold", "operation": "Apply", "fieldsV1": fields},
            {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": others},
            {"manager": "freehold", "operation": "Update", "fieldsV1": {"f:spec": {"f:paused": {}}}},
        ]);
        object
    }

    fn projected(object: &Json, wanted: Json) -> Json {
        let mut kept = Projection::of(object).project(object, &desired(wanted));
        if let Some(map) = kept.as_object_mut() {
            map.remove("metadata");
        }
        kept
    }

    #[test]
    fn what_others_add_is_left_out_and_what_we_no_longer_want_is_not() {
        let live = object(
            &json!({"f:spec": {"f:replicas": {}, "f:old": {}}}),
            &json!({"f:spec": {"f:added": {}}}),
            json!({"spec": {"replicas": 2, "old": 1, "added": true, "paused": true, "defaulted": "x"}}),
        );
        assert_eq!(projected(&live, json!({"spec": {"replicas": 3}})), json!({"spec": {"replicas": 2, "old": 1}}));
    }

    #[test]
    fn a_desired_field_is_seen_whoever_manages_it() {
        let live = object(&json!({}), &json!({"f:spec": {"f:replicas": {}}}), json!({"spec": {"replicas": 2}}));
        assert_eq!(projected(&live, json!({"spec": {"replicas": 3}})), json!({"spec": {"replicas": 2}}));
    }

    #[test]
    fn items_of_keyed_lists_are_found_by_their_keys_with_defaults() {
        let key = "k:{\"port\":80,\"protocol\":\"TCP\"}";
        let other = "k:{\"port\":81,\"protocol\":\"TCP\"}";
        let live = object(
            &json!({"f:ports": {key: {".": {}, "f:port": {}}}}),
            &json!({"f:ports": {other: {".": {}, "f:port": {}}}}),
            json!({"ports": [
                {"port": 80, "protocol": "TCP", "name": "theirs"}, {"port": 81, "protocol": "TCP"},
            ]}),
        );
        assert_eq!(projected(&live, json!({"ports": [{"port": 80}]})), json!({"ports": [{"port": 80}]}));
        let both = json!({"ports": [{"port": 80}, {"port": 81, "protocol": "TCP"}]});
        assert_eq!(projected(&live, both.clone()), both);
    }

    #[test]
    fn maps_and_lists_that_are_one_whole_are_compared_whole_and_sets_by_member() {
        let live = object(
            &json!({"f:selector": {}, "f:args": {}, "f:set": {"v:\"a\"": {}}}),
            &json!({"f:set": {"v:\"b\"": {}, "v:\"c\"": {}}}),
            json!({"selector": {"a": "1", "b": "2"}, "args": ["x", "y"], "set": ["a", "b", "c"]}),
        );
        let wanted = json!({"selector": {"a": "1"}, "args": ["x"], "set": ["b"]});
        let expected = json!({"selector": {"a": "1", "b": "2"}, "args": ["x", "y"], "set": ["a", "b"]});
        assert_eq!(projected(&live, wanted), expected);
    }

    #[test]
    fn an_empty_map_of_ours_stays_empty_whatever_others_put_into_it() {
        let live = object(&json!({"f:a": {}}), &json!({"f:a": {"f:x": {}}}), json!({"a": {"x": 1}}));
        assert_eq!(projected(&live, json!({})), json!({"a": {}}));
    }
}
