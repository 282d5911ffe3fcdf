//! One process of a service.
//!
//! ```text
//!   take a port ─► open the log ─► exec, with the mark ─► write the record ─► … ─► end it ─► remove the record
//! ```
//!
//! A crash between `exec` and the record leaves a process that bears the mark and has no record; it is found by its mark and ended.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use freehold_engine::ProviderError;
use freehold_graph::StackId;
use freehold_problem::Code;
use uuid::Uuid;

use crate::cache;
use crate::cgroup::Group;
use crate::container::ENGINE;
use crate::directory::{self, Durability};
use crate::exhaustion;
use crate::failure;
use crate::instance_record::{Held, InstanceRecord};
use crate::launch::{Launch, Runs};
use crate::log::{Log, prune};
use crate::machine::Machine;
use crate::membership::{Ended, Members};
use crate::process::Process;
use crate::program::{Holding, Listening, Mark, Program};
use crate::serving_set::Addresses;
use crate::verified_connect::VerifiedConnect;

impl InstanceRecord {
    /// The ports that are its own.
    fn all_ports(&self) -> impl Iterator<Item = u16> {
        self.port.into_iter().chain(self.ports.values().copied())
    }

    /// How its processes are found.
    pub(crate) fn members(&self, machine: &Machine, stack: StackId) -> Members {
        let (ancestor, group) = match self.held {
            Held::Mark => (None, None),
            Held::Launcher => (Some(self.process.clone()), None),
            Held::Group => (None, machine.group(stack, &self.instance)),
        };
        Members { instance: self.instance.clone(), user: machine.accounts.known(stack), ancestor, group }
    }
}

/// A process of a service, running.
pub(crate) struct Instance {
    pub(crate) record: InstanceRecord,
    pub(crate) process: Process,
    pub(crate) log: Log,
    /// Makes connections to it.
    pub(crate) proof: Arc<VerifiedConnect>,
    members: Members,
    path: PathBuf,
}

impl Instance {
    pub(crate) async fn start(machine: &Machine, launch: &Launch, slot: u32) -> Result<Self, ProviderError> {
        let mut listening = Listening::default();
        let started = match take_ports(machine, launch, &mut listening).await {
            Ok(()) => Self::start_on(machine, launch, slot, &listening).await,
            Err(error) => Err(error),
        };
        if started.is_err() {
            listening.all().for_each(|port| machine.ports.give_back(port));
        }
        started
    }

    async fn start_on(
        machine: &Machine,
        launch: &Launch,
        slot: u32,
        listening: &Listening,
    ) -> Result<Self, ProviderError> {
        let instance = Uuid::new_v4().simple().to_string().chars().take(12).collect::<String>();
        let context = &launch.context;
        let id = &launch.resource.id;
        let mark = Mark { resource: id, instance: &instance };
        let holding = Holding::Launcher(launch.body.stop_timeout);
        let program = match launch.runs {
            Runs::Program => {
                Program::prepare(machine, context, &mark, &launch.resource.body, listening, holding).await?
            }
            Runs::CacheServer => cache::prepare(machine, context, &mark, &launch.resource, holding).await?,
        };
        let folder = machine.directory.logs_of(context.stack, &id.0);
        let records = machine.directory.instances(context.stack, id);
        if let Err(error) = prune(machine, context.stack, &id.0) {
            tracing::warn!(folder = %folder.display(), %error, "old logs could not be removed");
        }
        let _starting = machine.starting.begin(&instance);
        let log = Log::begin(&folder, &instance);
        let file = log.open().map_err(|error| failure::file("write", log.path(), &error))?;
        let child = program.start(&machine.executable, &file).await;
        let child = child.inspect_err(|error| {
            log.event(&format!("could not be started: {error}"));
            if let Some(group) = machine.group(context.stack, &instance) {
                group.remove();
            }
        })?;
        let process = Process::child(child).await.map_err(|error| {
            let what = program.path().display();
            ProviderError::retryable(
                Code::NotNow,
                format!("{what} could not be watched: {}", exhaustion::words(&error)),
            )
        })?;
        let record = InstanceRecord {
            slot,
            process: process.id.clone(),
            port: listening.port,
            ports: listening.named.clone(),
            fingerprint: launch.fingerprint.clone(),
            log: log.path().to_owned(),
            folder: Some(program.order.folder.clone()),
            step: format!("{}/{}", context.operation, context.step),
            started: chrono::Utc::now().timestamp_millis(),
            held: program.held(),
            contained: program.order.container.is_some(),
            instance,
        };
        let path = records.join(format!("{}.json", record.instance));
        let started = Self::watched(machine, context.stack, record, process, log, path);
        if let Err(error) = directory::write_json(&started.path, &started.record, Durability::Process) {
            let failed = failure::file("write", &started.path, &error);
            started.end(machine, Duration::ZERO).await;
            return Err(failed);
        }
        let port = listening.port.map_or(String::new(), |port| format!(" on port {port}"));
        started.log.event(&format!("started as process {}{port}", started.process.id.pid));
        Ok(started)
    }

    /// Takes over one that a former Freehold started; `None` if it is gone.
    pub(crate) fn adopt(
        machine: &Machine,
        stack: StackId,
        path: PathBuf,
        record: InstanceRecord,
    ) -> std::io::Result<Option<Self>> {
        let Some(process) = Process::adopt(record.process.clone())? else { return Ok(None) };
        record.all_ports().for_each(|port| machine.ports.occupy(port));
        let log = Log::at(record.log.clone());
        log.event("taken over by a restarted Freehold");
        Ok(Some(Self::watched(machine, stack, record, process, log, path)))
    }

    fn watched(
        machine: &Machine,
        stack: StackId,
        record: InstanceRecord,
        process: Process,
        log: Log,
        path: PathBuf,
    ) -> Self {
        let members = record.members(machine, stack);
        let proof = Arc::new(VerifiedConnect::new(machine.clone(), record.process.clone(), members.clone()));
        Self { record, process, log, proof, members, path }
    }

    /// Its control group, if it has one.
    pub(crate) fn group(&self) -> Option<&Group> {
        self.members.group.as_ref()
    }

    /// Where it takes requests.
    pub(crate) fn addresses(&self) -> Addresses {
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let named = self.record.ports.iter().map(|(name, port)| (name.clone(), at(*port)));
        Addresses { own: self.record.port.map(at), named: named.collect() }
    }

    /// Ends it and everything that it started, and removes its record. Its log stays.
    pub(crate) async fn end(mut self, machine: &Machine, patience: Duration) {
        // The launcher of a container keeps to it, and needs its engine for what comes after that.
        let launcher = if self.record.contained { patience + ENGINE } else { patience };
        let (exit, ended) = self.process.end(&self.members, launcher).await;
        let how = if ended.killed {
            format!("killed, as it had not ended within {patience:?}")
        } else {
            format!("ended: {exit}")
        };
        self.log.event(&how);
        self.forget(machine, ended);
    }

    /// Clears up behind one that has exited by itself.
    pub(crate) async fn clear(mut self, machine: &Machine) {
        // What it had started is no use without it.
        let patience = Duration::from_secs(1) + if self.record.contained { ENGINE } else { Duration::ZERO };
        let (_exit, ended) = self.process.end(&self.members, patience).await;
        self.forget(machine, ended);
    }

    fn forget(self, machine: &Machine, ended: Ended) {
        if !ended.all {
            // The record stays, so that a later Freehold goes on looking for them.
            self.log.event("not all of its processes have ended");
            return;
        }
        if let Some(group) = &self.members.group {
            group.remove();
        }
        if let Err(error) = directory::remove(&self.path) {
            tracing::warn!(record = %self.path.display(), %error, "a record could not be removed");
        }
        self.record.all_ports().for_each(|port| machine.ports.give_back(port));
    }
}

/// Takes the ports that an instance is to listen on. Those that were taken when one fails are in `listening`, too.
async fn take_ports(machine: &Machine, launch: &Launch, listening: &mut Listening) -> Result<(), ProviderError> {
    if launch.body.serves {
        listening.port = Some(take_port(machine).await?);
    }
    for name in &launch.body.ports {
        listening.named.insert(name.clone(), take_port(machine).await?);
    }
    Ok(())
}

async fn take_port(machine: &Machine) -> Result<u16, ProviderError> {
    let short = |error: std::io::Error| {
        ProviderError::retryable(Code::NotNow, format!("no port can be tried now: {}", exhaustion::words(&error)))
    };
    if let Some(port) = machine.ports.take().map_err(short)? {
        return Ok(port);
    }
    let evicted = machine.evict(|address, _| machine.ports.is_spare(address.port())).await;
    let evicted = evicted.map_err(|error| failure::file("read", std::path::Path::new("/proc"), &error))?;
    let port = if evicted { machine.ports.take().map_err(short)? } else { None };
    port.ok_or_else(|| {
        failure::refusal(
            Code::PortTaken,
            "no port is free for another instance",
            "remove stacks that aren't needed, or stop what else uses the ports from 10000 to 11999",
        )
    })
}
