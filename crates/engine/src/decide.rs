//! The engine's decisions. Pure and total: from a state and an event to the next state and what is to be done.
//!
//! How a step goes:
//!
//! ```text
//!            look ──▶ judge ──▶ write "started" ──▶ act ──▶ write "done"
//!             ▲         │ as desired already ─────────────────▲
//!             │         └ not what the plan saw ──▶ write "failed"
//!             └── rest ◀── retryable, or no answer (written as "unknown")
//! ```
//!
//! Before the first effect of any kind, all lines of the plan are compared with what is there now (`comparison`).
//!
//! Records are written in the order in which they are handed out, so a step may be looked at while the records of those
//! before it are still on their way: its own "started" can't overtake them.

use std::time::Duration;

use freehold_graph::{ProviderName, ResourceId};
use freehold_plan::{Change, Observation, Purpose};
use freehold_problem::{Code, Problem};

use crate::assess::{Assessment, StepCall, assess, assess_fenced};
use crate::backoff;
use crate::failure;
use crate::journal::{Outcome, Record, StateChange};
use crate::operation::{
    CallId, CallPurpose, Cancel, CheckState, CheckTarget, Contradiction, Hold, OperationState, Stage, Status,
    StepPhase, StepState,
};
use crate::provider::{Lookup, OwnedObject, Performed, ProviderError, Readiness, Task};
use crate::step::{Assessed, StepId, Verb, Work};

mod comparison;
mod lifting;
mod scheduling;
mod verification;
mod waiting;

/// The longest that looking at an object may take.
const LOOK: Duration = Duration::from_secs(15);
/// At how many attempts of a step it is written down that there was no answer. What runs for hours may go without one for as long.
const MOST_UNKNOWN: u32 = 20;

/// Something that happened, and when (since this process took the operation up).
#[derive(Debug, Clone)]
pub struct Input {
    /// When. Never goes back.
    pub at: Duration,
    /// What happened then.
    pub what: InputKind,
}

/// What can happen to an operation.
#[derive(Debug, Clone)]
pub enum InputKind {
    /// The lease is ours and the journal is folded: begin.
    Begun,
    /// Records are in the journal.
    Appended(Vec<Record>),
    /// A call was answered.
    Answered(CallId, Reply),
    /// A call that is out says what it waits for; or that it doesn't any more.
    Waits(CallId, Option<String>),
    /// Time has passed.
    Woke,
    /// Somebody asks to stop.
    CancelRequested,
    /// The lease could not be renewed in time; all calls were dropped.
    LeaseLapsed,
    /// It was renewed after all, and nobody else had it in between.
    LeaseRestored,
    /// Somebody else has it.
    LeaseLost,
}

/// What a call asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// [`crate::Provider::observe`].
    Observe(Lookup),
    /// [`crate::Provider::perform`].
    Perform(StepId, Task),
    /// [`crate::Provider::readiness_after`], with how long ago the last change was made.
    Readiness(Lookup, Duration),
    /// [`crate::Provider::owned`], of this stack.
    Owned,
}

/// What a call was answered.
#[derive(Debug, Clone)]
pub enum Reply {
    /// To [`Request::Observe`].
    Observed(Result<Option<Observation>, ProviderError>),
    /// To [`Request::Perform`].
    Performed(Result<Performed, ProviderError>),
    /// To [`Request::Readiness`].
    Readiness(Result<Readiness, ProviderError>),
    /// To [`Request::Owned`].
    Owned(Result<Vec<OwnedObject>, ProviderError>),
}

/// What is to be done.
#[derive(Debug, Clone)]
pub enum Action {
    /// Write records: after those of earlier actions, all or none.
    Append(Vec<Record>),
    /// Ask a provider. If there is no answer at the deadline, drop the call and say so.
    Call {
        /// Comes back with the answer.
        call: CallId,
        /// The provider to call.
        provider: ProviderName,
        /// When the call is dropped without a reply, since this process acquired the operation.
        deadline: Duration,
        /// What to ask it for.
        request: Request,
    },
    /// Nothing more will be decided.
    End(End),
}

/// Why nothing more will be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The operation is finished, and the journal says so.
    Finished(Outcome),
    /// Somebody else works on it now.
    LeaseLost,
    /// The journal, or what was heard, contradicts itself.
    Broken(Contradiction),
}

/// Decides what follows from an event. After it, ask [`OperationState::next_wake`] when to come back at the latest.
pub fn decide(mut state: OperationState, event: Input) -> (OperationState, Vec<Action>) {
    if state.stage == Stage::Over {
        return (state, Vec::new());
    }
    state.now = state.now.max(event.at);
    let mut decision = Decider { now: state.now, state, actions: Vec::new() };
    decision.react(event.what);
    decision.proceed();
    (decision.state, decision.actions)
}

struct Decider {
    state: OperationState,
    now: Duration,
    actions: Vec<Action>,
}

impl Decider {
    fn react(&mut self, what: InputKind) {
        match what {
            InputKind::Begun => self.begun(),
            InputKind::Appended(records) => self.appended(&records),
            InputKind::Answered(call, answer) => self.answered(call, answer),
            InputKind::Waits(call, reason) => self.call_waits(call, reason.as_deref()),
            InputKind::Woke => {}
            InputKind::CancelRequested => self.cancel(),
            InputKind::LeaseLapsed => self.lapsed(),
            InputKind::LeaseRestored => self.restored(),
            InputKind::LeaseLost => self.end(End::LeaseLost),
        }
    }

    fn append(&mut self, record: Record) {
        match self.actions.last_mut() {
            Some(Action::Append(records)) => records.push(record),
            Some(Action::Call { .. } | Action::End(_)) | None => self.actions.push(Action::Append(vec![record])),
        }
    }

    fn end(&mut self, end: End) {
        self.state.stage = Stage::Over;
        self.actions.push(Action::End(end));
    }

    fn begun(&mut self) {
        if self.state.stage != Stage::New {
            return;
        }
        if let Some(outcome) = self.state.outcome {
            return self.end(End::Finished(outcome));
        }
        self.state.deadline = self.state.deadline.saturating_add(self.now);
        let times = self.state.taken.saturating_add(1);
        self.state.stage = self.first_stage();
        self.append(Record::Acquired { times });
    }

    fn cancel(&mut self) {
        if self.state.cancel != Cancel::No || self.state.stage == Stage::Finishing {
            return;
        }
        self.state.cancel = Cancel::Asked;
        self.append(Record::CancelRequested);
        self.stop_comparison();
        self.stop_verification();
    }

    /// Something doesn't fit: the operation ends as broken.
    fn contradict(&mut self, what: String) {
        if self.state.stage != Stage::Over {
            self.end(End::Broken(Contradiction::Event { operation: self.state.operation, what }));
        }
    }

    /// A step that has to be there. Where it isn't, the operation is broken.
    fn step(&mut self, id: &StepId) -> Option<&mut StepState> {
        if !self.state.steps.contains_key(id) {
            self.contradict(format!("there is no step {id}"));
        }
        self.state.steps.get_mut(id)
    }

    /// The calls are gone, and what they did nobody knows.
    fn lapsed(&mut self) {
        if self.state.is_lapsed() {
            return;
        }
        self.state.hold = Hold::Lapsed { since: self.now };
        self.state.out.clear();
        let mut unknown = Vec::new();
        for (id, step) in &mut self.state.steps {
            match step.phase {
                StepPhase::Observing { .. } => step.phase = StepPhase::Idle,
                StepPhase::Performing { .. } => {
                    step.phase = StepPhase::Idle;
                    step.open = false;
                    step.unsettled = true;
                    unknown.push(id.clone());
                }
                StepPhase::Idle
                | StepPhase::Opening { .. }
                | StepPhase::Resting { .. }
                | StepPhase::Verifying
                | StepPhase::Closing { .. } => {}
            }
        }
        for step in unknown {
            let message = "the store was out of reach, and the call was dropped".to_owned();
            self.append(Record::StepUnknown { step, message, retry_after_milliseconds: None });
        }
        self.forget_checks();
        self.state.new_scopes.clear();
    }

    /// The lease could be renewed after all. Those who watch learn why nothing has happened: before this nobody could write it down.
    fn restored(&mut self) {
        let Hold::Lapsed { since } = std::mem::replace(&mut self.state.hold, Hold::Held) else { return };
        if self.state.stage == Stage::Finishing {
            return;
        }
        let subject = ResourceId("store".to_owned());
        let waited = |reason, milliseconds| Record::Waiting {
            subject: subject.clone(),
            reason,
            milliseconds,
            retry_after_milliseconds: None,
        };
        self.append(waited(Some("it could not be reached".to_owned()), millis(self.now.saturating_sub(since))));
        self.append(waited(None, 0));
    }

    fn appended(&mut self, records: &[Record]) {
        for record in records {
            if let Err(error) = self.state.fold(record) {
                return self.end(End::Broken(error));
            }
            match record {
                Record::StepStarted { step, attempt, .. } => self.opened(step, *attempt),
                Record::StepDone { step, .. } | Record::StepFailed { step, .. } => self.closed(step),
                Record::Finished { outcome } => return self.end(End::Finished(*outcome)),
                Record::Ready
                | Record::Acquired { .. }
                | Record::StepUnknown { .. }
                | Record::Waiting { .. }
                | Record::CancelRequested => {}
            }
        }
    }

    /// The journal has it: the effect may happen.
    fn opened(&mut self, id: &StepId, attempt: u32) {
        let (stopping, lapsed) = (self.state.is_stopping(), self.state.is_lapsed());
        let Some(step) = self.step(id) else { return };
        // Of an earlier attempt, or of a process before this one.
        let StepPhase::Opening { part, attempt: awaited } = step.phase else { return };
        if attempt != awaited {
            return;
        }
        step.phase = StepPhase::Idle;
        if lapsed || stopping && step.step.verb != Verb::Lift {
            return;
        }
        step.open = true;
        self.perform(id, part);
    }

    /// The journal says how it ended.
    fn closed(&mut self, id: &StepId) {
        let Some(state) = self.step(id) else { return };
        if matches!(state.phase, StepPhase::Closing { .. }) {
            state.phase = StepPhase::Idle;
        }
    }

    fn answered(&mut self, call: CallId, answer: Reply) {
        // It came twice, or too late.
        let Some(asked) = self.state.out.remove(&call) else { return };
        match (asked, answer) {
            (CallPurpose::Step(step), Reply::Observed(result)) => self.observed(&step, result),
            (CallPurpose::Step(step), Reply::Performed(result)) => self.performed(&step, result),
            (CallPurpose::Check(CheckTarget::Resource(resource)), Reply::Readiness(result)) => {
                self.readiness(resource, result)
            }
            (CallPurpose::Check(CheckTarget::Unchanged(resource)), Reply::Observed(result)) => {
                self.unchanged(resource, result)
            }
            (CallPurpose::Check(CheckTarget::Planned(resource)), Reply::Observed(result)) => {
                self.compared(resource, result)
            }
            (CallPurpose::Check(CheckTarget::Provider(provider)), Reply::Owned(result)) => self.owned(provider, result),
            (asked, answer) => self.contradict(format!("{asked:?} was answered with {answer:?}")),
        }
    }

    fn observed(&mut self, id: &StepId, result: Result<Option<Observation>, ProviderError>) {
        let Some(step) = self.step(id) else { return };
        let phase = step.phase;
        let StepPhase::Observing { last } = phase else {
            return self.contradict(format!("{id} was looked at while it was {phase:?}"));
        };
        match result {
            Ok(seen) => {
                // A provider that is asked later sees what became of an earlier call.
                step.unsettled = false;
                self.assess(id, seen.as_ref(), last);
            }
            Err(error) => self.retry_or_fail(id, error, false),
        }
    }

    /// What is there decides whether a step acts. `last`: its time is over.
    fn assess(&mut self, id: &StepId, seen: Option<&Observation>, last: bool) {
        let Some(step) = self.step(id) else { return };
        let (verb, acted, open) = (step.step.verb, step.status != Status::Planned, step.open);
        let Some(change) = self.change(id) else { return self.contradict(format!("the plan has no line for {id}")) };
        let verdict = match verb.work() {
            Work::Assessed(Assessed::Delete) if !acted && self.is_fenced(change) => assess_fenced(change, seen),
            Work::Assessed(verb) => assess(verb, change, acted, seen),
            Work::Run | Work::Lift | Work::Verify => {
                return self.contradict(format!("{id} was looked at, and looks at nothing by itself"));
            }
        };
        match verdict {
            Assessment::UpToDate { object } => self.up_to_date(id, object, acted),
            Assessment::Stop(failure) => self.fail(id, failure),
            Assessment::Act(_) if last => self.out_of_time(id),
            // Half of a replacement is done: the other half belongs to it, even if somebody asks to stop.
            Assessment::Act(part) if open => self.perform(id, part),
            Assessment::Act(_) if self.state.is_stopping() => self.set_phase(id, StepPhase::Idle),
            Assessment::Act(part) => self.open(id, part),
        }
    }

    fn performed(&mut self, id: &StepId, result: Result<Performed, ProviderError>) {
        let Some(step) = self.step(id) else { return };
        let phase = step.phase;
        let StepPhase::Performing { part } = phase else {
            return self.contradict(format!("{id} was answered while it was {phase:?}"));
        };
        match result {
            Ok(_) if step.step.verb == Verb::Replace && part == StepCall::Delete => self.observe(id, false),
            Ok(performed) => {
                step.unsettled = false;
                step.ready = performed.ready;
                if let Some((provider, scope)) = step.step.provider.zip(performed.new_scope) {
                    self.state.new_scopes.insert((provider, scope));
                }
                let state = self.outcome_of(id, performed.object);
                self.done(id, state, performed.note);
            }
            Err(error) => {
                step.open = false;
                let is_unknown = matches!(error, ProviderError::Unknown(_));
                step.unsettled |= is_unknown;
                let is_recorded = is_unknown && step.attempts <= MOST_UNKNOWN;
                self.retry_or_fail(id, error, is_recorded);
            }
        }
    }

    /// It didn't work: fail, or rest and try again. `is_recorded`: the journal is to say that it wasn't answered.
    fn retry_or_fail(&mut self, id: &StepId, error: ProviderError, is_recorded: bool) {
        let (reason, after, look_again) = match error {
            ProviderError::Rejected(_) => {
                let Some(step) = self.step(id) else { return };
                let failure = failure::of_provider(&step.step, &error);
                return self.fail(id, failure);
            }
            ProviderError::Retryable { problem: Problem { message, .. }, after } => (message, after, false),
            ProviderError::Unknown(Problem { message, .. }) => (message, None, true),
        };
        let (deadline, operation, now) = (self.deadline(id), self.state.operation, self.now);
        let Some(step) = self.step(id) else { return };
        let was_last = matches!(step.phase, StepPhase::Observing { last: true });
        let performed = matches!(step.phase, StepPhase::Performing { .. });
        step.failures = step.failures.saturating_add(1);
        step.reason = Some(reason.clone());
        let delay = backoff::delay((operation, id), step.failures).max(after.unwrap_or_default());
        let until = now.saturating_add(delay);
        let is_last = until >= deadline;
        let (verb, subject, begun) = (step.step.verb, step.step.subject.clone(), step.began.unwrap_or(now));
        if !is_last {
            step.phase = StepPhase::Resting { until };
        }
        if is_recorded {
            let (message, retry_after_milliseconds) = (reason.clone(), (!is_last).then(|| millis(delay)));
            self.append(Record::StepUnknown { step: id.clone(), message, retry_after_milliseconds });
        }
        if !is_last {
            let words = if look_again { format!("no answer: {reason}") } else { reason };
            self.waits(&subject, &words, begun, Some(delay));
            if is_recorded {
                self.reason_changed(&subject, words);
            }
        } else if performed && look_again && !was_last && !matches!(verb, Verb::Run | Verb::Lift) {
            self.observe(id, true);
        } else {
            self.out_of_time(id);
        }
    }

    fn out_of_time(&mut self, id: &StepId) {
        let expired = self.now >= self.state.deadline;
        let Some(step) = self.step(id) else { return };
        let reason = step.reason.as_deref();
        let failure = if step.step.verb == Verb::Run && step.unsettled {
            failure::unknown_run(&step.step, reason)
        } else if expired {
            failure::operation_deadline(&step.step, reason)
        } else {
            failure::step_deadline(&step.step, reason)
        };
        self.fail(id, failure);
    }

    fn up_to_date(&mut self, id: &StepId, object: Option<String>, acted: bool) {
        let note = if acted { "already done" } else { "already up to date" };
        let state = self.outcome_of(id, object);
        self.done(id, state, Some(note.to_owned()));
    }

    fn outcome_of(&self, id: &StepId, object: Option<String>) -> StateChange {
        let Some(change) = self.change(id) else { return StateChange::None };
        match self.state.steps.get(id).map(|step| step.step.verb) {
            Some(verb) if verb.applies() => {
                StateChange::Applied { resource: Box::new(change.resource.clone()), object }
            }
            Some(Verb::Delete) => StateChange::Gone(change.id.clone()),
            _ => StateChange::None,
        }
    }

    fn done(&mut self, id: &StepId, state: StateChange, note: Option<String>) {
        self.append(Record::StepDone { step: id.clone(), state, note });
        self.set_phase(id, StepPhase::Closing { done: true });
        self.end_of_wait(id);
        self.state.unblock(id);
    }

    fn fail(&mut self, id: &StepId, mut failure: Problem) {
        if failure.code == Code::PlanOutdated {
            failure::say_what_was_done(&mut failure, &self.effects());
        }
        let destroys = matches!(self.state.plan.purpose, Purpose::Destroy { .. });
        if destroys && self.state.steps.get(id).is_some_and(|step| step.step.verb == Verb::Dump) {
            failure::without_a_dump(&mut failure, self.has_deleted(), &self.state.plan.key);
        }
        if let Some(step) = self.state.steps.get_mut(id) {
            step.interrupted = failure.code == Code::Cancelled;
        }
        self.append(Record::StepFailed { step: id.clone(), failure });
        self.set_phase(id, StepPhase::Closing { done: false });
        self.end_of_wait(id);
    }

    /// The steps whose effect has happened, or may have.
    fn effects(&self) -> Vec<&StepId> {
        let acted = |step: &&StepState| step.attempts > 0 && step.step.verb != Verb::Verify;
        self.state.steps.values().filter(acted).map(|step| &step.step.id).collect()
    }

    fn set_phase(&mut self, id: &StepId, phase: StepPhase) {
        if let Some(step) = self.step(id) {
            step.phase = phase;
        }
    }

    fn change(&self, id: &StepId) -> Option<&Change> {
        self.state.plan.changes.get(&self.state.steps.get(id)?.step.subject)
    }

    fn call(&mut self, provider: ProviderName, asked: CallPurpose, deadline: Duration, request: Request) {
        self.state.calls += 1;
        let call = CallId(self.state.calls);
        self.state.out.insert(call, asked);
        self.actions.push(Action::Call { call, provider, deadline, request });
    }

    /// Whether a step makes something where there can be nothing yet: this operation has made what it is in.
    fn is_in_new_scope(&self, id: &StepId) -> bool {
        let is_untried =
            |step: &&StepState| step.step.verb == Verb::Create && step.status == Status::Planned && step.failures == 0;
        let Some(step) = self.state.steps.get(id).filter(is_untried) else { return false };
        let identity = self.state.plan.changes.get(&step.step.subject).map(|change| change.resource.identity.as_str());
        let mut scopes = self.state.new_scopes.iter();
        identity.is_some_and(|identity| {
            scopes.any(|(provider, scope)| Some(*provider) == step.step.provider && identity.starts_with(scope))
        })
    }

    fn observe(&mut self, id: &StepId, last: bool) {
        let Some(change) = self.change(id) else { return self.contradict(format!("the plan has no line for {id}")) };
        let (provider, lookup) = (change.kind.provider(), Lookup::from(&change.resource));
        self.set_phase(id, StepPhase::Observing { last });
        let deadline = self.now.saturating_add(LOOK);
        self.call(provider, CallPurpose::Step(id.clone()), deadline, Request::Observe(lookup));
    }

    /// Writes down that the effect may happen from now on.
    fn open(&mut self, id: &StepId, part: StepCall) {
        let pending = |change: &Change| StateChange::Pending(Box::new(change.resource.clone()));
        let Some(step) = self.step(id) else { return };
        let attempt = step.attempts.saturating_add(1);
        let applies = step.step.verb.applies();
        let state = match applies {
            true => self.change(id).map_or(StateChange::None, pending),
            false => StateChange::None,
        };
        self.append(Record::StepStarted { step: id.clone(), attempt, state });
        self.set_phase(id, StepPhase::Opening { part, attempt });
    }

    fn perform(&mut self, id: &StepId, part: StepCall) {
        let deadline = self.deadline(id);
        let Some((provider, task)) = self.task(id, part) else {
            return self.contradict(format!("the plan does not say what {id} does"));
        };
        self.set_phase(id, StepPhase::Performing { part });
        self.call(provider, CallPurpose::Step(id.clone()), deadline, Request::Perform(id.clone(), task));
    }

    fn task(&self, id: &StepId, part: StepCall) -> Option<(ProviderName, Task)> {
        let step = &self.state.steps.get(id)?.step;
        if part == StepCall::Run {
            let run = self.state.plan.runs.get(&step.subject)?.clone();
            return Some((step.provider?, Task::Run { run }));
        }
        let change = self.state.plan.changes.get(&step.subject)?;
        let mut lookup = Lookup::from(&change.resource);
        let task = match part {
            StepCall::Delete => {
                // What a replacement deletes is as it was observed, not as it is desired.
                if let (Verb::Replace, Some(observed)) = (step.verb, &change.observed) {
                    lookup.body = observed.clone();
                }
                Task::Delete { lookup, object: change.object.clone() }
            }
            StepCall::Dump => Task::Dump { lookup },
            StepCall::Fence => Task::Fence { lookup, object: change.object.clone() },
            StepCall::Lift => Task::Lift {
                resource: change.resource.clone(),
                observed: change.observed.clone().unwrap_or(freehold_graph::Value::Null),
                object: change.object.clone(),
            },
            StepCall::Apply | StepCall::Run => Task::Apply {
                resource: change.resource.clone(),
                desired: change.desired.clone().unwrap_or(freehold_graph::Value::Null),
                // What takes the place of a deleted object is a new one.
                object: change.object.clone().filter(|_| step.verb != Verb::Replace),
                adopt: step.verb == Verb::Adopt,
                takes: change.takes.clone(),
            },
        };
        Some((change.kind.provider(), task))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
