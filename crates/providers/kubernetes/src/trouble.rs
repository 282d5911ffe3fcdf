//! Why something isn't ready: in words for people, with whether waiting may help, and what would tell more.

use chrono::{DateTime, Utc};
use freehold_engine::{ProviderError, Readiness};
use serde_json::Value as Json;

use crate::document::Fields;
use crate::error::ClusterError;
use crate::logs;
use crate::moment::Moment;
use crate::neighbour::EVENT;
use crate::object::Place;
use crate::reader::Reader;
use crate::request::Request;

pub(crate) const QUOTA_TOO_SMALL: &str = "FH0202";
pub(crate) const IMAGE_MISSING: &str = "FH0607";
pub(crate) const REGISTRY_REFUSED: &str = "FH0609";
pub(crate) const JOB_FAILED: &str = "FH0701";
pub(crate) const NEVER_READY: &str = "FH0703";
pub(crate) const COMMAND_NOT_FOUND: &str = "FH0704";
pub(crate) const OUTCOME_UNKNOWN: &str = "FH0705";
pub(crate) const CRASH_LOOP: &str = "FH0706";
pub(crate) const NOT_OURS: &str = "FH0801";
pub(crate) const ANOTHER: &str = "FH0804";
pub(crate) const STEP_FAILED: &str = "FH0906";
pub(crate) const POD_REFUSED: &str = "FH1220";
pub(crate) const NOT_STARTABLE: &str = "FH1221";
pub(crate) const UNSCHEDULABLE: &str = "FH1222";
pub(crate) const ROUTE_REFUSED: &str = "FH1223";
pub(crate) const NO_CERTIFICATE: &str = "FH1224";
pub(crate) const NO_METRICS: &str = "FH1226";

/// How many lines of a log are shown with a failure.
pub(crate) const SHOWN_LINES: usize = 10;

/// Why something isn't ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Without a change it won't get better.
    pub(crate) fatal: bool,
    /// The diagnostic's code, where there is one.
    pub(crate) code: Option<&'static str>,
    /// In words for people.
    pub(crate) words: String,
    /// What would tell more.
    pub(crate) more: More,
    /// It may be from before the change that is judged, unless an event tells otherwise.
    pub(crate) unproven: bool,
}

/// What tells more about a Pod's trouble than its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum More {
    /// Nothing.
    Nothing,
    /// The last lines of a container's log; of the one before the present one, if that is waiting to start.
    Log {
        /// Which container.
        container: String,
        /// The one before.
        previous: bool,
    },
    /// The Pod's events.
    Events,
}

impl Trouble {
    pub(crate) fn waiting(words: impl Into<String>) -> Self {
        Self { fatal: false, code: None, words: words.into(), more: More::Nothing, unproven: false }
    }

    pub(crate) fn failed(code: &'static str, words: impl Into<String>) -> Self {
        Self { fatal: true, code: Some(code), words: words.into(), more: More::Nothing, unproven: false }
    }

    #[must_use]
    pub(crate) fn with(self, more: More) -> Self {
        Self { more, ..self }
    }

    #[must_use]
    pub(crate) fn coded(self, code: &'static str) -> Self {
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

    /// The same with the words of the log or the events of that Pod.
    pub(crate) async fn explained(mut self, reader: &Reader<'_>, pod: &Json, moment: Moment) -> (Self, Vec<String>) {
        let mut lines = Vec::new();
        if self.unproven {
            let last = last_warning(reader, pod).await.ok().flatten();
            let is_evidence = last.is_some_and(|event| moment.is_evidence(time_of(&event)));
            self = if is_evidence { Self { unproven: false, ..self } } else { self.outdated() };
        }
        match &self.more {
            More::Nothing => {}
            More::Log { container, previous } => {
                lines = match logs::last_lines(reader, pod, container, *previous, SHOWN_LINES).await {
                    Ok(lines) => lines,
                    Err(error) => vec![format!("(its log can't be read: {})", logs::words(&error))],
                };
            }
            More::Events => match warning(reader, pod).await {
                Ok(Some(event)) => self.words = format!("{}: {event}", self.words),
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "events can't be read"),
            },
        }
        self.more = More::Nothing;
        (self, lines)
    }

    /// As the answer to whether something is ready, with lines of a log below.
    pub(crate) fn readiness(self, lines: &[String]) -> Readiness {
        let mut words = self.words;
        for line in lines {
            words.push_str("\n  │ ");
            words.push_str(line);
        }
        match (self.fatal, self.code) {
            (true, code) => Readiness::Failed(format!("{}: {words}", code.unwrap_or(NEVER_READY))),
            (false, _) => Readiness::Waiting(words),
        }
    }
}

/// The message of the last warning about an object.
pub(crate) async fn warning(reader: &Reader<'_>, object: &Json) -> Result<Option<String>, ClusterError> {
    let last = last_warning(reader, object).await?;
    Ok(last.map(|event| event.text("/message").trim().to_owned()).filter(|message| !message.is_empty()))
}

/// The last warning about an object that tells of an attempt.
pub(crate) async fn last_warning(reader: &Reader<'_>, object: &Json) -> Result<Option<Json>, ClusterError> {
    let (namespace, uid) = (object.text("/metadata/namespace"), object.text("/metadata/uid"));
    let fields = format!("involvedObject.uid={uid},type=Warning");
    let events = Request::list(&Place::all(EVENT, Some(namespace)), "").with("fieldSelector", &fields);
    let events = reader.cluster.list(&events, reader.deadline).await?;
    let telling = |event: &Json| !matches!(event.text("/reason"), "BackOff");
    Ok(events.into_iter().filter(telling).max_by_key(time_of))
}

/// When an event happened last.
pub(crate) fn time_of(event: &Json) -> Option<DateTime<Utc>> {
    let times = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    times.iter().find_map(|pointer| event.time(pointer))
}

/// A rejection with a way on.
pub(crate) fn refusal(code: &'static str, message: impl Into<String>, help: impl Into<String>) -> ProviderError {
    ProviderError::Rejected { code, message: message.into(), detail: Vec::new(), help: Some(help.into()) }
}
