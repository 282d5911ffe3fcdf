//! Giving up what somebody doesn't want to wait for any more: a run, the start of a service.

use std::time::Duration;

use freehold_engine::Task;
use freehold_graph::StackId;
use tokio::time::Instant;

use crate::provider::LocalProvider;

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
            Task::Apply { resource, .. } | Task::Lift { resource, .. } => self.interrupt_resource(stack, resource),
            Task::Delete { .. } | Task::Dump { .. } | Task::Fence { .. } => {}
        }
    }
}

/// How long a job may take to end when somebody asks it to.
const ENDING: Duration = Duration::from_secs(30);
