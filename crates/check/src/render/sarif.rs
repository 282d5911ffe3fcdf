//! For code scanners: SARIF 2.1.0.

use std::collections::BTreeSet;

use freehold_problem::Code;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value as Json, json};

use super::lines::Lines;
use crate::diagnostic::{Diagnostic, Label, Severity};
use crate::page;

/// A SARIF log with one run. Columns count characters.
pub fn sarif(diagnostics: &[Diagnostic], file: &str, source: &str) -> String {
    let lines = Lines::new(source);
    let codes: BTreeSet<Code> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    let rules: Vec<Json> = codes.iter().map(|code| rule(*code)).collect();
    let results: Vec<Json> = diagnostics.iter().map(|diagnostic| result(diagnostic, &codes, file, &lines)).collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "freehold", "semanticVersion": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{log:#}\n")
}

fn rule(code: Code) -> Json {
    json!({
        "id": code,
        "shortDescription": { "text": code.title() },
        "help": { "text": page(code), "markdown": page(code) },
    })
}

fn result(diagnostic: &Diagnostic, codes: &BTreeSet<Code>, file: &str, lines: &Lines<'_>) -> Json {
    let level = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let help = diagnostic.help.as_ref().map(|help| format!("help: {help}"));
    let text: Vec<String> = std::iter::once(diagnostic.message.clone())
        .chain(diagnostic.only_for())
        .chain(diagnostic.notes.iter().cloned())
        .chain(help)
        .collect();
    let location = |label: &Label| location(label, file, lines);
    let suppression = |reason: &String| json!({ "kind": "inSource", "status": "accepted", "justification": reason });
    json!({
        "ruleId": diagnostic.code,
        "ruleIndex": codes.iter().position(|code| *code == diagnostic.code),
        "level": level,
        "message": { "text": text.join("\n") },
        "locations": diagnostic.labels.iter().take(1).map(location).collect::<Vec<_>>(),
        "relatedLocations": diagnostic.labels.iter().skip(1).map(location).collect::<Vec<_>>(),
        "suppressions": diagnostic.allowed.iter().map(suppression).collect::<Vec<_>>(),
    })
}

fn location(label: &Label, file: &str, lines: &Lines<'_>) -> Json {
    let (start, end) = lines.ends(label.span);
    let mut location = json!({
        "physicalLocation": {
            "artifactLocation": { "uri": uri(file) },
            "region": {
                "startLine": start.line, "startColumn": start.column,
                "endLine": end.line, "endColumn": end.column,
            },
        },
    });
    if !label.message.is_empty()
        && let Json::Object(fields) = &mut location
    {
        fields.insert("message".to_owned(), json!({ "text": label.message }));
    }
    location
}

/// A path as a relative reference: only what RFC 3986 lets stand in one.
fn uri(path: &str) -> String {
    utf8_percent_encode(path, REFERENCE).to_string()
}

/// What is encoded in a relative reference: all but RFC 3986's unreserved characters and the slashes of a path.
const REFERENCE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
