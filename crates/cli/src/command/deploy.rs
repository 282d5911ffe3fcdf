//! `freehold deploy`: plan, ask, apply, follow, and say what exists.

use std::path::Path;
use std::time::Instant;

use freehold::ClientError;
use freehold::wire::{Action, ApplyRequest, PlanPurpose as Purpose, PlanResponse, nested};
use freehold_graph::StackKind;
use freehold_problem::Code;
use uuid::Uuid;

use crate::arguments::DeployArguments;
use crate::follow::{Ended, Finished, Follower};
use crate::layout::seconds;
use crate::platform::{self, Platform};
use crate::proposal::{Proposal, Stacks, milliseconds};
use crate::report::{CommandError, CommandResult, ExitStatus};
use crate::terminal::Terminal;
use crate::view;
use crate::view::progress::Progress;

use super::precheck::{confirmed, under_way, well};
use super::{fleet, plan};

pub(super) fn run(terminal: Terminal, arguments: &DeployArguments) -> CommandResult {
    if arguments.all_tenants {
        return fleet::run(terminal, arguments);
    }
    let begin = Instant::now();
    let which = arguments.stack.which();
    match (&arguments.plan, which.selected()) {
        (Some(file), _) => {
            let answer = kept(file)?;
            if answer.noop && !terminal.json {
                terminal.print(format!("The plan in {} changes nothing, so nothing was done.", file.display()));
                return Ok(ExitStatus::Done);
            }
            let mut platform = Platform::connect(&arguments.request.platform)?;
            platform::run(async {
                let mut deploy = Deploy { terminal, platform: &mut platform, begin, phases: Vec::new() };
                deploy.carry_out(&answer, arguments.yes, None).await
            })
        }
        (None, Some((kind, name))) => {
            let mut platform = Platform::connect(&arguments.request.platform)?;
            let mut proposal = Proposal::gather(&arguments.request, which.stage_of_tenant())?;
            platform::run(async {
                let mut deploy = Deploy { terminal, platform: &mut platform, begin, phases: Vec::new() };
                deploy.propose(&mut proposal, (kind, name), arguments.yes).await
            })
        }
        (None, None) => Err(CommandError::new(Code::BadRequest, "no stack was named")),
    }
}

/// A plan that was kept in a file.
fn kept(file: &Path) -> CommandResult<PlanResponse> {
    let unusable = |reason: String| {
        CommandError::new(Code::BadRequest, format!("{} is not a plan: {reason}", file.display()))
            .help("make one with `freehold plan --out FILE`")
    };
    let text = std::fs::read_to_string(file).map_err(|error| {
        CommandError::new(Code::BadRequest, format!("the plan {} can't be read: {error}", file.display()))
            .help("make one with `freehold plan --out FILE`")
    })?;
    let answer: PlanResponse = serde_json::from_str(&text).map_err(|error| unusable(error.to_string()))?;
    if matches!(answer.plan.purpose, Purpose::Destroy { .. }) {
        return Err(unusable("it destroys a stack, which `freehold destroy` does".to_owned()));
    }
    Ok(answer)
}

/// A deploy on its way.
pub(super) struct Deploy<'a> {
    pub terminal: Terminal,
    pub platform: &'a mut Platform,
    pub begin: Instant,
    pub phases: Vec<(&'static str, u64)>,
}

impl Deploy<'_> {
    async fn propose(&mut self, proposal: &mut Proposal, which: (StackKind, &str), yes: bool) -> CommandResult {
        let built = proposal.prepare(self.terminal, self.platform, Stacks::One(which.0, which.1)).await?;
        self.phases.extend(built.map(|time| ("build", time)));
        let begin = Instant::now();
        let answer = proposal.plan(self.platform, which.0, which.1).await?;
        self.phases.push(("plan", milliseconds(begin)));
        if !answer.noop {
            proposal.warn(self.terminal, &answer);
        }
        self.carry_out(&answer, yes, Some((proposal, which))).await
    }

    /// Asks, applies and follows. With what the plan was made from, another try is possible.
    pub(super) async fn carry_out(
        &mut self,
        answer: &PlanResponse,
        yes: bool,
        proposal: Option<(&Proposal, (StackKind, &str))>,
    ) -> CommandResult {
        if let Some(operation) = under_way(self.platform, answer).await? {
            return self.join(answer, operation, proposal).await;
        }
        if answer.noop {
            return self.unchanged(answer).await;
        }
        if !self.terminal.json {
            self.terminal.tell(format!("{}\n", view::plan::render(answer, self.terminal.verbose)));
        }
        if !confirmed(self.terminal, yes, "Apply?", "--yes")? {
            self.terminal.tell("Nothing was changed.");
            return Ok(ExitStatus::Failed);
        }
        let error = match self.platform.client.apply(&ApplyRequest::Plan { plan: answer.plan.id }).await {
            Ok(operation) => {
                let finished = self.follow(answer, operation.id, false).await?;
                return Ok(finished.map_or(ExitStatus::Failed, |finished| self.ready(&finished)));
            }
            Err(error) => error,
        };
        // Somebody else was faster. If that is, or was, the same deploy, it is as good as ours.
        if let (ClientError::Problem(problem), Some((proposal, (kind, name)))) = (&error, proposal)
            && [Code::OperationRunning, Code::PlanOutdated, Code::PlanUnknown].contains(&problem.code)
            && let Ok(answer) = proposal.plan(self.platform, kind, name).await
        {
            if let Some(operation) = under_way(self.platform, &answer).await? {
                return self.join(&answer, operation, Some((proposal, (kind, name)))).await;
            }
            if answer.noop {
                return self.unchanged(&answer).await;
            }
        }
        Err(error.into())
    }

    /// Follows an operation that somebody else has begun, and sees whether it did what was asked for here.
    async fn join(
        &mut self,
        answer: &PlanResponse,
        operation: Uuid,
        proposal: Option<(&Proposal, (StackKind, &str))>,
    ) -> CommandResult {
        let Some(finished) = self.follow(answer, operation, true).await? else { return Ok(ExitStatus::Failed) };
        let same = match proposal {
            Some((proposal, (kind, name))) => proposal.plan(self.platform, kind, name).await?.noop,
            None => true,
        };
        if same {
            return Ok(self.ready(&finished));
        }
        let detail = "another deploy finished first, with different input; this one was not started";
        let mut failure = CommandError::new(Code::OperationRunning, detail).help("run the same command again");
        failure.problem.operation = Some(operation);
        Err(failure)
    }

    async fn unchanged(&self, answer: &PlanResponse) -> CommandResult {
        let total = milliseconds(self.begin);
        let well = well(self.platform, answer).await;
        if !self.terminal.json {
            self.terminal.print(plan::unchanged(answer, Some(total)));
            return well.map(|()| ExitStatus::Done);
        }
        let mut timings = serde_json::Map::from_iter([("total".to_owned(), total.into())]);
        timings.extend(self.phases.iter().map(|(phase, time)| ((*phase).to_owned(), (*time).into())));
        self.terminal.print_json(&serde_json::json!({
            "event": "finished",
            "stack": answer.plan.stack,
            "operation": null,
            "revision": answer.plan.revision,
            "state": "unchanged",
            "outputs": nested(&answer.plan.outputs),
            "timings": timings,
        }));
        well.map(|()| ExitStatus::Done)
    }

    /// Follows an operation to its end; `None` if it was left to the platform.
    async fn follow(
        &mut self,
        answer: &PlanResponse,
        operation: Uuid,
        attach: bool,
    ) -> CommandResult<Option<Box<Finished>>> {
        let plan = &answer.plan;
        let subjects = plan.changes.keys().chain(plan.runs.keys()).map(|id| id.0.as_str());
        let mut progress = Progress::new(self.terminal.is_watched(), self.terminal.width(), subjects);
        if !self.terminal.verbose {
            let changed = plan.changes.values().filter(|change| change.action != Action::NoOp);
            progress = progress.folding(changed.map(|change| change.id.0.as_str()));
        }
        let mut follower = Follower::new(self.terminal, progress).after(&self.phases);
        let begin = Instant::now();
        let ended = match attach {
            true => follower.attach(self.platform, operation).await?,
            false => follower.follow(self.platform, operation).await?,
        };
        let Ended::Finished(finished) = ended else { return Ok(None) };
        if !finished.succeeded() {
            return Err(finished.failure(self.platform, "the same command").await);
        }
        self.phases.push(("apply", finished.ready().unwrap_or_else(|| milliseconds(begin))));
        Ok(Some(finished))
    }

    /// Says what exists and how long it took.
    fn ready(&self, finished: &Finished) -> ExitStatus {
        if !self.terminal.json {
            let total: u64 = self.phases.iter().map(|(_, time)| time).sum();
            let settled = finished.settled().map(|time| format!(", verified {} later", seconds(time)));
            let headline = format!("Ready in {}{}", seconds(total), settled.unwrap_or_default());
            self.terminal.print(view::outputs::ready(&headline, finished.revision, &finished.outputs, &self.phases));
        }
        ExitStatus::Done
    }
}
