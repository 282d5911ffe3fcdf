//! Objects that were just looked at.
//!
//! A plan looks at an object and then tries its change out; a step looks and then acts. What was seen a moment ago needs no second
//! question, since whatever is sent next is bound to the version that was seen: a stale look is refused and made again. That there was
//! nothing binds nothing, so it holds for much less time.
//!
//! Not kept: Secrets, and more than some hundred objects.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value as Json;
use tokio::time::Instant;

use crate::object::{Place, SECRET};

const KEPT: usize = 256;
/// How long an object's look holds. Long enough for a plan's other questions.
const HOLDS: Duration = Duration::from_secs(10);
/// How long "there is none" holds: the time between the engine's look and its step.
const ABSENCE_HOLDS: Duration = Duration::from_millis(500);

/// The looks at one cluster's objects.
#[derive(Debug, Default)]
pub(crate) struct Looks(Mutex<BTreeMap<String, Look>>);

#[derive(Debug)]
struct Look {
    at: Instant,
    object: Option<Json>,
}

impl Look {
    fn holds(&self) -> bool {
        let limit = if self.object.is_some() { HOLDS } else { ABSENCE_HOLDS };
        self.at.elapsed() < limit
    }
}

impl Looks {
    /// Keeps what was seen at a place, `asked` being before the question.
    pub(crate) fn keep(&self, place: &Place, asked: Instant, object: Option<Json>) {
        if place.kind == SECRET {
            return;
        }
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if looks.len() >= KEPT {
            looks.retain(|_, look| look.holds());
        }
        if looks.len() < KEPT {
            looks.insert(place.path(), Look { at: asked, object });
        }
    }

    /// What was just seen there, once.
    pub(crate) fn take(&self, place: &Place) -> Option<Option<Json>> {
        let look = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&place.path())?;
        look.holds().then_some(look.object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::DEPLOYMENT;
    use serde_json::json;

    #[tokio::test(start_paused = true)]
    async fn a_look_holds_for_a_while_and_an_absence_for_a_moment() {
        let looks = Looks::default();
        let (web, job) = (Place::of(DEPLOYMENT, "a/web"), Place::of(DEPLOYMENT, "a/job"));
        for (wait, seen, absent) in [(100, true, true), (1_000, true, false), (11_000, false, false)] {
            looks.keep(&web, Instant::now(), Some(json!(1)));
            looks.keep(&job, Instant::now(), None);
            tokio::time::advance(Duration::from_millis(wait)).await;
            assert_eq!(looks.take(&web).is_some(), seen, "after {wait} ms");
            assert_eq!(looks.take(&job).is_some(), absent, "after {wait} ms");
            assert!(looks.take(&web).is_none(), "it is given once");
        }
    }

    #[test]
    fn a_secret_is_never_kept() {
        let (looks, place) = (Looks::default(), Place::of(SECRET, "a/web"));
        looks.keep(&place, Instant::now(), Some(json!(1)));
        assert_eq!(looks.take(&place), None);
    }
}
