//! What is wrong with a definition.

use freehold::wire;
use freehold_check::{Diagnostic, Label, Severity};

/// Diagnostics with the lines of the source that they are about.
pub(crate) fn render(diagnostics: &[Diagnostic], file: &str, text: &str) -> String {
    freehold_check::render::text(diagnostics, file, text).trim_end().to_owned()
}

/// A diagnostic that the platform sent. A severity of a later release is a warning here: that release has decided already.
pub(crate) fn from_wire(sent: &wire::Diagnostic) -> Diagnostic {
    let label =
        |label: &wire::Label| Label { span: (label.span.start..label.span.end).into(), message: label.message.clone() };
    Diagnostic {
        code: sent.code,
        severity: match sent.severity {
            wire::Severity::Error => Severity::Error,
            wire::Severity::Warning | wire::Severity::Other(_) => Severity::Warning,
        },
        message: sent.message.clone(),
        labels: sent.labels.iter().map(label).collect(),
        notes: sent.notes.clone(),
        help: sent.help.clone(),
        environments: sent.environments.clone(),
        allowed: sent.allowed.clone(),
    }
}

/// A diagnostic as the platform would send it.
pub(crate) fn to_wire(found: &Diagnostic) -> wire::Diagnostic {
    let label = |label: &Label| wire::Label {
        span: wire::Span { start: label.span.start, end: label.span.end },
        message: label.message.clone(),
    };
    wire::Diagnostic {
        code: found.code,
        severity: match found.severity {
            Severity::Error => wire::Severity::Error,
            Severity::Warning => wire::Severity::Warning,
        },
        message: found.message.clone(),
        labels: found.labels.iter().map(label).collect(),
        notes: found.notes.clone(),
        help: found.help.clone(),
        environments: found.environments.clone(),
        allowed: found.allowed.clone(),
    }
}
