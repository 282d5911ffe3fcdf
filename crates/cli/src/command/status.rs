//! `freehold status`: one stack, with its resources and the reasons why they aren't ready.

use crate::arguments::OneStack;
use crate::platform::{self, Platform};
use crate::report::{Answer, Outcome};
use crate::terminal::Terminal;
use crate::view;

pub(super) fn run(terminal: Terminal, selection: &OneStack) -> Answer {
    let platform = Platform::connect(&selection.platform)?;
    let stack = platform::run(async {
        let stack = platform.find(selection).await?;
        Ok(platform.client.stack(stack.id).await?)
    })?;
    match terminal.json {
        true => terminal.print_json(&stack),
        false => terminal.print(view::stack::status(&stack, terminal.verbose, chrono::Utc::now())),
    }
    Ok(if matches!(stack.state.as_str(), "failed" | "degraded" | "unknown") { Outcome::Failed } else { Outcome::Done })
}
