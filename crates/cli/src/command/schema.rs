//! `freehold schema`: the JSON Schema of `freehold.toml`, for editors.

use crate::report::{CommandResult, ExitStatus};
use crate::terminal::Terminal;

pub(super) fn run(terminal: Terminal) -> CommandResult {
    let schema = freehold_spec::schema();
    terminal.print(serde_json::to_string_pretty(&schema).unwrap_or_default());
    Ok(ExitStatus::Done)
}
