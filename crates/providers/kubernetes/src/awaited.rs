//! Objects that an operation has applied and waits for, as a watch of their kind shows them.
//!
//! What was just applied isn't ready yet: a look at once comes too early, and so does the next one. Where many deploys run at once, these
//! looks are much of what the API server does. So one watch for all of them shows each object as it changes, and nobody asks.
//!
//! ```text
//! expect ──▶ apply ──▶ applied: the watch begins at the version in the answer, ──▶ settled: waits for a version that is ready,
//!                      unless one runs that began before it                              once, and for a moment only
//! ```
//!
//! Only what was seen since the apply is believed, and only that an object is ready. Everything else (it isn't, it is gone, it is being
//! deleted, it fails) is looked at, as it is where no watch runs. When a watch ends, for whatever reason, nothing that it has shown counts
//! any more.
//!
//! Versions are compared as numbers, which is what an API server's are; an object with another one is looked at.
//!
//! Not kept: what nobody waits for, and who manages its fields.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value as Json;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use crate::document::Fields;
use crate::object::Place;

/// How long a watch goes on that nobody needs.
pub(crate) const IDLE: Duration = Duration::from_secs(20);
/// How long an object is waited for here. After that it is looked at.
const MOMENT: Duration = Duration::from_secs(2);
/// How long an object is kept whose operation doesn't ask for it. Longer than one needs from its first step to the verification.
const KEPT: Duration = Duration::from_secs(60);
/// How long one is kept that was asked for: what depends on it is asked for at the same time.
const KEPT_WHEN_ASKED: Duration = Duration::from_secs(5);
/// How many objects are kept. Those beyond are looked at.
const MOST: usize = 512;

/// What a version of an object says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    Ready,
    NotYet,
    /// Waiting for another version may be of no use.
    Look,
}

/// The objects of one kind that are waited for.
#[derive(Debug, Default)]
pub(crate) struct Awaited(Arc<Shown>);

/// What the watch of a kind shows of them.
#[derive(Debug, Default)]
pub(crate) struct Shown(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// By namespace and name.
    objects: BTreeMap<String, Arc<Expected>>,
    watch: Option<Watch>,
    /// When something was last expected.
    used: Option<Instant>,
}

#[derive(Debug)]
struct Watch {
    /// It shows what has happened since this version.
    from: u64,
    task: AbortHandle,
}

/// One object that is waited for.
#[derive(Debug)]
pub(crate) struct Expected {
    since: Instant,
    seen: Mutex<Seen>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    version: u64,
    /// `None` before the first version, and behind the last.
    object: Option<Arc<Json>>,
    /// The apply was answered, and the watch shows all that has happened since.
    is_covered: bool,
    /// When its operation was told of it: it is looked at from then on.
    asked: Option<Instant>,
}

impl Awaited {
    /// An object is about to be applied.
    pub(crate) fn expect(&self, place: &Place) {
        let mut state = self.0.lock();
        state.forget_old();
        state.used = Some(Instant::now());
        if state.objects.len() < MOST {
            state.objects.insert(key(place), Arc::new(Expected::new()));
        }
    }

    /// It was applied, and is like this. Where no watch shows what happens since, one begins at the version that it is given.
    pub(crate) fn applied(&self, place: &Place, answer: &Json, begin: impl FnOnce(Arc<Shown>, u64) -> AbortHandle) {
        let mut state = self.0.lock();
        if let Some(from) = state.applied(place, answer) {
            let task = begin(Arc::clone(&self.0), from);
            state.watch = Some(Watch { from, task });
        }
    }

    /// What is waited for at a place.
    pub(crate) fn at(&self, place: &Place) -> Option<Arc<Expected>> {
        let expected = self.0.lock().objects.get(&key(place)).cloned();
        expected.filter(|expected| expected.seen().asked.is_none())
    }

    /// All that is waited for in a namespace.
    pub(crate) fn in_namespace(&self, namespace: &str) -> Vec<Arc<Expected>> {
        let prefix = format!("{namespace}/");
        let state = self.0.lock();
        let from_there = state.objects.range(prefix.clone()..);
        from_there.take_while(|(key, _)| key.starts_with(&prefix)).map(|(_, object)| Arc::clone(object)).collect()
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        if let Some(watch) = self.0.lock().watch.take() {
            watch.task.abort();
        }
    }
}

impl Expected {
    fn new() -> Self {
        Self { since: Instant::now(), seen: Mutex::default(), changed: Notify::new() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_in(&self, version: u64, object: Option<Json>, is_answer: bool) {
        let mut seen = self.seen();
        seen.is_covered |= is_answer;
        if object.is_none() || version >= seen.version {
            seen.version = version;
            seen.object = object.map(|object| Arc::new(without_managers(object)));
        }
        drop(seen);
        self.changed.notify_waiters();
    }

    /// Nothing that was seen counts any more.
    fn uncover(&self) {
        *self.seen() = Seen::default();
        self.changed.notify_waiters();
    }

    /// Its newest version, if the watch shows each.
    pub(crate) fn newest(&self) -> Option<Arc<Json>> {
        let seen = self.seen();
        seen.object.clone().filter(|_| seen.is_covered)
    }

    /// Its operation was told of it.
    pub(crate) fn note_asked(&self) {
        self.seen().asked = Some(Instant::now());
    }

    fn is_old(&self) -> bool {
        let asked = self.seen().asked;
        self.since.elapsed() >= KEPT || asked.is_some_and(|asked| asked.elapsed() >= KEPT_WHEN_ASKED)
    }

    /// Waits for a version that is ready; `None` where it has to be looked at.
    pub(crate) async fn settled(&self, sight: impl Fn(&Json) -> Sight) -> Option<Arc<Json>> {
        let until = Instant::now() + MOMENT;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let newest = self.newest()?;
            match sight(&newest) {
                Sight::Ready => return Some(newest),
                Sight::NotYet => timeout_at(until, changed).await.ok()?,
                Sight::Look => return None,
            }
        }
    }
}

impl Shown {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in an event; whether the watch goes on.
    pub(crate) fn read(&self, line: &str) -> bool {
        let Ok(Json::Object(mut event)) = serde_json::from_str(line) else { return false };
        let (Some(word), Some(object)) = (event.remove("type"), event.remove("object")) else { return false };
        let (Some(word), Some(version)) = (word.as_str(), version_of(&object)) else { return false };
        let is_gone = match word {
            "ADDED" | "MODIFIED" => false,
            "DELETED" => true,
            _ => return false,
        };
        let key = format!("{}/{}", object.text("/metadata/namespace"), object.text("/metadata/name"));
        let expected = self.lock().objects.get(&key).cloned();
        if let Some(expected) = expected {
            expected.take_in(version, Some(object).filter(|_| !is_gone), false);
        }
        true
    }

    /// Whether nobody needs the watch. Then it has ended.
    pub(crate) fn is_idle(&self) -> bool {
        let mut state = self.lock();
        state.forget_old();
        let is_idle = state.objects.is_empty() && state.used.is_none_or(|used| used.elapsed() >= IDLE);
        if is_idle {
            state.watch = None;
        }
        is_idle
    }

    /// The watch has ended by itself.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.watch = None;
        std::mem::take(&mut state.objects).into_values().for_each(|expected| expected.uncover());
    }
}

impl State {
    /// An object was applied. The version from which a watch has to begin, where none shows what happens since.
    fn applied(&mut self, place: &Place, answer: &Json) -> Option<u64> {
        let expected = Arc::clone(self.objects.get(&key(place))?);
        let is_shown = |version: &u64| self.watch.as_ref().is_none_or(|watch| watch.from <= *version);
        let Some(version) = version_of(answer).filter(is_shown) else {
            self.objects.remove(&key(place));
            return None;
        };
        expected.take_in(version, Some(answer.clone()), true);
        self.watch.is_none().then_some(version)
    }

    fn forget_old(&mut self) {
        self.objects.retain(|_, expected| !expected.is_old());
    }
}

fn key(place: &Place) -> String {
    format!("{}/{}", place.namespace.as_deref().unwrap_or_default(), place.name)
}

fn version_of(object: &Json) -> Option<u64> {
    object.text("/metadata/resourceVersion").parse().ok()
}

fn without_managers(mut object: Json) -> Json {
    if let Some(Json::Object(metadata)) = object.get_mut("metadata") {
        metadata.remove("managedFields");
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::DEPLOYMENT;
    use serde_json::json;

    fn object(name: &str, version: u64, ready: bool) -> Json {
        json!({"metadata": {"namespace": "a", "name": name, "resourceVersion": version.to_string()}, "ready": ready})
    }

    fn sight(object: &Json) -> Sight {
        if object.flag("/ready") { Sight::Ready } else { Sight::NotYet }
    }

    fn event(word: &str, object: &Json) -> String {
        json!({"type": word, "object": object}).to_string()
    }

    /// With a watch since that version, in which nothing happens by itself.
    fn watched(from: u64) -> Awaited {
        let awaited = Awaited::default();
        let task = tokio::spawn(std::future::pending::<()>()).abort_handle();
        awaited.0.lock().watch = Some(Watch { from, task });
        awaited
    }

    fn apply(awaited: &Awaited, name: &str, version: u64) -> Option<Arc<Expected>> {
        let place = Place::of(DEPLOYMENT, &format!("a/{name}"));
        awaited.expect(&place);
        assert_eq!(awaited.0.lock().applied(&place, &object(name, version, false)), None, "one watch does for all");
        awaited.at(&place)
    }

    #[tokio::test(start_paused = true)]
    async fn what_gets_ready_after_its_apply_is_told_at_once_and_what_was_so_before_is_not() {
        let awaited = watched(5);
        let place = Place::of(DEPLOYMENT, "a/web");
        awaited.expect(&place);
        assert!(awaited.0.read(&event("MODIFIED", &object("web", 6, true))), "before its apply");
        assert!(awaited.at(&place).unwrap().newest().is_none(), "it was not applied yet");
        awaited.0.lock().applied(&place, &object("web", 7, false));
        let web = awaited.at(&place).unwrap();
        let begun = Instant::now();
        let shown = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            awaited.0.read(&event("MODIFIED", &object("other", 8, true)));
            awaited.0.read(&event("MODIFIED", &object("web", 6, true)));
            tokio::time::sleep(Duration::from_millis(300)).await;
            awaited.0.read(&event("MODIFIED", &object("web", 9, true)));
        };
        let (settled, ()) = tokio::join!(web.settled(sight), shown);
        assert_eq!(settled.map(|found| found.text("/metadata/resourceVersion").to_owned()).as_deref(), Some("9"));
        assert_eq!(begun.elapsed(), Duration::from_millis(600));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_ready_in_a_moment_or_is_gone_is_looked_at() {
        let awaited = watched(5);
        let web = apply(&awaited, "web", 6).unwrap();
        let begun = Instant::now();
        assert_eq!(web.settled(sight).await, None);
        assert_eq!(begun.elapsed(), MOMENT);
        awaited.0.read(&event("DELETED", &object("web", 7, true)));
        assert_eq!(web.settled(sight).await, None);
        assert_eq!(begun.elapsed(), MOMENT, "nothing is waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_counts_that_a_watch_may_have_missed() {
        let awaited = watched(5);
        assert!(apply(&awaited, "old", 4).is_none(), "the watch began later");
        let web = apply(&awaited, "web", 6).unwrap();
        awaited.0.read(&event("MODIFIED", &object("web", 7, true)));
        assert!(web.newest().is_some());
        assert!(!awaited.0.read(&json!({"type": "ERROR", "object": {"kind": "Status", "code": 410}}).to_string()));
        awaited.0.end();
        assert!(web.newest().is_none() && awaited.at(&Place::of(DEPLOYMENT, "a/web")).is_none());
        let place = Place::of(DEPLOYMENT, "a/new");
        awaited.expect(&place);
        assert_eq!(awaited.0.lock().applied(&place, &object("new", 8, false)), Some(8), "another watch begins there");
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_nobody_needs_ends_and_nothing_is_kept_for_nobody() {
        let awaited = watched(5);
        let place = Place::of(DEPLOYMENT, "a/web");
        apply(&awaited, "web", 6);
        tokio::time::advance(IDLE).await;
        assert!(!awaited.0.is_idle(), "somebody may still ask");
        awaited.at(&place).unwrap().note_asked();
        assert!(awaited.at(&place).is_none() && awaited.in_namespace("a").len() == 1, "its Service may ask");
        tokio::time::advance(KEPT_WHEN_ASKED).await;
        assert!(awaited.0.is_idle() && awaited.0.lock().watch.is_none());
        apply_unasked(&awaited).await;
        (0..2 * MOST).for_each(|number| awaited.expect(&Place::of(DEPLOYMENT, &format!("a/{number}"))));
        assert_eq!(awaited.0.lock().objects.len(), MOST);
    }

    /// One whose operation never asks.
    async fn apply_unasked(awaited: &Awaited) {
        awaited.expect(&Place::of(DEPLOYMENT, "a/web"));
        tokio::time::advance(KEPT).await;
        assert!(awaited.0.is_idle() && awaited.0.lock().objects.is_empty());
    }
}
