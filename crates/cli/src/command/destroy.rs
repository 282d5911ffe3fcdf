//! `freehold destroy`: shows what is lost, asks for the name, proves the end.

use freehold::wire::{PlanResponse, StackPlanRequest};
use freehold_problem::Code;

use crate::arguments::DestroyArguments;
use crate::follow::{Ended, Follower};
use crate::layout::seconds;
use crate::platform::{self, Platform};
use crate::report::{CommandError, CommandResult, ExitStatus};
use crate::terminal::Terminal;
use crate::view;
use crate::view::progress::Progress;

use super::precheck::under_way;

pub(super) fn run(terminal: Terminal, arguments: &DestroyArguments) -> CommandResult {
    let mut platform = Platform::connect(&arguments.stack.platform)?;
    platform::run(destroy(terminal, arguments, &mut platform))
}

async fn destroy(terminal: Terminal, arguments: &DestroyArguments, platform: &mut Platform) -> CommandResult {
    let stack = platform.find(&arguments.stack).await?;
    let dump = !arguments.no_dump;
    let answer = platform.client.plan_for(stack.id, &StackPlanRequest::Destroy { dump }).await?;
    let plan = &answer.plan;
    let subjects = plan.changes.keys().map(|id| id.0.as_str());
    let mut progress = Progress::new(terminal.is_watched(), terminal.width(), subjects.clone()).destroying();
    if !terminal.verbose {
        progress = progress.folding(subjects);
    }
    let mut follower = Follower::new(terminal, progress);
    let ended = match under_way(platform, &answer).await? {
        Some(operation) => follower.attach(platform, operation).await?,
        None => {
            if !terminal.json {
                terminal.tell(view::plan::render_destroy(plan));
            }
            confirm(terminal, arguments, &stack.name)?;
            let operation = platform.client.destroy(stack.id, &stack.name, plan.id).await?;
            follower.follow(platform, operation.id).await?
        }
    };
    match ended {
        Ended::Detached => Ok(ExitStatus::Failed),
        Ended::Finished(finished) if finished.succeeded() => {
            if !terminal.json {
                let time = finished.ready().map(|time| format!(" in {}", seconds(time))).unwrap_or_default();
                terminal.print(format!("{} is gone{time}.", subject(&answer)));
            }
            Ok(ExitStatus::Done)
        }
        Ended::Finished(finished) => Err(finished.stopped("`freehold destroy` again")),
    }
}

fn subject(answer: &PlanResponse) -> String {
    answer.plan.key.to_string()
}

/// The stack's name has to be given again.
fn confirm(terminal: Terminal, arguments: &DestroyArguments, name: &str) -> CommandResult<()> {
    let typed = match (&arguments.confirm, terminal.cannot_confirm()) {
        (Some(typed), _) => Some(typed.clone()),
        (None, Some(reason)) => {
            return Err(CommandError::new(Code::NotConfirmed, format!("{reason}, and nothing was deleted"))
                .help(format!("run the command again with --confirm {name}")));
        }
        (None, None) => terminal.ask("Type the stack's name to go on: "),
    };
    match typed {
        Some(typed) if typed == name => Ok(()),
        Some(typed) => {
            let detail = format!("{typed:?} is not the stack's name, and nothing was deleted");
            Err(CommandError::new(Code::NotConfirmed, detail).help(format!("its name is {name}")))
        }
        None => Err(CommandError::new(Code::NotConfirmed, "no name was typed, and nothing was deleted")),
    }
}
