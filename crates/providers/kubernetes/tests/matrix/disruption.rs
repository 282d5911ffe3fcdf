//! What can go wrong with a step.

use std::time::Duration;

use freehold_engine::testing::{FakeStore, Fault, Faults};
use freehold_engine::{Status, Step, StepId, Verb};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disruption {
    /// Its call goes wrong.
    Call(Fault),
    /// The process dies when its call hangs.
    Killed(Fault),
    /// The process dies before this is written of it.
    KilledBefore(Status),
}

impl Disruption {
    /// All of it; what happens in the middle of a call happens after `moment`.
    pub(super) const fn all(moment: Duration) -> [Self; 13] {
        [
            Self::Call(Fault::RejectedBefore),
            Self::Call(Fault::RejectedAfter),
            Self::Call(Fault::RetryableBefore),
            Self::Call(Fault::RetryableAfter),
            Self::Call(Fault::UnknownBefore),
            Self::Call(Fault::UnknownAmid(moment)),
            Self::Call(Fault::UnknownAfter),
            Self::Call(Fault::Repeated),
            Self::Killed(Fault::HangsBefore),
            Self::Killed(Fault::HangsAmid(moment)),
            Self::Killed(Fault::HangsAfter),
            Self::KilledBefore(Status::Started),
            Self::KilledBefore(Status::Done),
        ]
    }

    /// The verification calls nothing that could go wrong for good, and says only how it ended.
    pub(super) fn can_happen_to(self, step: &Step) -> bool {
        step.verb != Verb::Verify || self == Self::KilledBefore(Status::Done)
    }

    /// Which of the step's calls it can happen to: a replacement has two.
    pub(super) fn calls(self, step: &Step) -> std::ops::RangeInclusive<usize> {
        let second = step.verb == Verb::Replace && !matches!(self, Self::KilledBefore(_));
        1..=if second { 2 } else { 1 }
    }

    /// Whether the operation gets over it by itself.
    pub(super) fn is_overcome(self) -> bool {
        !matches!(self, Self::Call(Fault::RejectedBefore | Fault::RejectedAfter))
    }

    pub(super) fn kills(self) -> bool {
        !matches!(self, Self::Call(_))
    }

    /// Lets it happen to the step's next call but so many.
    pub(super) fn prepare(self, faults: &Faults, store: &FakeStore, step: &StepId, call: usize) {
        for _ in 1..call {
            faults.plan(step.clone(), Fault::None);
        }
        match self {
            Self::Call(fault) | Self::Killed(fault) => faults.plan(step.clone(), fault),
            Self::KilledBefore(status) => store.stop_before(step.clone(), status),
        }
    }
}
