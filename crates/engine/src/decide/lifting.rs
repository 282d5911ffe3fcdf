//! The way back from a fence.
//!
//! A destroy stops everybody before it dumps (`step`: fences). If it ends before it has deleted anything, because a dump failed, somebody
//! asked to stop or its time is over, the fences are lifted again: in the opposite order, each tried until its own time is over. Whether
//! that has to be done follows from the journal alone, so that a process that takes the operation up after a crash goes on with it.

use std::collections::BTreeSet;

use super::scheduling::is_final;
use super::{Change, Decider, ResourceId, StepId, StepPhase, Verb};
use crate::operation::StepState;
use crate::step::fenced_with;

impl Decider {
    /// Whether this operation has fenced it, or begun to.
    pub(super) fn is_fenced(&self, change: &Change) -> bool {
        let fence = self.state.steps.get(&StepId::new(Verb::Fence, &fenced_with(change)));
        fence.is_some_and(|fence| fence.attempts > 0)
    }

    /// Whether anything has been deleted, or may have been.
    pub(super) fn has_deleted(&self) -> bool {
        let acted = |step: &StepState| step.attempts > 0 && matches!(step.step.verb, Verb::Delete | Verb::Replace);
        self.state.steps.values().any(acted)
    }

    /// Lifts what was fenced; says whether there is still something to wait for.
    pub(super) fn lift(&mut self) -> bool {
        if self.has_deleted() {
            return false;
        }
        let open: Vec<StepId> = self.open_lifts().map(|step| step.step.id.clone()).collect();
        if open.is_empty() {
            return false;
        }
        // Logins before those who log in.
        let last = self.open_lifts().filter_map(|step| self.rank(step)).max();
        for id in open {
            let Some(step) = self.state.steps.get(&id) else { continue };
            let is_next = self.rank(step) == last && step.phase == StepPhase::Idle;
            if is_next && self.has_room(step.step.provider) {
                self.begin(&id);
            }
        }
        true
    }

    fn rank(&self, step: &StepState) -> Option<u8> {
        self.state.plan.changes.get(&step.step.subject)?.kind.row().fence.rank()
    }

    /// The lifts of what was fenced that haven't ended.
    fn open_lifts(&self) -> impl Iterator<Item = &StepState> {
        let fenced: BTreeSet<&ResourceId> = (self.state.steps.values())
            .filter(|step| step.step.verb == Verb::Fence && step.attempts > 0)
            .map(|step| &step.step.subject)
            .collect();
        self.state.steps.values().filter(move |step| {
            let ends = is_final(step.status) || matches!(step.phase, StepPhase::Closing { .. });
            step.step.verb == Verb::Lift && fenced.contains(&step.step.subject) && !ends
        })
    }
}
