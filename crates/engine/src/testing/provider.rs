//! Providers in front of the fake world.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use freehold_graph::{ProviderName, StackId};
use freehold_plan::Observation;
use tokio::time::sleep;

use super::world::World;
use crate::provider::{Context, Lookup, OwnedObject, Performed, Provider, ProviderError, Readiness, Task};

/// One of the fake world's providers.
pub struct FakeProvider {
    name: ProviderName,
    world: Arc<Mutex<World>>,
    delay: Duration,
}

impl FakeProvider {
    /// A provider whose calls take `delay`.
    pub fn new(name: ProviderName, world: Arc<Mutex<World>>, delay: Duration) -> Self {
        Self { name, world, delay }
    }

    fn world<T>(&self, ask: impl FnOnce(&mut World) -> T) -> T {
        ask(&mut self.world.lock().unwrap_or_else(PoisonError::into_inner))
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
        let sent = self.world(|world| {
            world.send(context.stack, context.operation, context.step.clone(), context.revision, task.clone())
        });
        sleep(self.delay).await;
        self.world(|world| world.land(&sent))
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
