//! `freehold version`.

use crate::report::{CommandResult, ExitStatus};
use crate::terminal::Terminal;

pub(super) fn run(terminal: Terminal) -> CommandResult {
    let version = env!("CARGO_PKG_VERSION");
    match terminal.json {
        true => terminal.print_json(&serde_json::json!({ "version": version })),
        false => terminal.print(format!("freehold {version}")),
    }
    Ok(ExitStatus::Done)
}
