//! The diff of two comparable bodies, field by field.
//!
//! An absent field and null are the same. Maps are compared by key, lists by the key field that the kind's row names,
//! other lists as a whole.

use std::collections::BTreeSet;

use freehold_graph::{Row, Value};

use crate::change::FieldChange;

/// The fields in which `desired` differs from `observed`, sorted by path.
pub fn fields(row: &Row, observed: &Value, desired: &Value) -> Vec<FieldChange> {
    let mut diff = Diff { row, changes: Vec::new() };
    diff.value("", Some(observed), Some(desired));
    diff.changes
}

struct Diff<'a> {
    row: &'a Row,
    changes: Vec<FieldChange>,
}

impl Diff<'_> {
    fn value(&mut self, path: &str, before: Option<&Value>, after: Option<&Value>) {
        let before = before.filter(|value| **value != Value::Null);
        let after = after.filter(|value| **value != Value::Null);
        match (before, after) {
            (before, after) if before == after => {}
            (Some(Value::Map(old)), Some(Value::Map(new))) => {
                let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
                for key in keys {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    self.value(&path, old.get(key), new.get(key));
                }
            }
            (Some(Value::List(old)), Some(Value::List(new))) => match self.row.list_key(path) {
                Some(key) => self.keyed_list(path, key, old, new),
                None => self.push(path, before, after),
            },
            _ => self.push(path, before, after),
        }
    }

    fn keyed_list(&mut self, path: &str, key: &str, old: &[Value], new: &[Value]) {
        let name = |item: &Value| item.get(key).map(Value::to_string).unwrap_or_default();
        let find = |items: &[Value], wanted: &str| items.iter().find(|item| name(item) == wanted).cloned();
        let names: BTreeSet<String> = old.iter().chain(new).map(name).collect();
        for wanted in names {
            let path = format!("{path}[{}]", wanted.trim_matches('"'));
            self.value(&path, find(old, &wanted).as_ref(), find(new, &wanted).as_ref());
        }
    }

    fn push(&mut self, path: &str, before: Option<&Value>, after: Option<&Value>) {
        self.changes.push(FieldChange {
            path: path.to_owned(),
            before: before.cloned(),
            after: after.cloned(),
            effect: self.row.effect(path),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freehold_graph::{Effect, ResourceKind};

    #[test]
    fn keyed_lists_are_compared_by_their_key_whatever_the_order() {
        let rule = |prefix: &str, timeout: u32| {
            Value::map([("prefix", Value::from(prefix)), ("timeout_seconds", Value::from(timeout))])
        };
        let old = Value::map([("paths", Value::List(vec![rule("/", 30), rule("/events", 60)]))]);
        let new = Value::map([("paths", Value::List(vec![rule("/events", 90), rule("/", 30)]))]);
        let changes = fields(ResourceKind::LocalRoute.row(), &old, &new);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].path, "paths[/events].timeout_seconds");
    }

    #[test]
    fn an_absent_field_and_null_are_the_same() {
        let old = Value::map([("endpoint", Value::Null)]);
        assert_eq!(fields(ResourceKind::LocalService.row(), &old, &Value::map::<&str>([])), []);
    }

    #[test]
    fn a_variable_that_was_removed_is_a_change_that_restarts() {
        let env =
            |names: &[&str]| Value::map([("env", Value::map(names.iter().map(|name| (*name, Value::from("x")))))]);
        let changes = fields(ResourceKind::LocalService.row(), &env(&["A", "B"]), &env(&["A"]));
        assert_eq!(changes.len(), 1);
        assert_eq!((changes[0].path.as_str(), changes[0].effect), ("env.B", Effect::Restart));
        assert_eq!(changes[0].after, None);
    }
}
