//! Values as people read them: digests cut short, whole seconds as they are written in a definition, no secrets.

use std::collections::BTreeMap;

use crate::value::{Special, Value};

/// In the place of what a plan can't know.
pub const UNKNOWN: &str = "(known after apply)";

/// A value in one line. The path of its field says the unit, and how a list is joined.
pub fn value(path: &str, value: &Value) -> String {
    match value {
        Value::Special(Special::Unknown(())) => UNKNOWN.to_owned(),
        Value::Special(Special::Fraction(number)) => number.clone(),
        Value::Special(_) => "•••".to_owned(),
        Value::Null => "(none)".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Integer(number) if path.ends_with("_seconds") => span(*number),
        Value::Integer(number) => number.to_string(),
        Value::Text(text) if text.is_empty() => "\"\"".to_owned(),
        Value::Text(text) => match text.split_once("@sha256:") {
            Some((image, digits)) => format!("{image}@{}", short_digest(&format!("sha256:{digits}"))),
            None => short_digest(text),
        },
        Value::List(items) if items.is_empty() => "(none)".to_owned(),
        Value::List(items) => {
            let separator = if path.ends_with("command") { " " } else { ", " };
            items.iter().map(|item| self::value("", item)).collect::<Vec<_>>().join(separator)
        }
        Value::Map(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name} {}", self::value(name, value)));
            fields.collect::<Vec<_>>().join(", ")
        }
    }
}

/// Whole seconds as a definition writes them: `30s`, `10m`, `6h`.
pub fn span(seconds: i64) -> String {
    match seconds {
        s if s != 0 && s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s != 0 && s % 3_600 == 0 => format!("{}h", s / 3_600),
        s if s != 0 && s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// The first 12 digits of a digest: `sha256:1f2e3d4c5b6a`. Any other text as it is.
pub fn short_digest(text: &str) -> String {
    match text.strip_prefix("sha256:") {
        Some(digits) => format!("sha256:{}", digits.chars().take(12).collect::<String>()),
        None => text.to_owned(),
    }
}

/// `1 stack`, `2 stacks`.
pub fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// How many fields of a manager are named.
const NAMED: usize = 5;

/// What others have in an object that the definition doesn't, from pairs of a manager and a path; a line for each manager:
/// `deployment acme--guestbook/web: kubectl-set manages spec.template.spec.containers[web].env[DEBUG], which the definition doesn't have`.
pub fn added_by_others<'a>(object: &str, fields: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let mut managers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (manager, path) in fields {
        managers.entry(manager).or_default().push(path);
    }
    let line = |(manager, paths): (&str, Vec<&str>)| {
        let mut fields = paths.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
        if paths.len() > NAMED {
            fields.push_str(&format!(" and {} more", paths.len() - NAMED));
        }
        format!("{object}: {manager} manages {fields}, which the definition doesn't have")
    };
    managers.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_written_in_the_largest_unit_that_fits() {
        assert_eq!(["6h", "30s", "10m", "0s"], [21_600, 30, 600, 0].map(span).as_slice());
    }
}
