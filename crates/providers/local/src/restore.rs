//! Brings everything back after a start of Freehold, whether it was stopped in order or killed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use freehold_engine::capability::Restored;
use freehold_engine::{CallWaits, Context, OperationId, ProviderError, Secrets, StepId, Verb};
use freehold_graph::{ResourceId, ResourceKind, StackId};
use futures::StreamExt;
use tokio::time::Instant;
use uuid::Uuid;

use crate::container::leftovers;
use crate::instance_record::InstanceRecord;
use crate::launch::{Runs, seconds};
use crate::listening::{doors_of, open};
use crate::mark::Marked;
use crate::membership::end_all;
use crate::process_id::ProcessId;
use crate::provider::LocalProvider;
use crate::service::state::ServiceRecord;
use crate::{command, directory, failure, run};

/// How many services are brought back at once.
const AT_ONCE: usize = 16;
/// How long strays may take to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long what no service knows of may take to end when Freehold stops.
const UNKEPT: Duration = Duration::from_secs(1);
/// The time for a service beside its own limit.
const SLACK: Duration = Duration::from_secs(30);

/// What became of one resource.
#[derive(Debug)]
pub struct RestoreOutcome {
    /// The stack that it belongs to.
    pub stack: StackId,
    /// The resource within its stack.
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
        if let Err(error) = command::sweep(&self.machine).await {
            tracing::warn!(%error, "what is left of commands could not be removed");
        }
        self.end_strays(&resources).await?;
        if let Err(error) = leftovers::sweep(&self.machine).await {
            tracing::warn!(%error, "what is left of containers could not be removed");
        }
        let (services, others): (Vec<_>, Vec<_>) =
            resources.into_iter().partition(|restored| Runs::of(restored.resource.kind).is_some());
        self.listen_first(&services).await;
        let mut outcomes: Vec<RestoreOutcome> = Vec::new();
        for restored in others {
            outcomes.push(self.restore_other(restored, &secrets).await);
        }
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
        let stray = |mark: &Marked| {
            let Some(resource) = mark.of() else { return false };
            let Some((word, _)) = resource.split_once('.') else { return false };
            if ResourceKind::of_id_word(word).and_then(Runs::of).is_none() {
                return false;
            }
            let records = self.machine.directory.instances(mark.stack, &ResourceId(resource.to_owned()));
            // A torn record is as good as none; one that can't be read now is one.
            let has_record = mark.instance.as_ref().is_some_and(|instance| {
                let record = records.join(format!("{}.json", directory::component(instance)));
                match directory::read_json::<InstanceRecord>(&record) {
                    Ok(record) => record.is_some(),
                    Err(error) => !directory::is_torn(&error),
                }
            });
            mark.platform == Some(platform)
                && mark.id.start <= opened
                && !(has_record && remembered.contains(&(mark.stack, resource)))
        };
        let machine = &self.machine;
        let proc = std::path::Path::new("/proc");
        let strays = machine.marked().map_err(|error| failure::file("read", proc, &error))?;
        for mark in strays.iter().filter(|mark| stray(mark)) {
            tracing::warn!(stack = %mark.stack, resource = ?mark.resource, pid = mark.id.pid, "a stray process is ended");
        }
        let strays = || Ok(machine.marked()?.into_iter().filter(stray).map(|mark| mark.id).collect());
        if !end_all(strays, Instant::now() + PATIENCE).await.all {
            return Err(failure::still_running("a former Freehold"));
        }
        self.end_unkept().await?;
        self.machine.set_strays_ended();
        Ok(())
    }

    /// Ends all processes of tenants' users that belong to no instance with a record and to no run: what survived a stop, whatever it
    /// did to its marks, must not be there when ports and addresses are given out.
    async fn end_unkept(&self) -> Result<(), ProviderError> {
        if !self.machine.separation.users {
            return Ok(());
        }
        let all = || Ok(&self.kept()? | &self.running()?);
        let kept: std::io::Result<BTreeSet<ProcessId>> = all();
        let kept = kept.map_err(|error| failure::file("read", std::path::Path::new("/proc"), &error))?;
        let unkept = || self.machine.unkept(|id| kept.contains(id) || id.start > self.machine.opened);
        if end_all(unkept, Instant::now() + PATIENCE).await.all {
            return Ok(());
        }
        Err(failure::still_running("a former Freehold"))
    }

    /// The processes of runs whose end isn't known. Their supervisor may have been killed; whoever asks for their outcome waits for them.
    fn running(&self) -> std::io::Result<BTreeSet<ProcessId>> {
        let mut running = BTreeSet::new();
        for folder in directory::entries(&self.machine.directory.stacks())? {
            let stack = folder.file_name().and_then(|name| name.to_str()?.parse().ok()).map(StackId);
            let Some(stack) = stack else { continue };
            for group in directory::entries(&folder.join("runs"))? {
                for run in directory::entries(&group)? {
                    if let Some(members) = run::members(&self.machine, stack, &run)? {
                        running.extend(members.find()?);
                    }
                }
            }
        }
        Ok(running)
    }

    /// The processes of all instances that have a record.
    fn kept(&self) -> std::io::Result<BTreeSet<ProcessId>> {
        let marked = self.machine.marked()?;
        let mut kept = BTreeSet::new();
        for folder in directory::entries(&self.machine.directory.stacks())? {
            let stack = folder.file_name().and_then(|name| name.to_str()?.parse().ok()).map(StackId);
            let Some(stack) = stack else { continue };
            for service in self.machine.directory.kept_running(stack)? {
                for path in directory::entries(&service.join("instances"))? {
                    match directory::read_json::<InstanceRecord>(&path) {
                        Ok(Some(record)) => {
                            match record.members(&self.machine, stack).find_held()? {
                                Some(held) => kept.extend(held),
                                None => {
                                    let its =
                                        marked.iter().filter(|mark| mark.instance.as_ref() == Some(&record.instance));
                                    kept.extend(its.map(|mark| mark.id.clone()));
                                }
                            }
                            kept.insert(record.process);
                        }
                        Ok(None) => {}
                        Err(error) if directory::is_torn(&error) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(kept)
    }

    /// Takes the addresses at which services reach each other, before anybody else is started who could.
    async fn listen_first(&self, services: &[Restored]) {
        for restored in services.iter().filter(|restored| restored.object.is_some()) {
            // What can't be read, the service's own start says.
            let doors = doors_of(&self.machine, restored.stack, &restored.resource).unwrap_or_default();
            for door in doors {
                if let Err(error) = open(&self.machine, restored.stack, &door).await {
                    // The service's own start says so.
                    tracing::warn!(address = %door.address, %error, "an address is not available yet");
                }
            }
        }
    }

    async fn restore_other(&self, restored: Restored, secrets: &Arc<dyn Secrets>) -> RestoreOutcome {
        let (stack, id) = (restored.stack, restored.resource.id.clone());
        let result = match &restored.object {
            None => Ok("left to its operation".to_owned()),
            Some(object) => self.restore_resource(&restored, object, secrets).await,
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
        self.machine.set_stopping();
        self.schedules.stop();
        self.buckets.stop();
        let stopping = self.callers().into_iter().map(|caller| async move { caller.stop().await });
        for result in futures::future::join_all(stopping).await {
            if let Err(error) = result {
                tracing::warn!(%error, "a service could not be stopped");
            }
        }
        // Whatever a tenant has left behind would go on while nobody looks.
        let unkept = || {
            let running = self.running()?;
            self.machine.unkept(|id| running.contains(id))
        };
        if !end_all(unkept, Instant::now() + UNKEPT).await.all {
            tracing::warn!("it is not certain that all processes of the stacks have ended");
        }
        if let Some(groups) = &self.machine.separation.groups {
            groups.close();
        }
    }

    /// The runs of jobs that are going on, as people know them: `3/migrate of stack 0198…`. They go on without Freehold. Told by the locks
    /// that their supervisors hold, which no job can reach.
    ///
    /// # Errors
    /// A folder can't be read.
    pub fn runs_under_way(&self) -> Result<Vec<String>, ProviderError> {
        let root = self.machine.directory.stacks();
        let look = || -> std::io::Result<Vec<String>> {
            let mut found = Vec::new();
            for stack in directory::entries(&root)? {
                for group in directory::entries(&stack.join("runs"))? {
                    for run in directory::entries(&group)? {
                        if crate::run::is_supervised(&run)? {
                            let name = run.strip_prefix(stack.join("runs")).unwrap_or(&run).display();
                            let stack = stack.file_name().unwrap_or_default().to_string_lossy();
                            found.push(format!("{name} of stack {stack}"));
                        }
                    }
                }
            }
            Ok(found)
        };
        look().map_err(|error| failure::file("read", &root, &error))
    }

    /// Leaves all processes running, for a Freehold that is started later.
    pub fn release(self) {
        drop(self);
    }
}

/// On whose behalf a process is started when no operation asks for it.
pub(crate) fn context(restored: &Restored, secrets: &Arc<dyn Secrets>, time: Duration) -> Context {
    Context {
        stack: restored.stack,
        key: restored.key.clone(),
        operation: OperationId(Uuid::nil()),
        step: StepId::new(Verb::Update, &restored.resource.id),
        revision: 0,
        deadline: Instant::now() + time,
        secrets: Arc::clone(secrets),
        waits: CallWaits::default(),
        cancel: Default::default(),
    }
}
