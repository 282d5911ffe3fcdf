//! When something is judged, and what of it is evidence.
//!
//! Whoever has just put a missing Secret back finds a Pod that still says that it is missing: the node looks again in its own time, up to
//! five minutes later. So what is older than the change that is judged says nothing about it.

use chrono::{DateTime, Duration, Utc};
use serde_json::Value as Json;

use crate::document::Fields;

/// The cluster writes whole seconds.
const SECOND: Duration = Duration::seconds(1);
/// What was made so shortly before the end of a change was made by it.
const BY_IT: Duration = Duration::seconds(10);

/// The time of a look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) now: DateTime<Utc>,
    /// When the change was made that the look is to judge; `None` if it judges none, but says how things are.
    changed: Option<DateTime<Utc>>,
}

impl Moment {
    /// For how things are.
    pub(crate) const fn new(now: DateTime<Utc>) -> Self {
        Self { now, changed: None }
    }

    /// For what has come of a change of that long ago.
    pub(crate) fn after(self, changed: Option<std::time::Duration>) -> Self {
        let ago = changed.and_then(|ago| Duration::from_std(ago).ok());
        Self { changed: ago.map(|ago| self.now - ago), ..self }
    }

    /// Whether what happened then may have come of the change.
    pub(crate) fn is_evidence(&self, at: Option<DateTime<Utc>>) -> bool {
        self.changed.is_none_or(|changed| at.is_some_and(|at| at + SECOND > changed))
    }

    /// Whether an object was there before the change.
    pub(crate) fn is_older(&self, object: &Json) -> bool {
        let made = object.time("/metadata/creationTimestamp");
        self.changed.is_some_and(|changed| made.is_none_or(|made| made + BY_IT < changed))
    }

    /// For how long something has been so that began then, the time before the change not counted.
    pub(crate) fn lasted(&self, since: DateTime<Utc>) -> Duration {
        self.now.signed_duration_since(self.changed.map_or(since, |changed| changed.max(since)))
    }
}
