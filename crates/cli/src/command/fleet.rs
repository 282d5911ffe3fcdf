//! `freehold deploy --all-tenants`: a new version for every tenant of an app, in waves.
//!
//! Nothing is remembered between two runs, and nothing needs to be: a tenant that has the new version already is a plan with
//! nothing in it, so running the command again carries on where it stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use freehold::wire::{ApplyRequest, Stack};
use freehold_graph::StackKind;
use freehold_problem::Code;
use futures::StreamExt;
use serde::Serialize;

use crate::arguments::{DeployArguments, WaveSize};
use crate::follow::{Ended, Follower};
use crate::layout::{GREEN, RED, YELLOW, count, paint, seconds, table};
use crate::platform::{self, Platform};
use crate::proposal::{Proposal, Stacks, milliseconds};
use crate::report::{CommandError, CommandResult, ExitStatus};
use crate::terminal::Terminal;
use crate::view::progress::Progress;

use super::precheck::{confirmed, under_way, well};

/// How many tenants are worked on at once, however large a wave is.
const PARALLEL: usize = 8;

/// How far one tenant came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum FleetState {
    #[serde(rename = "deployed")]
    Deployed,
    #[serde(rename = "unchanged")]
    Unchanged,
    #[serde(rename = "failed")]
    Failed,
    #[serde(rename = "not begun")]
    NotBegun,
}

impl FleetState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Deployed => "deployed",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
            Self::NotBegun => "not begun",
        }
    }

    /// Whether the tenant has what was to be deployed.
    const fn is_done(self) -> bool {
        match self {
            Self::Deployed | Self::Unchanged => true,
            Self::Failed | Self::NotBegun => false,
        }
    }
}

/// What became of one tenant.
#[derive(Debug, Clone, Serialize)]
struct StackResult {
    tenant: String,
    state: FleetState,
    revision: Option<u64>,
    milliseconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The same for machines, as soon as it is known.
#[derive(Debug, Serialize)]
struct FleetLine<'a> {
    event: &'static str,
    #[serde(flatten)]
    result: &'a StackResult,
}

pub(super) fn run(terminal: Terminal, arguments: &DeployArguments) -> CommandResult {
    let platform = Platform::connect(&arguments.request.platform)?;
    let mut proposal = Proposal::gather(&arguments.request, None)?;
    platform::run(async {
        let Some(app) = proposal.app() else {
            return Err(CommandError::new(Code::BadRequest, "no app was named")
                .help("name the app's folder, or choose the app with --app NAME"));
        };
        let mut tenants = platform.client.stacks(&[("app", &app), ("kind", StackKind::Tenant.as_str())]).await?;
        tenants.retain(|tenant| proposal.target().is_none_or(|target| tenant.target == target));
        if tenants.is_empty() {
            let on = proposal.target().map(|target| format!(" on {target}")).unwrap_or_default();
            return Err(CommandError::new(Code::NotFound, format!("{app} has no tenants{on}"))
                .help("the first one is made with `freehold deploy --tenant NAME`"));
        }
        let targets: BTreeSet<&str> = tenants.iter().map(|tenant| tenant.target.as_str()).collect();
        if targets.len() > 1 {
            let list = targets.into_iter().collect::<Vec<_>>().join(", ");
            return Err(CommandError::new(Code::BadRequest, format!("{app} has tenants on several targets: {list}"))
                .help("choose one with --target NAME"));
        }
        let size = arguments.wave.map_or(tenants.len(), |wave: WaveSize| wave.of(tenants.len()));
        let waves = tenants.len().div_ceil(size);
        let parts = if waves > 1 { format!(" in {waves} waves of {size}") } else { String::new() };
        terminal.say(&format!("{app} has {} to deploy{parts}.", count(tenants.len(), "tenant")));
        if !confirmed(terminal, arguments.yes, "Go on?", "--yes")? {
            terminal.tell("Nothing was changed.");
            return Ok(ExitStatus::Failed);
        }
        proposal.prepare(terminal, &platform, Stacks::Tenants(&tenants)).await?;
        let mut fleet = Fleet { terminal, proposal: &proposal, results: BTreeMap::new(), stopping: false };
        for (at, wave) in tenants.chunks(size).enumerate() {
            fleet.wave(&arguments.request.platform, at + 1, waves, wave, arguments.stop_on_failure).await;
        }
        Ok(fleet.conclude(&tenants))
    })
}

struct Fleet<'a> {
    terminal: Terminal,
    proposal: &'a Proposal,
    results: BTreeMap<String, StackResult>,
    stopping: bool,
}

impl Fleet<'_> {
    async fn wave(
        &mut self,
        place: &crate::arguments::PlatformArguments,
        at: usize,
        waves: usize,
        tenants: &[Stack],
        stop_on_failure: bool,
    ) {
        if self.stopping {
            return;
        }
        if waves > 1 && !self.terminal.json {
            self.terminal.tell(format!("Wave {at} of {waves}"));
        }
        let proposal = self.proposal;
        let work = futures::stream::iter(tenants).map(|tenant| deploy(self.terminal, place, proposal, tenant));
        let mut work = work.buffer_unordered(PARALLEL);
        loop {
            let result = tokio::select! {
                result = work.next() => result,
                _ = tokio::signal::ctrl_c() => {
                    if self.stopping {
                        self.terminal.say("Detached: what has begun continues in the background.");
                        return;
                    }
                    self.stopping = true;
                    self.terminal.say("Stopping after this wave. Ctrl-C again leaves it to the platform.");
                    continue;
                }
            };
            let Some(result) = result else { break };
            match self.terminal.json {
                true => self.terminal.print_json(&FleetLine { event: "tenant", result: &result }),
                false => self.terminal.tell(line(&result)),
            }
            self.results.insert(result.tenant.clone(), result);
        }
        let failed = self.results.values().any(|result| result.state == FleetState::Failed);
        if failed && stop_on_failure && at < waves {
            self.stopping = true;
            self.terminal.say("A tenant failed: no further wave is begun.");
        }
    }

    /// Who has what.
    fn conclude(&self, tenants: &[Stack]) -> ExitStatus {
        let result = |stack: &Stack| {
            self.results.get(&stack.name).cloned().unwrap_or_else(|| StackResult {
                tenant: stack.name.clone(),
                state: FleetState::NotBegun,
                revision: stack.revision,
                milliseconds: 0,
                code: None,
                reason: None,
            })
        };
        let results: Vec<StackResult> = tenants.iter().map(result).collect();
        let done = results.iter().all(|result| result.state.is_done());
        if self.terminal.json {
            let state = if done { "succeeded" } else { "failed" };
            self.terminal.print_json(&serde_json::json!({ "event": "finished", "state": state, "tenants": results }));
        } else {
            let row = |result: &StackResult| {
                let revision = result.revision.map_or_else(|| "-".to_owned(), |revision| revision.to_string());
                let time = if result.milliseconds > 0 { seconds(result.milliseconds) } else { "-".to_owned() };
                let code = result.code.as_ref().map(|code| format!("{code} ")).unwrap_or_default();
                let why = format!("{code}{}", result.reason.clone().unwrap_or_default());
                vec![result.tenant.clone(), result.state.as_str().to_owned(), revision, time, why]
            };
            let rows: Vec<Vec<String>> = results.iter().map(row).collect();
            self.terminal.print(table(&["TENANT", "STATE", "REV", "TIME", "WHY"], &rows));
            if !done {
                self.terminal.say("Run the command again to carry on: tenants that are up to date are passed over.");
            }
        }
        if done { ExitStatus::Done } else { ExitStatus::Failed }
    }
}

fn line(result: &StackResult) -> String {
    let sign = match result.state {
        FleetState::Failed => paint(RED, "✗"),
        FleetState::Deployed => paint(GREEN, "✓"),
        FleetState::Unchanged | FleetState::NotBegun => paint(YELLOW, "="),
    };
    let reason = result.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let time = seconds(result.milliseconds);
    let text = format!("{} {} ({time}){reason}", result.tenant, result.state.as_str());
    format!("  {sign} {}", crate::layout::hanging(&text, 4, 4))
}

async fn deploy(
    terminal: Terminal,
    place: &crate::arguments::PlatformArguments,
    proposal: &Proposal,
    tenant: &Stack,
) -> StackResult {
    let begin = Instant::now();
    let mut result = StackResult {
        tenant: tenant.name.clone(),
        state: FleetState::Failed,
        revision: tenant.revision,
        milliseconds: 0,
        code: None,
        reason: None,
    };
    match attempt(terminal, place, proposal, tenant).await {
        Ok((state, revision)) => (result.state, result.revision) = (state, Some(revision)),
        Err(failure) => {
            result.code = Some(failure.problem.code);
            result.reason = Some(failure.problem.detail.lines().next().unwrap_or_default().to_owned());
        }
    }
    result.milliseconds = milliseconds(begin);
    result
}

async fn attempt(
    terminal: Terminal,
    place: &crate::arguments::PlatformArguments,
    proposal: &Proposal,
    tenant: &Stack,
) -> CommandResult<(FleetState, u64)> {
    let mut platform = Platform::connect(place)?;
    let answer = proposal.plan(&platform, StackKind::Tenant, &tenant.name).await?;
    if answer.noop {
        well(&platform, &answer).await?;
        return Ok((FleetState::Unchanged, answer.plan.revision));
    }
    let joined = under_way(&platform, &answer).await?;
    let operation = match joined {
        Some(operation) => operation,
        None => platform.client.apply(&ApplyRequest::Plan { plan: answer.plan.id }).await?.id,
    };
    let mut follower = Follower::new(terminal, Progress::default()).quiet();
    match follower.follow(&mut platform, operation).await? {
        Ended::Finished(finished) if finished.succeeded() && joined.is_none() => {
            Ok((FleetState::Deployed, finished.revision))
        }
        Ended::Finished(finished) if finished.succeeded() => {
            // It was somebody else's operation: perhaps for another version.
            let now = proposal.plan(&platform, StackKind::Tenant, &tenant.name).await?;
            match now.noop {
                true => Ok((FleetState::Deployed, finished.revision)),
                false => Err(CommandError::new(
                    Code::OperationRunning,
                    "another deploy finished first, with different input; this one was not started",
                )),
            }
        }
        Ended::Finished(finished) => Err(finished.failure(&platform, "the same command").await),
        Ended::Detached => {
            Err(CommandError::new(Code::Cancelled, "detached: the operation continues in the background"))
        }
    }
}
