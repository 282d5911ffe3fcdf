//! Objects that were just seen.
//!
//! A plan looks at an object and then tries its change out; a step looks and then acts. What was seen a moment ago needs no second
//! request, since whatever is sent next is bound to the version that was seen: on a stale version it is refused, and the object is read
//! again. That there was nothing binds nothing, so it holds for much less time.
//!
//! Not kept: Secrets, and more than some hundred objects.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value as Json;
use tokio::time::Instant;

use crate::object::{Place, SECRET};

const KEPT: usize = 256;
/// How long an object is believed to be as it was seen. Long enough for a plan's other requests.
const HOLDS: Duration = Duration::from_secs(10);
/// How long "there is none" holds: the time between the engine's look and its step.
const ABSENCE_HOLDS: Duration = Duration::from_millis(500);

/// What was seen of one cluster's objects.
#[derive(Debug, Default)]
pub(crate) struct ObjectCache(Mutex<BTreeMap<String, Seen>>);

#[derive(Debug)]
struct Seen {
    at: Instant,
    object: Option<Json>,
}

impl Seen {
    fn holds(&self) -> bool {
        let limit = if self.object.is_some() { HOLDS } else { ABSENCE_HOLDS };
        self.at.elapsed() < limit
    }
}

impl ObjectCache {
    /// Keeps what was seen at a place, `asked` being before the question.
    pub(crate) fn keep(&self, place: &Place, asked: Instant, object: Option<Json>) {
        if place.kind == SECRET {
            return;
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KEPT {
            all.retain(|_, seen| seen.holds());
        }
        if all.len() < KEPT {
            all.insert(place.path(), Seen { at: asked, object });
        }
    }

    /// What was just seen there, once.
    pub(crate) fn take(&self, place: &Place) -> Option<Option<Json>> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&place.path())?;
        seen.holds().then_some(seen.object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::DEPLOYMENT;
    use serde_json::json;

    #[tokio::test(start_paused = true)]
    async fn a_look_holds_for_a_while_and_an_absence_for_a_moment() {
        let cache = ObjectCache::default();
        let (web, job) = (Place::of(DEPLOYMENT, "a/web"), Place::of(DEPLOYMENT, "a/job"));
        for (wait, seen, absent) in [(100, true, true), (1_000, true, false), (11_000, false, false)] {
            cache.keep(&web, Instant::now(), Some(json!(1)));
            cache.keep(&job, Instant::now(), None);
            tokio::time::advance(Duration::from_millis(wait)).await;
            assert_eq!(cache.take(&web).is_some(), seen, "after {wait} ms");
            assert_eq!(cache.take(&job).is_some(), absent, "after {wait} ms");
            assert!(cache.take(&web).is_none(), "it is given once");
        }
    }

    #[test]
    fn a_secret_is_never_kept() {
        let (cache, place) = (ObjectCache::default(), Place::of(SECRET, "a/web"));
        cache.keep(&place, Instant::now(), Some(json!(1)));
        assert_eq!(cache.take(&place), None);
    }
}
