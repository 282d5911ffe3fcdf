//! Why a call of a provider failed, and what that says about trying again.

use std::time::Duration;

use freehold_graph::value::NotText;
use freehold_problem::{Code, Problem};
use thiserror::Error;

/// Why a provider didn't do what it was asked to, and what that says about trying again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProviderError {
    /// It may work later: the server is starting, too many connections. Nothing was done, or what was done can be repeated.
    #[error("{problem}")]
    Retryable {
        /// What happened, and what to do if it doesn't pass.
        problem: Problem,
        /// The server asked to wait this long.
        after: Option<Duration>,
    },
    /// It won't work, however often it is tried.
    #[error("{0}")]
    Rejected(Problem),
    /// Sent, and no answer. It may or may not have happened: look again before anything else.
    #[error("no answer: {0}")]
    Unknown(Problem),
}

impl ProviderError {
    /// A failure that a retry doesn't fix.
    pub fn rejected(code: Code, message: impl Into<String>) -> Self {
        Problem::new(code, message).into()
    }

    /// A failure that may pass.
    pub fn retryable(code: Code, message: impl Into<String>) -> Self {
        Self::Retryable { problem: Problem::new(code, message), after: None }
    }

    /// What was sent to whom without an answer.
    pub fn unknown(code: Code, message: impl Into<String>) -> Self {
        Self::Unknown(Problem::new(code, message))
    }

    /// What happened, whatever it says about trying again.
    pub fn problem(&self) -> &Problem {
        match self {
            Self::Retryable { problem, .. } | Self::Rejected(problem) | Self::Unknown(problem) => problem,
        }
    }

    /// The same, and nothing else of it.
    pub fn into_problem(self) -> Problem {
        match self {
            Self::Retryable { problem, .. } | Self::Rejected(problem) | Self::Unknown(problem) => problem,
        }
    }
}

/// For whoever asked and isn't going to try again: whatever may pass by itself says so.
impl From<ProviderError> for Problem {
    fn from(error: ProviderError) -> Self {
        let (message, passes) = (error.to_string(), !matches!(error, ProviderError::Rejected(_)));
        let problem = error.into_problem();
        let help = problem.help.clone().or_else(|| passes.then(|| "try again in a moment".to_owned()));
        Self { message, help, ..problem }
    }
}

/// A failure that a retry doesn't fix.
impl From<Problem> for ProviderError {
    fn from(problem: Problem) -> Self {
        Self::Rejected(problem)
    }
}

impl From<NotText> for ProviderError {
    fn from(error: NotText) -> Self {
        Self::rejected(Code::StepFailed, error.to_string())
    }
}
