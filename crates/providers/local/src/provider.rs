//! The provider as the engine sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use freehold_engine::capability::Capabilities;
use freehold_engine::provider::Proposal;
use freehold_engine::{Context, Lookup, OwnedObject, Performed, Provider, ProviderError, Readiness, Task};
use freehold_graph::{ProviderName, ResourceId, StackId, Value};
use freehold_plan::observation::Ownership;
use freehold_plan::{Observation, Preview};
use freehold_problem::Code;
use freehold_router::socket::Way;
use tokio::time::Instant;

use crate::bucket::Buckets;
use crate::container::leftovers;
use crate::log::LogReader;
use crate::machine::Machine;
use crate::mark;
use crate::membership::end_all;
use crate::options::LocalOptions;
use crate::schedule::Schedules;
use crate::service::{Caller, Service};
use crate::{directory, failure, route, run};

/// How long the processes of a stack that is forgotten may take to end.
const FORGET: Duration = Duration::from_secs(10);

/// Services, jobs, schedules and routes on this machine. Dropping it leaves the processes running.
pub struct LocalProvider {
    pub(crate) machine: Machine,
    pub(crate) schedules: Schedules,
    pub(crate) buckets: Buckets,
    registry: Mutex<Registry>,
}

#[derive(Default)]
struct Registry {
    services: BTreeMap<(StackId, ResourceId), Arc<Service>>,
    /// How many calls are under way for each stack.
    busy: BTreeMap<StackId, usize>,
    /// Stacks that were destroyed while the others were still being brought back.
    destroyed: BTreeSet<StackId>,
}

/// A call under way for a stack.
pub(crate) struct Busy<'a> {
    provider: &'a LocalProvider,
    stack: StackId,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut registry = self.provider.registry();
        if let Some(count) = registry.busy.get_mut(&self.stack) {
            *count -= 1;
            if *count == 0 {
                registry.busy.remove(&self.stack);
            }
        }
    }
}

impl LocalProvider {
    /// Opens the provider's directory. Nothing is started before [`LocalProvider::restore`] or the first step.
    ///
    /// # Errors
    /// The directory can't be used.
    pub fn new(options: LocalOptions) -> Result<Self, ProviderError> {
        let machine = Machine::open(options)?;
        Ok(Self {
            schedules: Schedules::new(machine.clone()),
            buckets: Buckets::new(machine.clone()),
            machine,
            registry: Mutex::default(),
        })
    }

    /// Reads the logs of services and jobs.
    pub fn log_reader(&self) -> LogReader {
        LogReader::new(self.machine.directory.clone())
    }

    /// All services that are kept running.
    pub(crate) fn services(&self) -> Vec<Arc<Service>> {
        self.registry().services.values().cloned().collect()
    }

    /// Whether the programs of all stacks run as one user, so that tenants aren't kept apart.
    pub fn shares_user(&self) -> bool {
        !self.machine.separation.users
    }

    /// What this machine can't enforce between stacks, in words for people: for plans, status and `doctor`.
    pub fn not_enforced(&self) -> Vec<&'static str> {
        self.machine.separation.missing()
    }

    /// The connections that stacks' programs have to a server of the platform's, by the path of its Unix socket or its port on
    /// 127.0.0.1, logged in or not. None where stacks have no users of their own. Blocks for some milliseconds.
    ///
    /// # Errors
    /// The kernel can't be asked.
    pub fn connections_to(&self, path: &Path, port: u16) -> io::Result<Vec<(StackId, Way)>> {
        self.machine.connections_to(path, port)
    }

    /// Kills all processes of a stack that does harm to all. Its services are started again as after any other end: later each time.
    /// Says whether none is left.
    pub async fn kill(&self, stack: StackId) -> bool {
        self.machine.kill(stack).await
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn busy(&self, stack: StackId) -> Busy<'_> {
        *self.registry().busy.entry(stack).or_default() += 1;
        Busy { provider: self, stack }
    }

    pub(crate) fn service(&self, stack: StackId, id: &ResourceId) -> Result<Arc<Service>, ProviderError> {
        let mut registry = self.registry();
        let key = (stack, id.clone());
        if let Some(service) = registry.services.get(&key) {
            return Ok(Arc::clone(service));
        }
        let service = Arc::new(Service::open(&self.machine, stack, id)?);
        registry.services.insert(key, Arc::clone(&service));
        Ok(service)
    }

    /// The service to bring back, unless its stack was destroyed meanwhile.
    pub(crate) fn service_to_restore(
        &self,
        stack: StackId,
        id: &ResourceId,
    ) -> Result<Option<Arc<Service>>, ProviderError> {
        if self.registry().destroyed.contains(&stack) {
            return Ok(None);
        }
        self.service(stack, id).map(Some)
    }

    /// As [`LocalProvider::service`], if there is such a service, or may be one.
    pub(crate) fn known_service(&self, stack: StackId, id: &ResourceId) -> Result<Option<Arc<Service>>, ProviderError> {
        let known = self.registry().services.get(&(stack, id.clone())).map(Arc::clone);
        if known.is_some() || !self.machine.directory.service(stack, id).exists() {
            return Ok(known);
        }
        self.service(stack, id).map(Some)
    }

    pub(crate) fn caller(&self, stack: StackId, id: &ResourceId) -> Result<Caller, ProviderError> {
        self.service(stack, id).map(|service| service.caller())
    }

    pub(crate) fn callers(&self) -> Vec<Caller> {
        self.registry().services.values().map(|service| service.caller()).collect()
    }

    /// Ends a service, and forgets it.
    pub(crate) async fn delete_service(
        &self,
        context: &Context,
        lookup: &Lookup,
        object: Option<String>,
    ) -> Result<Performed, ProviderError> {
        let performed = self.caller(context.stack, &lookup.id)?.delete(context.clone(), object).await?;
        self.registry().services.remove(&(context.stack, lookup.id.clone()));
        Ok(performed)
    }

    async fn delete(
        &self,
        context: &Context,
        lookup: &Lookup,
        object: Option<String>,
    ) -> Result<Performed, ProviderError> {
        let performed = self.delete_resource(context, lookup, object).await?;
        if self.was_last(context.stack) {
            self.forget_stack(context.stack).await?;
        }
        Ok(performed)
    }

    /// Whether nothing of the stack is left but what isn't a resource, and nobody else is at work on it.
    fn was_last(&self, stack: StackId) -> bool {
        let registry = self.registry();
        let alone = registry.busy.get(&stack).is_none_or(|count| *count <= 1);
        let served = registry.services.iter().any(|((owner, _), service)| *owner == stack && service.seen().exists());
        alone && !served && !self.has_records(stack)
    }

    /// Removes what is left of a stack that is destroyed and isn't a resource: runs, logs, the folders of its programs, its user. Ends
    /// what still runs of it.
    ///
    /// # Errors
    /// Something can't be removed; it is named.
    pub async fn forget_stack(&self, stack: StackId) -> Result<(), ProviderError> {
        let services: Vec<Arc<Service>> = {
            let mut registry = self.registry();
            if !self.machine.is_restored() {
                registry.destroyed.insert(stack);
            }
            let keys: Vec<_> = registry.services.keys().filter(|(owner, _)| *owner == stack).cloned().collect();
            keys.iter().filter_map(|key| registry.services.remove(key)).collect()
        };
        for service in services {
            service.caller().stop().await?;
        }
        self.schedules.forget(stack);
        self.buckets.forget(stack);
        let proc = std::path::Path::new("/proc");
        let runs = run::end_runs(&self.machine, stack, Instant::now() + FORGET).await;
        // What is left of them is killed with everything else.
        let _all_ended = runs.map_err(|error| failure::file("read", proc, &error))?;
        if !end_all(|| self.machine.processes_of(stack), Instant::now() + FORGET).await.all {
            return Err(failure::still_running("the stack"));
        }
        leftovers::remove_all(&self.machine, stack).await?;
        if let Some(groups) = &self.machine.separation.groups {
            let removed = groups.remove(stack);
            removed
                .map_err(|error| failure::file("remove a group in", std::path::Path::new("/sys/fs/cgroup"), &error))?;
        }
        self.machine.forwards.stop_all_of(stack);
        for (key, _) in self.machine.router.routes() {
            if route::parse_key(&key).is_some_and(|(owner, _)| owner == stack) {
                self.machine.router.remove_route(&key);
            }
        }
        for folder in [self.machine.directory.stack(stack), self.machine.directory.logs(stack)] {
            let gone = folder.clone();
            let removed = tokio::task::spawn_blocking(move || directory::remove(&gone)).await;
            let removed = removed.map_err(|_| failure::stopped("removing a folder"))?;
            removed.map_err(|error| failure::file("remove", &folder, &error))?;
        }
        let table = self.machine.directory.root().join("uids.json");
        self.machine.accounts.release(stack).map_err(|error| failure::file("write", &table, &error))
    }

    pub(crate) async fn observe_service(
        &self,
        stack: StackId,
        lookup: &Lookup,
    ) -> Result<Option<Observation>, ProviderError> {
        let Some(service) = self.known_service(stack, &lookup.id)? else { return Ok(None) };
        let seen = service.caller().look().await?;
        let Some(record) = seen.record else { return Ok(None) };
        if !seen.recovered && !self.machine.is_restored() {
            return Err(ProviderError::retryable(
                Code::NotNow,
                format!("{} is still owned by a previous Freehold process", lookup.id),
            ));
        }
        let replicas = u32::try_from(seen.replicas.len()).unwrap_or(u32::MAX);
        let wanted = record.desired.get("replicas").and_then(Value::as_integer).unwrap_or(1);
        if replicas == 0 && wanted > 0 && !seen.fenced {
            return Ok(None);
        }
        let mut body = record.desired;
        // A cache has one server, of which nothing is said.
        if let Value::Map(fields) = &mut body
            && let Some(stated) = fields.get_mut("replicas")
        {
            *stated = Value::from(replicas);
        }
        Ok(Some(Observation { object: record.object, ownership: Ownership::Ours, body, foreign_fields: Vec::new() }))
    }

    fn owned_processes(&self, stack: Option<StackId>) -> Result<Vec<OwnedObject>, ProviderError> {
        let proc = std::path::Path::new("/proc");
        let mut found = self.machine.marked().map_err(|error| failure::file("read", proc, &error))?;
        found.retain(|mark| match stack {
            Some(stack) => mark.stack == stack,
            None => mark.platform == Some(self.machine.platform),
        });
        let mut owned: Vec<OwnedObject> = found
            .iter()
            .map(|mark| {
                let resource = mark.resource.as_deref().unwrap_or("unnamed");
                owned(mark.stack, "process", format!("{} ({resource})", mark.id.pid))
            })
            .collect();
        // A process may have lost its mark, but not its user.
        let users: BTreeMap<u32, StackId> =
            self.machine.accounts.all().into_iter().map(|(stack, user)| (user, stack)).collect();
        let theirs =
            mark::of_users(|user| users.contains_key(&user)).map_err(|error| failure::file("read", proc, &error))?;
        for (user, id) in theirs {
            let Some(owner) = users.get(&user).copied() else { continue };
            if stack.is_none_or(|stack| stack == owner) && found.iter().all(|mark| mark.id != id) {
                owned.push(self::owned(owner, "process", format!("{} (user {user})", id.pid)));
            }
        }
        Ok(owned)
    }

    fn owned_folders(&self, stack: Option<StackId>) -> Result<Vec<OwnedObject>, ProviderError> {
        let mut found = Vec::new();
        for root in [self.machine.directory.stacks(), self.machine.directory.log_root().to_owned()] {
            for path in directory::entries(&root).map_err(|error| failure::file("read", &root, &error))? {
                let owner = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
                let Some(owner) = owner.map(StackId) else { continue };
                if stack.is_none_or(|stack| stack == owner) {
                    found.push(owned(owner, "directory", path.display().to_string()));
                }
            }
        }
        Ok(found)
    }
}

fn owned(stack: StackId, kind: &str, name: String) -> OwnedObject {
    OwnedObject { stack, kind: kind.to_owned(), name }
}

#[async_trait]
impl Provider for LocalProvider {
    fn name(&self) -> ProviderName {
        ProviderName::Local
    }

    fn capabilities(self: Arc<Self>) -> Capabilities {
        Capabilities {
            system: Some(Arc::<Self>::clone(&self)),
            logs: Some(Arc::<Self>::clone(&self)),
            commands: Some(Arc::<Self>::clone(&self)),
            artifacts: Some(Arc::<Self>::clone(&self)),
            restore: Some(self),
            ..Capabilities::default()
        }
    }

    fn concurrency(&self) -> usize {
        8
    }

    async fn observe(&self, stack: StackId, lookup: &Lookup) -> Result<Option<Observation>, ProviderError> {
        self.observe_resource(stack, lookup).await
    }

    async fn preview(&self, _stack: StackId, proposal: &Proposal<'_>) -> Result<Preview, ProviderError> {
        self.refuse_without_program(proposal.resource).await?;
        Ok(Preview::exact(proposal.desired.clone()))
    }

    async fn perform(&self, context: &Context, task: &Task) -> Result<Performed, ProviderError> {
        let _busy = self.busy(context.stack);
        match task {
            Task::Apply { resource, desired, .. } => self.apply_resource(context, resource, desired).await,
            Task::Delete { lookup, object } => self.delete(context, lookup, object.clone()).await,
            Task::Run { run } => run::perform(&self.machine, context, run).await,
            Task::Fence { lookup, object } => self.fence(context, lookup, object.as_deref()).await,
            Task::Lift { resource, observed, object } => {
                self.unfence(context, resource, observed, object.as_deref()).await
            }
            Task::Dump { lookup } => Err(failure::not_served(lookup.kind)),
        }
    }

    async fn interrupt(&self, stack: StackId, task: &Task) {
        self.give_up(stack, task).await;
    }

    async fn health(&self, objects: &[(StackId, Lookup)]) -> Vec<Result<Readiness, ProviderError>> {
        let mut health = Vec::with_capacity(objects.len());
        for (stack, lookup) in objects {
            health.push(self.health_of(*stack, lookup).await);
        }
        health
    }

    async fn readiness(&self, stack: StackId, lookup: &Lookup) -> Result<Readiness, ProviderError> {
        self.readiness_of(stack, lookup).await
    }

    async fn owned(&self, stack: Option<StackId>) -> Result<Vec<OwnedObject>, ProviderError> {
        let mut found = self.owned_processes(stack)?;
        found.extend(self.owned_folders(stack)?);
        for (key, route) in self.machine.router.routes() {
            if let Some((owner, identity)) = route::parse_key(&key)
                && stack.is_none_or(|stack| stack == owner)
            {
                found.push(owned(owner, "route", route.hosts.first().map_or(identity, String::as_str).to_owned()));
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    async fn forget(&self, stack: StackId) -> Result<(), ProviderError> {
        self.forget_stack(stack).await
    }
}
