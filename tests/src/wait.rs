//! Waiting for conditions.

use std::time::{Duration, Instant};

/// Asks again and again until the answer is there, for five minutes at the most.
///
/// # Panics
/// It never came.
#[allow(clippy::panic, reason = "for tests")]
pub fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    within(Duration::from_secs(300), what, ask)
}

/// Asks again and again until the answer is there.
///
/// # Panics
/// It didn't come in time.
#[allow(clippy::panic, reason = "for tests")]
pub fn within<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        if begin.elapsed() > limit {
            panic!("waited {limit:?} in vain until {what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
