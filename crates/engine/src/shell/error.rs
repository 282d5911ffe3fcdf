//! Why a process stops working on an operation.

use freehold_graph::ProviderName;
use thiserror::Error;

use crate::journal::JournalError;
use crate::operation::Contradiction;

/// Why this process stopped working on an operation without finishing it. The operation isn't lost: [`super::run`] goes on with it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RunError {
    /// Another operation of the same stack, or another process, has the lease.
    #[error("another process works on this stack")]
    Busy,
    /// Another process has taken the operation over.
    #[error("another process has taken over this operation")]
    LeaseLost,
    /// The store could not be reached for too long.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// The store answers with what this program can't read.
    #[error("the journal can't be read: {0}")]
    Unreadable(String),
    /// The journal can't be read by any program.
    #[error("the journal is damaged: {0}")]
    Damaged(String),
    /// The journal contradicts itself or the plan.
    #[error(transparent)]
    Broken(#[from] Contradiction),
    /// The plan needs a provider that isn't there.
    #[error("there is no provider for {}", .0.as_str())]
    MissingProvider(ProviderName),
}

impl From<JournalError> for RunError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Fenced => Self::LeaseLost,
            JournalError::Unavailable(message) => Self::Unavailable(message),
            JournalError::Unreadable(message) => Self::Unreadable(message),
            JournalError::Damaged(message) => Self::Damaged(message),
        }
    }
}
