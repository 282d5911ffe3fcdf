//! What an observation means for a step: act, be content, or stop. Pure.
//!
//! Before a step has acted for the first time in its operation, what is seen has to be what the plan rests on. Once it may have
//! acted, what is seen may also be any state that the step itself passes through. In both cases a state that is
//! already as desired needs nothing, and what isn't ours isn't touched.

use freehold_plan::{Change, Observation, Ownership, diff};

use crate::failure;
use crate::step::{Applied, Assessed, Verb, Work};
use freehold_problem::Problem;

/// One call of a step. All verbs but [`Verb::Replace`] have exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepCall {
    /// Make it what it should be.
    Apply,
    /// Delete what was recorded as the stack's.
    Delete,
    /// Run the job.
    Run,
    /// Dump a database, and restore the dump to prove it.
    Dump,
    /// Keep everybody from writing.
    Fence,
    /// Let them write again.
    Lift,
}

/// What to do about a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assessment {
    /// Its effect is needed.
    Act(StepCall),
    /// The world is as the step would make it.
    UpToDate {
        /// The object that is there.
        object: Option<String>,
    },
    /// It may not act.
    Stop(Problem),
}

impl Assessment {
    /// Why it may not act.
    fn refusal(self) -> Option<Problem> {
        match self {
            Self::Stop(problem) => Some(problem),
            Self::Act(_) | Self::UpToDate { .. } => None,
        }
    }
}

/// Why an operation may not begin, as far as one line of its plan goes: what is there is not what the line rests on. `verbs` are those of
/// the line's steps; a line without one changes nothing, and has to be as it should be.
pub fn precheck<'a>(
    change: &Change,
    verbs: impl IntoIterator<Item = &'a Verb>,
    seen: Option<&Observation>,
) -> Option<Problem> {
    let mut verbs = verbs.into_iter().peekable();
    if verbs.peek().is_none() {
        let stands = seen.is_some_and(|seen| is_as_desired(change, seen));
        return (!stands).then(|| failure::outdated(change, seen));
    }
    verbs.find_map(|verb| match verb.work() {
        Work::Assessed(verb) => assess(verb, change, false, seen).refusal(),
        Work::Run | Work::Lift | Work::Verify => None,
    })
}

/// Judges what was seen of a change's object. `acted`: the step's effect may have happened before, wholly or in part.
pub fn assess(verb: Assessed, change: &Change, acted: bool, seen: Option<&Observation>) -> Assessment {
    match verb {
        Assessed::Apply(verb) => apply(verb, change, acted, seen),
        Assessed::Delete => delete(change, acted, seen),
        Assessed::Dump => dump(change, acted, seen),
        Assessed::Fence => fence(change, acted, seen),
    }
}

fn is_as_planned(change: &Change, seen: Option<&Observation>) -> bool {
    seen.map(Observation::fingerprint) == change.fingerprint
}

/// Whether an object is ours and needs no change.
pub(crate) fn is_as_desired(change: &Change, seen: &Observation) -> bool {
    seen.ownership == Ownership::Ours
        && change
            .desired
            .as_ref()
            .is_some_and(|desired| diff::fields(change.kind.row(), &seen.body, desired).is_empty())
}

fn is_that_object(change: &Change, seen: &Observation) -> bool {
    change.object.as_ref() == Some(&seen.object)
}

fn apply(verb: Applied, change: &Change, acted: bool, seen: Option<&Observation>) -> Assessment {
    if let Some(seen) = seen.filter(|seen| is_as_desired(change, seen)) {
        return Assessment::UpToDate { object: Some(seen.object.clone()) };
    }
    let outdated = || Assessment::Stop(failure::outdated(change, seen));
    if !acted && !is_as_planned(change, seen) {
        return outdated();
    }
    let Some(seen) = seen else {
        return match verb {
            // Neither an update nor an adoption lets an object vanish: somebody else did.
            Applied::Update | Applied::Adopt => outdated(),
            Applied::Create | Applied::Replace => Assessment::Act(StepCall::Apply),
        };
    };
    let ours = seen.ownership == Ownership::Ours;
    match verb {
        Applied::Adopt if is_as_planned(change, Some(seen)) => Assessment::Act(StepCall::Apply),
        Applied::Create | Applied::Update | Applied::Replace | Applied::Adopt if !ours => {
            Assessment::Stop(failure::not_ours(change, seen))
        }
        Applied::Replace if is_that_object(change, seen) => Assessment::Act(StepCall::Delete),
        // Data-bearing objects keep their identity when they are updated.
        Applied::Update | Applied::Adopt if change.kind.holds_data() && !is_that_object(change, seen) => outdated(),
        Applied::Create | Applied::Update | Applied::Replace | Applied::Adopt => Assessment::Act(StepCall::Apply),
    }
}

fn delete(change: &Change, acted: bool, seen: Option<&Observation>) -> Assessment {
    let Some(seen) = seen else { return Assessment::UpToDate { object: None } };
    if !acted && !is_as_planned(change, Some(seen)) {
        return Assessment::Stop(failure::outdated(change, Some(seen)));
    }
    if seen.ownership == Ownership::Ours && is_that_object(change, seen) {
        Assessment::Act(StepCall::Delete)
    } else {
        Assessment::Stop(failure::not_ours(change, seen))
    }
}

/// As a deletion, but that a fence which was begun may have left nothing to be seen: the record of what is stopped is still there.
fn fence(change: &Change, acted: bool, seen: Option<&Observation>) -> Assessment {
    match delete(change, acted, seen) {
        Assessment::Act(_) => Assessment::Act(StepCall::Fence),
        Assessment::UpToDate { .. } if acted => Assessment::Act(StepCall::Fence),
        no_call @ (Assessment::UpToDate { .. } | Assessment::Stop(_)) => no_call,
    }
}

/// The deletion of what was fenced before by the same operation: it is not as the plan saw it, and may not be seen at all.
pub fn assess_fenced(change: &Change, seen: Option<&Observation>) -> Assessment {
    match delete(change, true, seen) {
        Assessment::UpToDate { .. } => Assessment::Act(StepCall::Delete),
        deletion @ (Assessment::Act(_) | Assessment::Stop(_)) => deletion,
    }
}

fn dump(change: &Change, acted: bool, seen: Option<&Observation>) -> Assessment {
    match seen {
        Some(seen) if seen.ownership != Ownership::Ours && acted => Assessment::Stop(failure::not_ours(change, seen)),
        Some(seen) if is_that_object(change, seen) && (acted || is_as_planned(change, Some(seen))) => {
            Assessment::Act(StepCall::Dump)
        }
        seen => Assessment::Stop(failure::outdated(change, seen)),
    }
}
