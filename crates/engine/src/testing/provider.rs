//! Providers in front of the fake world, with faults.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use freehold_graph::{ProviderName, StackId};
use freehold_plan::Observation;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::world::World;
use crate::provider::{Context, Lookup, OwnedObject, Performed, Provider, ProviderError, Readiness, Task};
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
}

/// One of the fake world's providers.
pub struct FakeProvider {
    name: ProviderName,
    world: Arc<Mutex<World>>,
    faults: Arc<Faults>,
    delay: Duration,
}

impl FakeProvider {
    /// A provider whose calls take `delay`.
    pub fn new(name: ProviderName, world: Arc<Mutex<World>>, faults: Arc<Faults>, delay: Duration) -> Self {
        Self { name, world, faults, delay }
    }

    fn world<T>(&self, ask: impl FnOnce(&mut World) -> T) -> T {
        ask(&mut self.world.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn hang(&self) -> ! {
        self.faults.hung.notify_one();
        std::future::pending().await
    }
}

#[async_trait]
impl Provider for FakeProvider {
    fn name(&self) -> ProviderName {
        self.name
    }

    fn concurrency(&self) -> usize {
        3
    }

    async fn observe(&self, stack: StackId, lookup: &Lookup) -> Result<Option<Observation>, ProviderError> {
        sleep(self.delay).await;
        Ok(self.world(|world| world.observe(stack, lookup)))
    }

    async fn perform(&self, context: &Context, task: &Task) -> Result<Performed, ProviderError> {
        let fault = self.faults.take(&context.step);
        let unknown = || ProviderError::Unknown { message: format!("{} sent, connection lost", context.step) };
        match fault {
            Some(Fault::RejectedBefore) => return Err(ProviderError::rejected("FH0999", "it was made to fail")),
            Some(Fault::RetryableBefore) => return Err(ProviderError::retryable("it was made to fail")),
            Some(Fault::UnknownBefore) => return Err(unknown()),
            Some(Fault::HangsBefore) => self.hang().await,
            _ => {}
        }
        let send = |world: &mut World| {
            world.send(context.stack, context.operation, context.step.clone(), context.revision, task.clone())
        };
        let sent = self.world(send);
        sleep(self.delay).await;
        let mut result = self.world(|world| world.land(&sent));
        match fault {
            Some(Fault::Repeated) => {
                let sent = self.world(send);
                result = self.world(|world| world.land(&sent));
            }
            Some(Fault::RejectedAfter) => {
                return Err(ProviderError::rejected("FH0999", "it was made to fail afterwards"));
            }
            Some(Fault::RetryableAfter) => return Err(ProviderError::retryable("it was made to fail afterwards")),
            Some(Fault::UnknownAfter) => return Err(unknown()),
            Some(Fault::HangsAfter) => self.hang().await,
            _ => {}
        }
        result
    }

    async fn readiness(&self, _: StackId, lookup: &Lookup) -> Result<Readiness, ProviderError> {
        sleep(self.delay).await;
        Ok(self.world(|world| world.readiness(lookup)))
    }

    async fn owned(&self, stack: Option<StackId>) -> Result<Vec<OwnedObject>, ProviderError> {
        sleep(self.delay).await;
        Ok(self.world(|world| world.owned(self.name, stack)))
    }
}
