//! Namespaces that were not there a moment ago, which spares the plan of a new stack twenty useless questions.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::object::{NAMESPACE, Place};

/// How long "it isn't there" holds: a plan's other questions.
const ABSENCE_HOLDS: Duration = Duration::from_secs(2);
/// How long is known that a question is older than what was found or sent since. Longer than any question takes.
const KNOWN: Duration = Duration::from_secs(120);

/// What is known of one cluster's namespaces.
#[derive(Debug, Default)]
pub(crate) struct Spaces(Mutex<BTreeMap<String, Space>>);

#[derive(Debug, Clone, Copy)]
enum Space {
    /// It wasn't there, said the answer to a question that was asked then.
    Absent(Instant),
    /// It was there then, or something was sent to it.
    Present(Instant),
}

impl Space {
    const fn at(self) -> Instant {
        let (Self::Absent(at) | Self::Present(at)) = self;
        at
    }
}

impl Spaces {
    fn note(&self, namespace: &str, space: Space) {
        let mut spaces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Not for everything that is found: plans look at thousands of objects, and new stacks are rare.
        if matches!(space, Space::Absent(_)) {
            spaces.retain(|_, known| known.at().elapsed() < KNOWN);
        }
        let known = spaces.get(namespace).map(|known| known.at());
        if known.is_none_or(|known| known <= space.at()) {
            spaces.insert(namespace.to_owned(), space);
        }
    }

    /// A namespace was found not to be there; `asked` is before the question.
    pub(crate) fn note_absent(&self, namespace: &str, asked: Instant) {
        self.note(namespace, Space::Absent(asked));
    }

    /// Something was found at a place, or is about to be sent there.
    pub(crate) fn note_present(&self, place: &Place) {
        let namespace = if place.kind == NAMESPACE { Some(&place.name) } else { place.namespace.as_ref() };
        if let Some(namespace) = namespace {
            self.note(namespace, Space::Present(Instant::now()));
        }
    }

    /// Whether a namespace was not there a moment ago.
    pub(crate) fn is_absent(&self, namespace: &str) -> bool {
        let spaces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(spaces.get(namespace), Some(Space::Absent(at)) if at.elapsed() < ABSENCE_HOLDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::DEPLOYMENT;

    #[tokio::test(start_paused = true)]
    async fn an_absence_holds_for_a_moment_or_until_something_is_found_or_sent_there() {
        let spaces = Spaces::default();
        assert!(!spaces.is_absent("acme"), "nobody has looked");
        for there in [Place::of(DEPLOYMENT, "acme/web"), Place::of(NAMESPACE, "acme")] {
            tokio::time::advance(Duration::from_millis(1)).await;
            spaces.note_absent("acme", Instant::now());
            assert!(spaces.is_absent("acme") && !spaces.is_absent("other"));
            tokio::time::advance(Duration::from_millis(1)).await;
            spaces.note_present(&there);
            assert!(!spaces.is_absent("acme"));
        }
        tokio::time::advance(Duration::from_millis(1)).await;
        spaces.note_absent("acme", Instant::now());
        tokio::time::advance(ABSENCE_HOLDS).await;
        assert!(!spaces.is_absent("acme"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_does_not_hide_what_was_sent_since_the_question() {
        let spaces = Spaces::default();
        let asked = Instant::now();
        tokio::time::advance(Duration::from_millis(1)).await;
        spaces.note_present(&Place::of(NAMESPACE, "acme"));
        spaces.note_absent("acme", asked);
        assert!(!spaces.is_absent("acme"));
    }
}
