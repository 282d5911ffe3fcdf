//! `freehold plan`: what a deploy would change.

use freehold::wire::PlanResponse;
use freehold_problem::Code;

use crate::arguments::PlanArguments;
use crate::layout::{columns, paint};
use crate::platform::{self, Platform};
use crate::proposal::{Proposal, Stacks};
use crate::report::{CommandError, CommandResult, ExitStatus};
use crate::terminal::Terminal;
use crate::view;

pub(super) fn run(terminal: Terminal, arguments: &PlanArguments) -> CommandResult {
    let which = arguments.stack.which();
    let Some((kind, name)) = which.selected() else {
        return Err(CommandError::new(Code::BadRequest, "no stack was named"));
    };
    let mut proposal = Proposal::gather(&arguments.request, which.stage_of_tenant())?;
    let platform = Platform::connect(&arguments.request.platform)?;
    let answer = platform::run(async {
        proposal.prepare(terminal, &platform, Stacks::One(kind, name)).await?;
        proposal.plan(&platform, kind, name).await
    })?;
    proposal.warn(terminal, &answer);
    if let Some(file) = &arguments.out {
        let text = serde_json::to_string_pretty(&answer).unwrap_or_default();
        std::fs::write(file, text).map_err(|error| {
            CommandError::new(
                Code::OutputNotWritten,
                format!("the plan can't be written to {}: {error}", file.display()),
            )
        })?;
    }
    match terminal.json {
        true => terminal.print_json(&answer),
        false => terminal.print(text(terminal, &answer)),
    }
    if let Some(file) = arguments.out.as_ref().filter(|_| !terminal.json && !answer.noop) {
        terminal.tell(format!("\nKept in {0}. Apply it with `freehold deploy --plan {0}`.", file.display()));
    }
    Ok(ExitStatus::Done)
}

fn text(terminal: Terminal, answer: &PlanResponse) -> String {
    if answer.noop {
        return unchanged(answer, None);
    }
    view::plan::render(answer, terminal.verbose)
}

/// A plan with nothing in it.
pub(super) fn unchanged(answer: &PlanResponse, milliseconds: Option<u64>) -> String {
    let plan = &answer.plan;
    let url = view::outputs::first_url(&freehold::wire::nested(&plan.outputs));
    let mut parts = vec![format!("revision {}", plan.revision)];
    parts.extend(url);
    parts.extend(milliseconds.map(crate::layout::seconds));
    let head = format!("Nothing to change in {}", plan.key);
    let gap = if columns(&head) + columns(&parts.join(" · ")) + 3 <= 80 { " · " } else { "\n  " };
    let mut lines = vec![format!("{}{gap}{}", paint(crate::layout::BOLD, head), parts.join(" · "))];
    lines.extend(view::plan::foreign_fields(plan));
    lines.join("\n")
}
