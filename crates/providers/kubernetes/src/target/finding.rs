//! What is found at a target.

use freehold_engine::capability::{Finding, Level};

use crate::error::ClusterError;

/// A question that got no good answer.
pub(crate) fn of_error(subject: &str, error: &ClusterError) -> Finding {
    Finding::new(Level::Error, subject, error.to_string()).maybe_help(error.help())
}
