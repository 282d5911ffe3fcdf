//! Looks for problems and changes nothing: the environment, orphans (things that bear a mark and belong to no stack), drift (what a repair
//! would change).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::Utc;
use freehold_engine::OwnedObject;
use freehold_graph::kind::Program;
use freehold_graph::{ResourceKind, StackId};
use freehold_plan::{Change, Plan};
use freehold_problem::Problem;
use freehold_store::{Stack, StackState, StoreError};
use futures::{FutureExt, StreamExt, stream};
use uuid::Uuid;

use super::plans::Plans;
use super::runtime::TargetRuntime;
use super::settings::identity;
use super::stacks::Stacks;
use super::targets::Targets;
use crate::Result;
use crate::actor::{Actor, Scope};
use crate::records::Records;
use crate::view::{Finding, Level, ResourceState, ResourceView, Wait};

/// How many stacks, and how many resources of one, are looked at at once.
const AT_ONCE: usize = 8;
/// What to do about fields that others have added.
const LEFT_ALONE: &str = "Freehold leaves it unchanged: add it to the definition, or revert it where it was made";

/// Looks for problems and changes nothing.
pub struct Doctor {
    pub(crate) records: Records,
    pub(crate) targets: Arc<Targets>,
    pub(crate) plans: Arc<Plans>,
    pub(crate) stacks: Arc<Stacks>,
}

impl Doctor {
    /// All findings: also what is well, so that it can be seen what was looked at. With `all_groups`, clusters are scanned for orphans
    /// in every API group.
    pub async fn findings(&self, actor: &Actor, all_groups: bool) -> Result<Vec<Finding>> {
        actor.require(Scope::Targets)?;
        let mut tx = self.records.store.look(actor.access()).await?;
        let listed = tx.stacks().await?;
        drop(tx);
        // What belongs to a stack that can't be read is no orphan.
        let known = listed.iter().map(|stack| stack.as_ref().map_or_else(|left| left.id, |stack| stack.id)).collect();
        let (mut stacks, mut findings) = (Vec::new(), Vec::new());
        for stack in listed {
            match stack {
                Ok(stack) => stacks.push(stack),
                Err(left) => findings.push(unreadable(format!("stack {}", left.place), &left.error)),
            }
        }
        for left in self.targets.stored().await?.into_iter().filter_map(Result::err) {
            findings.push(unreadable(format!("target {}", left.name), &left.error));
        }
        for runtime in self.targets.all() {
            findings.extend(of_target(&runtime, runtime.inspect().await));
        }
        findings.extend(self.orphans(&known, all_groups).await);
        // While an operation works on a stack, what its parts are like is that one's business.
        let at_rest: Vec<&Stack> = stacks.iter().filter(|stack| stack.operation.is_none()).collect();
        let health = self.stacks.health(actor, &at_rest).await?;
        let looks: Vec<_> =
            stacks.iter().map(|stack| self.examine(actor, stack, health.get(&stack.id)).boxed()).collect();
        // In the order of the stacks, whichever is done first.
        let found: Vec<Vec<Finding>> = stream::iter(looks).buffered(AT_ONCE).collect().await;
        findings.extend(found.into_iter().flatten());
        Ok(findings)
    }

    /// One stack: what of it doesn't do what it is for, and what has drifted.
    async fn examine(&self, actor: &Actor, stack: &Stack, parts: Option<&Vec<ResourceView>>) -> Vec<Finding> {
        let unwell = parts.into_iter().flatten().filter(|part| part.is_unwell());
        let mut findings: Vec<Finding> = unwell.map(|part| of_part(stack, part)).collect();
        findings.push(self.drift(actor, stack).await);
        findings
    }

    async fn orphans(&self, known: &BTreeSet<StackId>, all_groups: bool) -> Vec<Finding> {
        let (mut findings, mut neighbours) = (Vec::new(), Vec::new());
        for runtime in self.targets.all() {
            let (others, told) = self.other_platforms(&runtime, known).await;
            neighbours.extend(of_target(&runtime, told));
            let known: BTreeSet<StackId> = known.union(&others).copied().collect();
            let mut found = Vec::new();
            for provider in runtime.providers.values() {
                match provider.owned(None).await {
                    Ok(objects) => found.extend(orphans_among(objects, &known)),
                    Err(error) => {
                        let message = format!("{} can't be scanned: {error}", provider.name().as_str());
                        found.push(Finding::new(Level::Error, "orphans", message));
                    }
                }
            }
            if all_groups {
                found.extend(all_groups_of(&runtime, &known).await);
            }
            findings.extend(of_target(&runtime, found));
        }
        if findings.is_empty() {
            findings.push(Finding::ok("orphans", "none: every managed object belongs to a stack"));
        }
        findings.extend(neighbours);
        findings
    }

    /// The stacks in a target's cluster that are another platform's, and what is said of them.
    async fn other_platforms(
        &self,
        runtime: &TargetRuntime,
        known: &BTreeSet<StackId>,
    ) -> (BTreeSet<StackId>, Vec<Finding>) {
        let subject = "other platforms";
        let Some(scan) = &runtime.capabilities.scan else { return (BTreeSet::new(), Vec::new()) };
        let look = async { Ok::<_, Problem>((identity(&self.records.store).await?, scan.platforms().await?)) };
        let (this, platforms) = match look.await {
            Ok(found) => found,
            Err(refusal) => {
                let message = format!("can't be distinguished from orphans: {}", refusal.message);
                return (BTreeSet::new(), vec![Finding::new(Level::Error, subject, message)]);
            }
        };
        let mut others: BTreeMap<Uuid, BTreeSet<StackId>> = BTreeMap::new();
        for (stack, platform) in platforms {
            if platform != this && !known.contains(&stack) {
                others.entry(platform).or_default().insert(stack);
            }
        }
        let told = others.iter().map(|(platform, stacks)| {
            let (count, these) = match stacks.len() {
                1 => ("1 stack belongs".to_owned(), "it is"),
                count => (format!("{count} stacks belong"), "they are"),
            };
            let message = format!("{count} to another platform ({platform}), and {these} ignored");
            let help =
                "nothing, unless that platform is gone for good: then remove their namespaces and databases by hand";
            Finding::ok(subject, message).maybe_help(Some(help.to_owned()))
        });
        let told = told.collect();
        (others.into_values().flatten().collect(), told)
    }

    /// What an operation that works on a stack waits for.
    async fn under_way(&self, stack: &Stack, subject: &str) -> Finding {
        let working = "an operation works on it";
        let waits = match self.records.waits_of(&[stack]).await {
            Ok(waits) => waits.into_values().flatten().collect(),
            Err(_) => Vec::new(),
        };
        if waits.is_empty() {
            return Finding::ok(subject, working);
        }
        let now = Utc::now();
        let told = waits.iter().map(|wait: &Wait| {
            let seconds = now.signed_duration_since(wait.since).num_seconds().max(0);
            format!("{}: {}, for {seconds} s", wait.subject, wait.reason)
        });
        let message = format!("{working}, and waits for {}", told.collect::<Vec<_>>().join("; "));
        let help = format!("details: `freehold status {}`", stack.key.option());
        Finding::warning(subject, message, help)
    }

    async fn drift(&self, actor: &Actor, stack: &Stack) -> Finding {
        let subject = match self.targets.local().is_some_and(|local| *local.target.name() == stack.key.target) {
            true => format!("drift {}", stack.key),
            false => format!("{} drift {}", stack.key.target, stack.key),
        };
        if stack.operation.is_some() {
            return self.under_way(stack, &subject).await;
        }
        match self.plans.repair_of(actor, stack.clone()).await {
            Ok(answer) if stack.state == StackState::Failed => {
                let help =
                    format!("continue with `freehold deploy {0}`; details: `freehold status {0}`", stack.key.option());
                let message = match answer.plan.is_noop() {
                    true => "its last operation failed".to_owned(),
                    false => format!("its last operation failed; {}", differences(&answer.plan)),
                };
                Finding::error(subject, message, help)
            }
            Ok(answer) if answer.noop => match notes(&answer.plan) {
                told if told.is_empty() => Finding::ok(subject, "none"),
                told => Finding::warning(subject, told.join("; "), LEFT_ALONE),
            },
            Ok(answer) => {
                let option = stack.key.option();
                let help = format!(
                    "`freehold plan {option}` shows the differing fields, `freehold deploy {option}` reverts them"
                );
                Finding::warning(subject, differences(&answer.plan), help)
            }
            Err(problem) => {
                let lines = problem.lines.iter().map(|line| format!("; {}", line.trim()));
                let message = format!("{}: {}{}", problem.code, problem.message, lines.collect::<String>());
                Finding::new(Level::Error, subject, message).maybe_help(problem.help)
            }
        }
    }
}

/// A row that can't be read.
fn unreadable(subject: String, error: &StoreError) -> Finding {
    let help = "if a newer release works on this store, use that one; else restore the store from a backup";
    Finding::error(subject, format!("{}: {error}", error.code()), help)
}

/// A part that doesn't do what it is for.
fn of_part(stack: &Stack, part: &ResourceView) -> Finding {
    let option = stack.key.option();
    let name = part.id.name();
    let program = ResourceKind::of_id_word(part.id.word()).map_or(Program::None, |kind| kind.row().program);
    let help = match program {
        Program::Service => {
            format!("details: `freehold logs {option} --service {name}`; to go back: `freehold rollback {option}`")
        }
        Program::Server => format!("`freehold logs {option} --cache {name}` shows what it wrote"),
        Program::Schedule => format!("`freehold logs {option} --job {name}` shows what it wrote"),
        Program::None => format!("details: `freehold status {option}`"),
    };
    let reason = part.explanation().unwrap_or_else(|| "no reason is known".to_owned());
    let message = format!("{}: {reason}", state_word(part.state));
    Finding::error(format!("{} of {}", part.id, stack.key), message, help)
}

fn state_word(state: ResourceState) -> &'static str {
    match state {
        ResourceState::Ready => "ready",
        ResourceState::Waiting => "waiting",
        ResourceState::Failed => "failed",
        ResourceState::Unknown => "unknown",
    }
}

/// With the target's name, where it isn't this machine.
fn of_target(runtime: &TargetRuntime, mut findings: Vec<Finding>) -> Vec<Finding> {
    if !runtime.is_local() {
        for finding in &mut findings {
            finding.subject = format!("{} {}", runtime.target.name(), finding.subject);
        }
    }
    findings
}

fn orphans_among(objects: Vec<OwnedObject>, known: &BTreeSet<StackId>) -> Vec<Finding> {
    let orphans = objects.into_iter().filter(|object| !known.contains(&object.stack));
    let told = orphans.map(|object| {
        let message =
            format!("{} {} belongs to stack {}, which no longer exists", object.kind, object.name, object.stack);
        Finding::error("orphan", message, "inspect it, and delete it by hand if it is not needed")
    });
    told.collect()
}

/// What is in any API group of a cluster, also kinds that Freehold doesn't know.
async fn all_groups_of(runtime: &TargetRuntime, known: &BTreeSet<StackId>) -> Vec<Finding> {
    let Some(scan) = &runtime.capabilities.scan else { return Vec::new() };
    match scan.owned_of_every_kind().await.map_err(Problem::from) {
        Ok(objects) => orphans_among(objects, known),
        Err(refusal) => {
            let message = format!("not every API group can be scanned: {}", refusal.message);
            let help = "this scan needs an administrator's permissions on the cluster";
            vec![Finding::error("orphans", message, help)]
        }
    }
}

/// What a plan would change and what others have added, in a line.
fn differences(plan: &Plan) -> String {
    let jobs = plan.runs.keys().map(|job| format!("{job} has not run for the current definition"));
    let words: Vec<String> = plan.changes.values().filter_map(Change::summary).chain(jobs).chain(notes(plan)).collect();
    words.join("; ")
}

/// What others have in the stack's objects that the definition doesn't.
fn notes(plan: &Plan) -> Vec<String> {
    plan.changes.values().flat_map(Change::notes).collect()
}
