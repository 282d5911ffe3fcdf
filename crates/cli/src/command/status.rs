//! `freehold status`: one stack, with its resources and the reasons why they aren't ready.

use freehold::wire::StackState;

use crate::arguments::OneStack;
use crate::platform::{self, Platform};
use crate::report::{CommandResult, ExitStatus};
use crate::terminal::Terminal;
use crate::view;

pub(super) fn run(terminal: Terminal, selection: &OneStack) -> CommandResult {
    let platform = Platform::connect(&selection.platform)?;
    let stack = platform::run(async {
        let stack = platform.find(selection).await?;
        Ok(platform.client.stack(stack.id).await?)
    })?;
    match terminal.json {
        true => terminal.print_json(&stack),
        false => terminal.print(view::stack::status(&stack, terminal.verbose, chrono::Utc::now())),
    }
    Ok(match stack.state {
        StackState::Failed | StackState::Degraded | StackState::Unknown => ExitStatus::Failed,
        StackState::New | StackState::Deploying | StackState::Ready | StackState::Destroying | StackState::Other(_) => {
            ExitStatus::Done
        }
    })
}
