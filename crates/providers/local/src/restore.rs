//! Brings everything back after a start of Freehold, whether it was stopped in order or killed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use freehold_engine::{Context, OperationId, ProviderError, Secrets, StepId};
use freehold_graph::{Resource, ResourceId, ResourceType, StackId, StackKey, Value};
use futures::StreamExt;
use tokio::time::Instant;
use uuid::Uuid;

use crate::instance::InstanceRecord;
use crate::launch::seconds;
use crate::provider::LocalProvider;
use crate::service::ServiceRecord;
use crate::{directory, failure, process, route};

/// How many services are brought back at once.
const AT_ONCE: usize = 16;
/// How long strays may take to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// The time for a service beside its own limit.
const SLACK: Duration = Duration::from_secs(30);

/// A resource of this provider as the store remembers it.
#[derive(Debug, Clone)]
pub struct Restored {
    /// Whose.
    pub stack: StackId,
    /// Its stack's name.
    pub key: StackKey,
    /// As last applied, or as it was about to be.
    pub resource: Resource,
    /// Its body in comparable form.
    pub comparable: Value,
    /// Its identity; `None` while it isn't known whether it was made. Then it is left to the operation that was making it.
    pub object: Option<String>,
}

/// What became of one resource.
#[derive(Debug)]
pub struct RestoreOutcome {
    /// Whose.
    pub stack: StackId,
    /// Which.
    pub id: ResourceId,
    /// In words for people; a service that isn't ready yet is an error here and goes on being tried.
    pub result: Result<String, ProviderError>,
}

impl LocalProvider {
    /// Brings back all that the store remembers: routes, services, schedules. Processes of a former Freehold that belong to the version
    /// that was last committed are taken over; all others of this platform are ended, jobs excepted (they are waited for by whoever
    /// asks for their outcome). Returns when each service is ready, or has failed for the first time.
    ///
    /// # Errors
    /// The processes of this machine can't be listed.
    pub async fn restore(
        &self,
        resources: Vec<Restored>,
        secrets: Arc<dyn Secrets>,
    ) -> Result<Vec<RestoreOutcome>, ProviderError> {
        self.end_strays(&resources).await?;
        let (services, others): (Vec<_>, Vec<_>) =
            resources.into_iter().partition(|restored| restored.resource.kind == ResourceType::LocalService);
        let mut outcomes: Vec<RestoreOutcome> =
            others.into_iter().map(|restored| self.restore_other(restored, &secrets)).collect();
        let services = services.into_iter().map(|restored| self.restore_service(restored, &secrets));
        let services: Vec<RestoreOutcome> = futures::stream::iter(services).buffer_unordered(AT_ONCE).collect().await;
        outcomes.extend(services);
        self.machine.set_restored();
        for failed in outcomes.iter().filter(|outcome| outcome.result.is_err()) {
            tracing::warn!(stack = %failed.stack, resource = %failed.id, result = ?failed.result, "not brought back yet");
        }
        Ok(outcomes)
    }

    /// Ends the processes of services that have no record, or whose service nobody remembers.
    async fn end_strays(&self, resources: &[Restored]) -> Result<(), ProviderError> {
        let remembered: BTreeSet<(StackId, &str)> =
            resources.iter().map(|restored| (restored.stack, restored.resource.id.0.as_str())).collect();
        let (platform, opened) = (self.machine.platform, self.machine.opened);
        let stray = |mark: &process::Marked| {
            let Some(resource) = mark.resource.as_deref().filter(|resource| resource.starts_with("service.")) else {
                return false;
            };
            let id = ResourceId(resource.to_owned());
            let records = self.machine.directory.instances(mark.stack, id.name());
            // A record that can't be read is as good as none.
            let has_record = mark.instance.as_ref().is_some_and(|instance| {
                let record = directory::read_json::<InstanceRecord>(&records.join(format!("{instance}.json")));
                matches!(record, Ok(Some(_)))
            });
            mark.platform == Some(platform)
                && mark.id.start <= opened
                && !(has_record && remembered.contains(&(mark.stack, resource)))
        };
        let proc = std::path::Path::new("/proc");
        let strays = process::marked().map_err(|error| failure::file("read", proc, &error))?;
        for mark in strays.iter().filter(|mark| stray(mark)) {
            tracing::warn!(stack = %mark.stack, resource = ?mark.resource, pid = mark.id.pid, "a stray process is ended");
        }
        process::end_marked(stray, Instant::now() + PATIENCE).await;
        self.machine.set_strays_ended();
        Ok(())
    }

    fn restore_other(&self, restored: Restored, secrets: &Arc<dyn Secrets>) -> RestoreOutcome {
        let (stack, id) = (restored.stack, restored.resource.id.clone());
        let result = match (&restored.object, restored.resource.kind) {
            (None, _) => Ok("left to its operation".to_owned()),
            (Some(object), ResourceType::LocalRoute) => {
                let done = route::restore(&self.machine, stack, &restored.key, &restored.resource, object);
                done.map(|()| "set".to_owned())
            }
            (Some(object), ResourceType::LocalSchedule) => {
                let context = context(&restored, secrets, Duration::ZERO);
                let done = self.schedules.restore(context, &restored.resource, &restored.comparable, object);
                done.map(|()| "kept to".to_owned())
            }
            (Some(_), _) => Ok("not of this machine".to_owned()),
        };
        RestoreOutcome { stack, id, result }
    }

    async fn restore_service(&self, restored: Restored, secrets: &Arc<dyn Secrets>) -> RestoreOutcome {
        let (stack, id) = (restored.stack, restored.resource.id.clone());
        let time = seconds(&restored.resource.body, "start_timeout_seconds", 60) + SLACK;
        let context = context(&restored, secrets, time);
        let fallback = restored.object.map(|object| ServiceRecord {
            object,
            resource: restored.resource,
            desired: restored.comparable,
        });
        let result = match self.service_to_restore(stack, &id) {
            Ok(Some(service)) => service.caller().restore(context, fallback).await,
            Ok(None) => Ok("its stack was destroyed meanwhile".to_owned()),
            Err(error) => Err(error),
        };
        RestoreOutcome { stack, id, result }
    }

    /// Stops all services in order, and keeps what is needed to start them again. Jobs that are running go on; whoever asks for their
    /// outcome later gets it.
    pub async fn shutdown(&self) {
        self.schedules.stop();
        let stopping = self.callers().into_iter().map(|caller| async move { caller.stop().await });
        for result in futures::future::join_all(stopping).await {
            if let Err(error) = result {
                tracing::warn!(%error, "a service could not be stopped");
            }
        }
    }

    /// Leaves all processes running, for a Freehold that is started later.
    pub fn release(self) {
        drop(self);
    }
}

/// On whose behalf a process is started when no operation asks for it.
fn context(restored: &Restored, secrets: &Arc<dyn Secrets>, time: Duration) -> Context {
    Context {
        stack: restored.stack,
        key: restored.key.clone(),
        operation: OperationId(Uuid::nil()),
        step: StepId("restore".to_owned()),
        revision: 0,
        deadline: Instant::now() + time,
        secrets: Arc::clone(secrets),
    }
}
