//! What begins when, and when all is over: the order of the graph, the limits, the deadlines.

use std::time::Duration;

use super::{
    Cancel, Decider, Outcome, ProviderName, Record, Stage, Status, StepCall, StepId, StepPhase, StepState, Verb, Work,
};

impl Decider {
    /// Begins whatever can be begun now.
    pub(super) fn proceed(&mut self) {
        if !self.state.is_at_work() {
            return;
        }
        self.expire();
        for step in self.state.steps.values_mut() {
            if matches!(step.phase, StepPhase::Resting { until } if until <= self.now) {
                step.phase = StepPhase::Idle;
            }
        }
        self.comparison();
        self.begin_steps();
        self.verification();
        self.conclude();
    }

    /// When a step's time is over.
    pub(super) fn deadline(&self, id: &StepId) -> Duration {
        let step = self.state.steps.get(id);
        let own = step.and_then(|step| Some(step.began?.saturating_add(step.step.deadline)));
        match own {
            Some(own) if step.is_some_and(|step| step.step.verb == Verb::Lift) => own,
            own => own.unwrap_or(self.state.deadline).min(self.state.deadline),
        }
    }

    /// The operation's time is over: what waits for another attempt fails, what is under way has the same deadline.
    fn expire(&mut self) {
        if self.now < self.state.deadline {
            return;
        }
        let begun = |step: &&StepState| match step.phase {
            StepPhase::Resting { .. } | StepPhase::Verifying => true,
            StepPhase::Idle => step.began.is_some() && !is_final(step.status),
            StepPhase::Observing { .. }
            | StepPhase::Opening { .. }
            | StepPhase::Performing { .. }
            | StepPhase::Closing { .. } => false,
        };
        // Lifting a fence has its own time.
        let own = |step: &&StepState| step.step.verb != Verb::Lift;
        let late: Vec<StepId> =
            self.state.steps.values().filter(own).filter(begun).map(|step| step.step.id.clone()).collect();
        for id in late {
            self.out_of_time(&id);
        }
        self.state.checks.clear();
    }

    fn begin_steps(&mut self) {
        if self.state.is_stopping() || self.state.is_comparing() {
            return;
        }
        let ready: Vec<StepId> =
            self.state.steps.values().filter(|step| is_ready(step)).map(|step| step.step.id.clone()).collect();
        for id in ready {
            let provider = self.state.steps.get(&id).and_then(|step| step.step.provider);
            if self.has_room(provider) {
                self.begin(&id);
            }
        }
    }

    /// Whether one more call may go on.
    pub(super) fn has_room(&self, provider: Option<ProviderName>) -> bool {
        let busy = |step: &&StepState| {
            matches!(step.phase, StepPhase::Observing { .. } | StepPhase::Opening { .. } | StepPhase::Performing { .. })
        };
        let steps = self.state.steps.values().filter(busy).map(|step| step.step.provider);
        let checks = self.checks_out();
        let (mut total, mut of_provider) = (0, 0);
        for other in steps.chain(checks.into_iter().map(Some)) {
            total += 1;
            of_provider += usize::from(other == provider);
        }
        let limit = provider.and_then(|provider| self.state.limits.providers.get(&provider)).copied();
        total < self.state.limits.calls.max(1) && of_provider < limit.unwrap_or(usize::MAX).max(1)
    }

    pub(super) fn begin(&mut self, id: &StepId) {
        let now = self.now;
        let Some(step) = self.step(id) else { return };
        step.began.get_or_insert(now);
        let verb = step.step.verb;
        let late = now >= self.deadline(id);
        match verb.work() {
            Work::Verify => self.begin_verification(id),
            Work::Run | Work::Lift if late => self.out_of_time(id),
            Work::Run => self.open(id, StepCall::Run),
            Work::Lift => self.open(id, StepCall::Lift),
            Work::Assessed(_) if !late && self.is_in_new_scope(id) => self.assess(id, None, false),
            Work::Assessed(_) => self.observe(id, late),
        }
    }

    /// Finishes the operation once nothing is under way and nothing can begin.
    fn conclude(&mut self) {
        let stopping = self.state.is_stopping();
        if self.state.is_comparing() && !stopping {
            return;
        }
        let active = |step: &StepState| match step.phase {
            StepPhase::Observing { .. }
            | StepPhase::Opening { .. }
            | StepPhase::Performing { .. }
            | StepPhase::Verifying => true,
            StepPhase::Resting { .. } => !stopping || step.step.verb == Verb::Lift,
            StepPhase::Idle => !stopping && is_ready(step),
            StepPhase::Closing { .. } => false,
        };
        if self.state.steps.values().any(active) {
            return;
        }
        let is_done = |step: &StepState| {
            step.status == Status::Done
                || step.phase == StepPhase::Closing { done: true }
                || step.step.verb == Verb::Lift
        };
        // What was ended because somebody asked to stop has not failed by itself.
        let cancelling = self.state.cancel != Cancel::No;
        let has_failed = |step: &StepState| {
            (step.status == Status::Failed || step.phase == StepPhase::Closing { done: false })
                && !(cancelling && step.interrupted)
        };
        let steps = &self.state.steps;
        let outcome = if steps.values().all(is_done) {
            Outcome::Succeeded
        } else if steps.values().any(has_failed) {
            Outcome::Failed
        } else if cancelling {
            Outcome::Cancelled
        } else {
            // The time was over before the next step could begin.
            if let Some(id) = steps.values().find(|step| is_ready(step)).map(|step| step.step.id.clone()) {
                self.out_of_time(&id);
            }
            Outcome::Failed
        };
        if outcome != Outcome::Succeeded && self.lift() {
            return;
        }
        self.append(Record::Finished { outcome });
        self.state.stage = Stage::Finishing;
    }
}

pub(super) fn is_final(status: Status) -> bool {
    matches!(status, Status::Done | Status::Failed)
}

/// Whether nothing but the limits keeps a step from beginning.
fn is_ready(step: &StepState) -> bool {
    step.phase == StepPhase::Idle
        && !is_final(step.status)
        && step.waiting_for.is_empty()
        && step.step.verb != Verb::Lift
}
