//! An operation's state: what its journal says, and what this process has on its way.
//!
//! The first half is a fold over the journal ([`OperationState::fold`], one total function): after a crash it is all there is.
//! The second half lives as long as the process: which calls are out, which steps rest before their next attempt.
//! Only [`crate::decide()`] touches that one.
//!
//! ```text
//!              ┌───────────────────────────────┐
//!   planned ───┼──▶ started ──┬──▶ unknown ─────┼──▶ done | failed
//!              │     ▲  │     │      │          │
//!              │     └──┘◀────┼──────┘          │
//!              └──────────────┴─────────────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use freehold_graph::{ProviderName, ResourceId};
use freehold_plan::Plan;
use freehold_problem::{Code, Problem};
use thiserror::Error;

use crate::assess::StepCall;
use crate::journal::{OperationId, Outcome, Record};
use crate::provider::OwnedObject;
use crate::step::{Step, StepId, Verb, operation_deadline, steps};

/// How much may go on at once in one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Calls at once, all providers together.
    pub calls: usize,
    /// Calls at once for each provider. These are also the providers that are asked what is left after a destroy.
    pub providers: BTreeMap<ProviderName, usize>,
}

/// What the journal says of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Nothing has happened.
    Planned,
    /// Its effect may have happened.
    Started,
    /// It was sent and not answered.
    Unknown,
    /// Its effect has happened.
    Done,
    /// It won't happen in this operation.
    Failed,
}

/// Something that can't be. The operation ends here, rather than going on from a state that nobody has thought of, or waiting for ever.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Contradiction {
    /// A record that can't follow the ones before it.
    #[error("the journal of operation {operation} is damaged: {record} can't follow {state}")]
    Journal {
        /// The operation that the journal is of.
        operation: OperationId,
        /// The record, as the program writes values for its developers.
        record: String,
        /// What it can't follow, in the same way.
        state: String,
    },
    /// An event that fits nothing that was asked for, or a state that lacks what it is about.
    #[error("operation {operation} contradicts itself: {what}")]
    Event {
        /// The operation that ends by it.
        operation: OperationId,
        /// What doesn't fit what.
        what: String,
    },
}

/// Tells the answers to calls apart, so that one that comes twice or late is not taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// What this process has on its way for a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StepPhase {
    /// No call is out and no record is being written.
    Idle,
    /// Its object is being looked at; for the last time if its time is over.
    Observing { last: bool },
    /// The record that its effect may happen is being written.
    Opening { part: StepCall, attempt: u32 },
    /// Its effect is being made.
    Performing { part: StepCall },
    /// It is tried again then.
    Resting { until: Duration },
    /// It is the verification, and its checks are on their way.
    Verifying,
    /// The record of its end is being written.
    Closing { done: bool },
}

/// One step's state.
#[derive(Debug, Clone)]
pub(crate) struct StepState {
    pub(crate) step: Step,
    pub(crate) status: Status,
    pub(crate) attempts: u32,
    was_unknown: bool,
    /// The steps that aren't done yet, of those that it depends on.
    pub(crate) waiting_for: BTreeSet<StepId>,
    pub(crate) phase: StepPhase,
    /// The record of the current attempt is in the journal, and no answer has ended the attempt.
    pub(crate) open: bool,
    /// A call of it was given up without an answer, and its object wasn't looked at since.
    pub(crate) unsettled: bool,
    pub(crate) began: Option<Duration>,
    pub(crate) failures: u32,
    /// It failed because somebody asked the operation to stop.
    pub(crate) interrupted: bool,
    /// The answer to its call showed that its object is ready.
    pub(crate) ready: bool,
    pub(crate) reason: Option<String>,
}

/// Something that is looked at before the first effect, or by the verification.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CheckTarget {
    /// Whether it is ready.
    Resource(ResourceId),
    /// Whether it still is as the plan saw it, at the end.
    Unchanged(ResourceId),
    /// Whether it is what the plan rests on, before the first effect.
    Planned(ResourceId),
    /// Whether it has anything of the stack.
    Provider(ProviderName),
}

/// How far an operation has come in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its journal is being folded.
    New,
    /// Whether all of the world is what the plan rests on is to be looked at. Nothing is done before that is known.
    ToCompare,
    /// It is being looked at, until then at the latest; what differs so far.
    Comparing { until: Duration, differs: BTreeMap<ResourceId, Problem> },
    /// The steps run: the plan holds, or it did when an earlier process looked.
    Working,
    /// The plan doesn't hold: nothing may be done.
    Outdated,
    /// The last record is on its way.
    Finishing,
    /// Nothing is decided any more.
    Over,
}

/// Whether the operation is to stop before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancel {
    /// Nobody has asked.
    No,
    /// Somebody has, and the record of it is on its way.
    Asked,
    /// The journal says so.
    Recorded,
}

/// Whether this process may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// The lease is ours.
    Held,
    /// It couldn't be renewed in time.
    Lapsed { since: Duration },
}

/// Whether everything was ready once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadyMark {
    /// It never was, as far as this process and the journal know.
    No,
    /// It was, and the record of it is on its way.
    OnItsWay,
    /// The journal says so.
    Written,
}

/// How far a look has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckPhase {
    Due { from: Duration },
    Asking,
    Answered,
}

/// What an answer is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallPurpose {
    Step(StepId),
    Check(CheckTarget),
}

#[derive(Debug, Clone)]
pub(crate) struct CheckState {
    pub(crate) check: CheckPhase,
    pub(crate) tries: u32,
    /// It was ready when it was last looked at, but not for long enough.
    pub(crate) settling: bool,
    /// When it was answered last.
    pub(crate) answered: Duration,
    /// It can't change by itself: it isn't looked at once more.
    pub(crate) lasting: bool,
    pub(crate) reason: Option<String>,
}

impl CheckState {
    /// Not looked at yet.
    pub(crate) fn due(from: Duration) -> Self {
        Self {
            check: CheckPhase::Due { from },
            tries: 0,
            settling: false,
            answered: from,
            lasting: false,
            reason: None,
        }
    }

    /// Known from the answer to its step.
    pub(crate) fn answered(at: Duration, lasting: bool) -> Self {
        Self { check: CheckPhase::Answered, lasting, ..Self::due(at) }
    }
}

/// What has been looked at once more.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rechecked {
    pub(crate) ready: bool,
    pub(crate) verified: bool,
}

/// Something that is waited for.
#[derive(Debug, Clone)]
pub(crate) struct Wait {
    /// Since when, for whatever reason.
    pub(crate) begun: Duration,
    pub(crate) reason: String,
    /// Since when for that reason.
    pub(crate) since: Duration,
    /// The reason that was told last, and when.
    pub(crate) told: Option<(String, Duration)>,
}

/// An operation's state.
#[derive(Debug, Clone)]
pub struct OperationState {
    pub(crate) operation: OperationId,
    pub(crate) plan: Arc<Plan>,
    pub(crate) limits: Limits,
    pub(crate) steps: BTreeMap<StepId, StepState>,
    pub(crate) taken: u32,
    pub(crate) ready: ReadyMark,
    pub(crate) cancel: Cancel,
    pub(crate) outcome: Option<Outcome>,

    pub(crate) stage: Stage,
    pub(crate) hold: Hold,
    pub(crate) deadline: Duration,
    pub(crate) now: Duration,
    pub(crate) calls: u64,
    /// The calls that are out.
    pub(crate) out: BTreeMap<CallId, CallPurpose>,
    pub(crate) checks: BTreeMap<CheckTarget, CheckState>,
    /// What was found ready before the last one was has been looked at once more: before it is told that all is ready, and before the end.
    pub(crate) confirmed: Rechecked,
    /// Where there can be nothing but what this operation has made in this process: beginnings of identities.
    pub(crate) new_scopes: BTreeSet<(ProviderName, String)>,
    pub(crate) waits: BTreeMap<ResourceId, Wait>,
    /// How many records of waits there were.
    pub(crate) waits_told: usize,
    /// What the checks found that should not be there.
    pub(crate) left: Vec<OwnedObject>,
}

impl OperationState {
    /// The state before the first record.
    pub fn new(operation: OperationId, plan: Arc<Plan>, limits: Limits) -> Self {
        let steps = steps(&plan);
        let deadline = operation_deadline(&steps);
        let state = |step: Step| StepState {
            waiting_for: step.depends_on.clone(),
            step,
            status: Status::Planned,
            attempts: 0,
            was_unknown: false,
            phase: StepPhase::Idle,
            open: false,
            unsettled: false,
            began: None,
            failures: 0,
            interrupted: false,
            ready: false,
            reason: None,
        };
        Self {
            operation,
            plan,
            limits,
            steps: steps.into_iter().map(|(id, step)| (id, state(step))).collect(),
            taken: 0,
            ready: ReadyMark::No,
            cancel: Cancel::No,
            outcome: None,
            stage: Stage::New,
            hold: Hold::Held,
            deadline,
            now: Duration::ZERO,
            calls: 0,
            out: BTreeMap::new(),
            checks: BTreeMap::new(),
            confirmed: Rechecked::default(),
            new_scopes: BTreeSet::new(),
            waits: BTreeMap::new(),
            waits_told: 0,
            left: Vec::new(),
        }
    }

    /// How it ended, if it did.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// What the journal says of each step.
    pub fn statuses(&self) -> impl Iterator<Item = (&Step, Status)> {
        self.steps.values().map(|state| (&state.step, state.status))
    }

    /// Whether nothing that this process has sent can still take effect. If it can, the lease must not be released early: it
    /// ends by itself, and by then so has the call.
    pub fn is_settled(&self) -> bool {
        self.steps.values().all(|state| !state.unsettled)
    }

    /// Whether the lease could not be renewed in time.
    pub(crate) fn is_lapsed(&self) -> bool {
        matches!(self.hold, Hold::Lapsed { .. })
    }

    /// Whether something can be begun or ended.
    pub(crate) fn is_at_work(&self) -> bool {
        self.hold == Hold::Held
            && match self.stage {
                Stage::ToCompare | Stage::Comparing { .. } | Stage::Working | Stage::Outdated => true,
                Stage::New | Stage::Finishing | Stage::Over => false,
            }
    }

    /// Whether it isn't known yet whether the plan holds.
    pub(crate) fn is_comparing(&self) -> bool {
        matches!(self.stage, Stage::ToCompare | Stage::Comparing { .. })
    }

    /// Whether nothing new may begin: somebody has asked to stop, its time is over, or the plan doesn't hold.
    pub(crate) fn is_stopping(&self) -> bool {
        self.cancel != Cancel::No || self.now >= self.deadline || self.stage == Stage::Outdated
    }

    /// When something is to be decided again even if nothing happens until then.
    pub fn next_wake(&self) -> Option<Duration> {
        if !self.is_at_work() {
            return None;
        }
        let resting = self.steps.values().filter_map(|state| match state.phase {
            StepPhase::Resting { until } => Some(until),
            StepPhase::Verifying => state.began.map(|began| began.saturating_add(state.step.deadline)),
            StepPhase::Idle
            | StepPhase::Observing { .. }
            | StepPhase::Opening { .. }
            | StepPhase::Performing { .. }
            | StepPhase::Closing { .. } => None,
        });
        let checks = self.checks.values().filter_map(|state| match state.check {
            CheckPhase::Due { from } => Some(from),
            CheckPhase::Asking | CheckPhase::Answered => None,
        });
        let comparison = match self.stage {
            Stage::Comparing { until, .. } => Some(until),
            Stage::New | Stage::ToCompare | Stage::Working | Stage::Outdated | Stage::Finishing | Stage::Over => None,
        };
        // What was due before waits for a free slot, and so for another event.
        resting.chain(checks).chain(comparison).chain([self.deadline]).filter(|wake| *wake > self.now).min()
    }

    /// Takes in one record of the journal. One that repeats an earlier one changes nothing: the store may have kept a record that
    /// it didn't confirm.
    ///
    /// # Errors
    /// A transition that isn't listed here.
    pub fn fold(&mut self, record: &Record) -> Result<(), Contradiction> {
        if self.repeats(record) {
            return Ok(());
        }
        if self.outcome.is_some() {
            return Err(self.invalid(record, "the end".to_owned()));
        }
        match record {
            Record::Acquired { times } if *times == self.taken.saturating_add(1) => self.taken = *times,
            Record::Ready => self.ready = ReadyMark::Written,
            Record::Waiting { .. } => {}
            Record::CancelRequested => self.cancel = Cancel::Recorded,
            Record::Finished { outcome } if *outcome != Outcome::Succeeded || self.all_done() => {
                self.outcome = Some(*outcome);
            }
            Record::StepStarted { step, attempt, .. } => self.fold_step(step, record, Status::Started, *attempt)?,
            Record::StepUnknown { step, .. } => self.fold_step(step, record, Status::Unknown, 0)?,
            Record::StepDone { step, .. } => {
                self.fold_step(step, record, Status::Done, 0)?;
                self.unblock(&step.clone());
            }
            Record::StepFailed { step, failure } => {
                self.fold_step(step, record, Status::Failed, 0)?;
                if let Some(state) = self.steps.get_mut(step) {
                    state.interrupted = failure.code == Code::Cancelled;
                }
            }
            Record::Acquired { .. } | Record::Finished { .. } => {
                return Err(self.invalid(record, format!("{} takings, unfinished steps", self.taken)));
            }
        }
        Ok(())
    }

    fn fold_step(&mut self, id: &StepId, record: &Record, next: Status, attempt: u32) -> Result<(), Contradiction> {
        let Some(state) = self.steps.get_mut(id) else {
            return Err(self.invalid(record, "a plan without that step".to_owned()));
        };
        let ready = state.waiting_for.is_empty();
        let listed = match (state.status, next) {
            (Status::Planned | Status::Started | Status::Unknown, Status::Started) => {
                ready && attempt == state.attempts.saturating_add(1)
            }
            (Status::Started, Status::Unknown) => true,
            (Status::Planned | Status::Started | Status::Unknown, Status::Done) => ready,
            (Status::Planned | Status::Started | Status::Unknown, Status::Failed) => true,
            // An attempt that isn't under way can't have gone without an answer; what has ended doesn't begin or end again; and nothing goes
            // back to the beginning.
            (Status::Planned | Status::Unknown, Status::Unknown)
            | (Status::Done | Status::Failed, Status::Started | Status::Unknown | Status::Done | Status::Failed)
            | (Status::Planned | Status::Started | Status::Unknown | Status::Done | Status::Failed, Status::Planned) => {
                false
            }
        };
        if !listed {
            let found =
                format!("{:?} after {} attempts, waiting for {:?}", state.status, state.attempts, state.waiting_for);
            return Err(self.invalid(record, found));
        }
        state.status = next;
        state.attempts = state.attempts.max(attempt);
        state.was_unknown |= next == Status::Unknown;
        Ok(())
    }

    fn repeats(&self, record: &Record) -> bool {
        let step = |id: &StepId| self.steps.get(id);
        match record {
            Record::Acquired { times } => *times <= self.taken,
            Record::Ready => self.ready == ReadyMark::Written,
            // It changes nothing.
            Record::Waiting { .. } => true,
            Record::CancelRequested => self.cancel == Cancel::Recorded,
            Record::Finished { outcome } => self.outcome == Some(*outcome),
            Record::StepStarted { step: id, attempt, .. } => step(id).is_some_and(|state| *attempt <= state.attempts),
            Record::StepUnknown { step: id, .. } => {
                step(id).is_some_and(|state| state.was_unknown && state.status != Status::Started)
            }
            Record::StepDone { step: id, .. } => step(id).is_some_and(|state| state.status == Status::Done),
            Record::StepFailed { step: id, .. } => step(id).is_some_and(|state| state.status == Status::Failed),
        }
    }

    /// Whether a step can begin that waits for nothing but these.
    pub(crate) fn frees(&self, done: &BTreeSet<&StepId>) -> bool {
        let waits = |step: &&StepState| !step.waiting_for.is_empty();
        self.steps.values().filter(waits).any(|step| step.waiting_for.iter().all(|step| done.contains(step)))
    }

    /// A step is done: nobody waits for it any more.
    pub(crate) fn unblock(&mut self, done: &StepId) {
        for state in self.steps.values_mut() {
            state.waiting_for.remove(done);
        }
    }

    pub(crate) fn all_done(&self) -> bool {
        self.steps.values().all(|state| state.status == Status::Done || state.step.verb == Verb::Lift)
    }

    fn invalid(&self, record: &Record, state: String) -> Contradiction {
        Contradiction::Journal { operation: self.operation, record: format!("{record:?}"), state }
    }
}
