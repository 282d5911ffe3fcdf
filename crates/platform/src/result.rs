//! What use cases give.

use freehold_problem::Problem;

/// What was asked for, or why there is none.
pub type Result<T, E = Problem> = std::result::Result<T, E>;
