//! One service of a stack: its replicas, and how one version follows another. A cache is one with a single replica, which is replaced.
//!
//! A service is a task that takes one command after the other, so that nothing about it happens twice at once, and so that a caller
//! who gives up waiting changes nothing. What others want to know of it meanwhile they read from its [`View`]: nobody waits behind a
//! service that starts. And whoever wants it to be otherwise pre-empts a start: the wait for it to get ready ends when the next command
//! that changes something arrives.
//!
//! ```text
//!   rolling    start the new ─► all ready ─► record ─► exchange in the router ─► old: drained, stopped (goes on behind)
//!                    └── failure: the new are ended, the old go on as if nothing had happened
//!   recreate   stop the old ─► start the new ─► all ready ─► record
//!                    └── failure: the new are ended, the old are started again
//! ```
//!
//! The old aren't stopped before the new have settled ([`settling`]).
//!
//! `service.json` is the version that counts. An instance that was started from another one is either not yet or no longer wanted,
//! and a Freehold that starts after a crash ends it.

mod recovery;
mod settling;
pub(crate) mod state;
mod takeover;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use freehold_engine::{Context, Performed, ProviderError};
use freehold_graph::{Resource, ResourceId, StackId, Value};
use freehold_problem::Code;
use freehold_router::RouterError;
use freehold_router::socket::Socket;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::directory::{self, Durability};
use crate::failure;
use crate::instance_record::InstanceRecord;
use crate::launch::Launch;
use crate::listening::{self, Door};
use crate::machine::{Machine, endpoint};
use crate::mark::Marked;
use crate::membership::end_all;
use crate::readiness;
use crate::serving_set::ServingSet;
use crate::slot::{Phase, ReplicaFailure, Slot, SlotSpec, Status, Stop};

use settling::Settling;
use state::{FailedVersion, ServiceRecord, ServiceState, View, lock};

/// The part of a step's time that is kept for the answer.
const SLACK: Duration = Duration::from_secs(1);
/// How long requests under way may go on when the service itself goes.
const LAST_DRAIN: Duration = Duration::from_secs(5);
/// The same when all of Freehold stops.
const SHUTDOWN_DRAIN: Duration = Duration::from_secs(2);

enum Command {
    Apply(Box<(Context, Resource, Value)>, oneshot::Sender<Result<Performed, ProviderError>>),
    Restore(Box<(Context, Option<ServiceRecord>)>, oneshot::Sender<Result<String, ProviderError>>),
    Delete(Box<(Context, Option<String>)>, oneshot::Sender<Result<Performed, ProviderError>>),
    Look(oneshot::Sender<ServiceState>),
    Fence(Box<(Context, Option<String>)>, oneshot::Sender<Result<Performed, ProviderError>>),
    Stop(oneshot::Sender<()>),
}

/// A handle to a service. Dropping it leaves the processes running.
pub(crate) struct Service {
    caller: Caller,
    view: View,
    _task: AbortOnDropHandle<()>,
}

impl Service {
    /// Begins to look after a service. Nothing is started or ended before the first command.
    pub(crate) fn open(machine: &Machine, stack: StackId, id: &ResourceId) -> Result<Self, ProviderError> {
        let path = machine.directory.service_record(stack, id);
        let record = directory::read_json(&path).map_err(|error| failure::file("read", &path, &error))?;
        let view = View::default();
        lock(&view).record.clone_from(&record);
        let (commands, received) = mpsc::channel(8);
        let roster = ServingSet::new(machine.router.clone(), endpoint(stack, &id.0));
        let (urgent, _) = watch::channel(0);
        let urgent = Arc::new(urgent);
        let (given_up, _) = watch::channel(false);
        let given_up = Arc::new(given_up);
        let caller = Caller {
            commands,
            view: Arc::clone(&view),
            urgent: Arc::clone(&urgent),
            given_up: Arc::clone(&given_up),
            waiting: Arc::default(),
        };
        let service_loop = ServiceLoop {
            machine: machine.clone(),
            stack,
            id: id.clone(),
            roster: Arc::new(roster),
            view: Arc::clone(&view),
            urgent,
            given_up,
            record,
            launch: None,
            slots: Vec::new(),
            leaving: Vec::new(),
            settling: None,
            fallen: None,
            generation: 0,
            generations: 0,
            serial: 0,
            recovered: false,
            fenced: false,
        };
        Ok(Self { caller, view, _task: AbortOnDropHandle::new(tokio::spawn(service_loop.run(received))) })
    }

    pub(crate) fn seen(&self) -> ServiceState {
        lock(&self.view).clone()
    }

    /// The way to give it commands, apart from the handle, so that no lock has to be held meanwhile.
    pub(crate) fn caller(&self) -> Caller {
        self.caller.clone()
    }
}

/// Gives a service commands.
#[derive(Clone)]
pub(crate) struct Caller {
    commands: mpsc::Sender<Command>,
    view: View,
    /// How many commands are on their way that a start has to give way to.
    urgent: Arc<watch::Sender<usize>>,
    /// The command that is being carried out isn't to wait any longer.
    given_up: Arc<watch::Sender<bool>>,
    /// How many callers wait for a command that changes something.
    waiting: Arc<AtomicUsize>,
}

/// Somebody who waits for a command.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Caller {
    pub(crate) async fn apply(
        &self,
        context: Context,
        resource: Resource,
        desired: Value,
    ) -> Result<Performed, ProviderError> {
        let asked = Box::new((context, resource, desired));
        self.change(true, |reply| Command::Apply(asked, reply)).await?
    }

    /// Brings it back after a start of Freehold: to what its record says, or `fallback` if that was lost.
    pub(crate) async fn restore(
        &self,
        context: Context,
        fallback: Option<ServiceRecord>,
    ) -> Result<String, ProviderError> {
        let asked = Box::new((context, fallback));
        self.change(false, |reply| Command::Restore(asked, reply)).await?
    }

    pub(crate) async fn delete(&self, context: Context, object: Option<String>) -> Result<Performed, ProviderError> {
        let asked = Box::new((context, object));
        self.change(true, |reply| Command::Delete(asked, reply)).await?
    }

    /// Stops it until [`Caller::restore`] or [`Caller::apply`] starts it again.
    pub(crate) async fn fence(&self, context: Context, object: Option<String>) -> Result<Performed, ProviderError> {
        let asked = Box::new((context, object));
        self.change(true, |reply| Command::Fence(asked, reply)).await?
    }

    /// Lets the command that is being carried out wait no longer for the service to get ready.
    pub(crate) fn interrupt(&self) {
        self.given_up.send_replace(true);
    }

    /// What it is like, with what every call did that was given up: those are waited for. What somebody still waits for is not: it is
    /// as it was before, until it is done.
    pub(crate) async fn look(&self) -> Result<ServiceState, ProviderError> {
        let seen = lock(&self.view).clone();
        if !seen.busy || self.waiting.load(Ordering::SeqCst) > 0 {
            return Ok(seen);
        }
        self.ask(false, Command::Look).await
    }

    /// Stops its processes, and keeps its record.
    pub(crate) async fn stop(&self) -> Result<(), ProviderError> {
        self.ask(true, Command::Stop).await
    }

    async fn change<T>(
        &self,
        urgent: bool,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, ProviderError> {
        let _waiting = Waiting::new(&self.waiting);
        self.ask(urgent, command).await
    }

    async fn ask<T>(
        &self,
        urgent: bool,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, ProviderError> {
        let (reply, answer) = oneshot::channel();
        let closed = |_| failure::stopped("the service's supervision");
        let place = self.commands.reserve().await.map_err(closed)?;
        // With nothing between them at which this could be given up: each that is counted is taken up.
        if urgent {
            self.urgent.send_modify(|count| *count += 1);
        }
        place.send(command(reply));
        answer.await.map_err(|_closed| failure::stopped("the service's supervision"))
    }
}

struct ServiceLoop {
    machine: Machine,
    stack: StackId,
    id: ResourceId,
    roster: Arc<ServingSet>,
    view: View,
    urgent: Arc<watch::Sender<usize>>,
    given_up: Arc<watch::Sender<bool>>,
    record: Option<ServiceRecord>,
    /// What the present replicas were started from.
    launch: Option<Arc<Launch>>,
    slots: Vec<Slot>,
    /// Replicas of former versions, on their way out.
    leaving: Vec<Slot>,
    /// The present version has taken over and has still to prove itself.
    settling: Option<Settling>,
    fallen: Option<FailedVersion>,
    generation: u64,
    /// The highest that there ever was: none is used twice.
    generations: u64,
    serial: u64,
    recovered: bool,
    fenced: bool,
}

impl ServiceLoop {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            let command = tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => command,
                    None => return,
                },
                outcome = settling::outcome(self.settling.as_ref(), &self.slots) => {
                    match outcome {
                        Ok(()) => self.settled(),
                        Err(failure) => self.fell(failure).await,
                    }
                    self.show();
                    continue;
                }
            };
            self.leaving.retain(Slot::is_running);
            match &command {
                Command::Apply(..) | Command::Delete(..) | Command::Fence(..) | Command::Stop(_) => {
                    self.urgent.send_modify(|count| *count = count.saturating_sub(1));
                }
                Command::Restore(..) | Command::Look(_) => {}
            }
            lock(&self.view).busy = true;
            self.given_up.send_replace(false);
            // A command whose sender gave up before it was begun is dropped; one that has begun is carried out all the same.
            match command {
                Command::Apply(asked, reply) if !reply.is_closed() => {
                    let (context, resource, desired) = *asked;
                    let done = self.apply(context, resource, desired).await;
                    self.show();
                    let _ = reply.send(done);
                }
                Command::Restore(asked, reply) if !reply.is_closed() => {
                    let (context, fallback) = *asked;
                    let done = self.restore(context, fallback).await;
                    self.show();
                    let _ = reply.send(done);
                }
                Command::Delete(asked, reply) if !reply.is_closed() => {
                    let (context, object) = *asked;
                    let done = self.delete(context, object.as_deref()).await;
                    self.show();
                    let _ = reply.send(done);
                }
                Command::Fence(asked, reply) if !reply.is_closed() => {
                    let (context, object) = *asked;
                    let done = self.fence(&context, object.as_deref()).await;
                    self.show();
                    let _ = reply.send(done);
                }
                Command::Apply(..) | Command::Restore(..) | Command::Delete(..) | Command::Fence(..) => {}
                Command::Look(reply) => {
                    let mut seen = lock(&self.view).clone();
                    seen.busy = false;
                    let _ = reply.send(seen);
                }
                Command::Stop(reply) => {
                    self.stop_all(SHUTDOWN_DRAIN, None).await;
                    self.show();
                    let _ = reply.send(());
                }
            }
            lock(&self.view).busy = false;
        }
    }

    /// Waits until replicas are ready, but no longer than until somebody wants the service to be otherwise.
    async fn await_ready(&self, slots: &[Slot], deadline: Instant) -> Result<u32, Option<ReplicaFailure>> {
        let (mut urgent, mut given_up) = (self.urgent.subscribe(), self.given_up.subscribe());
        tokio::select! {
            biased;
            ready = readiness::await_ready(slots, deadline) => ready,
            _ = urgent.wait_for(|count| *count > 0) => Err(Some(ReplicaFailure::Interrupted)),
            _ = given_up.wait_for(|given_up| *given_up) => Err(Some(ReplicaFailure::Interrupted)),
        }
    }

    fn show(&self) {
        let mut seen = lock(&self.view);
        seen.recovered = self.recovered;
        seen.fenced = self.fenced;
        seen.record.clone_from(&self.record);
        seen.replicas = self.slots.iter().map(|slot| slot.status.clone()).collect();
        seen.settle = self.launch.as_ref().map(|launch| launch.body.settle).unwrap_or_default();
        seen.steady = self.machine.steady;
        seen.settling = self.settling.as_ref().map(Settling::until);
        seen.fallen.clone_from(&self.fallen);
    }

    async fn apply(
        &mut self,
        context: Context,
        resource: Resource,
        desired: Value,
    ) -> Result<Performed, ProviderError> {
        self.recover(&context).await?;
        self.fenced = false;
        self.show();
        let launch = Arc::new(Launch::new(context, resource, &desired)?);
        // Time is left to end what did not get ready, and to say why.
        let deadline = launch.context.deadline;
        let deadline = deadline.checked_sub(launch.body.stop_timeout + SLACK).unwrap_or(deadline);
        self.listen(&launch).await?;
        // What the stack may use changes without a restart.
        self.machine.limit(self.stack, &launch.resource.body)?;
        let same = self.launch.as_ref().is_some_and(|now| now.fingerprint == launch.fingerprint);
        if !same {
            // What still settles is what the next version follows.
            self.settled();
        }
        self.fallen = None;
        let looks = if same {
            self.rescale(&launch, &desired, deadline).await?
        } else if self.launch.is_some() && launch.body.recreate {
            self.recreate(&launch, &desired, deadline).await?
        } else {
            self.roll(&launch, &desired, deadline).await?
        };
        let note = match looks {
            0 => None,
            1 => Some("ready after 1 probe".to_owned()),
            looks => Some(format!("ready after {looks} probes")),
        };
        Ok(Performed { object: self.record.as_ref().map(|record| record.object.clone()), note, ..Performed::default() })
    }

    /// Gives it the address at which the stack's other services reach it, if it has one.
    async fn listen(&self, launch: &Launch) -> Result<(), ProviderError> {
        let doors = listening::doors(&self.machine, self.stack, launch);
        let before = self.launch.as_ref().map(|before| listening::doors(&self.machine, self.stack, before));
        for gone in before.into_iter().flatten().filter(|before| doors.iter().all(|door| door.key != before.key)) {
            listening::close(&self.machine, &gone.key);
        }
        for door in doors {
            self.open_door(&door).await?;
        }
        Ok(())
    }

    async fn open_door(&self, door: &Door) -> Result<(), ProviderError> {
        let address = door.address;
        let listening = || listening::open(&self.machine, self.stack, door);
        let mut taken = listening().await;
        if let Err(RouterError::PortTaken { .. }) = taken {
            // Addresses of services are claimed in the store: a tenant's process has no business there.
            let there = |other: SocketAddr, _: &Socket| {
                other.port() == address.port() && (other.ip() == address.ip() || other.ip().is_unspecified())
            };
            if self.machine.evict(there).await.unwrap_or(false) {
                taken = listening().await;
            }
        }
        taken.map_err(|error| {
            failure::refusal(
                Code::PortTaken,
                format!("{} can't have its address {address}: {error}", self.id),
                "stop what listens there, then deploy again",
            )
        })
    }

    /// The same version, with more or fewer replicas or other times. Running replicas aren't touched.
    async fn rescale(
        &mut self,
        launch: &Arc<Launch>,
        desired: &Value,
        deadline: Instant,
    ) -> Result<u32, ProviderError> {
        let wanted = launch.body.replicas;
        let (keep, mut surplus): (Vec<Slot>, Vec<Slot>) = std::mem::take(&mut self.slots)
            .into_iter()
            .partition(|slot| slot.number <= wanted && is_well(&slot.status.borrow()));
        let missing: Vec<u32> = (1..=wanted).filter(|number| keep.iter().all(|slot| slot.number != *number)).collect();
        self.slots = keep;
        let added = self.begin(launch, self.generation, &missing);
        let looked = tokio::join!(self.await_ready(&self.slots, deadline), self.await_ready(&added, deadline));
        let ready = match looked.0.and(looked.1) {
            // A version that can't be recorded doesn't count: what was started for it goes.
            Ok(looks) => self.commit(launch, desired).await.map(|()| looks),
            Err(failure) => {
                let still = Some("the existing replicas keep running");
                Err(readiness::refusal(&launch.context.key, &self.id, failure, still).await)
            }
        };
        match ready {
            Ok(looks) => {
                self.slots.extend(added);
                self.retire(surplus, launch.body.drain, launch.body.stop_timeout);
                Ok(looks)
            }
            Err(error) => {
                stop(added, Duration::ZERO, launch.body.stop_timeout).await;
                self.slots.append(&mut surplus);
                self.slots.sort_by_key(|slot| slot.number);
                Err(error)
            }
        }
    }

    async fn roll(&mut self, launch: &Arc<Launch>, desired: &Value, deadline: Instant) -> Result<u32, ProviderError> {
        self.generations += 1;
        let (generation, former) = (self.generations, self.former());
        let all: Vec<u32> = (1..=launch.body.replicas).collect();
        let new = self.begin(launch, generation, &all);
        let ready = match self.await_ready(&new, deadline).await {
            Ok(looks) => self.commit(launch, desired).await.map(|()| looks),
            Err(failure) => {
                let old = self.launch.is_some().then_some("the previous version keeps serving");
                Err(readiness::refusal(&launch.context.key, &self.id, failure, old).await)
            }
        };
        let looks = match ready {
            Ok(looks) => looks,
            Err(error) => {
                stop(new, Duration::ZERO, launch.body.stop_timeout).await;
                self.roster.expect_one(false);
                return Err(error);
            }
        };
        self.generation = generation;
        self.roster.serve(generation);
        // Of no copies there is none to wait for.
        self.roster.expect_one(false);
        let old = std::mem::replace(&mut self.slots, new);
        self.begin_settling(launch, former, old);
        Ok(looks)
    }

    async fn recreate(
        &mut self,
        launch: &Arc<Launch>,
        desired: &Value,
        deadline: Instant,
    ) -> Result<u32, ProviderError> {
        let old = self.launch.clone();
        // Requests wait for the new one.
        self.roster.switch();
        stop(std::mem::take(&mut self.slots), launch.body.drain, launch.body.stop_timeout).await;
        let result = self.roll(launch, desired, deadline).await;
        if let (Err(_), Some(old)) = (&result, old) {
            let all: Vec<u32> = (1..=old.body.replicas).collect();
            self.slots = self.begin(&old, self.generation, &all);
        }
        result
    }

    fn begin(&mut self, launch: &Arc<Launch>, generation: u64, numbers: &[u32]) -> Vec<Slot> {
        numbers.iter().map(|number| Slot::begin(self.duty(launch, generation, *number), None)).collect()
    }

    fn duty(&mut self, launch: &Arc<Launch>, generation: u64, number: u32) -> SlotSpec {
        self.serial += 1;
        SlotSpec {
            machine: self.machine.clone(),
            launch: Arc::clone(launch),
            roster: Arc::clone(&self.roster),
            number,
            serial: self.serial,
            generation,
        }
    }

    /// From here on this version is the one that counts.
    async fn commit(&mut self, launch: &Arc<Launch>, desired: &Value) -> Result<(), ProviderError> {
        let object = self.record.as_ref().map_or_else(|| Uuid::new_v4().to_string(), |record| record.object.clone());
        let record = ServiceRecord { object, resource: launch.resource.clone(), desired: desired.clone() };
        self.write(&record).await?;
        self.record = Some(record);
        self.launch = Some(Arc::clone(launch));
        Ok(())
    }

    async fn write(&self, record: &ServiceRecord) -> Result<(), ProviderError> {
        let path = self.machine.directory.service_record(self.stack, &self.id);
        let (to, record) = (path.clone(), record.clone());
        let written = tokio::task::spawn_blocking(move || directory::write_json(&to, &record, Durability::Power));
        let written = written.await.map_err(|_| failure::stopped("writing a record"))?;
        written.map_err(|error| failure::file("write", &path, &error))
    }

    /// Lets replicas go, without waiting for it.
    fn retire(&mut self, slots: Vec<Slot>, drain: Duration, patience: Duration) {
        for slot in slots {
            slot.order(Stop { drain, patience });
            self.leaving.push(slot);
        }
    }

    /// Stops all replicas, those that are leaving already included, before `deadline`.
    async fn stop_all(&mut self, drain: Duration, deadline: Option<Instant>) {
        let body = self.launch.as_ref().map(|launch| launch.body.clone());
        let mut patience = body.as_ref().map_or(Duration::from_secs(10), |body| body.stop_timeout);
        let mut drain = body.map_or(drain, |body| body.drain.min(drain));
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            drain = drain.min(left / 4);
            patience = patience.min(left / 2);
        }
        let mut slots = self.end_settling();
        slots.append(&mut self.slots);
        slots.append(&mut self.leaving);
        stop(slots, drain, patience).await;
    }

    async fn restore(&mut self, context: Context, fallback: Option<ServiceRecord>) -> Result<String, ProviderError> {
        if self.machine.is_stopping() {
            return Err(failure::stopped("the platform"));
        }
        // What has been applied or deleted since the start needs no bringing back.
        if !self.recovered
            && let (None, Some(fallback)) = (&self.record, fallback)
        {
            self.write(&fallback).await?;
            self.record = Some(fallback);
        }
        self.recover(&context).await?;
        self.fenced = false;
        self.show();
        let Some(launch) = self.launch.clone() else { return Ok("nothing to restore".to_owned()) };
        self.listen(&launch).await?;
        self.roster.expect_one(true);
        let adopted = self.slots.len();
        let missing: Vec<u32> =
            (1..=launch.body.replicas).filter(|number| self.slots.iter().all(|slot| slot.number != *number)).collect();
        let started = self.begin(&launch, self.generation, &missing);
        self.slots.extend(started);
        self.show();
        let ready = self.await_ready(&self.slots, context.deadline).await;
        self.roster.expect_one(false);
        match ready {
            Ok(_looks) => Ok(format!("{adopted} adopted, {} started", missing.len())),
            Err(failure) => {
                Err(readiness::refusal(&context.key, &self.id, failure, Some("it will be tried again")).await)
            }
        }
    }

    fn check_identity(&self, object: Option<&str>) -> Result<(), ProviderError> {
        match (&self.record, object) {
            (Some(record), Some(object)) if record.object != object => Err(ProviderError::rejected(
                Code::ChangedExternally,
                format!("{} was replaced since it was deployed", self.id),
            )),
            _ => Ok(()),
        }
    }

    /// Ends its processes and lets nobody in; requests are answered 503. The record stays, and with it all that starting it again needs.
    async fn fence(&mut self, context: &Context, object: Option<&str>) -> Result<Performed, ProviderError> {
        self.check_identity(object)?;
        self.recover(context).await?;
        self.fenced = true;
        self.stop_for_good(context).await?;
        Ok(Performed::default())
    }

    /// Stops everything, and makes sure that nothing is left of it.
    async fn stop_for_good(&mut self, context: &Context) -> Result<(), ProviderError> {
        self.stop_all(LAST_DRAIN, Some(context.deadline)).await;
        let (stack, id, machine) = (self.stack, &self.id.0, &self.machine);
        let ours = |mark: &Marked| mark.stack == stack && mark.is_of(id) && mark.platform == Some(machine.platform);
        let left = || Ok(machine.marked()?.into_iter().filter(ours).map(|mark| mark.id).collect());
        if !end_all(left, Instant::now()).await.all || !self.are_all_ended().await {
            return Err(failure::still_running(id));
        }
        Ok(())
    }

    async fn delete(&mut self, context: Context, object: Option<&str>) -> Result<Performed, ProviderError> {
        self.check_identity(object)?;
        self.recover(&context).await?;
        // All of them, also those of which no process was ever ready.
        for door in self.launch.iter().flat_map(|launch| listening::doors(&self.machine, self.stack, launch)) {
            listening::close(&self.machine, &door.key);
        }
        self.roster.remove();
        self.machine.forwards.stop_all_at(&self.roster.endpoint(None));
        self.stop_for_good(&context).await?;
        // Its files first: without its record nobody would come back for them.
        let files = self.machine.directory.files(self.stack, &self.id.0);
        let folder = self.machine.directory.service(self.stack, &self.id);
        for gone in [files, folder] {
            directory::remove(&gone).map_err(|error| failure::file("remove", &gone, &error))?;
        }
        self.record = None;
        self.launch = None;
        Ok(Performed::default())
    }
}

impl ServiceLoop {
    /// Ends what is left of instances whose end is not certain: their records are still there.
    async fn are_all_ended(&self) -> bool {
        let folder = self.machine.directory.instances(self.stack, &self.id);
        let Ok(records) = directory::entries(&folder) else { return false };
        for path in records {
            if let Ok(Some(record)) = directory::read_json::<InstanceRecord>(&path) {
                let members = record.members(&self.machine, self.stack);
                let found = || {
                    let mut found = members.find()?;
                    found.extend(record.process.is_alive()?.then(|| record.process.clone()));
                    Ok(found)
                };
                if !end_all(found, Instant::now()).await.all {
                    return false;
                }
            }
        }
        true
    }
}

/// Whether a replica is worth keeping when its service is changed: it is ready, or has just been started.
fn is_well(status: &Status) -> bool {
    status.phase == Phase::Ready || (status.phase == Phase::Starting && status.failures == 0)
}

/// Stops replicas and waits until they are gone.
async fn stop(slots: Vec<Slot>, drain: Duration, patience: Duration) {
    for slot in &slots {
        slot.order(Stop { drain, patience });
    }
    futures::future::join_all(slots.into_iter().map(Slot::stopped)).await;
}
