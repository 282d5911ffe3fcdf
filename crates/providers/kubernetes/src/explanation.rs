//! Why a Pod isn't ready, in more detail: from its events and its containers' logs.

use chrono::{DateTime, Utc};
use serde_json::Value as Json;

use crate::logs;
use crate::moment::Moment;
use crate::not_ready::{
    More, NotReady, Only, SHOWN_LINES, failed_probe, last_of, last_warning, message, readable_events, time_of,
};
use crate::reader::Reader;

impl NotReady {
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
            More::Log { container, previous, begun } => {
                if let Some(probe) = probe(reader, pod, container, *begun).await {
                    self.words = format!("{}; the kubelet ended it: {probe}", self.words);
                }
                lines = match logs::last_lines(reader, pod, container, *previous, SHOWN_LINES).await {
                    Ok(lines) => lines,
                    Err(error) => vec![format!("(its log can't be read: {})", logs::words(&error))],
                };
            }
            More::Events => self.words += &behind(last_of(readable_events(reader, pod, Only::Warnings).await)),
            More::Ended { container, begun } => {
                let events = readable_events(reader, pod, Only::All).await;
                match failed_probe(&events, container, *begun) {
                    Some(probe) => self.words = format!("{}; the kubelet ended it: {probe}", self.words),
                    None => self.words += &behind(last_of(events)),
                }
            }
        }
        self.more = More::Nothing;
        (self, lines)
    }
}

/// What a warning says, behind what is said of a Pod.
fn behind(warning: Option<Json>) -> String {
    warning.and_then(|event| message(&event)).map(|message| format!(": {message}")).unwrap_or_default()
}

/// The probe for which the kubelet has ended a container of a Pod, if it has.
async fn probe(reader: &Reader<'_>, pod: &Json, container: &str, begun: Option<DateTime<Utc>>) -> Option<String> {
    failed_probe(&readable_events(reader, pod, Only::All).await, container, begun)
}
