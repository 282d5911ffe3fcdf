//! Stopping a stack's services and schedules without losing anything of them, and starting them again: what a destroy does around its dump.

use freehold_engine::{Context, Lookup, Performed, ProviderError};
use freehold_graph::{Resource, ResourceType, Value};

use crate::failure;
use crate::provider::LocalProvider;

impl LocalProvider {
    /// Stops it.
    pub(crate) async fn fence(
        &self,
        context: &Context,
        lookup: &Lookup,
        object: Option<&str>,
    ) -> Result<Performed, ProviderError> {
        match lookup.kind {
            ResourceType::LocalService => {
                let caller = self.caller(context.stack, &lookup.id)?;
                caller.fence(context.clone(), object.map(str::to_owned)).await
            }
            ResourceType::LocalSchedule => {
                self.schedules.fence(context, &lookup.id, object).await?;
                Ok(Performed::default())
            }
            other => Err(not_stopped(other)),
        }
    }

    /// Starts it again as it was.
    pub(crate) async fn lift(
        &self,
        context: &Context,
        resource: &Resource,
        observed: &Value,
        object: Option<&str>,
    ) -> Result<Performed, ProviderError> {
        match resource.kind {
            ResourceType::LocalService => {
                let note = self.caller(context.stack, &resource.id)?.restore(context.clone(), None).await?;
                Ok(Performed { object: object.map(str::to_owned), note: Some(note) })
            }
            ResourceType::LocalSchedule => {
                let object = object.unwrap_or_default();
                self.schedules.restore(context.clone(), resource, observed, object)?;
                Ok(Performed { object: Some(object.to_owned()), note: None })
            }
            other => Err(not_stopped(other)),
        }
    }
}

fn not_stopped(kind: ResourceType) -> ProviderError {
    ProviderError::rejected(failure::STEP_FAILED, format!("a {} is not stopped by itself", kind.word()))
}
