//! What is known of namespaces, which spares a first deploy most of its questions.
//!
//! A namespace that isn't there holds nothing: a plan and the comparison before the first step ask for the namespace and for none of the
//! twenty objects in it. Its own step needs no look either: the request that makes it is refused where it is there by now. A namespace
//! that an operation has just made holds nothing but what the operation sends there: making these objects needs no look, because the
//! answer to an apply says whether the object was there before (`apply::create`).
//!
//! Nothing of this is evidence: what was seen or sent since a question overrules its answer, and all of it is forgotten soon.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use freehold_engine::OperationId;
use tokio::time::Instant;

use crate::object::{NAMESPACE, Place};

/// How long "it isn't there" holds for what would be in it: a plan's other questions.
const ABSENCE_HOLDS: Duration = Duration::from_secs(2);
/// How long it holds for the namespace itself: the time between the comparison and the step.
const OWN_ABSENCE_HOLDS: Duration = Duration::from_millis(500);
/// How long it holds for the step that makes it, which is refused where that is no longer so.
const ABSENCE_HOLDS_FOR_CREATION: Duration = Duration::from_secs(10);
/// How long it holds for dry runs, which change nothing: at worst one takes place in the scratch namespace for no need.
const ABSENCE_HOLDS_FOR_TRIALS: Duration = Duration::from_secs(30);
/// How long it holds that nobody deletes it: what waits in it is looked at again soon.
const LIFE_HOLDS: Duration = Duration::from_secs(4);
/// How long it is remembered that a question is older than what was found or sent since. Longer than any question takes.
const KNOWN: Duration = Duration::from_secs(120);

/// What is known of one cluster's namespaces.
#[derive(Debug, Default)]
pub(crate) struct Namespaces(Mutex<BTreeMap<String, Known>>);

#[derive(Debug)]
struct Known {
    /// When it was asked for, found or sent to.
    at: Instant,
    state: State,
    /// Held by whoever asks for it again, so that one question answers all who wait for it.
    asking: Arc<tokio::sync::Mutex<()>>,
    /// When it was last seen not to be going away.
    alive: Option<Instant>,
}

#[derive(Debug)]
enum State {
    /// It wasn't there, said the answer to a question that was asked then.
    Absent,
    /// It was there then, or something was sent to it.
    Present,
    /// An operation has made it, and has sent these objects there since.
    Made { by: OperationId, sent: BTreeSet<String> },
}

/// Whether an object of a namespace has to be asked for.
#[derive(Debug)]
pub(crate) enum Absence {
    /// No: the namespace was not there a moment ago.
    Holds,
    /// The namespace wasn't there some time ago: it is to be asked for first, by whoever holds this.
    WasBefore(Arc<tokio::sync::Mutex<()>>),
    Unknown,
}

impl Namespaces {
    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, namespace: &str, at: Instant, state: State) {
        let mut all = self.all();
        // Not for everything that is found: plans look at thousands of objects, and new stacks are rare.
        if !matches!(state, State::Present) {
            all.retain(|_, known| known.at.elapsed() < KNOWN);
        }
        match all.get_mut(namespace) {
            Some(known) if known.at <= at => (known.at, known.state) = (at, state),
            Some(_) => {}
            None => drop(all.insert(namespace.to_owned(), Known { at, state, asking: Arc::default(), alive: None })),
        }
    }

    /// A namespace was found not to be there; `asked` is before the question.
    pub(crate) fn note_absent(&self, namespace: &str, asked: Instant) {
        self.note(namespace, asked, State::Absent);
    }

    /// An operation's request has made a namespace.
    pub(crate) fn note_made(&self, namespace: &str, by: OperationId) {
        self.note(namespace, Instant::now(), State::Made { by, sent: BTreeSet::new() });
    }

    /// Something was found at a place.
    pub(crate) fn note_found(&self, place: &Place) {
        if let Some(namespace) = namespace_of(place) {
            let is_made = matches!(self.all().get(namespace), Some(Known { state: State::Made { .. }, .. }));
            if !is_made {
                self.note(namespace, Instant::now(), State::Present);
            }
        }
    }

    /// A change is about to be sent to a place.
    pub(crate) fn note_sent(&self, place: &Place, deletes: bool) {
        let Some(namespace) = namespace_of(place) else { return };
        let goes = deletes && place.kind == NAMESPACE;
        if let Some(Known { at, state: State::Made { sent, .. }, .. }) = self.all().get_mut(namespace)
            && !goes
        {
            *at = Instant::now();
            sent.insert(place.path());
            return;
        }
        self.note(namespace, Instant::now(), State::Present);
    }

    /// A namespace was found, and nobody deletes it.
    pub(crate) fn note_alive(&self, namespace: &str, asked: Instant) {
        if let Some(known) = self.all().get_mut(namespace) {
            known.alive = Some(asked);
        }
    }

    /// Whether nobody deleted a namespace a moment ago.
    pub(crate) fn is_alive(&self, namespace: &str) -> bool {
        let alive = self.all().get(namespace).and_then(|known| known.alive);
        alive.is_some_and(|at| at.elapsed() < LIFE_HOLDS)
    }

    /// Whether a namespace was not there a moment ago.
    #[cfg(test)]
    fn is_absent(&self, namespace: &str) -> bool {
        matches!(self.absence(namespace), Absence::Holds)
    }

    /// Whether what would be in a namespace has to be asked for.
    pub(crate) fn absence(&self, namespace: &str) -> Absence {
        self.absence_for(namespace, ABSENCE_HOLDS)
    }

    /// Whether a namespace itself has to be asked for.
    pub(crate) fn own_absence(&self, namespace: &str) -> Absence {
        self.absence_for(namespace, OWN_ABSENCE_HOLDS)
    }

    fn absence_for(&self, namespace: &str, time: Duration) -> Absence {
        match self.all().get(namespace) {
            Some(Known { at, state: State::Absent, .. }) if at.elapsed() < time => Absence::Holds,
            Some(Known { state: State::Absent, asking, .. }) => Absence::WasBefore(Arc::clone(asking)),
            Some(Known { state: State::Present | State::Made { .. }, .. }) | None => Absence::Unknown,
        }
    }

    /// Whether a namespace was not there when it was compared with the plan, and nothing was found or sent there since.
    pub(crate) fn is_absent_for_creation(&self, namespace: &str) -> bool {
        self.absent_since(namespace).is_some_and(|asked| asked.elapsed() < ABSENCE_HOLDS_FOR_CREATION)
    }

    /// Whether a namespace was not there when the plan began, and nothing was found or sent there since.
    pub(crate) fn is_absent_for_trials(&self, namespace: &str) -> bool {
        self.absent_since(namespace).is_some_and(|asked| asked.elapsed() < ABSENCE_HOLDS_FOR_TRIALS)
    }

    /// When a namespace was asked for that wasn't there.
    fn absent_since(&self, namespace: &str) -> Option<Instant> {
        match self.all().get(namespace) {
            Some(Known { at, state: State::Absent, .. }) => Some(*at),
            _ => None,
        }
    }

    /// Whether an operation has made a namespace a moment ago, so that nothing is in it but what that has sent.
    pub(crate) fn is_made(&self, namespace: &str) -> bool {
        match self.all().get(namespace) {
            Some(Known { at, state: State::Made { .. }, .. }) => at.elapsed() < KNOWN,
            Some(Known { state: State::Absent | State::Present, .. }) | None => false,
        }
    }

    /// Whether an operation has made the namespace of a place, and has sent nothing to that place yet.
    pub(crate) fn is_untouched(&self, place: &Place, by: OperationId) -> bool {
        let Some(namespace) = place.namespace.as_deref() else { return false };
        match self.all().get(namespace) {
            Some(Known { at, state: State::Made { by: maker, sent }, .. }) => {
                *maker == by && at.elapsed() < KNOWN && !sent.contains(&place.path())
            }
            _ => false,
        }
    }
}

fn namespace_of(place: &Place) -> Option<&str> {
    if place.kind == NAMESPACE { Some(&place.name) } else { place.namespace.as_deref() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::DEPLOYMENT;
    use uuid::Uuid;

    #[tokio::test(start_paused = true)]
    async fn an_absence_holds_for_a_moment_or_until_something_is_found_or_sent_there() {
        let namespaces = Namespaces::default();
        assert!(!namespaces.is_absent("acme"), "nobody has looked");
        let sent: fn(&Namespaces, &Place) = |namespaces, place| namespaces.note_sent(place, false);
        let notes = [Namespaces::note_found, sent];
        for note in notes {
            for there in [Place::of(DEPLOYMENT, "acme/web"), Place::of(NAMESPACE, "acme")] {
                tokio::time::advance(Duration::from_millis(1)).await;
                namespaces.note_absent("acme", Instant::now());
                assert!(namespaces.is_absent("acme") && !namespaces.is_absent("other"));
                tokio::time::advance(Duration::from_millis(1)).await;
                note(&namespaces, &there);
                assert!(!namespaces.is_absent("acme"));
            }
        }
        tokio::time::advance(Duration::from_millis(1)).await;
        namespaces.note_absent("acme", Instant::now());
        tokio::time::advance(ABSENCE_HOLDS).await;
        assert!(!namespaces.is_absent("acme"));
        assert!(matches!(namespaces.absence("acme"), Absence::WasBefore(_)), "it is asked for before what is in it");
        assert!(namespaces.is_absent_for_trials("acme"), "a busy plan's dry runs come late");
        tokio::time::advance(ABSENCE_HOLDS_FOR_TRIALS).await;
        assert!(!namespaces.is_absent_for_trials("acme"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_does_not_hide_what_was_sent_since_the_question() {
        let namespaces = Namespaces::default();
        let asked = Instant::now();
        tokio::time::advance(Duration::from_millis(1)).await;
        namespaces.note_sent(&Place::of(NAMESPACE, "acme"), false);
        namespaces.note_absent("acme", asked);
        assert!(!namespaces.is_absent("acme"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_operation_has_made_holds_nothing_until_it_sends_something_there() {
        let namespaces = Namespaces::default();
        let (ours, other) = (OperationId(Uuid::from_u128(1)), OperationId(Uuid::from_u128(2)));
        let (web, job) = (Place::of(DEPLOYMENT, "acme/web"), Place::of(DEPLOYMENT, "acme/job"));
        namespaces.note_made("acme", ours);
        assert!(namespaces.is_untouched(&web, ours) && !namespaces.is_untouched(&web, other));
        namespaces.note_sent(&web, false);
        assert!(!namespaces.is_untouched(&web, ours) && namespaces.is_untouched(&job, ours));
        tokio::time::advance(KNOWN).await;
        assert!(!namespaces.is_untouched(&job, ours), "nothing is believed for long");
        namespaces.note_made("acme", ours);
        namespaces.note_sent(&Place::of(NAMESPACE, "acme"), false);
        assert!(namespaces.is_untouched(&job, ours), "its own fields are no objects in it");
        namespaces.note_sent(&Place::of(NAMESPACE, "acme"), true);
        assert!(!namespaces.is_untouched(&job, ours), "it may be another namespace by now");
    }
}
