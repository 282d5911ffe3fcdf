//! The cluster's clock.
//!
//! How old something is that the cluster has written is told by its clock, not by this machine's: one that is a minute off would call a
//! Pod late before it has begun to start. Each answer of the API server bears its time.

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};

/// Answers tell whole seconds, and take their time: less than this is no difference.
const SAME: TimeDelta = TimeDelta::seconds(2);

/// How far a cluster's clock is ahead of this machine's, in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Clock(AtomicI64);

impl Clock {
    /// Takes note of an answer's header `Date`, which has come now.
    pub(crate) fn note(&self, date: &str, now: DateTime<Utc>) {
        let Ok(date) = DateTime::parse_from_rfc2822(date) else { return };
        let ahead = date.with_timezone(&Utc) - now;
        let ahead = if ahead.abs() <= SAME { TimeDelta::zero() } else { ahead };
        self.0.store(ahead.num_milliseconds(), Ordering::Relaxed);
    }

    /// How far it is ahead of this machine's; less than nothing where it is behind.
    pub(crate) fn ahead(&self) -> TimeDelta {
        TimeDelta::milliseconds(self.0.load(Ordering::Relaxed))
    }

    /// What time it is there.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.at(Utc::now())
    }

    fn at(&self, here: DateTime<Utc>) -> DateTime<Utc> {
        here + self.ahead()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_there_is_what_its_answers_say_and_a_second_is_no_difference() {
        let here: DateTime<Utc> = "2026-03-01T10:00:00.400Z".parse().unwrap();
        let clock = Clock::default();
        assert_eq!(clock.at(here), here);
        clock.note("Sun, 01 Mar 2026 10:05:00 GMT", here);
        assert_eq!(clock.at(here), "2026-03-01T10:05:00Z".parse::<DateTime<Utc>>().unwrap());
        clock.note("no date", here);
        assert_ne!(clock.at(here), here, "an answer without a date says nothing");
        clock.note("Sun, 01 Mar 2026 09:59:59 GMT", here);
        assert_eq!(clock.at(here), here);
    }
}
