//! Problems, as RFC 9457 documents.

use freehold::wire;
use freehold_problem::{About, Problem};
use serde_json::Value as Json;

use super::IntoWire;

impl IntoWire for Problem {
    type Wire = wire::Problem;

    fn into_wire(self) -> wire::Problem {
        let Self { code, message, mut lines, help, about, cause: _ } = self;
        let (mut diagnostics, mut operation) = (Vec::new(), None);
        match about.map(|about| *about) {
            Some(About::Diagnostics(documents)) => {
                for document in documents {
                    match serde_json::from_value(document.clone()) {
                        Ok(diagnostic) => diagnostics.push(diagnostic),
                        // Of another release: without its place it says still more than nothing.
                        Err(_) => lines.push(text_of(&document)),
                    }
                }
            }
            Some(About::Operation(id)) => operation = Some(id),
            Some(About::Permission { .. }) | None => {}
        }
        wire::Problem {
            kind: format!("urn:freehold:{code}"),
            title: code.title().to_owned(),
            status: code.status().http(),
            detail: message,
            code,
            help,
            lines,
            diagnostics,
            operation,
        }
    }
}

/// What a diagnostic says that can't be read as one.
fn text_of(document: &Json) -> String {
    document.get("message").and_then(Json::as_str).map_or_else(|| document.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use freehold_problem::Code;
    use serde_json::json;

    #[test]
    fn a_diagnostic_that_can_t_be_read_is_told_as_a_line() {
        let known = json!({ "code": "FH0203", "severity": "error", "message": "too many replicas" });
        let later = json!({ "message": "of a later release", "severity": { "of": 2 } });
        let documents = vec![known, later, json!(7)];
        let problem = Problem::new(Code::Syntax, "it is wrong").about(About::Diagnostics(documents)).into_wire();
        assert_eq!(problem.diagnostics.len(), 1);
        assert_eq!(problem.lines, ["of a later release", "7"]);
    }
}
