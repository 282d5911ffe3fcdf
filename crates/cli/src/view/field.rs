//! Fields of a plan, old → new. A secret is only ever `•••`.

use freehold::wire::FieldChange;
use freehold_graph::value::Special;
use freehold_graph::{Value, display};

use crate::layout::{DIM, GREEN, RED, WIDTH, columns, pad, paint, wrap};

const INDENT: usize = 6;
const PATH: usize = 21;
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
        Some(value) => display::value(&field.path, value),
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
        Some(Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Text(_)) | None => false,
    }
}
