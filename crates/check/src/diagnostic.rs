//! What is wrong, where, why, and the fix.

use freehold_spec::Span;
use serde::{Deserialize, Serialize};

use freehold_problem::Code;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It can't be deployed.
    Error,
    /// It can be deployed, and is probably not what was meant.
    Warning,
}

/// A place in the source and what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// The place, in bytes.
    pub span: Span,
    /// A few words; may be empty.
    pub message: String,
}

/// One problem of a definition or a request, with its places in the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// What kind of problem.
    pub code: Code,
    /// Whether it prevents a deploy.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// Where; the first one is the place to look at, the others belong to the story. May be empty.
    #[serde(default)]
    pub labels: Vec<Label>,
    /// Why: arithmetic, reasons, consequences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What to write instead, if that can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Where it is so, if not in every environment: `stage production`, `tenants of tier pro`, `previews`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<String>,
    /// Why the definition allows it, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
}

impl Diagnostic {
    /// A problem that stops the deploy.
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        let message = message.into();
        let (labels, notes, environments) = Default::default();
        Self { code, severity: Severity::Error, message, labels, notes, help: None, environments, allowed: None }
    }

    /// Something to look at.
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// With a place; the first one is the main one.
    #[must_use]
    pub fn at(mut self, span: Span, message: impl Into<String>) -> Self {
        self.labels.push(Label { span, message: message.into() });
        self
    }

    /// With a reason.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// With the fix.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The environments in which it is so, as a line for people: `only for stage production`. `None`: in all of them.
    pub fn only_for(&self) -> Option<String> {
        (!self.environments.is_empty()).then(|| format!("only for {}", self.environments.join(", ")))
    }

    /// Whether there is something to do about it: it isn't allowed by the definition.
    pub fn is_open(&self) -> bool {
        self.allowed.is_none()
    }

    /// Whether it stops the deploy.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
