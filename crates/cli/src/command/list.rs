//! `freehold list`: the stacks.

use crate::arguments::ListArguments;
use crate::platform::{self, Platform};
use crate::report::{Answer, Outcome};
use crate::terminal::Terminal;
use crate::view;

pub(super) fn run(terminal: Terminal, arguments: &ListArguments) -> Answer {
    let platform = Platform::connect(&arguments.platform)?;
    let query: Vec<(&str, &str)> = arguments.app.iter().map(|app| ("app", app.as_str())).collect();
    let mut stacks = platform::run(async {
        if let Some(target) = &arguments.target {
            platform.target(target).await?;
        }
        Ok(platform.client.stacks(&query).await?)
    })?;
    stacks.retain(|stack| arguments.target.as_ref().is_none_or(|target| stack.target == *target));
    match (terminal.json, stacks.is_empty()) {
        (true, _) => terminal.print_json(&stacks),
        (false, true) => terminal.tell("There are no stacks. `freehold deploy DIR --tenant NAME` makes one."),
        (false, false) => terminal.print(view::stack::list(&stacks)),
    }
    Ok(Outcome::Done)
}
