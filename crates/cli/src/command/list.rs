//! `freehold list`: the stacks.

use chrono::Utc;

use crate::arguments::ListArguments;
use crate::platform::{self, Platform};
use crate::report::{CommandResult, ExitStatus};
use crate::terminal::Terminal;
use crate::view;

pub(super) fn run(terminal: Terminal, arguments: &ListArguments) -> CommandResult {
    let platform = Platform::connect(&arguments.platform)?;
    // Only what is asked for is looked at: another target that is away keeps nobody waiting.
    let app = arguments.app.iter().map(|app| ("app", app.as_str()));
    let query: Vec<(&str, &str)> =
        app.chain(arguments.target.iter().map(|target| ("target", target.as_str()))).collect();
    let mut stacks = platform::run(async {
        if let Some(target) = &arguments.target {
            platform.target(target).await?;
        }
        Ok(platform.client.stacks(&query).await?)
    })?;
    stacks.retain(|stack| arguments.target.as_ref().is_none_or(|target| stack.target == *target));
    match (terminal.json, stacks.is_empty()) {
        (true, _) => terminal.print_json(&stacks),
        (false, true) => terminal.say(&none(arguments)),
        (false, false) => terminal.print(view::stack::list(&stacks, Utc::now())),
    }
    Ok(ExitStatus::Done)
}

/// That there are none; of what, where only some were asked for.
fn none(arguments: &ListArguments) -> String {
    let of = arguments.app.as_ref().map(|app| format!(" of {app}")).unwrap_or_default();
    let on = arguments.target.as_ref().map(|target| format!(" on {target}")).unwrap_or_default();
    match of.is_empty() && on.is_empty() {
        true => "There are no stacks. `freehold deploy DIR --tenant NAME` makes one.".to_owned(),
        false => format!("There are no stacks{of}{on}. `freehold list` shows those of all apps and targets."),
    }
}
