//! Writes an operation's records, in order, and doesn't let go of one before it is certain that it is in the journal.
//!
//! Records that come up while others are being written go out together. When the store doesn't answer, the same records are
//! appended again until it does; the journal keeps them once ([`Journal::append`]).

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::{Instant, sleep, timeout};

use crate::journal::{Fence, Journal, JournalError, OperationId, Record};

/// How long the store may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How long to wait before the store is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(200);

pub(super) struct Recorder {
    journal: Arc<dyn Journal>,
    operation: OperationId,
    fence: Fence,
    patience: Duration,
    queue: Vec<Record>,
    writing: Option<Writing>,
}

struct Writing {
    records: Arc<Vec<Record>>,
    result: BoxFuture<'static, Result<(), JournalError>>,
}

impl Recorder {
    pub(super) fn new(journal: Arc<dyn Journal>, operation: OperationId, fence: Fence, patience: Duration) -> Self {
        Self { journal, operation, fence, patience, queue: Vec::new(), writing: None }
    }

    /// Takes records over.
    pub(super) fn append(&mut self, records: Vec<Record>) {
        self.queue.extend(records);
    }

    /// Whether there is anything to wait for.
    pub(super) fn is_busy(&self) -> bool {
        self.writing.is_some() || !self.queue.is_empty()
    }

    /// The next records that are certainly in the journal. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> Result<Vec<Record>, JournalError> {
        if self.writing.is_none() {
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

/// Waits for the store, but not for ever.
pub(super) async fn answer<T>(request: impl Future<Output = Result<T, JournalError>>) -> Result<T, JournalError> {
    let no_answer = || JournalError::Unavailable(format!("no answer within {} s", ANSWER.as_secs()));
    timeout(ANSWER, request).await.unwrap_or_else(|_| Err(no_answer()))
}
