//! How long to wait before trying again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// Waits that grow from one attempt to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    /// Each wait is this many halves of the one before.
    halves: u32,
}

impl Backoff {
    /// Each wait is twice as long as the one before.
    pub const fn doubling(first: Duration, longest: Duration) -> Self {
        Self { first, longest, halves: 4 }
    }

    /// Each wait is half as long again as the one before: for a condition that is probed.
    pub const fn by_half(first: Duration, longest: Duration) -> Self {
        Self { first, longest, halves: 3 }
    }

    /// The wait after `failures` failed attempts (at least 1).
    pub fn after(self, failures: u32) -> Duration {
        let mut waits = self.waits();
        // No wait grows any more behind these, whatever the first and the longest are.
        (1..failures.min(256)).for_each(|_| waits.grow());
        waits.present()
    }

    /// The same, up to a quarter more or less, so that what failed together doesn't return together. The jitter follows from `seed`.
    pub fn jittered(self, failures: u32, seed: impl Hash) -> Duration {
        let mut hasher = DefaultHasher::new();
        (seed, failures).hash(&mut hasher);
        let per_mille = 750 + u32::try_from(hasher.finish() % 501).unwrap_or_default();
        self.after(failures).saturating_mul(per_mille) / 1000
    }

    /// The waits of a loop, from the first one on.
    pub const fn waits(self) -> Waits {
        Waits { backoff: self, present: self.first }
    }
}

/// Where a loop is in its [`Backoff`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    backoff: Backoff,
    present: Duration,
}

impl Waits {
    /// How long to wait now.
    pub const fn present(&self) -> Duration {
        self.present
    }

    /// Whether nothing was waited for yet.
    pub fn is_first(&self) -> bool {
        self.present == self.backoff.first
    }

    /// How long to wait now; the next wait is longer.
    pub fn take(&mut self) -> Duration {
        let present = self.present;
        self.grow();
        present
    }

    /// Begins anew: what failed works again.
    pub const fn reset(&mut self) {
        self.present = self.backoff.first;
    }

    fn grow(&mut self) {
        self.present = (self.present.saturating_mul(self.backoff.halves) / 2).min(self.backoff.longest);
    }
}

/// Attempts at a step, or at looking at its outcome.
const STEPS: Backoff = Backoff::doubling(Duration::from_millis(100), Duration::from_secs(10));

/// The wait before the next attempt after `failures` failed ones. The jitter follows from `seed` (operation and step): decisions know no
/// randomness.
pub(crate) fn delay(seed: impl Hash, failures: u32) -> Duration {
    STEPS.jittered(failures, seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_stay_within_a_quarter_of_it() {
        for (failures, expected) in [(1, 100), (2, 200), (5, 1600), (8, 10_000), (40, 10_000), (u32::MAX, 10_000)] {
            let delay = delay("create/database.main", failures).as_millis();
            assert!((expected * 3 / 4..=expected * 5 / 4).contains(&delay), "{failures}: {delay}");
        }
    }

    #[test]
    fn two_steps_that_failed_together_do_not_return_together() {
        assert_ne!(delay("create/database.main", 3), delay("create/database.other", 3));
    }

    #[test]
    fn a_loop_waits_longer_each_time_until_it_begins_anew() {
        let mut waits = Backoff::by_half(Duration::from_millis(4), Duration::from_millis(10)).waits();
        let taken: Vec<u128> = std::iter::repeat_with(|| waits.take().as_millis()).take(5).collect();
        assert_eq!(taken, [4, 6, 9, 10, 10]);
        assert!(!waits.is_first());
        waits.reset();
        assert!(waits.is_first());
        assert_eq!(waits.present(), Duration::from_millis(4));
    }
}
