//! Namespaces whose content is known without a question.
//!
//! A plan of a new stack looks at twenty objects in a namespace that isn't there, and its steps at twenty in one that was made a second
//! ago. In both there is nothing at a place to which this process has sent nothing. What is known so holds for a short time, and only
//! saves looks: an object that somebody else made in between answers its creation with `200` instead of `201`, and the step stops.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::object::{NAMESPACE, Place};

/// How long "it isn't there" holds: a plan's other questions.
const ABSENCE_HOLDS: Duration = Duration::from_secs(2);
/// How long "it has what we have put into it" holds: the steps after the one that made it.
const NEWNESS_HOLDS: Duration = Duration::from_secs(20);

/// What is known of one cluster's namespaces.
#[derive(Debug, Default)]
pub(crate) struct Spaces(Mutex<BTreeMap<String, Space>>);

#[derive(Debug)]
struct Space {
    at: Instant,
    /// In one that we made: the paths to which something was sent since. `None` for one that isn't there.
    sent: Option<BTreeSet<String>>,
}

impl Space {
    fn holds(&self) -> bool {
        self.at.elapsed() < if self.sent.is_none() { ABSENCE_HOLDS } else { NEWNESS_HOLDS }
    }
}

impl Spaces {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Space>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, namespace: &str, sent: Option<BTreeSet<String>>) {
        let mut spaces = self.lock();
        spaces.retain(|_, space| space.holds());
        spaces.insert(namespace.to_owned(), Space { at: Instant::now(), sent });
    }

    /// A namespace was found not to be there.
    pub(crate) fn note_absent(&self, namespace: &str) {
        self.note(namespace, None);
    }

    /// A namespace was made by us, and was not there before.
    pub(crate) fn note_made(&self, namespace: &str) {
        self.note(namespace, Some(BTreeSet::new()));
    }

    /// A change of a place is about to be sent.
    pub(crate) fn note_sent(&self, place: &Place) {
        let mut spaces = self.lock();
        if place.kind == NAMESPACE {
            spaces.remove(&place.name);
        } else if let Some(namespace) = &place.namespace
            && let Some(space) = spaces.get_mut(namespace)
        {
            match &mut space.sent {
                Some(sent) => drop(sent.insert(place.path())),
                None => drop(spaces.remove(namespace)),
            }
        }
    }

    /// Whether a namespace was not there a moment ago.
    pub(crate) fn is_absent(&self, namespace: &str) -> bool {
        self.lock().get(namespace).is_some_and(|space| space.sent.is_none() && space.holds())
    }

    /// Whether there is nothing at a place, its namespace being known.
    pub(crate) fn is_empty_at(&self, place: &Place) -> bool {
        let Some(namespace) = place.namespace.as_ref() else { return false };
        let spaces = self.lock();
        let known = spaces.get(namespace).filter(|space| space.holds());
        known.is_some_and(|space| space.sent.as_ref().is_none_or(|sent| !sent.contains(&place.path())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::DEPLOYMENT;

    #[tokio::test(start_paused = true)]
    async fn an_absent_namespace_is_empty_for_a_moment_or_until_something_is_sent_there() {
        let (spaces, web) = (Spaces::default(), Place::of(DEPLOYMENT, "acme/web"));
        assert!(!spaces.is_empty_at(&web), "nobody has looked");
        spaces.note_absent("acme");
        assert!(spaces.is_absent("acme") && spaces.is_empty_at(&web));
        spaces.note_sent(&web);
        assert!(!spaces.is_absent("acme") && !spaces.is_empty_at(&web));
        spaces.note_absent("acme");
        spaces.note_sent(&Place::of(NAMESPACE, "acme"));
        assert!(!spaces.is_absent("acme") && !spaces.is_empty_at(&web));
        spaces.note_absent("acme");
        tokio::time::advance(ABSENCE_HOLDS).await;
        assert!(!spaces.is_absent("acme") && !spaces.is_empty_at(&web));
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_namespace_of_ours_there_is_nothing_where_nothing_was_sent() {
        let (spaces, web, job) =
            (Spaces::default(), Place::of(DEPLOYMENT, "acme/web"), Place::of(DEPLOYMENT, "acme/job"));
        spaces.note_made("acme");
        assert!(!spaces.is_absent("acme") && spaces.is_empty_at(&web) && spaces.is_empty_at(&job));
        spaces.note_sent(&web);
        assert!(!spaces.is_empty_at(&web) && spaces.is_empty_at(&job));
        assert!(
            !spaces.is_empty_at(&Place::of(NAMESPACE, "acme"))
                && !spaces.is_empty_at(&Place::of(DEPLOYMENT, "other/job"))
        );
        tokio::time::advance(NEWNESS_HOLDS).await;
        assert!(!spaces.is_empty_at(&job));
    }
}
