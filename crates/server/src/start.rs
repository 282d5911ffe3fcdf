//! What can go wrong when the platform starts.

use std::fmt;

use crate::refusal::Refusal;

/// Why the platform didn't start. Shown to people: what happened, to what, why, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError {
    /// The diagnostic's code: `FH0507`.
    pub code: &'static str,
    /// What happened, to what, why.
    pub message: String,
    /// Lines to show below: the end of a log.
    pub detail: Vec<String>,
    /// What to do next.
    pub help: Option<String>,
}

impl StartError {
    /// With a code and what happened.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), detail: Vec::new(), help: None }
    }

    /// With what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With lines to show below.
    #[must_use]
    pub fn detail(mut self, detail: Vec<String>) -> Self {
        self.detail = detail;
        self
    }
}

impl From<Refusal> for StartError {
    fn from(refusal: Refusal) -> Self {
        let problem = refusal.into_problem();
        let code = freehold_check::Code::parse(&problem.code).map_or("FH0504", |code| code.as_str());
        Self { code, message: problem.detail, detail: problem.lines, help: problem.help }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for StartError {}
