//! An operation's events: a view of its journal.
//!
//! A stream can be broken off and continued behind any event, at any replica, also after the one that served it was killed: each event
//! is a record of the journal, and its sequence is the record's. The last one, the operation's end, is made from the operation's row.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use freehold_engine::{OperationId, Record, StepId, Verb};
use freehold_store::{Operation, OperationEnd, OperationState};
use futures::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::operations::Operations;
use crate::Result;
use crate::actor::{Actor, Scope};
use crate::hub::Feed;
use crate::view::{Event, EventKind, Finished, Timings};

/// How many events a slow reader may lag behind before the feed waits for it.
const BUFFER: usize = 64;

impl Operations {
    /// The events of an operation from behind `after` on, until it has finished.
    pub async fn events(
        &self,
        actor: &Actor,
        operation: OperationId,
        after: u64,
    ) -> Result<impl Stream<Item = Event> + use<>> {
        actor.require(Scope::Read)?;
        let feed = self.hub.watch(self.records.find_operation(actor, operation).await?);
        let (sender, receiver) = mpsc::channel(BUFFER);
        tokio::spawn(tell(feed, after, sender, self.stopping.clone()));
        Ok(ReceiverStream::new(receiver))
    }
}

/// Sends what the feed says until the operation has ended, whoever reads has gone, or the platform stops: then the reader continues at
/// another replica, or at the next start.
async fn tell(feed: Arc<Feed>, after: u64, sender: mpsc::Sender<Event>, stopping: CancellationToken) {
    let mut changes = feed.changes();
    let mut cursor = EventCursor::new(Arc::clone(&feed.operation));
    loop {
        let end = feed.end();
        let (seen, entries) = feed.entries_behind(cursor.seen);
        cursor.seen = seen;
        for entry in entries {
            cursor.seen += 1;
            // What comes before `after` is read, because later events tell how long something took, but not sent.
            if let Some(kind) = entry.record.as_ref().and_then(|record| cursor.event(entry.at, record))
                && entry.sequence > after
                && sender.send(Event { sequence: entry.sequence, at: entry.at, kind }).await.is_err()
            {
                return;
            }
        }
        if let Some(end) = end {
            let (sequence, kind) = (cursor.seen as u64 + 1, cursor.finished(end));
            let _ = sender.send(Event { sequence, at: end.at, kind }).await;
            return;
        }
        tokio::select! {
            () = sender.closed() => return,
            () = stopping.cancelled() => return,
            Ok(()) = changes.changed() => {}
        }
    }
}

/// What one reader has been told.
struct EventCursor {
    operation: Arc<Operation>,
    /// How many records of the journal.
    seen: usize,
    started: BTreeMap<StepId, DateTime<Utc>>,
    durations: BTreeMap<StepId, u64>,
    done: Vec<StepId>,
    /// After how many milliseconds everything was ready.
    ready: Option<u64>,
    steps: usize,
}

impl EventCursor {
    fn new(operation: Arc<Operation>) -> Self {
        let steps = freehold_engine::step::steps(&operation.plan).len();
        Self {
            operation,
            seen: 0,
            started: BTreeMap::new(),
            durations: BTreeMap::new(),
            done: Vec::new(),
            ready: None,
            steps,
        }
    }

    fn event(&mut self, at: DateTime<Utc>, record: &Record) -> Option<EventKind> {
        match record {
            Record::Acquired { times } => Some(EventKind::Taken {
                times: *times,
                done: u32::try_from(self.done.len()).unwrap_or(u32::MAX),
                steps: u32::try_from(self.steps).unwrap_or(u32::MAX),
            }),
            Record::StepStarted { step, attempt, .. } => {
                self.started.entry(step.clone()).or_insert(at);
                Some(EventKind::StepStarted { step: step.clone(), attempt: *attempt })
            }
            Record::StepDone { step, note, .. } => {
                let milliseconds = self.duration(step, at);
                self.done.push(step.clone());
                self.durations.insert(step.clone(), milliseconds);
                Some(EventKind::StepDone { step: step.clone(), note: note.clone(), milliseconds })
            }
            Record::StepFailed { step, failure } => {
                Some(EventKind::StepFailed { step: step.clone(), problem: failure.clone() })
            }
            Record::StepUnknown { step, message, retry_after_milliseconds } => Some(EventKind::StepRetrying {
                step: step.clone(),
                reason: format!("no answer: {message}"),
                retry_after_milliseconds: *retry_after_milliseconds,
            }),
            Record::Ready => {
                let milliseconds = (at - self.operation.created_at).num_milliseconds();
                let milliseconds = u64::try_from(milliseconds).unwrap_or_default();
                self.ready = Some(milliseconds);
                Some(EventKind::Ready { milliseconds })
            }
            Record::Waiting { subject, reason, milliseconds, retry_after_milliseconds } => Some(EventKind::Waiting {
                subject: subject.clone(),
                reason: reason.clone(),
                milliseconds: *milliseconds,
                retry_after_milliseconds: *retry_after_milliseconds,
            }),
            Record::CancelRequested | Record::Finished { .. } => None,
        }
    }

    fn duration(&self, step: &StepId, until: DateTime<Utc>) -> u64 {
        let since = self.started.get(step).copied().unwrap_or(until);
        u64::try_from((until - since).num_milliseconds()).unwrap_or_default()
    }

    fn finished(&self, end: &OperationEnd) -> EventKind {
        let operation = &self.operation;
        let total = u64::try_from((end.at - operation.created_at).num_milliseconds()).unwrap_or_default();
        let succeeded = end.state == OperationState::Succeeded;
        let planned = freehold_engine::step::steps(&operation.plan).into_keys();
        let missing = planned.filter(|step| !self.done.contains(step) && step.verb() != Verb::Verify);
        EventKind::Finished(Box::new(Finished {
            stack: operation.stack,
            operation: operation.id,
            revision: operation.plan.revision,
            state: end.state,
            outputs: operation.plan.outputs.clone(),
            timings: Timings { total, ready: self.ready.or(succeeded.then_some(total)), steps: self.durations.clone() },
            failure: end.failure.clone(),
            exists: if succeeded { Vec::new() } else { self.done.iter().map(|step| step.subject().clone()).collect() },
            missing: if succeeded { Vec::new() } else { missing.map(|step| step.subject().clone()).collect() },
        }))
    }
}
