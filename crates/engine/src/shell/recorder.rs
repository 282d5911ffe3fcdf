//! Writes an operation's records, in order, and doesn't let go of one before it is certain that it is in the journal.
//!
//! Records that come up while others are being written go out together. A record that nothing waits for, such as that a step is done while
//! others run that the next one needs as well, lingers for a moment, so that the next ones go with it: steps that run at the same time end
//! one after the other. A crash in that moment leaves the step started, as one between the effect and its record does, and it is looked at
//! again. When the store doesn't answer, the same records are appended again until it does; the journal keeps them once
//! ([`Journal::append`]).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::journal::{Fence, Journal, JournalError, OperationId, Record};
use crate::step::StepId;

/// How long the store may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How long to wait before the store is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(200);
/// How long a record that nothing waits for is held back. Those who watch see it that much later.
const LINGER: Duration = Duration::from_millis(100);

pub(super) struct Recorder {
    journal: Arc<dyn Journal>,
    operation: OperationId,
    fence: Fence,
    patience: Duration,
    queue: Vec<Record>,
    /// When the queue is written at the latest.
    due: Instant,
    writing: Option<Writing>,
}

struct Writing {
    records: Arc<Vec<Record>>,
    result: BoxFuture<'static, Result<(), JournalError>>,
}

impl Recorder {
    pub(super) fn new(journal: Arc<dyn Journal>, operation: OperationId, fence: Fence, patience: Duration) -> Self {
        Self { journal, operation, fence, patience, queue: Vec::new(), due: Instant::now(), writing: None }
    }

    /// Takes records over. `frees` says of steps whether another one can begin once the journal has them all as done.
    pub(super) fn append(&mut self, records: Vec<Record>, frees: impl FnOnce(&BTreeSet<&StepId>) -> bool) {
        let now = Instant::now();
        if self.queue.is_empty() {
            self.due = now + LINGER;
        }
        let written = self.writing.iter().flat_map(|writing| writing.records.iter());
        let done = written.chain(&self.queue).chain(&records).filter_map(done).collect();
        if !records.iter().all(may_linger) || frees(&done) {
            self.due = now;
        }
        self.queue.extend(records);
    }

    /// Whether there is anything to wait for.
    pub(super) fn is_busy(&self) -> bool {
        self.writing.is_some() || !self.queue.is_empty()
    }

    /// The next records that are certainly in the journal. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> Result<Vec<Record>, JournalError> {
        if self.writing.is_none() {
            sleep_until(self.due).await;
            self.write();
        }
        let Some(writing) = &mut self.writing else { return Ok(Vec::new()) };
        let result = (&mut writing.result).await;
        let records = Arc::clone(&writing.records);
        self.writing = None;
        result?;
        Ok(Arc::unwrap_or_clone(records))
    }

    fn write(&mut self) {
        let records = Arc::new(std::mem::take(&mut self.queue));
        if records.is_empty() {
            return;
        }
        let (journal, operation, fence) = (Arc::clone(&self.journal), self.operation, self.fence);
        let (batch, patience) = (Arc::clone(&records), self.patience);
        let result = async move {
            let give_up = Instant::now() + patience;
            loop {
                match answer(journal.append(operation, fence, &batch)).await {
                    Err(JournalError::Unavailable(_)) if Instant::now() < give_up => sleep(TRY_AGAIN).await,
                    result => return result,
                }
            }
        };
        self.writing = Some(Writing { records, result: Box::pin(result) });
    }
}

/// The step that a record tells the end of.
fn done(record: &Record) -> Option<&StepId> {
    match record {
        Record::StepDone { step, .. } => Some(step),
        Record::Acquired { .. }
        | Record::StepStarted { .. }
        | Record::StepFailed { .. }
        | Record::StepUnknown { .. }
        | Record::Ready
        | Record::Waiting { .. }
        | Record::CancelRequested
        | Record::Finished { .. } => None,
    }
}

/// Whether nothing but another step can wait for a record: no effect, no end, nobody who has asked for something.
fn may_linger(record: &Record) -> bool {
    match record {
        Record::Acquired { .. } | Record::StepDone { .. } | Record::Waiting { .. } => true,
        Record::StepStarted { .. }
        | Record::StepFailed { .. }
        | Record::StepUnknown { .. }
        | Record::Ready
        | Record::CancelRequested
        | Record::Finished { .. } => false,
    }
}

/// Waits for the store, but not for ever.
pub(super) async fn answer<T>(request: impl Future<Output = Result<T, JournalError>>) -> Result<T, JournalError> {
    let no_answer = || JournalError::Unavailable(format!("no answer within {} s", ANSWER.as_secs()));
    timeout(ANSWER, request).await.unwrap_or_else(|_| Err(no_answer()))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use freehold_graph::ResourceId;

    use super::*;
    use crate::journal::{Outcome, StateChange};
    use crate::step::{StepId, Verb};

    /// The appends, each with how many records it had.
    #[derive(Default)]
    struct Appends(Mutex<Vec<usize>>);

    #[async_trait::async_trait]
    impl Journal for Appends {
        async fn append(&self, _: OperationId, _: Fence, records: &[Record]) -> Result<(), JournalError> {
            self.0.lock().unwrap().push(records.len());
            Ok(())
        }

        async fn load(&self, _: OperationId) -> Result<Vec<Record>, JournalError> {
            Ok(Vec::new())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_nothing_waits_for_goes_with_the_next_records_and_never_late() {
        let journal = Arc::new(Appends::default());
        let operation = OperationId(uuid::Uuid::nil());
        let mut recorder =
            Recorder::new(Arc::<Appends>::clone(&journal), operation, Fence(1), Duration::from_secs(900));
        let step = StepId::new(Verb::Create, &ResourceId("deployment.web".to_owned()));
        let done = || vec![Record::StepDone { step: step.clone(), state: StateChange::None, note: None }];
        let nobody = |_: &BTreeSet<&StepId>| false;
        let begun = Instant::now();
        recorder.append(done(), nobody);
        assert!(timeout(LINGER / 2, recorder.next()).await.is_err(), "it waits for others");
        recorder.append(done(), nobody);
        recorder.append(vec![Record::StepStarted { step: step.clone(), attempt: 1, state: StateChange::None }], nobody);
        assert_eq!(recorder.next().await.map(|records| records.len()), Ok(3));
        assert_eq!(begun.elapsed(), LINGER / 2, "an announcement waits for nobody");
        recorder.append(done(), nobody);
        assert!(timeout(LINGER / 2, recorder.next()).await.is_err());
        recorder.append(done(), nobody);
        assert_eq!(recorder.next().await.map(|records| records.len()), Ok(2));
        assert_eq!(begun.elapsed(), LINGER / 2 + LINGER, "counted from the first of them");
        recorder.append(vec![Record::Finished { outcome: Outcome::Succeeded }], nobody);
        assert_eq!(recorder.next().await.map(|records| records.len()), Ok(1));
        assert_eq!(begun.elapsed(), LINGER / 2 + LINGER);
        recorder.append(done(), |steps| steps.contains(&step));
        assert_eq!(recorder.next().await.map(|records| records.len()), Ok(1));
        assert_eq!(begun.elapsed(), LINGER / 2 + LINGER, "a step that can begin waits for nobody");
        assert_eq!(*journal.0.lock().unwrap(), [3, 2, 1, 1]);
    }
}
