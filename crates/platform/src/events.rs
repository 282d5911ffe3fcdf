//! An operation's events: a view of its journal, plus what is worth telling while it happens (retries).
//!
//! A stream can be broken off and taken up again behind any event, also after the server was killed: everything but a retry's
//! announcement comes from the journal. An event's sequence is its journal record's.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use freehold::wire::{self, Event, EventKind};
use freehold_engine::{Record, StepId};
use freehold_problem::Problem;
use freehold_store::{Operation, Topic};
use futures::Stream;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

use super::Platform;
use super::reading::state_word;
use crate::actor::{Actor, Scope};
use crate::refusal::{self, Answer};

/// A signal may be lost; the journal never is. So it is looked at this often anyway.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

impl Platform {
    /// The events of an operation from behind `after` on, until it has finished.
    pub async fn events(
        self: &std::sync::Arc<Self>,
        actor: &Actor,
        operation: Uuid,
        after: u64,
    ) -> Answer<impl Stream<Item = Event> + use<>> {
        actor.require(Scope::Read)?;
        let mut signals = self.store.signals_from_now();
        let found = self.find_operation(actor, operation).await?;
        let (sender, receiver) = mpsc::channel(64);
        let (platform, actor) = (std::sync::Arc::clone(self), actor.clone());
        tokio::spawn(async move {
            let mut told = Telling::new(found, after);
            loop {
                match platform.tell(&actor, &mut told, &sender).await {
                    Ok(false) => {}
                    Ok(true) | Err(Gone) => return,
                }
                tokio::select! {
                    () = sender.closed() => return,
                    // Whoever listens takes the stream up again at another process, or at the next start.
                    () = platform.stopping.cancelled() => return,
                    () = wait_for(&mut signals, operation) => {}
                }
            }
        });
        Ok(ReceiverStream::new(receiver))
    }

    /// Sends what is new; whether that was all there will ever be.
    async fn tell(&self, actor: &Actor, told: &mut Telling, sender: &mpsc::Sender<Event>) -> Result<bool, Gone> {
        // Before the journal: where it has finished by now, the journal is complete.
        let Ok(operation) = self.find_operation(actor, told.operation.id.0).await else { return Ok(false) };
        let Ok(mut tx) = self.store.begin(told.operation.tenant).await else { return Ok(false) };
        let Ok(records) = tx.journal(told.operation.id, told.seen).await else {
            return Ok(false);
        };
        drop(tx);
        for (sequence, at, record) in records {
            told.seen = sequence;
            // What comes before `after` is looked at, because later events tell how long something took, but not sent.
            if let Some(kind) = told.event(at, &record)
                && sequence > told.after
            {
                sender.send(Event { sequence, at, kind }).await.map_err(|_| Gone)?;
            }
        }
        if !operation.state.is_finished() {
            return Ok(false);
        }
        told.operation = operation;
        let kind = told.finished();
        let at = told.operation.finished_at.unwrap_or_else(Utc::now);
        sender.send(Event { sequence: told.seen + 1, at, kind }).await.map_err(|_| Gone)?;
        Ok(true)
    }
}

/// The one who listened has gone.
struct Gone;

async fn wait_for(signals: &mut broadcast::Receiver<freehold_store::Signal>, operation: Uuid) {
    let ours = async {
        loop {
            match signals.recv().await {
                Ok(signal) if signal.operation.0 == operation && signal.topic != Topic::Queued => return,
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => return,
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    };
    let _ = tokio::time::timeout(LOOK_AGAIN, ours).await;
}

/// What one listener was told.
struct Telling {
    operation: Operation,
    after: u64,
    seen: u64,
    started: BTreeMap<StepId, DateTime<Utc>>,
    durations: BTreeMap<String, u64>,
    done: Vec<StepId>,
    /// After how many milliseconds everything was ready.
    ready: Option<u64>,
    steps: usize,
}

impl Telling {
    fn new(operation: Operation, after: u64) -> Self {
        let steps = freehold_engine::step::steps(&operation.plan).len();
        Self {
            operation,
            after,
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
            Record::Taken { times } => Some(EventKind::Taken {
                times: *times,
                done: u32::try_from(self.done.len()).unwrap_or(u32::MAX),
                steps: u32::try_from(self.steps).unwrap_or(u32::MAX),
            }),
            Record::StepStarted { step, attempt, .. } => {
                self.started.entry(step.clone()).or_insert(at);
                let (verb, subject) = parts(step);
                Some(EventKind::StepStarted { step: step.to_string(), verb, subject, attempt: *attempt })
            }
            Record::StepDone { step, note, .. } => {
                let (verb, subject) = parts(step);
                let milliseconds = self.duration(step, at);
                self.done.push(step.clone());
                self.durations.insert(step.to_string(), milliseconds);
                Some(EventKind::StepDone { step: step.to_string(), verb, subject, note: note.clone(), milliseconds })
            }
            Record::StepFailed { step, failure } => {
                let (_, subject) = parts(step);
                Some(EventKind::StepFailed { step: step.to_string(), subject, problem: refusal::failure(failure) })
            }
            Record::StepUnknown { step, message } => Some(EventKind::StepRetrying {
                step: step.to_string(),
                reason: format!("no answer: {message}"),
                after_milliseconds: 0,
            }),
            Record::Ready => {
                let milliseconds = (at - self.operation.created_at).num_milliseconds();
                let milliseconds = u64::try_from(milliseconds).unwrap_or_default();
                self.ready = Some(milliseconds);
                Some(EventKind::Ready { milliseconds })
            }
            Record::Waiting { subject, reason, milliseconds } => Some(EventKind::Waiting {
                subject: subject.to_string(),
                reason: reason.clone(),
                milliseconds: *milliseconds,
            }),
            Record::CancelRequested | Record::Finished { .. } => None,
        }
    }

    fn duration(&self, step: &StepId, until: DateTime<Utc>) -> u64 {
        let since = self.started.get(step).copied().unwrap_or(until);
        u64::try_from((until - since).num_milliseconds()).unwrap_or_default()
    }

    fn finished(&self) -> EventKind {
        let operation = &self.operation;
        let total = operation.finished_at.map_or(0, |end| (end - operation.created_at).num_milliseconds());
        let total = u64::try_from(total).unwrap_or_default();
        let failure: Option<&Problem> = operation.failure.as_ref();
        let succeeded = operation.state == freehold_store::OperationState::Succeeded;
        let planned = freehold_engine::step::steps(&operation.plan).into_keys();
        let missing = planned.filter(|step| !self.done.contains(step) && parts(step).0 != "verify");
        EventKind::Finished {
            stack: operation.stack.0,
            operation: operation.id.0,
            revision: operation.plan.revision,
            state: state_word(operation.state).to_owned(),
            outputs: wire::nested(&operation.plan.outputs),
            timings: serde_json::json!({ "total": total, "ready": self.ready.or(succeeded.then_some(total)), "steps": self.durations }),
            failure: failure.map(refusal::failure),
            exists: if succeeded { Vec::new() } else { self.done.iter().map(|step| parts(step).1).collect() },
            missing: if succeeded { Vec::new() } else { missing.map(|step| parts(&step).1).collect() },
        }
    }
}

/// `create/database.main` in its two parts.
fn parts(step: &StepId) -> (String, String) {
    let (verb, subject) = step.0.split_once('/').unwrap_or((&step.0, ""));
    (verb.to_owned(), subject.to_owned())
}
