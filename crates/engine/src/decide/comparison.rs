//! Before the first effect: every line of the plan is compared with what is there now.
//!
//! A plan that was made beside another operation, or long ago, may rest on things that are no more. Each step looks at its own object
//! before it acts, but by then others may have acted: a job that changes a database looks at nothing. So all is looked at first, and if
//! one line doesn't hold, nothing at all is done. An operation that has begun its effects before a crash was compared before them.

use std::collections::BTreeMap;
use std::time::Duration;

use freehold_plan::Observation;
use freehold_problem::Problem;

use super::{CheckState, CheckTarget, Decider, ProviderError, ResourceId, Status, Verb, failure};
use crate::assess::precheck;
use crate::operation::{CheckPhase, Stage, StepState};

/// How long the comparison may take: a server may be busy or starting.
const COMPARISON_DEADLINE: Duration = Duration::from_secs(120);

impl Decider {
    /// Where this process begins, as the journal says: effects come after the comparison.
    pub(super) fn first_stage(&self) -> Stage {
        let steps = || self.state.steps.values();
        if steps().any(|step: &StepState| step.attempts > 0 || step.status == Status::Done) {
            Stage::Working
        } else if steps().any(|step| step.status == Status::Failed) {
            Stage::Outdated
        } else {
            Stage::ToCompare
        }
    }

    /// Stops without a result.
    pub(super) fn stop_comparison(&mut self) {
        if self.state.is_comparing() {
            self.state.checks.clear();
            self.state.stage = Stage::ToCompare;
        }
    }

    /// Asks what is due, and lets the steps begin once all lines hold.
    pub(super) fn comparison(&mut self) {
        if !self.state.is_comparing() || self.state.is_stopping() {
            return;
        }
        if self.state.stage == Stage::ToCompare {
            let due = CheckState::due(self.now);
            let lines = self.state.plan.changes.keys();
            self.state.checks = lines.map(|id| (CheckTarget::Planned(id.clone()), due.clone())).collect();
            let until = self.now.saturating_add(COMPARISON_DEADLINE).min(self.state.deadline);
            self.state.stage = Stage::Comparing { until, differs: BTreeMap::new() };
        }
        let Stage::Comparing { until, .. } = self.state.stage else { return };
        if self.state.checks.values().all(|state| state.check == CheckPhase::Answered) {
            self.judge_all();
        } else if self.now >= until {
            let failure = failure::not_compared(COMPARISON_DEADLINE.as_secs(), self.reasons());
            self.refuse(None, failure);
        } else {
            self.ask_what_is_due();
        }
    }

    fn judge_all(&mut self) {
        let compared = std::mem::replace(&mut self.state.stage, Stage::Working);
        self.state.checks.clear();
        let Stage::Comparing { differs, .. } = compared else { return };
        let first = differs.keys().next().cloned();
        if let Some(failure) = failure::all_outdated(differs.into_values().collect()) {
            self.refuse(first.as_ref(), failure);
        }
    }

    /// Nothing is done. The failure is that of the first line that doesn't hold; a line without a step fails with the verification.
    fn refuse(&mut self, line: Option<&ResourceId>, failure: Problem) {
        self.state.checks.clear();
        self.state.stage = Stage::Outdated;
        let steps = || self.state.steps.values();
        let of_line = line.and_then(|line| steps().find(|step| step.step.subject == *line));
        let step = of_line.or_else(|| steps().find(|step| step.step.verb == Verb::Verify));
        match step.map(|step| step.step.id.clone()) {
            Some(id) => self.fail(&id, failure),
            None => self.contradict("the plan has no verification".to_owned()),
        }
    }

    pub(super) fn compared(&mut self, id: ResourceId, result: Result<Option<Observation>, ProviderError>) {
        // Nobody waits for it any more.
        if !matches!(self.state.stage, Stage::Comparing { .. }) {
            return;
        }
        let seen = match result {
            Ok(seen) => seen,
            Err(error @ ProviderError::Rejected(_)) => return self.cannot_compare(&id, &error),
            Err(error) => {
                let reason = error.to_string();
                self.waits(&id, &reason, self.now, None);
                return self.ask_later(&CheckTarget::Planned(id), reason);
            }
        };
        self.waits_no_more(&id);
        let Some(change) = self.state.plan.changes.get(&id) else {
            return self.contradict(format!("the plan has no line for {id}"));
        };
        let verbs = self.state.steps.values().filter(|step| step.step.subject == id).map(|step| &step.step.verb);
        let found = precheck(change, verbs, seen.as_ref());
        if let (Some(failure), Stage::Comparing { differs, .. }) = (found, &mut self.state.stage) {
            differs.insert(id.clone(), failure);
        }
        self.set_check(&CheckTarget::Planned(id), CheckPhase::Answered, None);
    }

    fn cannot_compare(&mut self, id: &ResourceId, error: &ProviderError) {
        let mut steps = self.state.steps.values();
        let step: Option<&StepState> = steps.find(|step| step.step.verb == Verb::Verify);
        let Some(failure) = step.map(|step| failure::of_provider(&step.step, error)) else {
            return self.contradict("the plan has no verification".to_owned());
        };
        self.refuse(Some(id), failure);
    }
}
