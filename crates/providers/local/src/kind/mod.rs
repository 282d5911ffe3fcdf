//! What the provider does with each kind of resources of this machine. Every question that depends on the kind is a match over all of
//! [`LocalKind`] here, without a wildcard: a new kind is a module here and an arm in each of these.

use std::sync::Arc;
use std::time::Duration;

use freehold_engine::capability::Restored;
use freehold_engine::{Context, Lookup, Performed, ProviderError, Readiness, Secrets};
use freehold_graph::kind::{LocalKind, Served};
use freehold_graph::{Resource, ResourceKind, StackId, Value};
use freehold_plan::Observation;
use freehold_problem::Code;

use crate::provider::LocalProvider;
use crate::restore::context;
use crate::{cache, container, directory, failure, readiness, route};

/// How long a route may take to be set again.
const RESTORE: Duration = Duration::from_secs(30);

/// The kind among those of this machine.
fn served(kind: ResourceKind) -> Result<LocalKind, ProviderError> {
    match kind.served() {
        Served::Local(kind) => Ok(kind),
        Served::Store(_) | Served::Postgres(_) | Served::Kubernetes(_) => Err(failure::not_served(kind)),
    }
}

/// The folder of a stack in which there is something as long as it has a resource of this kind.
const fn folder(kind: LocalKind) -> &'static str {
    match kind {
        LocalKind::Service => directory::SERVICES,
        LocalKind::Cache => directory::CACHES,
        LocalKind::CacheData => directory::CACHE_DATA,
        LocalKind::Bucket => directory::BUCKETS,
        LocalKind::Schedule => directory::SCHEDULES,
        LocalKind::Route => directory::ROUTES,
    }
}

fn not_stopped(kind: LocalKind) -> ProviderError {
    ProviderError::rejected(Code::StepFailed, format!("a {} is not stopped by itself", kind.kind().word()))
}

impl LocalProvider {
    /// Whether a stack has a resource, as far as that is on disk.
    pub(crate) fn has_records(&self, stack: StackId) -> bool {
        let of_stack = self.machine.directory.stack(stack);
        // What can't be read isn't taken for empty.
        let is_empty =
            |kind: &LocalKind| directory::entries(&of_stack.join(folder(*kind))).is_ok_and(|all| all.is_empty());
        !LocalKind::ALL.iter().all(is_empty)
    }

    /// Refuses what runs a program of the system that isn't there: for plans.
    pub(crate) async fn refuse_without_program(&self, resource: &Resource) -> Result<(), ProviderError> {
        match served(resource.kind)? {
            LocalKind::Cache => cache::find(&self.machine.search).await.map(drop),
            LocalKind::Service | LocalKind::Schedule if resource.body.get("image").is_some() => {
                container::refuse(&resource.body)?;
                self.machine.engines.find(&self.machine.search).await.map(drop)
            }
            LocalKind::Service | LocalKind::Schedule | LocalKind::Route | LocalKind::CacheData | LocalKind::Bucket => {
                Ok(())
            }
        }
    }

    pub(crate) async fn observe_resource(
        &self,
        stack: StackId,
        lookup: &Lookup,
    ) -> Result<Option<Observation>, ProviderError> {
        match served(lookup.kind)? {
            LocalKind::Service | LocalKind::Cache => self.observe_service(stack, lookup).await,
            LocalKind::CacheData => cache::data::observe(&self.machine, stack, lookup),
            LocalKind::Bucket => self.buckets.observe(stack, lookup),
            LocalKind::Route => route::observe(&self.machine, stack, lookup),
            LocalKind::Schedule => self.schedules.observe(stack, lookup),
        }
    }

    pub(crate) async fn apply_resource(
        &self,
        context: &Context,
        resource: &Resource,
        desired: &Value,
    ) -> Result<Performed, ProviderError> {
        match served(resource.kind)? {
            LocalKind::CacheData => cache::data::apply(&self.machine, context.stack, &resource.id),
            LocalKind::Bucket => self.buckets.apply(context, resource, desired).await,
            LocalKind::Service | LocalKind::Cache => {
                let caller = self.caller(context.stack, &resource.id)?;
                caller.apply(context.clone(), resource.clone(), desired.clone()).await
            }
            LocalKind::Route => route::apply(&self.machine, context, resource, desired).await,
            LocalKind::Schedule => self.schedules.apply(context, resource, desired).await,
        }
    }

    pub(crate) async fn delete_resource(
        &self,
        context: &Context,
        lookup: &Lookup,
        object: Option<String>,
    ) -> Result<Performed, ProviderError> {
        match served(lookup.kind)? {
            LocalKind::Service | LocalKind::Cache => self.delete_service(context, lookup, object).await,
            LocalKind::CacheData => cache::data::delete(&self.machine, context.stack, lookup, object.as_deref()).await,
            LocalKind::Bucket => self.buckets.delete(context.stack, lookup, object.as_deref()).await,
            LocalKind::Route => route::delete(&self.machine, context.stack, lookup, object.as_deref()),
            LocalKind::Schedule => self.schedules.delete(context, lookup, object.as_deref()).await,
        }
    }

    /// Stops what would go on to write while a destroy dumps.
    pub(crate) async fn fence(
        &self,
        context: &Context,
        lookup: &Lookup,
        object: Option<&str>,
    ) -> Result<Performed, ProviderError> {
        match served(lookup.kind)? {
            LocalKind::Service | LocalKind::Cache => {
                let caller = self.caller(context.stack, &lookup.id)?;
                caller.fence(context.clone(), object.map(str::to_owned)).await
            }
            LocalKind::Schedule => {
                self.schedules.fence(context, &lookup.id, object).await?;
                Ok(Performed::default())
            }
            kind @ (LocalKind::Route | LocalKind::CacheData | LocalKind::Bucket) => Err(not_stopped(kind)),
        }
    }

    /// Starts it again as it was.
    pub(crate) async fn unfence(
        &self,
        context: &Context,
        resource: &Resource,
        observed: &Value,
        object: Option<&str>,
    ) -> Result<Performed, ProviderError> {
        match served(resource.kind)? {
            LocalKind::Service | LocalKind::Cache => {
                let note = self.caller(context.stack, &resource.id)?.restore(context.clone(), None).await?;
                Ok(Performed { object: object.map(str::to_owned), note: Some(note), ..Performed::default() })
            }
            LocalKind::Schedule => {
                let object = object.unwrap_or_default();
                self.schedules.restore(context.clone(), resource, observed, object)?;
                Ok(Performed { object: Some(object.to_owned()), note: None, ..Performed::default() })
            }
            kind @ (LocalKind::Route | LocalKind::CacheData | LocalKind::Bucket) => Err(not_stopped(kind)),
        }
    }

    /// Stops waiting for a resource that is being applied or started again.
    pub(crate) fn interrupt_resource(&self, stack: StackId, resource: &Resource) {
        match served(resource.kind) {
            Ok(LocalKind::Service | LocalKind::Cache) => {
                if let Ok(caller) = self.caller(stack, &resource.id) {
                    caller.interrupt();
                }
            }
            // Nothing is waited for; and what isn't served isn't applied.
            Ok(LocalKind::Schedule | LocalKind::Route | LocalKind::CacheData | LocalKind::Bucket) | Err(_) => {}
        }
    }

    /// Its readiness, and what hinders no deploy but is a reason to look.
    pub(crate) async fn health_of(&self, stack: StackId, lookup: &Lookup) -> Result<Readiness, ProviderError> {
        let readiness = self.readiness_of(stack, lookup).await?;
        match (served(lookup.kind)?, readiness) {
            // That a job fails each time is no reason why its schedule could not be deployed, but it is one to look.
            (LocalKind::Schedule, Readiness::Ready) => {
                let failure = self.schedules.last_failure(stack, &lookup.id).await?;
                Ok(failure.map_or(Readiness::Ready, Readiness::failed))
            }
            (
                LocalKind::Schedule
                | LocalKind::Service
                | LocalKind::Route
                | LocalKind::Cache
                | LocalKind::CacheData
                | LocalKind::Bucket,
                readiness,
            ) => Ok(readiness),
        }
    }

    pub(crate) async fn readiness_of(&self, stack: StackId, lookup: &Lookup) -> Result<Readiness, ProviderError> {
        match served(lookup.kind)? {
            LocalKind::CacheData => cache::data::readiness(&self.machine, stack, lookup),
            LocalKind::Bucket => self.buckets.readiness(stack, lookup),
            LocalKind::Service | LocalKind::Cache => {
                let service = self.known_service(stack, &lookup.id)?;
                let seen = service.map(|service| service.seen()).unwrap_or_default();
                if seen.record.is_none() || seen.replicas.is_empty() && replicas_in(&lookup.body) > 0 {
                    return Ok(Readiness::Waiting("it is not running".to_owned()));
                }
                Ok(readiness::readiness(&lookup.id, &seen).await)
            }
            LocalKind::Route => Ok(route::readiness(&self.machine, stack, lookup)),
            LocalKind::Schedule => self.schedules.readiness(stack, lookup),
        }
    }

    /// What became of a resource after a start of Freehold, in a few words; not of one that is processes ([`crate::launch::Runs`]).
    pub(crate) async fn restore_resource(
        &self,
        restored: &Restored,
        object: &str,
        secrets: &Arc<dyn Secrets>,
    ) -> Result<String, ProviderError> {
        match served(restored.resource.kind)? {
            LocalKind::Route => {
                let context = context(restored, secrets, RESTORE);
                let (resource, comparable) = (&restored.resource, &restored.comparable);
                let done = route::restore(&self.machine, &context, resource, comparable, object).await;
                done.map(|()| "set".to_owned())
            }
            LocalKind::Schedule => {
                let context = context(restored, secrets, Duration::ZERO);
                let done = self.schedules.restore(context, &restored.resource, &restored.comparable, object);
                done.map(|()| "resumed".to_owned())
            }
            LocalKind::CacheData => Ok("kept".to_owned()),
            LocalKind::Bucket => {
                let context = context(restored, secrets, RESTORE);
                self.buckets.restore(&context, &restored.resource).await.map(|()| "served".to_owned())
            }
            LocalKind::Service | LocalKind::Cache => Ok("restored by itself".to_owned()),
        }
    }
}

fn replicas_in(body: &Value) -> i64 {
    body.get("replicas").and_then(Value::as_integer).unwrap_or(1)
}
