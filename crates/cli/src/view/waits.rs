//! What an operation waits for, and for how long already.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::cluster;
use crate::layout::ago;

/// What is waited for at the moment, by subject.
#[derive(Debug, Default)]
pub(crate) struct Waits(BTreeMap<String, Wait>);

#[derive(Debug)]
struct Wait {
    reason: String,
    /// How old it was when it was heard of, and when that was.
    age: Duration,
    heard: Duration,
    /// When what failed is tried again.
    retry: Option<Duration>,
}

impl Waits {
    /// Something is waited for, and has been for `age` by `now`; what failed is tried again `retry` later.
    pub(crate) fn begin(&mut self, subject: &str, reason: &str, age: Duration, retry: Option<Duration>, now: Duration) {
        let retry = retry.map(|retry| now.saturating_add(retry));
        self.0.insert(subject.to_owned(), Wait { reason: reason.to_owned(), age, heard: now, retry });
    }

    /// It isn't any more.
    pub(crate) fn end(&mut self, subject: &str) {
        self.0.remove(subject);
    }

    /// Whoever waited is gone.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// A wait in words: `deployment web: its rollout is paused, for 12 s`.
    pub(crate) fn told(&self, subject: &str, now: Duration) -> Option<String> {
        self.0.get(subject).map(|wait| wait.words(subject, now))
    }

    /// All of them in words.
    pub(crate) fn all(&self, now: Duration) -> Vec<String> {
        self.0.iter().map(|(subject, wait)| wait.words(subject, now)).collect()
    }
}

impl Wait {
    fn words(&self, subject: &str, now: Duration) -> String {
        let in_words = |time: Duration| ago(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
        let age = self.age.saturating_add(now.saturating_sub(self.heard));
        let retry = self.retry.and_then(|retry| retry.checked_sub(now)).filter(|left| left.as_secs() > 0);
        let retry = retry.map(|left| format!("; next attempt in {}", in_words(left))).unwrap_or_default();
        format!("{}: {}, for {}{retry}", called(subject), self.reason, in_words(age))
    }
}

/// A wait of an operation that somebody else watches: `it waits for deployment web: its rollout is paused, for 12 s`.
pub(crate) fn line(wait: &freehold::wire::Wait, now: DateTime<Utc>) -> String {
    let age = ago((now - wait.since).num_seconds());
    format!("it waits for {}: {}, for {age}", called(&wait.subject), wait.reason)
}

/// What people call a resource: `deployment web`, `route web`.
pub(crate) fn called(subject: &str) -> String {
    let (word, name) = subject.split_once('.').unwrap_or((subject, ""));
    let name = name.split('@').next().unwrap_or_default();
    format!("{} {name}", cluster::short(word)).trim_end().to_owned()
}
