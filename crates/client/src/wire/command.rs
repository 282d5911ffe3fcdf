//! Commands in a stack's environment.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Problem;

/// `POST /stacks/{stack}/commands`: a command to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandRequest {
    /// Run it as this service's program. Without a service and a job, the only service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Run it as this job's program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Program and arguments. Left out: what the job executes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// When it is ended, in seconds: up to seven days. Left out: after an hour, a job when its definition says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
}

/// What comes of a command: a stream of JSON objects, one a line, and empty lines in between. It ends with `ended` or `failed`; a stream
/// that is closed ends the command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum CommandEvent {
    /// It printed this, on whichever output.
    Output {
        /// With U+FFFD for what isn't UTF-8.
        text: String,
    },
    /// It has ended, and nothing of it is left.
    Ended {
        /// Its exit code, as shells have it: 128 and the number of the signal that ended it.
        exit: i32,
        /// Why it ended, if it didn't by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// It could not be started, or it isn't known how it ended.
    Failed {
        /// The reason, with its code.
        problem: Box<Problem>,
    },
}
