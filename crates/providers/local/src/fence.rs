//! Stopping a stack's services and schedules without losing anything of them, and starting them again: what a destroy does around its dump.
//! And giving up what somebody doesn't want to wait for any more.

use std::time::Duration;

use freehold_engine::{Context, Lookup, Performed, ProviderError, Task};
use freehold_graph::kind::LocalKind;
use freehold_graph::{Resource, ResourceKind, StackId, Value};
use freehold_problem::Code;
use tokio::time::Instant;

use crate::provider::{LocalProvider, here};

impl LocalProvider {
    /// Stops it.
    pub(crate) async fn fence(
        &self,
        context: &Context,
        lookup: &Lookup,
        object: Option<&str>,
    ) -> Result<Performed, ProviderError> {
        match here(lookup.kind)? {
            LocalKind::Service => {
                let caller = self.caller(context.stack, &lookup.id)?;
                caller.fence(context.clone(), object.map(str::to_owned)).await
            }
            LocalKind::Schedule => {
                self.schedules.fence(context, &lookup.id, object).await?;
                Ok(Performed::default())
            }
            LocalKind::Route => Err(not_stopped(ResourceKind::LocalRoute)),
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
        match here(resource.kind)? {
            LocalKind::Service => {
                let note = self.caller(context.stack, &resource.id)?.restore(context.clone(), None).await?;
                Ok(Performed { object: object.map(str::to_owned), note: Some(note), ..Performed::default() })
            }
            LocalKind::Schedule => {
                let object = object.unwrap_or_default();
                self.schedules.restore(context.clone(), resource, observed, object)?;
                Ok(Performed { object: Some(object.to_owned()), note: None, ..Performed::default() })
            }
            LocalKind::Route => Err(not_stopped(ResourceKind::LocalRoute)),
        }
    }
}

impl LocalProvider {
    /// Ends a job that runs; stops waiting for a service that starts.
    pub(crate) async fn give_up(&self, stack: StackId, task: &Task) {
        match task {
            Task::Run { run } => {
                let limit = Instant::now() + ENDING;
                if let Err(error) = crate::run::end_runs_of(&self.machine, stack, &run.id, limit).await {
                    tracing::warn!(%stack, job = %run.id, %error, "a job could not be ended");
                }
            }
            Task::Apply { resource, .. } | Task::Lift { resource, .. } => {
                if resource.kind == ResourceKind::LocalService
                    && let Ok(caller) = self.caller(stack, &resource.id)
                {
                    caller.interrupt();
                }
            }
            Task::Delete { .. } | Task::Dump { .. } | Task::Fence { .. } => {}
        }
    }
}

/// How long a job may take to end when somebody asks it to.
const ENDING: Duration = Duration::from_secs(30);

fn not_stopped(kind: ResourceKind) -> ProviderError {
    ProviderError::rejected(Code::StepFailed, format!("a {} is not stopped by itself", kind.word()))
}
