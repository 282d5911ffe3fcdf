//! What deploys, rollbacks and destroys ask before they begin: whether the user agrees, whether an operation is at work already, and
//! whether what is as it should be works.

use std::collections::BTreeSet;

use freehold::wire::{self, PlanPurpose, PlanResponse, ResourceState, ResourceStatus, StackState};
use freehold_graph::kind::Program;
use freehold_graph::{ResourceId, ResourceKind};
use freehold_problem::Code;
use uuid::Uuid;

use crate::platform::Platform;
use crate::report::{CommandError, CommandResult};
use crate::terminal::Terminal;

/// Whether a stack that is as it should be does what it is for: it was verified once, and what has fallen since is no success.
pub(super) async fn well(platform: &Platform, answer: &PlanResponse) -> CommandResult<()> {
    let stack = platform.client.stack(answer.plan.stack.0).await?;
    if stack.state != StackState::Degraded {
        return Ok(());
    }
    let unwell: Vec<&ResourceStatus> = stack.resources.iter().filter(|resource| resource.is_unwell()).collect();
    let kind = |resource: &ResourceStatus| Some(answer.plan.changes.get(&ResourceId(resource.id.clone()))?.kind);
    let code = fallen(unwell.iter().map(|resource| (kind(resource), resource.state == ResourceState::Failed)));
    let line = |resource: &ResourceStatus| {
        format!("{}: {}", resource.id, resource.explanation().unwrap_or_else(|| resource.state.to_string()))
    };
    let detail = format!("{} is as its definition says, but not all of it works", answer.plan.key);
    let help = format!("fix the problem and deploy again; details: `freehold status {}`", answer.plan.key.option());
    Err(CommandError::new(code, detail).lines(unwell.into_iter().map(line).collect()).help(help))
}

/// What it is called that such parts of a stack don't do what they are for any more, and whether it is known that they won't: by the
/// worst of them.
fn fallen(parts: impl Iterator<Item = (Option<ResourceKind>, bool)>) -> Code {
    let code = |(kind, failed): (Option<ResourceKind>, bool)| {
        match kind.filter(|_| failed).map_or(Program::None, |kind| kind.row().program) {
            Program::Service | Program::Server => Code::CrashLoop,
            // Its job's last run failed.
            Program::Schedule => Code::JobFailed,
            Program::None => Code::FailedWhileSettling,
        }
    };
    let codes: BTreeSet<Code> = parts.map(code).collect();
    let worst =
        [Code::CrashLoop, Code::FailedWhileSettling, Code::JobFailed].into_iter().find(|code| codes.contains(code));
    worst.unwrap_or(Code::FailedWhileSettling)
}

/// The operation that is at work on the stack already, if it is for the same purpose.
pub(super) async fn under_way(platform: &Platform, answer: &PlanResponse) -> CommandResult<Option<Uuid>> {
    let Some(operation) = answer.running else { return Ok(None) };
    let facts = platform.client.operation(operation).await?;
    let same = match (answer.plan.purpose, &facts.purpose) {
        (PlanPurpose::Deploy, wire::Purpose::Deploy)
        | (PlanPurpose::Rollback { .. }, wire::Purpose::Rollback { .. })
        | (PlanPurpose::Destroy { .. }, wire::Purpose::Destroy) => true,
        (PlanPurpose::Deploy | PlanPurpose::Rollback { .. } | PlanPurpose::Destroy { .. }, _) => false,
    };
    Ok((same && !facts.is_finished()).then_some(operation))
}

/// Whether the user agrees: by a flag, or when asked.
pub(super) fn confirmed(terminal: Terminal, yes: bool, question: &str, flag: &str) -> CommandResult<bool> {
    if yes {
        return Ok(true);
    }
    if let Some(reason) = terminal.cannot_confirm() {
        return Err(CommandError::new(Code::NotConfirmed, format!("{reason}, and nothing was changed"))
            .help(format!("run the command again with {flag}")));
    }
    Ok(terminal.confirm(question))
}
