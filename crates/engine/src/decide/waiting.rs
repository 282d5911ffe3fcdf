//! What an operation waits for: told once it lasts, as its reason changes, and when it is over.
//!
//! A wait is a record of the journal, so that everybody who watches sees the same, whichever process works and whichever one is asked.
//! It says nothing about any step, and a process that takes the operation up begins to wait anew. There are only so many: what is
//! short isn't told, a reason that changes all the time only now and then, and the more rarely the more was told ([`pace`]). So the last
//! reason is never old for good, and a day of changes is some hundreds of records.

use std::time::Duration;

use super::{Decider, Record, ResourceId, Stage, StepId, millis};
use crate::operation::{CallId, CallPurpose, Wait};

/// What is waited for no longer than this is not told.
const LASTS: Duration = Duration::from_secs(3);
/// How far two reasons of one subject are apart at least.
const APART: Duration = Duration::from_secs(5);
/// After how many records of waits of one process all that takes twice as long.
const TWICE: usize = 100;

/// How many times as long it takes until something is told, after so many records.
fn pace(told: usize) -> u32 {
    1_u32.checked_shl(u32::try_from(told / TWICE).unwrap_or(u32::MAX)).unwrap_or(u32::MAX)
}

impl Decider {
    /// Something isn't as it should be yet. `begun` is when the waiting for it began.
    /// `retry` is the pause before a call that failed is made again.
    pub(super) fn waits(&mut self, subject: &ResourceId, reason: &str, begun: Duration, retry: Option<Duration>) {
        let (now, pace) = (self.now, pace(self.state.waits_told));
        let wait = self.state.waits.entry(subject.clone()).or_insert_with(|| Wait {
            begun,
            reason: reason.to_owned(),
            since: begun,
            told: None,
        });
        if wait.reason != reason {
            (wait.reason, wait.since) = (reason.to_owned(), now);
        }
        let is_news = match &wait.told {
            None => now.saturating_sub(wait.begun) >= LASTS.saturating_mul(pace),
            Some((told, at)) => told != reason && now.saturating_sub(*at) >= APART.saturating_mul(pace),
        };
        if !is_news || self.state.stage == Stage::Finishing {
            return;
        }
        wait.told = Some((reason.to_owned(), now));
        let milliseconds = millis(now.saturating_sub(wait.since));
        self.state.waits_told = self.state.waits_told.saturating_add(1);
        let (subject, reason) = (subject.clone(), Some(reason.to_owned()));
        let retry_after_milliseconds = retry.map(millis);
        self.append(Record::Waiting { subject, reason, milliseconds, retry_after_milliseconds });
    }

    /// Another record says this of a subject: what was told before is news when it is so again.
    pub(super) fn reason_changed(&mut self, subject: &ResourceId, reason: String) {
        let now = self.now;
        let told = self.state.waits.get_mut(subject).and_then(|wait| wait.told.as_mut());
        if let Some(told) = told.filter(|(told, _)| *told != reason) {
            *told = (reason, now);
        }
    }

    /// A call of a step says what it waits for, or that it doesn't any more.
    pub(super) fn call_waits(&mut self, call: CallId, reason: Option<&str>) {
        let Some(CallPurpose::Step(step)) = self.state.out.get(&call) else { return };
        let Some(subject) = self.state.steps.get(step).map(|step| step.step.subject.clone()) else { return };
        match reason {
            Some(reason) => self.waits(&subject, reason, self.now, None),
            None => self.waits_no_more(&subject),
        }
    }

    /// A step has ended, and its record says so.
    pub(super) fn end_of_wait(&mut self, step: &StepId) {
        if let Some(step) = self.state.steps.get(step) {
            self.state.waits.remove(&step.step.subject);
        }
    }

    /// It is as it should be.
    pub(super) fn waits_no_more(&mut self, subject: &ResourceId) {
        let told = self.state.waits.remove(subject).is_some_and(|wait| wait.told.is_some());
        if told && self.state.stage != Stage::Finishing {
            let subject = subject.clone();
            self.append(Record::Waiting { subject, reason: None, milliseconds: 0, retry_after_milliseconds: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_change_all_the_time_are_told_ever_more_rarely_and_never_fall_silent() {
        let (mut told, mut now) = (0, Duration::ZERO);
        let day = Duration::from_secs(86_400);
        while now < day {
            now += APART.saturating_mul(pace(told));
            told += 1;
        }
        assert!((500..2000).contains(&told), "{told} records in a day");
        assert!(pace(usize::MAX) == u32::MAX && pace(0) == 1);
    }
}
