//! Problems, as RFC 9457 documents.

use freehold::wire;
use freehold_problem::{About, Problem};

use super::IntoWire;

impl IntoWire for Problem {
    type Wire = wire::Problem;

    fn into_wire(self) -> wire::Problem {
        let Self { code, message, lines, help, about } = self;
        let (diagnostics, operation) = match about.map(|about| *about) {
            Some(About::Diagnostics(documents)) => {
                (documents.into_iter().filter_map(|item| serde_json::from_value(item).ok()).collect(), None)
            }
            Some(About::Operation(operation)) => (Vec::new(), Some(operation)),
            Some(About::Permission { .. }) | None => (Vec::new(), None),
        };
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
