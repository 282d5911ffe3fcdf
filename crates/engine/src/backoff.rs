//! How long to wait before trying again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(100);
/// No wait is longer, jitter apart.
const LONGEST: Duration = Duration::from_secs(10);

/// The wait before the next attempt after `failures` failed ones (at least 1): twice as long each time, up to 10 s, and up to a
/// quarter more or less, so that operations that failed together don't return together. The jitter follows from `seed`
/// (operation and step): decisions know no randomness.
pub fn delay(seed: impl Hash, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let base = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    let mut hasher = DefaultHasher::new();
    (seed, failures).hash(&mut hasher);
    let per_mille = 750 + u32::try_from(hasher.finish() % 501).unwrap_or_default();
    base.saturating_mul(per_mille) / 1000
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
}
