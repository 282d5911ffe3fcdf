//! The failures that the engine itself finds, in words for people. Those of providers come with their own.

use freehold_graph::{StackKey, Value};
use freehold_plan::{Change, Observation, Ownership, diff};
use freehold_problem::{Code, Problem};

use crate::journal::Record;
use crate::provider::{OwnedObject, ProviderError};
use crate::step::{Step, StepId, Verb};

const PLAN_AGAIN: &str = "run the same command again to get a plan that rests on what is there now";
const GO_ON: &str = "run the same command again; it continues from the current state";

/// What is there is not what the plan rests on.
pub fn outdated(change: &Change, seen: Option<&Observation>) -> Problem {
    let name = name(change);
    let message = match (seen, change.fingerprint.is_some()) {
        (None, _) => format!("the plan is outdated: {name} existed when the plan was made and is gone now"),
        (Some(seen), false) => {
            let owner = owner(&seen.ownership);
            format!("the plan is outdated: {name} did not exist when the plan was made; now there is one, and {owner}")
        }
        (Some(seen), true) if change.object.as_ref().is_some_and(|object| *object != seen.object) => {
            format!("the plan is outdated: {name} is no longer the object that the plan was made for")
        }
        (Some(seen), true) if seen.ownership != Ownership::Ours => {
            format!("the plan is outdated: {name} was observed again, and {}", owner(&seen.ownership))
        }
        (Some(_), true) => format!("the plan is outdated: {name} was changed after the plan was made"),
    };
    let detail = seen.map(|seen| differences(change, seen)).unwrap_or_default();
    Problem::new(Code::PlanOutdated, message).lines(detail).help(PLAN_AGAIN)
}

/// Several lines of a plan that don't hold any more, as one failure.
pub fn all_outdated(mut failures: Vec<Problem>) -> Option<Problem> {
    if failures.is_empty() {
        return None;
    }
    let mut first = failures.remove(0);
    for other in failures {
        first.lines.push(other.message);
        first.lines.extend(other.lines);
    }
    Some(first)
}

/// Completes the help of an outdated plan's failure: what the operation has done until now.
pub fn say_what_was_done(failure: &mut Problem, effects: &[&StepId]) {
    let done = match effects {
        [] => "nothing was done".to_owned(),
        effects => {
            let steps: Vec<String> = effects.iter().map(ToString::to_string).collect();
            format!("it was not changed; steps completed before: {}", steps.join(", "))
        }
    };
    failure.help = Some(format!("{done}; {}", failure.help.as_deref().unwrap_or(PLAN_AGAIN)));
}

/// Completes the help of a destroy's dump that failed: what became of the rest, and the way without a dump. What was stopped for the dump
/// is started again after this; what becomes of that is said by [`summary`].
pub fn without_a_dump(failure: &mut Problem, deleted: bool, key: &StackKey) {
    let state = if deleted { "objects deleted earlier stay deleted" } else { "nothing was deleted" };
    let more = failure.help.take().map(|help| format!("{help}; ")).unwrap_or_default();
    let without =
        format!("if the data is not needed, continue without a dump: `freehold destroy {} --no-dump`", key.option());
    failure.help = Some(format!("{state}; {more}{without}"));
}

/// The failure of an operation that people are told: the first, and with it what became of that which was stopped for a dump.
pub fn summary(records: &[Record]) -> Option<Problem> {
    let mut problem = records.iter().find_map(|record| match record {
        Record::StepFailed { failure, .. } => Some(failure.clone()),
        Record::Acquired { .. }
        | Record::StepStarted { .. }
        | Record::StepDone { .. }
        | Record::StepUnknown { .. }
        | Record::Ready
        | Record::Waiting { .. }
        | Record::CancelRequested
        | Record::Finished { .. } => None,
    })?;
    let ends = records.iter().filter_map(|record| match record {
        Record::StepDone { step, .. } => Some((step, None)),
        Record::StepFailed { step, failure } => Some((step, Some(failure))),
        Record::Acquired { .. }
        | Record::StepStarted { .. }
        | Record::StepUnknown { .. }
        | Record::Ready
        | Record::Waiting { .. }
        | Record::CancelRequested
        | Record::Finished { .. } => None,
    });
    let lifts: Vec<_> = ends.filter(|(step, _)| step.verb() == Verb::Lift).collect();
    for (step, failure) in &lifts {
        // It may have been started without having become ready.
        let words =
            |failure: &&Problem| format!("{step} has failed, so this doesn't work again yet: {}", failure.message);
        problem.lines.extend(failure.as_ref().map(words));
    }
    if !lifts.is_empty() && lifts.iter().all(|(_, failure)| failure.is_none()) {
        let help = problem.help.take().map(|help| format!("; {help}")).unwrap_or_default();
        problem.help = Some(format!("what was stopped for the dump is started again{help}"));
    }
    Some(problem)
}

/// What is there could not be compared with what the plan rests on.
pub fn not_compared(seconds: u64, reasons: Vec<String>) -> Problem {
    Problem::new(
        Code::DeadlinePassed,
        format!("what is there could not be compared with the plan within {seconds} s, so nothing was done"),
    )
    .lines(reasons)
    .help(GO_ON)
}

/// The fields in which an object differs from what the plan saw. Bodies hold digests in the place of secrets.
fn differences(change: &Change, seen: &Observation) -> Vec<String> {
    let Some(before) = &change.observed else { return Vec::new() };
    let fields = diff::fields(change.kind.row(), before, &seen.body);
    let text = |value: &Option<Value>| match value {
        None => "nothing".to_owned(),
        Some(Value::Special(_)) => "•••".to_owned(),
        Some(value) => value.to_string(),
    };
    fields.iter().map(|field| format!("{}  {} → {}", field.path, text(&field.before), text(&field.after))).collect()
}

/// An object with the right name that we may not touch.
pub fn not_ours(change: &Change, seen: &Observation) -> Problem {
    let owner = owner(&seen.ownership);
    let code = if seen.ownership == Ownership::Ours { Code::ChangedExternally } else { Code::NotOwned };
    Problem::new(code, format!("{} was not changed: {owner}", name(change)))
        .lines(vec![format!("the object there is {}, the plan means {}", seen.object, object(change))])
        .help("find out who made it; then rename or remove it, and run the same command again")
}

fn object(change: &Change) -> String {
    change.object.clone().unwrap_or_else(|| "a new one".to_owned())
}

/// Something bears the stack's mark after a destroy.
pub fn left_over(left: &[OwnedObject]) -> Problem {
    Problem::new(
        Code::DestroyLeftSomething,
        format!("{} of the stack's objects are left after everything in the plan was deleted", left.len()),
    )
    .lines(left.iter().map(|object| format!("{} {}", object.kind, object.name)).collect())
    .help("run `freehold destroy` again; `freehold doctor` shows what still has the stack's ownership label")
}

/// A step took too long.
pub fn step_deadline(step: &Step, reason: Option<&str>) -> Problem {
    let seconds = step.deadline.as_secs();
    Problem::new(
        Code::DeadlinePassed,
        format!("{} {} did not finish within {seconds} s", step.verb.as_str(), step.subject),
    )
    .lines(reason.map(|reason| format!("last: {reason}")).into_iter().collect())
    .help(GO_ON)
}

/// A job was started, and nobody could see how it ended before its time was over.
pub fn unknown_run(step: &Step, reason: Option<&str>) -> Problem {
    let message = format!("job {} was started, and its outcome is unknown", step.subject.name());
    let help = "fix the cause, then run the same command again; Freehold checks the earlier run first, accepts it if it succeeded, and \
                asks before it runs the job a second time";
    let lines = reason.map(|reason| format!("last: {reason}")).into_iter().collect();
    Problem::new(Code::RunOutcomeUnknown, message).lines(lines).help(help)
}

/// The operation took too long.
pub fn operation_deadline(step: &Step, reason: Option<&str>) -> Problem {
    Problem::new(
        Code::DeadlinePassed,
        format!("the operation's deadline passed before {} {} finished", step.verb.as_str(), step.subject),
    )
    .lines(reason.map(|reason| format!("last: {reason}")).into_iter().collect())
    .help(GO_ON)
}

/// How a verification failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotReady {
    /// Something won't get ready without a change.
    Never,
    /// The time is over.
    NotInTime,
    /// All was ready, and then something fell.
    NotForLong,
}

/// Some resources aren't ready: each with the reason.
pub fn not_ready(waiting: Vec<String>, how: NotReady) -> Problem {
    let (code, message) = match how {
        NotReady::Never => (Code::NeverReady, "everything was applied, but not everything becomes ready"),
        NotReady::NotInTime => {
            (Code::DeadlinePassed, "everything was applied, but not everything became ready in time")
        }
        NotReady::NotForLong => (Code::FailedWhileSettling, "everything was ready, but not everything stayed ready"),
    };
    Problem::new(code, message).lines(waiting).help("look at `freehold status` and `freehold logs`")
}

/// What a provider said.
pub fn of_provider(step: &Step, error: &ProviderError) -> Problem {
    match error {
        ProviderError::Rejected(problem) => match problem.help {
            Some(_) => problem.clone(),
            None => problem.clone().help(GO_ON),
        },
        ProviderError::Retryable { problem, .. } | ProviderError::Unknown(problem) => {
            step_deadline(step, Some(&problem.message))
        }
    }
}

fn name(change: &Change) -> String {
    format!("{} {}", change.kind.word(), change.identity)
}

fn owner(ownership: &Ownership) -> String {
    match ownership {
        Ownership::Foreign(who) => format!("it is not managed by this stack ({who})"),
        Ownership::Ours | Ownership::OtherStack(_) => ownership.to_string(),
    }
}
