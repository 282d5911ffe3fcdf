//! `freehold history`: the revisions of a stack.

use crate::arguments::OneStack;
use crate::platform::{self, Platform};
use crate::report::{CommandResult, ExitStatus};
use crate::terminal::Terminal;
use crate::view;

pub(super) fn run(terminal: Terminal, selection: &OneStack) -> CommandResult {
    let platform = Platform::connect(&selection.platform)?;
    let revisions = platform::run(async {
        let stack = platform.find(selection).await?;
        Ok(platform.client.revisions(stack.id).await?)
    })?;
    match (terminal.json, revisions.is_empty()) {
        (true, _) => terminal.print_json(&revisions),
        (false, true) => terminal.tell("It has no revision yet."),
        (false, false) => terminal.print(view::stack::history(&revisions)),
    }
    Ok(ExitStatus::Done)
}
