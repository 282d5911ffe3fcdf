//! Log lines that any client can cause, in a bounded number.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many lines there are in a span of time.
const LINES: u32 = 10;
const SPAN: Duration = Duration::from_secs(60);

/// Counts lines of one kind: ten a minute are written, the others are counted in the next one that is.
#[derive(Default)]
pub(crate) struct Quiet(Mutex<Span>);

#[derive(Default)]
struct Span {
    began: Option<Instant>,
    written: u32,
    unsaid: u64,
}

impl Quiet {
    /// Whether a line may be written now: with how many were not written since the last one.
    pub(crate) fn may_say(&self) -> Option<u64> {
        self.may_say_at(Instant::now())
    }

    fn may_say_at(&self, now: Instant) -> Option<u64> {
        let mut span = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if span.began.is_none_or(|began| now.duration_since(began) >= SPAN) {
            (span.began, span.written) = (Some(now), 0);
        }
        if span.written >= LINES {
            span.unsaid += 1;
            return None;
        }
        span.written += 1;
        Some(std::mem::take(&mut span.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_lines_ten_are_written_and_the_next_minute_says_how_many_were_not() {
        let (quiet, now) = (Quiet::default(), Instant::now());
        let written = (0..1000).filter(|_| quiet.may_say_at(now).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(quiet.may_say_at(now + SPAN), Some(990));
        assert_eq!(quiet.may_say_at(now + SPAN), Some(0));
    }
}
