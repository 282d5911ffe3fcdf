//! Calls that go wrong on purpose: a provider in front of another one, be that fake or real.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use freehold_graph::{ProviderName, StackId};
use freehold_plan::{Observation, Preview};
use freehold_problem::Code;
use futures::stream::BoxStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::capability::Capabilities;
use crate::provider::{
    Changed, Context, Deletion, Lookup, OwnedObject, Performed, Proposal, Provider, ProviderError, Readiness, Task,
};
use crate::step::StepId;

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: the fault that was planned after this one is for the call after it.
    None,
    /// It is refused for good, before anything happened.
    RejectedBefore,
    /// It says that it was refused for good, but it has happened.
    RejectedAfter,
    /// It fails in a way that may pass, before anything happened.
    RetryableBefore,
    /// It fails in a way that may pass, after it has happened.
    RetryableAfter,
    /// No answer, and nothing happened.
    UnknownBefore,
    /// No answer, but it has happened.
    UnknownAfter,
    /// It never returns, and nothing happens.
    HangsBefore,
    /// It never returns, but it has happened.
    HangsAfter,
    /// No answer after this long, wherever it is then: its effect may happen, or still be to come.
    UnknownAmid(Duration),
    /// It gets no further after this long, and never returns.
    HangsAmid(Duration),
    /// It happens twice.
    Repeated,
}

/// What goes wrong, and how the test hears of it.
#[derive(Debug, Default)]
pub struct Faults {
    planned: Mutex<VecDeque<(StepId, Fault)>>,
    /// Told each time a call hangs.
    pub hung: Notify,
}

impl Faults {
    /// The next call of a step goes wrong like this.
    pub fn plan(&self, step: StepId, fault: Fault) {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner).push_back((step, fault));
    }

    /// Whether all of them have happened.
    pub fn are_over(&self) -> bool {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn take(&self, step: &StepId) -> Option<Fault> {
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        let place = planned.iter().position(|(other, _)| other == step)?;
        planned.remove(place).map(|(_, fault)| fault)
    }

    /// The call that it was for failed of its own accord: it is for the next one.
    fn put_back(&self, step: &StepId, fault: Fault) {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner).push_front((step.clone(), fault));
    }

    async fn hang(&self) -> ! {
        self.hung.notify_one();
        std::future::pending().await
    }
}

/// A provider whose steps go wrong as planned. Everything else is as the other provider does it.
pub struct Faulty {
    provider: Arc<dyn Provider>,
    faults: Arc<Faults>,
}

impl Faulty {
    /// Puts faults in front of `provider`.
    pub fn new(provider: Arc<dyn Provider>, faults: Arc<Faults>) -> Self {
        Self { provider, faults }
    }

    /// The call as it should be. A fault that is to come after its effect waits for a call that has one.
    async fn act(&self, context: &Context, task: &Task, planned: Option<Fault>) -> Result<Performed, ProviderError> {
        let result = self.provider.perform(context, task).await;
        if let (Err(_), Some(fault)) = (&result, planned) {
            self.faults.put_back(&context.step, fault);
        }
        result
    }
}

#[async_trait]
impl Provider for Faulty {
    fn name(&self) -> ProviderName {
        self.provider.name()
    }

    fn concurrency(&self) -> usize {
        self.provider.concurrency()
    }

    async fn observe(&self, stack: StackId, lookup: &Lookup) -> Result<Option<Observation>, ProviderError> {
        self.provider.observe(stack, lookup).await
    }

    async fn preview(&self, stack: StackId, proposal: &Proposal<'_>) -> Result<Preview, ProviderError> {
        self.provider.preview(stack, proposal).await
    }

    async fn preview_deletion(&self, stack: StackId, lookup: &Lookup) -> Result<Deletion, ProviderError> {
        self.provider.preview_deletion(stack, lookup).await
    }

    async fn preview_dump(&self, stack: StackId, lookup: &Lookup) -> Result<(), ProviderError> {
        self.provider.preview_dump(stack, lookup).await
    }

    fn capabilities(self: Arc<Self>) -> Capabilities {
        Arc::clone(&self.provider).capabilities()
    }

    fn watch(self: Arc<Self>) -> BoxStream<'static, Changed> {
        Arc::clone(&self.provider).watch()
    }

    async fn interrupt(&self, stack: StackId, task: &Task) {
        self.provider.interrupt(stack, task).await;
    }

    async fn perform(&self, context: &Context, task: &Task) -> Result<Performed, ProviderError> {
        let unknown = || ProviderError::unknown(Code::NotNow, format!("{} sent, connection lost", context.step));
        let planned = self.faults.take(&context.step);
        let fault = planned.unwrap_or(Fault::None);
        match fault {
            Fault::RejectedBefore => return Err(ProviderError::rejected(Code::Newer(999), "it was made to fail")),
            Fault::RetryableBefore => return Err(ProviderError::retryable(Code::NotNow, "it was made to fail")),
            Fault::UnknownBefore => return Err(unknown()),
            Fault::HangsBefore => self.faults.hang().await,
            // Dropped in the middle, or done and not told.
            Fault::UnknownAmid(limit) => {
                let _ = timeout(limit, self.provider.perform(context, task)).await;
                return Err(unknown());
            }
            Fault::HangsAmid(limit) => {
                let _ = timeout(limit, self.provider.perform(context, task)).await;
                self.faults.hang().await
            }
            Fault::None
            | Fault::RejectedAfter
            | Fault::RetryableAfter
            | Fault::UnknownAfter
            | Fault::HangsAfter
            | Fault::Repeated => {}
        }
        let performed = self.act(context, task, planned).await?;
        match fault {
            Fault::RejectedAfter => Err(ProviderError::rejected(Code::Newer(999), "it was made to fail afterwards")),
            Fault::RetryableAfter => Err(ProviderError::retryable(Code::NotNow, "it was made to fail afterwards")),
            Fault::UnknownAfter => Err(unknown()),
            Fault::HangsAfter => self.faults.hang().await,
            Fault::Repeated => self.provider.perform(context, task).await,
            Fault::None
            | Fault::RejectedBefore
            | Fault::RetryableBefore
            | Fault::UnknownBefore
            | Fault::HangsBefore
            | Fault::UnknownAmid(_)
            | Fault::HangsAmid(_) => Ok(performed),
        }
    }

    async fn readiness(&self, stack: StackId, lookup: &Lookup) -> Result<Readiness, ProviderError> {
        self.provider.readiness(stack, lookup).await
    }

    async fn owned(&self, stack: Option<StackId>) -> Result<Vec<OwnedObject>, ProviderError> {
        self.provider.owned(stack).await
    }

    async fn forget(&self, stack: StackId) -> Result<(), ProviderError> {
        self.provider.forget(stack).await
    }
}
