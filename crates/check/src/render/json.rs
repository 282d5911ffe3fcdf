//! For programs.

use serde_json::{Value as Json, json};

use super::lines::Lines;
use crate::diagnostic::{Diagnostic, Label};

/// A JSON array with an object for each diagnostic: `code`, `title`, `severity`, `message`, `file`, `labels` (with offsets
/// in bytes, and lines and columns from 1), `notes`, `help`, `environments` (where it is so; empty: in all of them), `allowed` (the reason for which the
/// definition allows it, or null).
pub fn json(diagnostics: &[Diagnostic], file: &str, source: &str) -> String {
    let lines = Lines::new(source);
    let all: Vec<Json> = diagnostics.iter().map(|diagnostic| object(diagnostic, file, &lines)).collect();
    format!("{:#}\n", Json::Array(all))
}

fn object(diagnostic: &Diagnostic, file: &str, lines: &Lines<'_>) -> Json {
    json!({
        "code": diagnostic.code,
        "title": diagnostic.code.title(),
        "severity": diagnostic.severity,
        "message": diagnostic.message,
        "file": file,
        "labels": diagnostic.labels.iter().map(|label| place(label, lines)).collect::<Vec<_>>(),
        "notes": diagnostic.notes,
        "help": diagnostic.help,
        "environments": diagnostic.environments,
        "allowed": diagnostic.allowed,
    })
}

fn place(label: &Label, lines: &Lines<'_>) -> Json {
    let (start, end) = lines.ends(label.span);
    json!({
        "message": label.message,
        "start": { "offset": label.span.start, "line": start.line, "column": start.column },
        "end": { "offset": label.span.end, "line": end.line, "column": end.column },
    })
}
