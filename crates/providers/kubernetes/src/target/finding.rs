//! What is found at a target.

use freehold_engine::capability::{Finding, Level};

use crate::error::ClusterError;

/// A question that got no good answer.
pub(crate) fn of_error(subject: &str, error: &ClusterError) -> Finding {
    Finding { level: Level::Error, subject: subject.to_owned(), message: error.to_string(), help: error.help() }
}
