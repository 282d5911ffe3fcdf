//! Takes operations off the queue and lets the engine run them. Several at once, each stack's one after the other (the store sees
//! to that). An operation whose process died is acquired like a new one: the engine carries on from its journal.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use freehold_engine::journal::{Journal as _, Outcome, Record};
use freehold_engine::shell::{Ended, RunError, run};
use freehold_engine::{Fence, Leases as _, OperationId, failure};
use freehold_graph::{ResourceId, StackKey};
use freehold_problem::{Code, Problem};
use freehold_spec::Name;
use freehold_store::{End, EngineStore, Operation, Queue, Signal, StoreError, Waiting};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::field::{self, Empty, display};
use tracing::{Instrument as _, Span, debug, info, warn, warn_span};

use crate::targets::Targets;

/// The pause before a queue that couldn't be read is read again.
const PAUSE: Duration = Duration::from_secs(2);
/// How often the queue is read though nobody has signalled: a replica of an earlier release may have died before it did.
const AT_LEAST: Duration = Duration::from_secs(60);
/// How long behind the end of another process's lease the queue is read again: by then it has been renewed, or it has not.
const BEHIND_LEASE: Duration = Duration::from_millis(100);
/// How long calls that were given up may go on where they were sent to, before a successor may begin (`docs/adr/0005-leases.md`, 3).
const UNDER_WAY: Duration = Duration::from_secs(2);
/// How long giving the leases back may take.
const PARTING: Duration = Duration::from_secs(3);
/// How long an operation rests that this process can't work on.
const REST: Duration = Duration::from_secs(15);

/// Runs operations until it is told to stop. What is under way then goes on at the next start.
pub struct Executor {
    engine: EngineStore,
    targets: Arc<Targets>,
    active: Arc<Mutex<HashMap<OperationId, CancellationToken>>>,
    told: Arc<Mutex<HashMap<OperationId, String>>>,
}

impl Executor {
    /// With the queue and the leases of a store, and the targets that operations are for.
    pub fn new(engine: EngineStore, targets: Arc<Targets>) -> Self {
        Self { engine, targets, active: Arc::default(), told: Arc::default() }
    }

    /// Works until `stop`.
    pub async fn work(self, mut signals: broadcast::Receiver<Signal>, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        // Whether requests to stop may have been missed.
        let mut missed = false;
        loop {
            let mut next = match self.engine.queue().await {
                Ok(Queue { waiting, next_lease_end }) => {
                    waiting.into_iter().for_each(|waiting| self.spawn_operation(waiting, &mut tasks));
                    next_lease_end.map_or(AT_LEAST, |end| end.saturating_add(BEHIND_LEASE))
                }
                Err(error) => {
                    warn!("the queue can't be read: {error}");
                    PAUSE
                }
            };
            if missed {
                missed = !self.look_for_cancels().await;
            }
            if missed {
                next = next.min(PAUSE);
            }
            tokio::select! {
                () = stop.cancelled() => break,
                news = self.wait_for_news(&mut signals) => missed |= news == News::Missed,
                // What it worked on may have to be acquired again.
                Some(_) = tasks.join_next() => {}
                () = tokio::time::sleep(next.min(AT_LEAST)) => missed |= next >= AT_LEAST,
            }
            while tasks.try_join_next().is_some() {}
        }
        // Dropping the operations is like killing the process: another one, or the next start, goes on from their journals. Without the
        // leases it can do so at once, but for what has left this process and is still being worked on: a statement, a request.
        let busy = !self.active().is_empty();
        tasks.shutdown().await;
        if busy {
            tokio::time::sleep(UNDER_WAY).await;
        }
        match tokio::time::timeout(PARTING, self.engine.release_all()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!("the leases could not be released and lapse by themselves: {error}"),
            Err(_) => warn!("the leases could not be released in time and lapse by themselves"),
        }
    }

    /// Waits for an operation to acquire; passes on requests to cancel. Cancelling it loses nothing.
    async fn wait_for_news(&self, signals: &mut broadcast::Receiver<Signal>) -> News {
        loop {
            match signals.recv().await {
                Ok(Signal::Cancel(operation)) => {
                    if let Some(cancel) = self.active().get(&operation) {
                        cancel.cancel();
                    }
                }
                Ok(Signal::Queued(_) | Signal::Finished(_)) => return News::Queue,
                Ok(Signal::Appended(_) | Signal::Grown(_) | Signal::Targets) => {}
                Ok(Signal::Missed) | Err(broadcast::error::RecvError::Lagged(_)) => return News::Missed,
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }

    /// Looks for requests to stop among the operations that this process works on; whether the store has answered for all of them.
    async fn look_for_cancels(&self) -> bool {
        let active: Vec<(OperationId, CancellationToken)> =
            self.active().iter().map(|(operation, cancel)| (*operation, cancel.clone())).collect();
        for (operation, cancel) in active {
            match self.engine.is_cancel_requested(operation).await {
                Ok(true) => cancel.cancel(),
                Ok(false) => {}
                Err(error) => {
                    warn!(%operation, "requests to cancel can't be read; retrying: {error}");
                    return false;
                }
            }
        }
        true
    }

    fn active(&self) -> std::sync::MutexGuard<'_, HashMap<OperationId, CancellationToken>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn_operation(&self, waiting: Waiting, tasks: &mut JoinSet<()>) {
        let Waiting { operation, target } = waiting;
        let cancel = CancellationToken::new();
        {
            let mut active = self.active();
            if active.contains_key(&operation) {
                return;
            }
            active.insert(operation, cancel.clone());
        }
        let active = ActiveGuard { all: Arc::clone(&self.active), operation };
        let worker =
            Worker { engine: self.engine.clone(), targets: Arc::clone(&self.targets), told: Arc::clone(&self.told) };
        let work = async move {
            // Released however this ends: an operation that nobody works on has to be acquired again.
            let _active = active;
            if let Err(why) = worker.work(operation, &target, &cancel).await {
                worker.tell(operation, &target, &why).await;
                tokio::select! {
                    () = tokio::time::sleep(REST) => {}
                    () = cancel.cancelled() => {}
                }
            }
        };
        // At the level of what it is to explain: a warning is told with the operation that led to it.
        tasks.spawn(work.instrument(warn_span!("operation", id = %operation, stack = Empty, purpose = Empty)));
    }
}

/// What the executor is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// Something may be waiting.
    Queue,
    /// Anything may have happened.
    Missed,
}

/// An operation that this process works on.
struct ActiveGuard {
    all: Arc<Mutex<HashMap<OperationId, CancellationToken>>>,
    operation: OperationId,
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.operation);
    }
}

/// Why an operation is left for later.
#[derive(Debug, thiserror::Error)]
enum Requeued {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Journal(#[from] freehold_engine::JournalError),
    #[error("another process holds the lease")]
    Busy,
    #[error("{0}")]
    Target(String),
}

impl From<Problem> for Requeued {
    fn from(refusal: Problem) -> Self {
        Self::Target(refusal.message)
    }
}

/// What works on one operation.
struct Worker {
    engine: EngineStore,
    targets: Arc<Targets>,
    /// Why operations are left for later, as it was told last.
    told: Arc<Mutex<HashMap<OperationId, String>>>,
}

impl Worker {
    /// Works on an operation until it has ended, or another process works on it.
    ///
    /// # Errors
    /// Nobody works on it now, and it has to be taken up again.
    async fn work(&self, id: OperationId, target: &Name, cancel: &CancellationToken) -> Result<(), Requeued> {
        let operation = self.engine.operation(id).await?;
        if operation.state.is_finished() {
            return Ok(());
        }
        // Whoever asks after this read is heard: the operation is active since before it.
        if operation.cancel.is_some() {
            cancel.cancel();
        }
        Span::current()
            .record("stack", display(&operation.subject))
            .record("purpose", field::debug(operation.plan.purpose));
        let runtime = match self.targets.find(target).await {
            Ok(runtime) => runtime,
            // What has changed nothing needs no target to end.
            Err(_) if cancel.is_cancelled() && !self.has_begun(id).await? => {
                return self.abandon(&operation, Outcome::Cancelled, cancelled(&operation.plan.key)).await;
            }
            Err(problem) => return Err(problem.into()),
        };
        let Ok(_slot) = Arc::clone(&runtime.slots).acquire_owned().await else { return Ok(()) };
        info!("begins");
        let Ended { outcome, lease } = match run(id, &operation.plan, &runtime.parts, cancel).await {
            // The queue shows it again when that lease has ended.
            Err(RunError::Busy | RunError::LeaseLost) => return Ok(()),
            Err(error @ (RunError::Broken(_) | RunError::Damaged(_))) => {
                return self.abandon(&operation, Outcome::Failed, broken(&operation.plan.key, &error)).await;
            }
            ended => ended?,
        };
        info!(?outcome, "ended");
        let fence = match lease {
            Some(fence) => fence,
            None => self.engine.acquire(id).await?.ok_or(Requeued::Busy)?.fence,
        };
        self.finish(&operation, outcome, fence).await
    }

    /// Whether anything may have been done.
    async fn has_begun(&self, operation: OperationId) -> Result<bool, Requeued> {
        let records = self.engine.load(operation).await?;
        Ok(records.iter().any(|record| !matches!(record, Record::Waiting { .. })))
    }

    /// Records how an operation ended, under the lease, which goes with it.
    async fn finish(&self, operation: &Operation, outcome: Outcome, fence: Fence) -> Result<(), Requeued> {
        let told = async || Ok::<_, Requeued>(failure::summary(&self.engine.load(operation.id).await?));
        let failure = match outcome {
            // There is nothing to tell, and a journal is long.
            Outcome::Succeeded => None,
            Outcome::Failed => told().await?.or_else(|| Some(unexplained(&operation.plan.key))),
            Outcome::Cancelled => told().await?.or_else(|| Some(cancelled(&operation.plan.key))),
        };
        let outputs = if outcome == Outcome::Succeeded { operation.plan.outputs.clone() } else { Default::default() };
        let end = End { outcome, outputs, failure };
        self.engine.finish(operation.id, fence, &end).await?;
        self.forget(operation.id);
        Ok(())
    }

    /// Ends an operation that nobody can go on with. What was sent before has ended by now: no lease is granted before.
    async fn abandon(&self, operation: &Operation, outcome: Outcome, failure: Problem) -> Result<(), Requeued> {
        let lease = self.engine.acquire(operation.id).await?.ok_or(Requeued::Busy)?;
        warn!(?outcome, "abandoned: {}", failure.message);
        let end = End { outcome, outputs: BTreeMap::new(), failure: Some(failure) };
        self.engine.abandon(operation.id, lease.fence, &end).await?;
        self.forget(operation.id);
        Ok(())
    }

    /// Tells all who watch why an operation is left for later, once for each reason.
    async fn tell(&self, operation: OperationId, target: &Name, why: &Requeued) {
        let words = why.to_string();
        warn!("the operation is left for later: {words}");
        if self.all_told().get(&operation) == Some(&words) {
            return;
        }
        match self.record(operation, target, &words).await {
            Ok(()) => drop(self.all_told().insert(operation, words)),
            Err(error) => debug!("why can't be recorded: {error}"),
        }
    }

    async fn record(&self, operation: OperationId, target: &Name, words: &str) -> Result<(), Requeued> {
        let lease = self.engine.acquire(operation).await?.ok_or(Requeued::Busy)?;
        let wait = Record::Waiting {
            subject: ResourceId(format!("target.{target}")),
            reason: Some(words.to_owned()),
            milliseconds: 0,
            retry_after_milliseconds: Some(u64::try_from(REST.as_millis()).unwrap_or(u64::MAX)),
        };
        let written = self.engine.append(operation, lease.fence, &[wait]).await;
        self.engine.release(operation, lease.fence).await?;
        Ok(written?)
    }

    fn forget(&self, operation: OperationId) {
        self.all_told().remove(&operation);
    }

    fn all_told(&self) -> std::sync::MutexGuard<'_, HashMap<OperationId, String>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The journal says what can't be, so nobody can know what the operation was about to do.
fn broken(key: &StackKey, why: &RunError) -> Problem {
    let option = key.option();
    Problem::new(Code::StoreUnreadable, format!("the operation can't go on: {why}")).help(format!(
        "see `freehold status {option}`, then continue with `freehold deploy {option}`, or remove the stack with \
         `freehold destroy {option}`; a plan shows what there is now"
    ))
}

fn cancelled(key: &StackKey) -> Problem {
    let option = key.option();
    Problem::new(Code::Cancelled, "the operation was cancelled")
        .help(format!("continue with `freehold deploy {option}`, or remove the stack with `freehold destroy {option}`"))
}

fn unexplained(key: &StackKey) -> Problem {
    let option = key.option();
    Problem::new(Code::DeadlinePassed, "the operation exceeded its deadline")
        .help(format!("see `freehold status {option}`, then continue with `freehold deploy {option}`"))
}
