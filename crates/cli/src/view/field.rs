//! Fields of a plan, old → new. A secret is only ever `•••`.

use freehold_graph::Value;
use freehold_graph::value::Special;
use freehold_plan::FieldChange;

use crate::layout::{DIM, GREEN, RED, WIDTH, columns, pad, paint, short_digest, span, wrap};

const INDENT: usize = 6;
const PATH: usize = 21;
/// What a plan can't tell.
const UNKNOWN: &str = "(known after apply)";

/// The lines of one field: `env.LOG_LEVEL        info → debug`.
pub(crate) fn lines(field: &FieldChange) -> Vec<String> {
    let (before, after) = words(field);
    let path = match columns(&field.path) {
        0..PATH => pad(&field.path, PATH),
        _ => format!("{}  ", field.path),
    };
    let indent = " ".repeat(INDENT);
    let width = INDENT + columns(&path) + columns(&before) + columns(&after) + 3;
    if width <= WIDTH {
        let change = if before.is_empty() { after } else { format!("{} → {after}", paint(DIM, before)) };
        return vec![format!("{indent}{path}{change}")];
    }
    let mut lines = Vec::new();
    for (at, line) in wrap(&field.path, WIDTH - INDENT).iter().enumerate() {
        lines.push(format!("{indent}{}{line}", if at == 0 { "" } else { "  " }));
    }
    for (mark, text) in [(paint(RED, "-"), before), (paint(GREEN, "+"), after)] {
        for (at, line) in wrap(&text, WIDTH - INDENT - 6).iter().filter(|line| !line.is_empty()).enumerate() {
            let mark = if at == 0 { mark.as_str() } else { " " };
            lines.push(format!("{indent}  {mark} {line}"));
        }
    }
    lines
}

/// What was and what is to be, in words.
fn words(field: &FieldChange) -> (String, String) {
    if is_hidden(field.before.as_ref()) || is_hidden(field.after.as_ref()) {
        let done = match (&field.before, &field.after) {
            (None, Some(_)) => "••• set",
            (Some(_), None) => "••• removed",
            _ => "••• changed",
        };
        return (String::new(), done.to_owned());
    }
    let word = |value: &Option<Value>, nothing: &str| match value {
        Some(value) => of(&field.path, value),
        None => nothing.to_owned(),
    };
    (word(&field.before, "(none)"), word(&field.after, "(none)"))
}

/// Whether a value is a secret or has one in it.
fn is_hidden(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Special(special)) => !matches!(special, Special::Unknown(())),
        Some(Value::List(items)) => items.iter().any(|item| is_hidden(Some(item))),
        Some(Value::Map(fields)) => fields.values().any(|item| is_hidden(Some(item))),
        _ => false,
    }
}

/// A value as people read it. The path tells units and what a list is.
pub(crate) fn of(path: &str, value: &Value) -> String {
    match value {
        Value::Special(Special::Unknown(())) => UNKNOWN.to_owned(),
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
            items.iter().map(|item| of("", item)).collect::<Vec<_>>().join(separator)
        }
        Value::Map(fields) => {
            fields.iter().map(|(name, value)| format!("{name} {}", of(name, value))).collect::<Vec<_>>().join(", ")
        }
    }
}
