//! The last step: asks until all is ready (deploy, rollback), or whether anything is left (destroy).
//!
//! Lines of the plan that change nothing have no step of their own, so nothing has looked at them since the plan was made. The
//! verification does: success means that all of the stack is as desired.
//!
//! Two moments: *ready* is when everything is switched and answers, *verified* when it has done so for long enough. A plan may ask not
//! to wait for the second.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use freehold_plan::{Action as Planned, Purpose};
use freehold_problem::Problem;

use super::{
    CallPurpose, CheckState, CheckTarget, Decider, LOOK, Lookup, Observation, OwnedObject, ProviderError, ProviderName,
    Readiness, Record, Request, ResourceId, StateChange, StepId, StepPhase, StepState, backoff, failure,
};
use crate::assess::is_as_desired;
use crate::failure::NotReady;
use crate::operation::{CheckPhase, ReadyMark, Rechecked};

/// Something that isn't ready is looked at again after this at the latest.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Whether it answers, settled or not.
fn is_ready(state: &CheckState) -> bool {
    state.settling || state.check == CheckPhase::Answered
}

impl Decider {
    pub(super) fn begin_verification(&mut self, id: &StepId) {
        let changes = self.state.plan.changes.values();
        let subjects: Vec<CheckTarget> = match self.state.plan.purpose {
            Purpose::Destroy { .. } => self.state.limits.providers.keys().copied().map(CheckTarget::Provider).collect(),
            Purpose::Deploy | Purpose::Rollback { .. } => {
                let unchanged = changes.clone().filter(|change| change.action == Planned::NoOp);
                let unchanged = unchanged.map(|change| CheckTarget::Unchanged(change.id.clone()));
                let wanted = changes.filter(|change| change.action != Planned::Delete);
                unchanged.chain(wanted.map(|change| CheckTarget::Resource(change.id.clone()))).collect()
            }
        };
        let checks = subjects.into_iter().map(|subject| (self.first_check(&subject), subject));
        self.state.checks = checks.map(|(check, subject)| (subject, check)).collect();
        self.set_phase(id, StepPhase::Verifying);
    }

    /// What the answer to a step has shown needs no look.
    fn first_check(&self, subject: &CheckTarget) -> CheckState {
        let CheckTarget::Resource(id) = subject else { return CheckState::due(self.now) };
        let shown = |step: &&StepState| step.ready && step.step.verb.applies() && step.step.subject == *id;
        match (self.state.steps.values().find(shown), self.state.plan.changes.get(id)) {
            (Some(_), Some(change)) => CheckState::answered(self.now, !change.kind.row().status),
            _ => CheckState::due(self.now),
        }
    }

    /// Stops without a result.
    pub(super) fn stop_verification(&mut self) {
        if let Some(id) = self.verifying() {
            self.set_phase(&id, StepPhase::Idle);
            self.state.checks.clear();
        }
    }

    /// The answers to what was asked won't come.
    pub(super) fn forget_checks(&mut self) {
        for state in self.state.checks.values_mut() {
            if state.check == CheckPhase::Asking {
                state.check = CheckPhase::Due { from: self.now };
            }
        }
    }

    /// The providers of the checks whose answers are awaited.
    pub(super) fn checks_out(&self) -> Vec<ProviderName> {
        let asking = self.state.checks.iter().filter(|(_, state)| state.check == CheckPhase::Asking);
        asking.filter_map(|(subject, _)| self.provider_of(subject)).collect()
    }

    fn provider_of(&self, subject: &CheckTarget) -> Option<ProviderName> {
        match subject {
            CheckTarget::Provider(provider) => Some(*provider),
            CheckTarget::Resource(id) | CheckTarget::Unchanged(id) | CheckTarget::Planned(id) => {
                self.state.plan.changes.get(id).map(|change| change.kind.provider())
            }
        }
    }

    /// How long ago the last thing was done that this verification is about, as far as this process knows.
    fn verifying_for(&self) -> Duration {
        let verifying = self.verifying().and_then(|id| self.state.steps.get(&id)?.began);
        self.now.saturating_sub(verifying.unwrap_or(self.now))
    }

    fn verifying(&self) -> Option<StepId> {
        let mut steps = self.state.steps.values();
        steps.find(|step| step.phase == StepPhase::Verifying).map(|step| step.step.id.clone())
    }

    /// Asks what is due, and closes the step once all has been answered or its time is over.
    pub(super) fn verification(&mut self) {
        let Some(id) = self.verifying() else { return };
        if self.confirm() {
            self.ask_what_is_due();
        } else if self.all(|state| state.check == CheckPhase::Answered) {
            self.verified(&id);
        } else if self.now >= self.deadline(&id) {
            self.fail_verification(failure::not_ready(self.reasons(), NotReady::NotInTime));
        } else {
            self.tell_ready();
            self.ask_what_is_due();
        }
    }

    pub(super) fn ask_what_is_due(&mut self) {
        let now = self.now;
        let is_due = |check: CheckPhase| matches!(check, CheckPhase::Due { from } if from <= now);
        let due = self.state.checks.iter().filter(|(_, state)| is_due(state.check));
        for subject in due.map(|(subject, _)| subject.clone()).collect::<Vec<_>>() {
            self.ask(&subject);
        }
    }

    fn all(&self, are: impl Fn(&CheckState) -> bool) -> bool {
        self.state.checks.values().all(are)
    }

    /// Whether all has to stay ready for a while. It has in any case where something is taken away afterwards that the version before
    /// needs: as long as this one settles, that one may have to take over again.
    fn settles(&self) -> bool {
        let Some(verifying) = self.verifying() else { return true };
        self.state.plan.settle || self.state.steps.values().any(|state| state.step.depends_on.contains(&verifying))
    }

    /// Has what was ready long before the last be looked at once more, since it may have fallen meanwhile. Says whether there is such.
    fn confirm(&mut self) -> bool {
        let told = self.state.ready != ReadyMark::No;
        let Rechecked { ready, verified } = self.state.confirmed;
        if !verified && self.all(|state| state.check == CheckPhase::Answered) {
            self.state.confirmed = Rechecked { ready: true, verified: true };
        } else if !told && !ready && self.all(is_ready) {
            self.state.confirmed.ready = true;
        } else {
            return false;
        }
        let before = self.now.saturating_sub(LONGEST_WAIT);
        let checks = self.state.checks.iter_mut().filter(|(subject, _)| matches!(subject, CheckTarget::Resource(_)));
        let mut any = false;
        let may_have_fallen =
            |state: &CheckState| state.check == CheckPhase::Answered && !state.lasting && state.answered < before;
        for (_, state) in checks.filter(|(_, state)| may_have_fallen(state)) {
            (state.check, state.settling, any) = (CheckPhase::Due { from: self.now }, false, true);
        }
        any
    }

    /// Writes down once that everything is ready, where that isn't the end yet.
    fn tell_ready(&mut self) {
        if self.state.ready == ReadyMark::No && self.all(is_ready) {
            self.state.ready = ReadyMark::OnItsWay;
            self.append(Record::Ready);
        }
    }

    fn verified(&mut self, id: &StepId) {
        if self.state.left.is_empty() {
            let note = match self.state.plan.purpose {
                Purpose::Destroy { .. } => "nothing with its ownership label is left",
                Purpose::Deploy | Purpose::Rollback { .. } => "all is ready",
            };
            self.done(id, StateChange::None, Some(note.to_owned()));
        } else {
            self.state.left.sort();
            let failure = failure::left_over(&self.state.left);
            self.fail(id, failure);
        }
    }

    /// What isn't as it should be, the causes first. What only waits for one of them is named in a line of its own, and so is what isn't
    /// ready yet beside something that won't be, and what has not answered, where nothing else tells why.
    pub(super) fn reasons(&self) -> Vec<String> {
        let mut open: BTreeMap<String, Open<'_>> = BTreeMap::new();
        for (subject, state) in self.state.checks.iter().filter(|(_, state)| state.check != CheckPhase::Answered) {
            let found = Open::of(subject, state);
            let known = open.entry(found.name.clone()).or_insert_with(|| found.clone());
            if (known.reason.is_none(), !known.failed) > (found.reason.is_none(), !found.failed) {
                *known = found;
            }
        }
        let told: BTreeSet<&ResourceId> =
            open.values().filter(|open| open.reason.is_some()).filter_map(|open| open.id).collect();
        let (silent, telling): (Vec<_>, Vec<_>) = open.values().partition(|open| open.reason.is_none());
        let (causes, consequences): (Vec<_>, Vec<_>) =
            telling.into_iter().partition(|open| open.failed || !open.id.is_some_and(|id| self.waits_for(id, &told)));
        let is_known = causes.iter().any(|open| open.failed);
        // What is on its way, and may yet arrive, is no cause where one is known.
        let (causes, on_the_way): (Vec<_>, Vec<_>) = causes.into_iter().partition(|open| open.failed || !is_known);
        let names = |open: Vec<&Open<'_>>| open.iter().map(|open| open.name.as_str()).collect::<Vec<_>>().join(", ");
        let mut lines: Vec<String> = causes.into_iter().map(Open::line).collect();
        if !consequences.is_empty() {
            lines.push(format!("waiting for these: {}", names(consequences)));
        }
        if !on_the_way.is_empty() {
            lines.push(format!("not ready yet either: {}", names(on_the_way)));
        }
        if !silent.is_empty() && !is_known {
            lines.push(format!("no answer yet: {}", names(silent)));
        }
        lines
    }

    /// Whether a resource can't be ready before one of these.
    fn waits_for(&self, id: &ResourceId, these: &BTreeSet<&ResourceId>) -> bool {
        let of = |id: &ResourceId| self.state.plan.changes.get(id);
        let behind = of(id).and_then(|change| change.kind.row().behind);
        let behind = behind.map(|kind| ResourceId::new(kind.row().id_word, id.name()));
        let mut seen = BTreeSet::new();
        let mut needs: Vec<&ResourceId> = of(id).into_iter().flat_map(|change| &change.depends_on).collect();
        needs.extend(behind.as_ref());
        while let Some(need) = needs.pop() {
            if need != id && these.contains(need) {
                return true;
            }
            if seen.insert(need) {
                needs.extend(of(need).into_iter().flat_map(|change| &change.depends_on));
            }
        }
        false
    }

    pub(super) fn ask(&mut self, subject: &CheckTarget) {
        let Some(provider) = self.provider_of(subject).filter(|provider| self.has_room(Some(*provider))) else {
            return;
        };
        let request = match subject {
            CheckTarget::Provider(_) => Request::Owned,
            CheckTarget::Resource(id) => {
                let Some(change) = self.state.plan.changes.get(id) else {
                    return self.contradict(format!("the plan has no line for {id}"));
                };
                Request::Readiness(Lookup::from(&change.resource), self.verifying_for())
            }
            CheckTarget::Unchanged(id) | CheckTarget::Planned(id) => {
                let Some(change) = self.state.plan.changes.get(id) else {
                    return self.contradict(format!("the plan has no line for {id}"));
                };
                Request::Observe(Lookup::from(&change.resource))
            }
        };
        self.set_check(subject, CheckPhase::Asking, None);
        let deadline = self.now.saturating_add(LOOK);
        self.call(provider, CallPurpose::Check(subject.clone()), deadline, request);
    }

    pub(super) fn set_check(&mut self, subject: &CheckTarget, check: CheckPhase, reason: Option<String>) {
        if let Some(state) = self.state.checks.get_mut(subject) {
            state.check = check;
            if check == CheckPhase::Answered {
                state.answered = self.now;
            }
            state.reason = reason.or(state.reason.take());
        }
    }

    fn set_settling(&mut self, subject: &CheckTarget, settling: bool) {
        if let Some(state) = self.state.checks.get_mut(subject) {
            state.settling = settling;
        }
    }

    pub(super) fn readiness(&mut self, id: ResourceId, result: Result<Readiness, ProviderError>) {
        let subject = CheckTarget::Resource(id.clone());
        match result {
            Ok(Readiness::Ready) => {
                self.set_check(&subject, CheckPhase::Answered, None);
                self.waits_no_more(&id);
            }
            Ok(Readiness::Settling { .. }) if !self.settles() => {
                self.set_check(&subject, CheckPhase::Answered, None);
                self.waits_no_more(&id);
            }
            Ok(Readiness::Settling { remaining }) => {
                self.waits_no_more(&id);
                self.set_settling(&subject, true);
                let from = self.now.saturating_add(remaining.min(LONGEST_WAIT));
                self.set_check(
                    &subject,
                    CheckPhase::Due { from },
                    Some("it is ready, and has not settled yet".to_owned()),
                );
            }
            Ok(Readiness::Waiting(reason)) => {
                self.set_settling(&subject, false);
                self.state.confirmed = Rechecked::default();
                if self.state.checks.contains_key(&subject) {
                    self.waits(&id, &reason, self.now, None);
                }
                self.ask_later(&subject, reason);
            }
            Ok(Readiness::Failed(failure)) => {
                let check = CheckPhase::Due { from: Duration::MAX };
                self.set_check(&subject, check, Some(failure.to_string()));
                let how = if self.state.ready == ReadyMark::No { NotReady::Never } else { NotReady::NotForLong };
                self.fail_verification(failure::not_ready(self.reasons(), how));
            }
            Err(error) => self.no_answer(&subject, error),
        }
    }

    pub(super) fn unchanged(&mut self, id: ResourceId, result: Result<Option<Observation>, ProviderError>) {
        let Some(change) = self.state.plan.changes.get(&id) else {
            return self.contradict(format!("the plan has no line for {id}"));
        };
        match result {
            Ok(Some(seen)) if is_as_desired(change, &seen) => {
                self.set_check(&CheckTarget::Unchanged(id), CheckPhase::Answered, None)
            }
            Ok(seen) => {
                let failure = failure::outdated(change, seen.as_ref());
                self.fail_verification(failure);
            }
            Err(error) => self.no_answer(&CheckTarget::Unchanged(id), error),
        }
    }

    fn fail_verification(&mut self, failure: Problem) {
        if let Some(id) = self.verifying() {
            self.fail(&id, failure);
            self.state.checks.clear();
        }
    }

    pub(super) fn owned(&mut self, provider: ProviderName, result: Result<Vec<OwnedObject>, ProviderError>) {
        let subject = CheckTarget::Provider(provider);
        match result {
            Ok(objects) => {
                self.state.left.extend(objects);
                self.set_check(&subject, CheckPhase::Answered, None);
                if let Some(stack) = self.verified_stack() {
                    self.waits_no_more(&stack);
                }
            }
            Err(error) => self.no_answer(&subject, error),
        }
    }

    fn no_answer(&mut self, subject: &CheckTarget, error: ProviderError) {
        if let (ProviderError::Rejected(_), Some(id)) = (&error, self.verifying()) {
            let Some(step) = self.state.steps.get(&id) else { return };
            let failure = failure::of_provider(&step.step, &error);
            return self.fail_verification(failure);
        }
        let reason = error.to_string();
        if self.state.checks.contains_key(subject) {
            match subject {
                CheckTarget::Resource(id) => self.waits(id, &reason, self.now, None),
                CheckTarget::Provider(_) => {
                    if let Some(stack) = self.verified_stack() {
                        self.waits(&stack, &reason, self.now, None);
                    }
                }
                // Its readiness is asked for, too.
                CheckTarget::Unchanged(_) | CheckTarget::Planned(_) => {}
            }
        }
        self.ask_later(subject, reason);
    }

    /// What the verification is of: the stack as a whole.
    fn verified_stack(&self) -> Option<ResourceId> {
        Some(self.state.steps.get(&self.verifying()?)?.step.subject.clone())
    }

    pub(super) fn ask_later(&mut self, subject: &CheckTarget, reason: String) {
        let Some(state) = self.state.checks.get_mut(subject) else { return };
        state.tries = state.tries.saturating_add(1);
        let wait = backoff::delay(self.state.operation, state.tries).min(LONGEST_WAIT);
        let from = self.now.saturating_add(wait);
        self.set_check(subject, CheckPhase::Due { from }, Some(reason));
    }
}

/// Something that has not answered that it is as it should be.
#[derive(Clone)]
struct Open<'a> {
    /// `deployment.web`, or a provider's name.
    name: String,
    id: Option<&'a ResourceId>,
    reason: Option<&'a str>,
    /// It won't get ready without a change.
    failed: bool,
}

impl<'a> Open<'a> {
    fn of(subject: &'a CheckTarget, state: &'a CheckState) -> Self {
        let (name, id) = match subject {
            CheckTarget::Resource(id) | CheckTarget::Unchanged(id) | CheckTarget::Planned(id) => {
                (id.to_string(), Some(id))
            }
            CheckTarget::Provider(provider) => (provider.as_str().to_owned(), None),
        };
        let failed = state.check == CheckPhase::Due { from: Duration::MAX };
        Self { name, id, reason: state.reason.as_deref(), failed }
    }

    fn line(&self) -> String {
        format!("{}: {}", self.name, self.reason.unwrap_or_default())
    }
}
