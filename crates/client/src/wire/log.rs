//! Logs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who says a line of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Voice {
    /// The program, which may print anything.
    Program,
    /// Freehold, about the program.
    Freehold,
}

/// One line of `GET /stacks/{stack}/logs`, a stream of JSON objects, one a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// The instance, run or Pod that it is about.
    pub source: String,
    /// Who says it.
    pub by: Voice,
    /// Without the line break: of a program exactly what it printed, with U+FFFD for what isn't UTF-8.
    pub line: String,
}
