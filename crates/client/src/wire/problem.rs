//! Problems, as RFC 9457 documents, and diagnostics of a definition.

use freehold_problem::Code;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::words;

/// A failure, as RFC 9457 problem details (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem: `urn:freehold:FH0901`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the code means, in a few words. Empty for a code of a later release.
    pub title: String,
    /// The HTTP status of the response; of a problem inside a document, the one that belongs to its code.
    pub status: u16,
    /// What happened, to what, and why. One sentence; further lines are facts.
    pub detail: String,
    /// `FH0901`; `freehold explain FH0901` prints its page.
    #[schema(value_type = String)]
    pub code: Code,
    /// What to do next; may name a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Lines to show below: the end of a log, another server's own words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
    /// What is wrong with the definition, each with its place in the source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
    /// The operation that is in the way or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Uuid>,
}

words! {
    /// Whether a diagnostic stops a deploy.
    Severity {
        /// The definition can't be deployed.
        Error "error",
        /// It can be deployed, and is probably not what was meant.
        Warning "warning",
    }
}

/// Something that is wrong with a definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Diagnostic {
    /// `FH0203`.
    #[schema(value_type = String)]
    pub code: Code,
    /// Whether it stops a deploy.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// Where. The first is the place to look at; the others are what it contradicts. Empty if no place is to blame.
    #[serde(default)]
    pub labels: Vec<Label>,
    /// Why: arithmetic, reasons, consequences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// How to fix it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Where it is so, if not in every environment: `stage production`, `tenants of tier pro`, `previews`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<String>,
    /// Why the definition allows it, if it does: nothing has to be done about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
}

/// A place in a definition, and what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Label {
    /// The place in the source.
    pub span: Span,
    /// A few words; may be empty.
    pub message: String,
}

/// A half-open range in the definition's source, in bytes of UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset behind the last byte.
    pub end: usize,
}
