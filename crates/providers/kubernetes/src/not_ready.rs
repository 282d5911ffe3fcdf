//! Why something isn't ready: in words for people, with whether waiting may help, and what would tell more.

use chrono::{DateTime, Utc};
use freehold_engine::{ProviderError, Readiness, ReadinessFailure};
use freehold_problem::{Code, Problem};
use serde_json::Value as Json;

use crate::document::Fields;
use crate::error::ClusterError;
use crate::neighbour::EVENT;
use crate::object::Place;
use crate::reader::Reader;
use crate::request::Request;

/// The type of an event that reports a problem.
const WARNING: &str = "Warning";
/// How many lines of a log are shown with a failure.
pub(crate) const SHOWN_LINES: usize = 10;

/// Why something isn't ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotReady {
    /// Without a change it won't get better.
    pub(crate) fatal: bool,
    /// The diagnostic's code, where there is one.
    pub(crate) code: Option<Code>,
    /// In words for people.
    pub(crate) words: String,
    /// What would tell more.
    pub(crate) more: More,
    /// It may be from before the change that is judged, unless an event tells otherwise.
    pub(crate) unproven: bool,
}

/// What explains more than a Pod's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum More {
    Nothing,
    /// The last lines of a container's log; of the one before the present one, if that is waiting to start.
    Log {
        container: String,
        /// The one before.
        previous: bool,
        /// When it began, if that is known: a probe that failed before says nothing of it.
        begun: Option<DateTime<Utc>>,
    },
    /// The Pod's events.
    Events,
    /// The same, where a container was started again: first of all, whether the kubelet has ended the one before.
    Ended {
        container: String,
        /// When the one before began.
        begun: Option<DateTime<Utc>>,
    },
}

impl NotReady {
    pub(crate) fn waiting(words: impl Into<String>) -> Self {
        Self { fatal: false, code: None, words: words.into(), more: More::Nothing, unproven: false }
    }

    pub(crate) fn failed(code: Code, words: impl Into<String>) -> Self {
        Self { fatal: true, code: Some(code), words: words.into(), more: More::Nothing, unproven: false }
    }

    #[must_use]
    pub(crate) fn with(self, more: More) -> Self {
        Self { more, ..self }
    }

    #[must_use]
    pub(crate) fn coded(self, code: Code) -> Self {
        Self { code: Some(code), ..self }
    }

    /// Only an event since the change that is judged makes it fatal.
    #[must_use]
    pub(crate) fn unproven(self) -> Self {
        Self { unproven: true, ..self }
    }

    /// It is from before the change that is judged: it may be over when it is tried again.
    #[must_use]
    pub(crate) fn outdated(self) -> Self {
        let words = format!("{} (before this change; the node tries again within 5 min)", self.words);
        Self { fatal: false, unproven: false, words, ..self }
    }

    /// The higher, the more it says.
    pub(crate) fn rank(&self) -> u8 {
        u8::from(self.fatal && !self.unproven) * 4
            + u8::from(self.code.is_some()) * 2
            + u8::from(self.more != More::Nothing)
    }

    /// As the answer to whether something is ready, with lines of a log below.
    pub(crate) fn readiness(self, lines: &[String]) -> Readiness {
        let (code, message, lines) = (self.code, self.words, lines.to_vec());
        if self.fatal {
            return Readiness::Failed(ReadinessFailure {
                code: Some(code.unwrap_or(Code::NeverReady)),
                message,
                lines,
            });
        }
        Readiness::Waiting(ReadinessFailure { code: None, message, lines }.to_string())
    }
}

/// Which events of an object.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Only {
    All,
    Warnings,
}

/// The message of the last warning about an object.
pub(crate) async fn warning(reader: &Reader<'_>, object: &Json) -> Result<Option<String>, ClusterError> {
    Ok(last_warning(reader, object).await?.and_then(|event| message(&event)))
}

/// The last warning about an object that tells of an attempt.
pub(crate) async fn last_warning(reader: &Reader<'_>, object: &Json) -> Result<Option<Json>, ClusterError> {
    Ok(last_of(events(reader, object, Only::Warnings).await?))
}

/// The last warning of these that tells of an attempt.
pub(crate) fn last_of(events: Vec<Json>) -> Option<Json> {
    let telling = |event: &Json| event.text("/type") == WARNING && event.text("/reason") != "BackOff";
    events.into_iter().filter(telling).max_by_key(time_of)
}

pub(crate) fn message(event: &Json) -> Option<String> {
    Some(event.text("/message").trim().to_owned()).filter(|message| !message.is_empty())
}

async fn events(reader: &Reader<'_>, object: &Json, only: Only) -> Result<Vec<Json>, ClusterError> {
    let (namespace, uid) = (object.text("/metadata/namespace"), object.text("/metadata/uid"));
    let fields = match only {
        Only::All => format!("involvedObject.uid={uid}"),
        Only::Warnings => format!("involvedObject.uid={uid},type={WARNING}"),
    };
    let events = Request::list(&Place::all(EVENT, Some(namespace)), "").with("fieldSelector", &fields);
    reader.cluster.list(&events, reader.deadline).await
}

/// None where they can't be read.
pub(crate) async fn readable_events(reader: &Reader<'_>, object: &Json, only: Only) -> Vec<Json> {
    events(reader, object, only).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "events can't be read");
        Vec::new()
    })
}

/// The probe for which the kubelet has ended a container since `begun`, with what it answered: the exit code of such an end, 137 or 143,
/// is not the container's doing.
pub(crate) fn failed_probe(events: &[Json], container: &str, begun: Option<DateTime<Utc>>) -> Option<String> {
    let field = format!("{{{container}}}");
    let of_it = |event: &&Json| {
        event.text("/involvedObject/fieldPath").ends_with(&field)
            && begun.is_none_or(|begun| time_of(event).is_some_and(|time| time >= begun))
    };
    let last = |reason: &str, says: &str| {
        let found = events.iter().filter(of_it).filter(|event| event.text("/reason") == reason);
        found.filter(|event| event.text("/message").contains(says)).max_by_key(|event| time_of(event))
    };
    ["liveness", "startup"].into_iter().find_map(|probe| {
        // `Container web failed liveness probe, will be restarted`
        last("Killing", &format!("failed {probe} probe"))?;
        let (first, rest) = probe.split_at(1);
        let failed = format!("{}{rest} probe failed", first.to_uppercase());
        let why = last("Unhealthy", &failed).map(|event| event.text("/message").trim());
        let why = why.and_then(|why| why.strip_prefix(&format!("{failed}: ")));
        Some(why.map_or_else(|| format!("its {probe} probe failed"), |why| format!("its {probe} probe failed: {why}")))
    })
}

/// When an event happened last.
pub(crate) fn time_of(event: &Json) -> Option<DateTime<Utc>> {
    let times = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    times.iter().find_map(|pointer| event.time(pointer))
}

/// A rejection with a way on.
pub(crate) fn refusal(code: Code, message: impl Into<String>, help: impl Into<String>) -> ProviderError {
    ProviderError::from(Problem::new(code, message).help(help))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(reason: &str, container: &str, message: &str, minute: u32) -> Json {
        json!({
            "reason": reason, "message": message, "lastTimestamp": format!("2026-03-02T10:{minute:02}:00Z"),
            "involvedObject": {"fieldPath": format!("spec.containers{{{container}}}")},
        })
    }

    #[test]
    fn a_container_that_a_probe_has_ended_is_told_with_the_probe() {
        let refused = "Liveness probe failed: HTTP probe failed with statuscode: 503";
        let events = [
            event("Unhealthy", "web", refused, 3),
            event("Unhealthy", "web", "Readiness probe failed: connection refused", 4),
            event("Killing", "web", "Container web failed liveness probe, will be restarted", 4),
        ];
        let begun = |minute: u32| format!("2026-03-02T10:{minute:02}:00Z").parse().ok();
        let told = failed_probe(&events, "web", begun(1));
        assert_eq!(told.as_deref(), Some("its liveness probe failed: HTTP probe failed with statuscode: 503"));
        assert_eq!(failed_probe(&events, "web", begun(5)), None, "it was one before");
        assert_eq!(failed_probe(&events, "other", None), None);
        assert_eq!(failed_probe(&events[..2], "web", None), None, "it failed, and nobody was ended for it");
        let slow = [event("Killing", "web", "Container web failed startup probe, will be restarted", 4)];
        assert_eq!(failed_probe(&slow, "web", None).as_deref(), Some("its startup probe failed"));
    }
}
