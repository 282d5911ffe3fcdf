//! The asynchronous shell around [`decide`]: carries out its actions and feeds back what happened. It decides nothing.
//!
//! **One task.** The lease, the records and all calls of an operation are polled by one task, the lease first, each time
//! it wakes up. That makes the rule about leases simple to keep: when the lease has lapsed the calls are dropped before any of them
//! is polled again, and a future that isn't polled does nothing.
//!
//! **Leases and calls that are longer than one.** A call may take as long as its step (a job: hours), while a lease lives for
//! seconds. A call goes on for as long as the lease is renewed. When it can't be renewed for two thirds of its
//! length, all calls are dropped and their outcome is unknown. What had left the process by then, a statement that a
//! server is working on, has the last third to end, before a successor can begin. See `docs/adr/0005-leases.md`.
//!
//! **The store is away.** Records wait, in order; no new effect begins, since each waits for its record; effects under way go
//! on until the lease lapses. When the store is back and nobody else took the lease, the records are written and the operation
//! goes on.
//!
//! **Cancel safety.** Dropping [`run`] at any point is like killing the process: calls stop, the lease ends by itself, and the next
//! [`run`] goes on from the journal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use freehold_graph::ProviderName;
use freehold_plan::Plan;
use freehold_problem::Code;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info, warn, warn_span};

use crate::decide::{Action, End, Input, InputKind, Reply, Request, decide};
use crate::journal::{Fence, Journal, JournalError, Leases, OperationId, Outcome, Record};
use crate::operation::{CallId, Limits, OperationState, Status};
use crate::provider::{CallWaits, Context, Provider, ProviderError, Secrets, Task};
use crate::step::Verb;

mod error;
mod lease;
mod recorder;

pub use error::RunError;
use lease::{LeaseChange, LeaseHolder};
use recorder::Recorder;

/// Calls at once in one operation, all providers together.
const CALLS: usize = 16;
/// How long the store, or another operation of the same stack, is waited for.
const PATIENCE: Duration = Duration::from_secs(900);

/// What operations are made with. One for the whole process: the limits of the providers hold over all operations.
pub struct Dependencies {
    journal: Arc<dyn Journal>,
    leases: Arc<dyn Leases>,
    secrets: Arc<dyn Secrets>,
    providers: BTreeMap<ProviderName, LimitedProvider>,
    patience: Duration,
    while_busy: Duration,
}

/// A provider, and the right to call it.
#[derive(Clone)]
struct LimitedProvider {
    provider: Arc<dyn Provider>,
    slots: Arc<Semaphore>,
}

impl Dependencies {
    /// Puts the parts together.
    pub fn new(
        journal: Arc<dyn Journal>,
        leases: Arc<dyn Leases>,
        secrets: Arc<dyn Secrets>,
        providers: impl IntoIterator<Item = Arc<dyn Provider>>,
    ) -> Self {
        let slots = |provider: Arc<dyn Provider>| {
            let slots = Arc::new(Semaphore::new(provider.concurrency().max(1)));
            (provider.name(), LimitedProvider { provider, slots })
        };
        let providers = providers.into_iter().map(slots).collect();
        Self { journal, leases, secrets, providers, patience: PATIENCE, while_busy: PATIENCE }
    }

    /// Waits for the store, or for another operation of the same stack, for this long at the most.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        (self.patience, self.while_busy) = (patience, patience);
        self
    }

    /// Waits for whoever has the lease no longer than this, and for the store as long as before. For processes that share a queue: it
    /// tells them when a lease has ended.
    #[must_use]
    pub fn with_patience_while_busy(mut self, patience: Duration) -> Self {
        self.while_busy = patience;
        self
    }

    /// A provider by its name, for observing before a plan.
    pub fn provider(&self, name: ProviderName) -> Option<&Arc<dyn Provider>> {
        self.providers.get(&name).map(|slots| &slots.provider)
    }

    /// Where leases are granted.
    #[cfg(feature = "testing")]
    pub(crate) fn leases(&self) -> &dyn Leases {
        &*self.leases
    }

    fn limits(&self) -> Limits {
        let concurrency = |slots: &LimitedProvider| slots.provider.concurrency().max(1);
        let providers = self.providers.iter().map(|(name, slots)| (*name, concurrency(slots))).collect();
        Limits { calls: CALLS, providers }
    }
}

/// How [`run`] has ended an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// What the journal says.
    pub outcome: Outcome,
    /// The lease, which is still held: give it back once all is recorded ([`Leases::release`]). `None` where something that was sent may
    /// still take effect; then it ends by itself.
    pub lease: Option<Fence>,
}

/// Works on an operation until it is finished: begins it, or goes on where its journal ends. An operation that was
/// finished before only tells how.
///
/// `cancel` asks it to stop: running steps finish, nothing new begins. To leave it to another process instead, drop the future.
///
/// # Errors
/// See [`RunError`]; in each case the operation is unfinished, and `run` may be called again.
pub async fn run(
    operation: OperationId,
    plan: &Plan,
    parts: &Dependencies,
    cancel: &CancellationToken,
) -> Result<Ended, RunError> {
    let mut state = OperationState::new(operation, Arc::new(plan.clone()), parts.limits());
    for provider in state.statuses().filter_map(|(step, _)| step.provider) {
        if !parts.providers.contains_key(&provider) {
            return Err(RunError::MissingProvider(provider));
        }
    }
    let lease = LeaseHolder::acquire(Arc::clone(&parts.leases), operation, parts.patience, parts.while_busy).await?;
    let result = match recorder::answer(parts.journal.load(operation)).await {
        Ok(records) => {
            let folded = records.iter().try_for_each(|record| state.fold(record));
            match (folded, state.outcome()) {
                (Err(broken), _) => Err(RunError::from(broken)),
                (Ok(()), Some(outcome)) => return Ok(Ended { outcome, lease: Some(lease.fence()) }),
                (Ok(()), None) => {
                    return Shell::new(operation, plan, parts, lease, cancel).work(state).await;
                }
            }
        }
        Err(error) => Err(error.into()),
    };
    lease.release().await;
    result
}

struct Shell<'a> {
    operation: OperationId,
    plan: &'a Plan,
    parts: &'a Dependencies,
    origin: Instant,
    lease: LeaseHolder,
    recorder: Recorder,
    calls: FuturesUnordered<BoxFuture<'static, (CallId, Reply)>>,
    /// The steps whose calls are out.
    under_way: BTreeMap<CallId, (ProviderName, Task)>,
    /// What calls that are out wait for.
    waits: Waits,
    /// Cancelled once somebody asks to stop.
    cancel: &'a CancellationToken,
}

/// Both ends of what calls say while they are out.
struct Waits {
    sender: mpsc::UnboundedSender<(CallId, Option<String>)>,
    receiver: mpsc::UnboundedReceiver<(CallId, Option<String>)>,
}

impl Waits {
    fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender, receiver }
    }

    fn of(&self, call: CallId) -> CallWaits {
        let sender = self.sender.clone();
        // Nobody listens any more only when nobody calls either.
        CallWaits::new(move |reason| drop(sender.send((call, reason))))
    }
}

impl<'a> Shell<'a> {
    fn new(
        operation: OperationId,
        plan: &'a Plan,
        parts: &'a Dependencies,
        lease: LeaseHolder,
        cancel: &'a CancellationToken,
    ) -> Self {
        let journal = Arc::clone(&parts.journal);
        let recorder = Recorder::new(journal, operation, lease.fence(), parts.patience);
        Self {
            operation,
            plan,
            parts,
            origin: Instant::now(),
            lease,
            recorder,
            calls: FuturesUnordered::new(),
            under_way: BTreeMap::new(),
            waits: Waits::new(),
            cancel,
        }
    }

    async fn work(mut self, mut state: OperationState) -> Result<Ended, RunError> {
        let cancel = self.cancel;
        let mut cancelled = false;
        let mut what = InputKind::Begun;
        loop {
            let actions;
            (state, actions) = decide(state, Input { at: self.origin.elapsed(), what });
            for action in actions {
                if let Some(end) = self.carry_out(action, &state) {
                    return self.end(end, state.is_settled());
                }
            }
            let wake = state.next_wake().and_then(|wake| self.origin.checked_add(wake));
            what = tokio::select! {
                biased;
                change = self.lease.next() => match change {
                    LeaseChange::Lapsed => {
                        warn!(operation = %self.operation, "the lease could not be renewed: nothing is done until it is");
                        self.calls.clear();
                        self.under_way.clear();
                        InputKind::LeaseLapsed
                    }
                    LeaseChange::Restored => {
                        info!(operation = %self.operation, "the lease is renewed: the operation goes on");
                        InputKind::LeaseRestored
                    }
                    LeaseChange::Lost => InputKind::LeaseLost,
                    LeaseChange::GivenUp => return Err(RunError::Unavailable("the lease could not be renewed".to_owned())),
                },
                () = cancel.cancelled(), if !cancelled => {
                    cancelled = true;
                    self.interrupt(&state);
                    InputKind::CancelRequested
                }
                written = self.recorder.next(), if self.recorder.is_busy() => match written {
                    Ok(records) => {
                        records.iter().for_each(|record| log(self.operation, record));
                        InputKind::Appended(records)
                    }
                    Err(JournalError::Fenced) => InputKind::LeaseLost,
                    Err(error) => return Err(error.into()),
                },
                Some((call, reason)) = self.waits.receiver.recv() => InputKind::Waits(call, reason),
                Some((call, answer)) = self.calls.next(), if !self.calls.is_empty() => {
                    self.under_way.remove(&call);
                    InputKind::Answered(call, answer)
                }
                () = sleep_until(wake.unwrap_or(self.origin)), if wake.is_some() => InputKind::Woke,
            };
        }
    }

    fn carry_out(&mut self, action: Action, state: &OperationState) -> Option<End> {
        match action {
            Action::Append(records) => self.recorder.append(records, |done| state.frees(done)),
            Action::Call { call, provider, deadline, request } => {
                let deadline = self.origin.checked_add(deadline).unwrap_or(self.origin);
                // A lapse that was not told yet: the call stays out, and the lapse answers it.
                if self.lease.holds() {
                    if let Request::Perform(_, task) = &request {
                        self.under_way.insert(call, (provider, task.clone()));
                    }
                    self.calls.push(self.call(call, provider, deadline, request));
                }
            }
            Action::End(end) => return Some(end),
        }
        None
    }

    /// Somebody asks to stop: tells the providers of what is under way, and of jobs that an earlier process has begun.
    fn interrupt(&self, state: &OperationState) {
        let begun = |status| matches!(status, Status::Started | Status::Unknown);
        let runs = state.statuses().filter(|(step, status)| step.verb == Verb::Run && begun(*status));
        let runs = runs.filter_map(|(step, _)| {
            Some((step.provider?, Task::Run { run: self.plan.runs.get(&step.subject)?.clone() }))
        });
        let others = self.under_way.values().filter(|(_, task)| !matches!(task, Task::Run { .. })).cloned();
        for (provider, task) in runs.chain(others) {
            let Some(LimitedProvider { provider, .. }) = self.parts.providers.get(&provider).cloned() else { continue };
            let stack = self.plan.stack;
            // Nobody waits for it: the call itself says when it is over.
            tokio::spawn(async move { provider.interrupt(stack, &task).await });
        }
    }

    fn end(self, end: End, settled: bool) -> Result<Ended, RunError> {
        drop(self.calls);
        match end {
            End::Finished(outcome) => Ok(Ended { outcome, lease: settled.then(|| self.lease.fence()) }),
            End::LeaseLost => Err(RunError::LeaseLost),
            End::Broken(broken) => Err(broken.into()),
        }
    }

    fn call(
        &self,
        call: CallId,
        provider: ProviderName,
        deadline: Instant,
        request: Request,
    ) -> BoxFuture<'static, (CallId, Reply)> {
        let Some(LimitedProvider { provider, slots }) = self.parts.providers.get(&provider).cloned() else {
            let missing = || {
                ProviderError::rejected(Code::TargetIncomplete, format!("there is no provider {}", provider.as_str()))
            };
            let answer = match request {
                Request::Observe(_) => Reply::Observed(Err(missing())),
                Request::Perform(..) => Reply::Performed(Err(missing())),
                Request::Readiness(..) => Reply::Readiness(Err(missing())),
                Request::Owned => Reply::Owned(Err(missing())),
            };
            return Box::pin(std::future::ready((call, answer)));
        };
        let stack = self.plan.stack;
        let (key, revision, operation) = (self.plan.key.clone(), self.plan.revision, self.operation);
        let (secrets, waits) = (Arc::clone(&self.parts.secrets), self.waits.of(call));
        let cancel = self.cancel.clone();
        let span = match &request {
            Request::Perform(step, _) => warn_span!("step", id = %step, stack = %self.plan.key),
            Request::Observe(lookup) => warn_span!("observe", resource = %lookup.id, stack = %self.plan.key),
            Request::Readiness(lookup, _) => warn_span!("readiness", resource = %lookup.id, stack = %self.plan.key),
            Request::Owned => warn_span!("scan", stack = %self.plan.key),
        };
        let work = async move {
            let limits = CallLimits { name: provider.name(), slots, deadline };
            let answer = match request {
                Request::Observe(lookup) => Reply::Observed(limits.run(provider.observe(stack, &lookup)).await),
                Request::Perform(step, task) => {
                    let context = Context { stack, key, operation, step, revision, deadline, secrets, waits, cancel };
                    let perform = async { provider.perform(&context, &with_digests(&context, task).await?).await };
                    Reply::Performed(limits.run(perform).await)
                }
                Request::Readiness(lookup, changed) => {
                    Reply::Readiness(limits.run(provider.readiness_after(stack, &lookup, changed)).await)
                }
                Request::Owned => {
                    let scan = async {
                        provider.forget(stack).await?;
                        provider.owned(Some(stack)).await
                    };
                    Reply::Owned(limits.run(scan).await)
                }
            };
            (call, answer)
        };
        Box::pin(work.instrument(span))
    }
}

/// What the platform's log says of a record. Those who watch read the journal.
fn log(operation: OperationId, record: &Record) {
    match record {
        Record::StepFailed { step, failure } => {
            warn!(%operation, %step, code = %failure.code, "failed: {}", failure.message);
        }
        Record::StepUnknown { step, message, .. } => info!(%operation, %step, "no answer: {message}"),
        Record::Waiting { subject, reason: Some(reason), .. } => info!(%operation, %subject, "waiting: {reason}"),
        Record::StepStarted { step, attempt, .. } => debug!(%operation, %step, attempt, "started"),
        Record::StepDone { step, note, .. } => debug!(%operation, %step, ?note, "done"),
        Record::Acquired { .. }
        | Record::Ready
        | Record::Waiting { reason: None, .. }
        | Record::CancelRequested
        | Record::Finished { .. } => debug!(%operation, ?record),
    }
}

/// A task whose digests are known: those that the plan left open are of secrets that earlier steps have made.
async fn with_digests(context: &Context, task: Task) -> Result<Task, ProviderError> {
    match task {
        Task::Apply { resource, desired, object, adopt, takes } if desired.has_unknown() => {
            let now = context.secrets.comparable(context.stack, &resource.body).await?;
            Ok(Task::Apply { desired: now.unwrap_or(desired), resource, object, adopt, takes })
        }
        task @ (Task::Apply { .. }
        | Task::Delete { .. }
        | Task::Run { .. }
        | Task::Fence { .. }
        | Task::Lift { .. }
        | Task::Dump { .. }) => Ok(task),
    }
}

/// The limits of one call.
struct CallLimits {
    name: ProviderName,
    slots: Arc<Semaphore>,
    deadline: Instant,
}

impl CallLimits {
    /// Waits for a slot, then for the answer. A call that got no slot was certainly not sent.
    async fn run<T>(self, call: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
        let name = self.name.as_str();
        let Ok(Ok(_slot)) = timeout_at(self.deadline, self.slots.acquire_owned()).await else {
            return Err(ProviderError::retryable(Code::NotNow, format!("{name} is busy with other operations")));
        };
        let no_answer = || ProviderError::unknown(Code::NotNow, format!("{name} did not answer in time"));
        timeout_at(self.deadline, call).await.unwrap_or_else(|_| Err(no_answer()))
    }
}
