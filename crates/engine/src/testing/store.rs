//! A fake store: journals, leases with fencing tokens, the table of resources, and days on which it doesn't answer.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use freehold_graph::{ResourceId, SecretRef, SecretText, StackId};
use freehold_plan::Recorded;
use freehold_problem::Code;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::journal::{Fence, Journal, JournalError, Lease, Leases, OperationId, Record, StateChange};
use crate::operation::Status;
use crate::provider::{ProviderError, Secrets};
use crate::step::StepId;

/// How long leases live, as in the real store.
const LEASE: Duration = Duration::from_secs(15);

#[derive(Default)]
struct Inner {
    journals: BTreeMap<OperationId, Vec<Record>>,
    resources: BTreeMap<ResourceId, Recorded>,
    fence: i64,
    expires: Option<Instant>,
    silent: bool,
    lose_answers: u32,
    stop_before: Option<(StepId, Status)>,
    /// What it kept without saying so.
    doubtful: Vec<Record>,
}

/// A fake store for one stack. Its leases end by tokio's clock.
#[derive(Default)]
pub struct FakeStore {
    inner: Mutex<Inner>,
    stopped: Notify,
}

impl FakeStore {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It stops or starts answering.
    pub fn set_silent(&self, silent: bool) {
        self.inner().silent = silent;
    }

    /// It keeps the next records, but doesn't say so.
    pub fn lose_answers(&self, times: u32) {
        self.inner().lose_answers = times;
    }

    /// The append that would say this of a step never returns, and writes nothing: the process can be killed there. The test
    /// hears of it by [`FakeStore::stopped`].
    pub fn stop_before(&self, step: StepId, status: Status) {
        self.inner().stop_before = Some((step, status));
    }

    /// Waits until an append has stopped.
    pub async fn stopped(&self) {
        self.stopped.notified().await;
    }

    /// Whether an append has still to stop.
    pub fn will_stop(&self) -> bool {
        self.inner().stop_before.is_some()
    }

    /// Somebody else takes the lease.
    pub fn steal(&self) {
        let mut inner = self.inner();
        inner.fence += 1;
        inner.expires = Some(Instant::now() + LEASE);
    }

    /// As after the start of a server that holds the lock on its data directory: no lease is left of its predecessor.
    pub fn forget_leases(&self) {
        self.inner().expires = None;
    }

    /// The journal of an operation.
    pub fn journal(&self, operation: OperationId) -> Vec<Record> {
        self.inner().journals.get(&operation).cloned().unwrap_or_default()
    }

    /// The table of resources.
    pub fn resources(&self) -> BTreeMap<ResourceId, Recorded> {
        self.inner().resources.clone()
    }
}

/// Keeps the table of resources by what a record says.
pub fn remember(resources: &mut BTreeMap<ResourceId, Recorded>, record: &Record) {
    let (Record::StepStarted { state, .. } | Record::StepDone { state, .. }) = record else { return };
    match state {
        StateChange::None => {}
        StateChange::Pending(resource) => {
            let old = resources.get(&resource.id).filter(|old| old.resource.identity == resource.identity);
            let object = old.and_then(|old| old.object.clone());
            resources.insert(resource.id.clone(), Recorded { resource: (**resource).clone(), object });
        }
        StateChange::Applied { resource, object } => {
            let recorded = Recorded { resource: (**resource).clone(), object: object.clone() };
            resources.insert(resource.id.clone(), recorded);
        }
        StateChange::Gone(id) => {
            resources.remove(id);
        }
    }
}

fn says(record: &Record, wanted: &StepId, status: Status) -> bool {
    match record {
        Record::StepStarted { step, .. } => step == wanted && status == Status::Started,
        Record::StepDone { step, .. } => step == wanted && status == Status::Done,
        Record::StepFailed { step, .. } => step == wanted && status == Status::Failed,
        Record::StepUnknown { step, .. } => step == wanted && status == Status::Unknown,
        Record::Acquired { .. }
        | Record::Ready
        | Record::Waiting { .. }
        | Record::CancelRequested
        | Record::Finished { .. } => false,
    }
}

fn silence() -> JournalError {
    JournalError::Unavailable("connection refused".to_owned())
}

#[async_trait]
impl Journal for FakeStore {
    async fn append(&self, operation: OperationId, fence: Fence, records: &[Record]) -> Result<(), JournalError> {
        let stops =
            self.inner().stop_before.take_if(|(step, status)| records.iter().any(|record| says(record, step, *status)));
        if stops.is_some() {
            self.stopped.notify_one();
            std::future::pending::<()>().await;
        }
        let mut inner = self.inner();
        if inner.silent {
            return Err(silence());
        }
        if inner.fence != fence.0 {
            return Err(JournalError::Fenced);
        }
        if !records.is_empty() && std::mem::take(&mut inner.doubtful) == records {
            return Ok(());
        }
        for record in records {
            remember(&mut inner.resources, record);
        }
        inner.journals.entry(operation).or_default().extend_from_slice(records);
        if inner.lose_answers > 0 {
            inner.lose_answers -= 1;
            inner.doubtful = records.to_vec();
            return Err(silence());
        }
        Ok(())
    }

    async fn load(&self, operation: OperationId) -> Result<Vec<Record>, JournalError> {
        if self.inner().silent { Err(silence()) } else { Ok(self.journal(operation)) }
    }
}

#[async_trait]
impl Leases for FakeStore {
    async fn acquire(&self, _: OperationId) -> Result<Option<Lease>, JournalError> {
        let mut inner = self.inner();
        if inner.silent {
            return Err(silence());
        }
        if inner.expires.is_some_and(|expires| expires > Instant::now()) {
            return Ok(None);
        }
        inner.fence += 1;
        inner.expires = Some(Instant::now() + LEASE);
        Ok(Some(Lease { fence: Fence(inner.fence), remaining: LEASE }))
    }

    async fn renew(&self, _: OperationId, fence: Fence) -> Result<Lease, JournalError> {
        let mut inner = self.inner();
        if inner.silent {
            return Err(silence());
        }
        if inner.fence != fence.0 {
            return Err(JournalError::Fenced);
        }
        inner.expires = Some(Instant::now() + LEASE);
        Ok(Lease { fence, remaining: LEASE })
    }

    async fn release(&self, _: OperationId, fence: Fence) -> Result<(), JournalError> {
        let mut inner = self.inner();
        if inner.fence == fence.0 {
            inner.expires = None;
        }
        Ok(())
    }
}

/// There are no secrets in the fake world.
pub struct NoSecrets;

#[async_trait]
impl Secrets for NoSecrets {
    async fn reveal(&self, _: StackId, secret: &SecretRef) -> Result<SecretText, ProviderError> {
        Err(ProviderError::rejected(Code::StepFailed, format!("{secret} is not known here")))
    }
}
