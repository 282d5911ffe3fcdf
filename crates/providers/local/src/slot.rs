//! Keeps one replica of a service running.
//!
//! ```text
//!            ┌───────────────── wait (0.1 s, doubling up to 30 s) ◄────────────────┐
//!            ▼                                                                     │
//!         start ──► Starting ──ready──► Ready ◄──► Unready ──exit, or not live─────┤
//!                       └──────── exit, or never ready ────────────────────────────┘
//!         an order to stop, anywhere ──► out of the router ──► drained ──► SIGTERM ──► gone
//! ```
//!
//! A slot is a task of its own, so that the replicas of an old version stay supervised while a new one is started. Dropping it
//! leaves the process running; a later Freehold takes it over by its record.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use freehold_engine::ProviderError;
use freehold_engine::backoff::Backoff;
use freehold_problem::{Code, Problem};
use freehold_router::Connect;
use freehold_spec::Name;
use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::cache::{self, socket::CacheSocket};
use crate::health::{Endpoint, ProbeFailure, Probes, ReadinessCheck, ping};
use crate::instance::Instance;
use crate::launch::{Launch, Runs};
use crate::log::Log;
use crate::machine::Machine;
use crate::process::Exit;
use crate::serving_set::{Addresses, ServingSet};
use crate::verified_connect::VerifiedConnect;

/// How many exits in a row make a crash loop.
pub(crate) const CRASH_LOOP: u32 = 5;
/// How long an instance that has ended is not started again.
const RESTARTS: Backoff = Backoff::doubling(Duration::from_millis(100), Duration::from_secs(30));
/// Requests wait for an instance that is to be started again within this time.
const WORTH_WAITING: Duration = Duration::from_secs(1);
/// How often an instance that isn't ready yet is probed.
const PROBES: Backoff = Backoff::by_half(Duration::from_millis(5), LONGEST_LOOK);
const LONGEST_LOOK: Duration = Duration::from_millis(250);
/// How often a ready instance is looked at, and how often one that did not answer well.
const LOOK: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How many bad answers in a row end an instance (live), or keep requests from it (ready).
const DEAD: u32 = 3;
const UNREADY: u32 = 2;
/// What a service without a port and without a path for readiness has to live.
const ALIVE: Duration = Duration::from_secs(1);

/// What a replica is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    #[default]
    Starting,
    Ready,
    /// Running, but it says that it isn't ready: its words.
    Unready(String),
    /// Not running; it will be started again.
    Waiting,
}

/// What went wrong last.
#[derive(Debug, Clone)]
pub(crate) enum ReplicaFailure {
    NotStarted(ProviderError),
    Exited {
        exit: Exit,
        after: Duration,
        ready: bool,
        log: Log,
    },
    NeverReady {
        after: Duration,
        seen: String,
        log: Log,
    },
    NotLive {
        seen: String,
        log: Log,
    },
    /// It wasn't waited for any longer, because somebody wants the service to be otherwise.
    Interrupted,
}

/// What is known of a replica.
#[derive(Debug, Clone, Default)]
pub(crate) struct Status {
    pub(crate) phase: Phase,
    /// Since when it has been ready without a break.
    pub(crate) ready_since: Option<Instant>,
    /// How often the instance was looked at until it was ready.
    pub(crate) looks: u32,
    /// Troubles since it last ran steadily.
    pub(crate) failures: u32,
    pub(crate) failure: Option<ReplicaFailure>,
}

/// How to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stop {
    /// How long requests and streams under way may go on.
    pub(crate) drain: Duration,
    /// How long it may take to end after SIGTERM.
    pub(crate) patience: Duration,
}

/// One replica, kept running.
pub(crate) struct Slot {
    pub(crate) number: u32,
    pub(crate) status: watch::Receiver<Status>,
    orders: watch::Sender<Option<Stop>>,
    task: AbortOnDropHandle<()>,
}

/// What a slot is made from.
pub(crate) struct SlotSpec {
    pub(crate) machine: Machine,
    pub(crate) launch: Arc<Launch>,
    pub(crate) roster: Arc<ServingSet>,
    pub(crate) number: u32,
    /// Unique among the service's slots, of all generations.
    pub(crate) serial: u64,
    pub(crate) generation: u64,
}

impl Slot {
    /// Starts keeping a replica running; with an instance that is running already, if one is given.
    pub(crate) fn begin(duty: SlotSpec, adopted: Option<Instance>) -> Self {
        let (report, status) = watch::channel(Status::default());
        let (orders, received) = watch::channel(None);
        let number = duty.number;
        let slot = SlotLoop { duty, report, orders: received };
        Self { number, status, orders, task: AbortOnDropHandle::new(tokio::spawn(slot.run(adopted))) }
    }

    /// Orders it to stop. A second order hastens the first.
    pub(crate) fn order(&self, stop: Stop) {
        self.orders.send_replace(Some(stop));
    }

    /// Whether it has not stopped yet.
    pub(crate) fn is_running(&self) -> bool {
        !self.task.is_finished()
    }

    /// Waits until it has stopped. After an order only.
    pub(crate) async fn stopped(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "a replica's supervision ended badly");
        }
    }
}

struct SlotLoop {
    duty: SlotSpec,
    report: watch::Sender<Status>,
    orders: watch::Receiver<Option<Stop>>,
}

enum End {
    Ordered(Stop),
    Failed(ReplicaFailure),
}

impl SlotLoop {
    async fn run(mut self, mut adopted: Option<Instance>) {
        let mut waits = RESTARTS.waits();
        loop {
            let began = Instant::now();
            let started = match adopted.take() {
                Some(instance) => Ok(instance),
                None => Instance::start(&self.duty.machine, &self.duty.launch, self.duty.number).await,
            };
            let failure = match started {
                Err(ProviderError::Retryable { problem: Problem { message, .. }, .. }) => {
                    // We lack something; the program is not to blame.
                    tracing::warn!(service = %self.duty.launch.resource.identity, message, "a replica can't be started now");
                    self.report.send_modify(|status| {
                        status.failure =
                            Some(ReplicaFailure::NotStarted(ProviderError::retryable(Code::NotNow, message)))
                    });
                    tokio::select! {
                        _stop = ordered(&mut self.orders) => return self.duty.roster.leave(self.duty.serial),
                        () = tokio::time::sleep(LONGEST_LOOK) => continue,
                    }
                }
                Err(error) => ReplicaFailure::NotStarted(error),
                Ok(mut instance) => match self.tend(&mut instance, began).await {
                    End::Ordered(stop) => return self.stop(instance, stop).await,
                    End::Failed(failure) => {
                        self.clear(instance, &failure).await;
                        failure
                    }
                },
            };
            // A quick restart is worth waiting for.
            self.duty.roster.expect_one(waits.present() <= WORTH_WAITING);
            if began.elapsed() >= self.duty.machine.steady {
                waits.reset();
                self.report.send_modify(|status| status.failures = 0);
            }
            let wait = waits.take();
            tracing::info!(service = %self.duty.launch.resource.identity, ?wait, ?failure, "a replica has failed and will be started again");
            self.report.send_modify(|status| {
                status.phase = Phase::Waiting;
                status.ready_since = None;
                status.failures += 1;
                status.failure = Some(failure);
            });
            tokio::select! {
                _stop = ordered(&mut self.orders) => return self.duty.roster.leave(self.duty.serial),
                () = tokio::time::sleep(wait) => {}
            }
            self.report.send_modify(|status| status.phase = Phase::Starting);
        }
    }

    /// Watches over a running instance until its end, or an order.
    async fn tend(&mut self, instance: &mut Instance, began: Instant) -> End {
        let Self { duty, report, orders } = self;
        let (addresses, log, proof) = (instance.addresses(), instance.log.clone(), Arc::clone(&instance.proof));
        let care = InstanceWatch { duty, report, addresses, proof };
        let mut ready = false;
        let caring = async {
            match care.until_ready().await {
                Ok(()) => ready = true,
                Err(seen) => {
                    let after = duty.launch.body.start_timeout;
                    return ReplicaFailure::NeverReady { after, seen, log: log.clone() };
                }
            }
            ReplicaFailure::NotLive { seen: care.while_live().await, log: log.clone() }
        };
        let trimming = duty.machine.trimmer.keep(&log, duty.machine.log_limits.size);
        let ended = tokio::select! {
            biased;
            stop = ordered(orders) => return End::Ordered(stop),
            exit = instance.process.exited() => Err(exit),
            failure = caring => Ok(failure),
            () = trimming => Err(Exit::Unknown),
        };
        End::Failed(match ended {
            Ok(failure) => failure,
            Err(exit) => {
                ReplicaFailure::Exited { exit: exit.explained(instance.group()), after: began.elapsed(), ready, log }
            }
        })
    }

    /// Clears up behind an instance that has failed.
    async fn clear(&self, instance: Instance, failure: &ReplicaFailure) {
        self.duty.roster.leave(self.duty.serial);
        match failure {
            ReplicaFailure::Exited { exit, after, .. } => {
                instance.log.event(&format!("exited by itself: {exit}, after {:.1} s", after.as_secs_f64()));
                instance.clear(&self.duty.machine).await;
            }
            ReplicaFailure::NeverReady { seen, .. } | ReplicaFailure::NotLive { seen, .. } => {
                instance.log.event(&format!("to be ended: {seen}"));
                instance.end(&self.duty.machine, self.duty.launch.body.stop_timeout).await;
            }
            // Nothing runs; or nobody waits for it any more, which is no failure of its own.
            ReplicaFailure::NotStarted(_) | ReplicaFailure::Interrupted => {}
        }
    }

    async fn stop(mut self, instance: Instance, stop: Stop) {
        self.duty.roster.leave(self.duty.serial);
        let mut patience = stop.patience;
        let router = &self.duty.machine.router;
        let addresses: Vec<SocketAddr> = instance.addresses().all().collect();
        if !addresses.is_empty() {
            let drained = |limit| join_all(addresses.iter().map(move |address| router.drain(*address, limit)));
            tokio::select! {
                _drained = drained(stop.drain) => {}
                // Hastened.
                Ok(()) = self.orders.changed() => {
                    let hastened = *self.orders.borrow_and_update();
                    if let Some(stop) = hastened {
                        patience = stop.patience;
                        drained(stop.drain).await;
                    }
                }
            }
        }
        for address in addresses {
            router.cut(address);
        }
        instance.end(&self.duty.machine, patience).await;
    }
}

/// Waits for an order.
async fn ordered(orders: &mut watch::Receiver<Option<Stop>>) -> Stop {
    loop {
        let order = *orders.borrow_and_update();
        if let Some(stop) = order {
            return stop;
        }
        if orders.changed().await.is_err() {
            // Nobody can give one any more; the task is about to be dropped.
            std::future::pending::<()>().await;
        }
    }
}

/// The care for one running instance.
struct InstanceWatch<'a> {
    duty: &'a SlotSpec,
    report: &'a watch::Sender<Status>,
    addresses: Addresses,
    proof: Arc<VerifiedConnect>,
}

impl InstanceWatch<'_> {
    fn set_ready(&self, ready: bool) {
        if self.addresses.all().next().is_some() {
            let connect = Arc::clone(&self.proof) as Arc<dyn Connect>;
            self.duty.roster.set(self.duty.serial, self.duty.generation, &self.addresses, &connect, ready);
        }
    }

    /// Where it is asked: at a named port, or at its own.
    fn place(&self, port: Option<&Name>) -> Option<Endpoint> {
        let address = match port {
            Some(name) => self.addresses.named.get(name).copied(),
            None => self.addresses.own,
        };
        Some(Endpoint { address: address?, connect: Arc::clone(&self.proof) as Arc<dyn Connect> })
    }

    /// Looks until the instance is ready. Fails with what was seen last if that takes too long.
    async fn until_ready(&self) -> Result<(), String> {
        let body = &self.duty.launch.body;
        let sign = match (self.cache(), self.place(body.ready_port.as_ref()), &body.ready) {
            (Some(socket), _, _) => ReadinessCheck::Pongs(socket),
            (None, Some(place), Some(path)) => ReadinessCheck::Answers(place, path.clone()),
            (None, Some(place), None) => ReadinessCheck::Accepts(place),
            (None, None, _) => ReadinessCheck::Lives(ALIVE),
        };
        let mut seen = ProbeFailure::Bad("it did not answer".to_owned());
        let mut looks = 0;
        let mut pause = PROBES.waits();
        let mut limit = Instant::now() + body.start_timeout;
        loop {
            looks += 1;
            let began = Instant::now();
            match tokio::time::timeout_at(limit, sign.look()).await {
                Ok(Ok(())) => break,
                Ok(Err(other)) => seen = other,
                Err(_elapsed) => return Err(self.last_seen(seen).await),
            }
            tokio::time::sleep(pause.take()).await;
            if let ProbeFailure::Nothing(_) = seen {
                // Its time does not run while we can't look.
                limit += began.elapsed();
            }
            if Instant::now() >= limit {
                return Err(self.last_seen(seen).await);
            }
        }
        self.set_ready(true);
        self.report.send_modify(|status| {
            status.phase = Phase::Ready;
            status.ready_since = Some(Instant::now());
            status.looks = looks;
        });
        Ok(())
    }

    /// What was seen last, in words; if nothing listens on its port, then also where it does listen.
    async fn last_seen(&self, seen: ProbeFailure) -> String {
        let ProbeFailure::NotListening(words) = seen else { return seen.words() };
        let proof = Arc::clone(&self.proof);
        let elsewhere = tokio::task::spawn_blocking(move || proof.elsewhere()).await.ok().flatten();
        match elsewhere {
            Some(elsewhere) => format!("{words}; {elsewhere}"),
            None => words,
        }
    }

    /// Where the server listens, if it is one of a cache.
    fn cache(&self) -> Option<CacheSocket> {
        let SlotSpec { machine, launch, .. } = self.duty;
        match launch.runs {
            Runs::CacheServer => Some(cache::socket(machine, launch.context.stack, &launch.resource)),
            Runs::Program => None,
        }
    }

    /// Looks at the server of a cache, again and again; returns what was seen once it doesn't respond any more. An answer that isn't PONG is
    /// one: it is busy with a script, say.
    async fn while_responding(socket: &CacheSocket) -> String {
        let mut dead = 0;
        loop {
            tokio::time::sleep(if dead == 0 { LOOK } else { LOOK_AGAIN }).await;
            match ping(socket).await {
                Ok(()) | Err(ProbeFailure::Nothing(_)) | Err(ProbeFailure::Answered(_)) => dead = 0,
                Err(seen) if dead + 1 >= DEAD => return seen.words(),
                Err(_) => dead += 1,
            }
        }
    }

    /// Looks again and again; returns what was seen once it isn't worth keeping.
    async fn while_live(&self) -> String {
        if let Some(socket) = self.cache() {
            return Self::while_responding(&socket).await;
        }
        let body = &self.duty.launch.body;
        let live = body.live.as_ref().and_then(|path| Some((path, self.place(body.live_port.as_ref())?)));
        let ready = body.ready.as_ref().and_then(|path| Some((path, self.place(body.ready_port.as_ref())?)));
        if live.is_none() && ready.is_none() {
            return std::future::pending().await;
        }
        let (mut dead, mut unready) = (0, 0);
        loop {
            tokio::time::sleep(if dead + unready == 0 { LOOK } else { LOOK_AGAIN }).await;
            let mut kept = None;
            if let Some((path, place)) = &live {
                let probes = kept.insert(Probes::of(place));
                match probes.get(path).await {
                    Ok(()) => dead = 0,
                    Err(ProbeFailure::Nothing(_)) => {}
                    Err(seen) if dead + 1 >= DEAD => return seen.words(),
                    Err(_) => dead += 1,
                }
            }
            if let Some((path, place)) = &ready {
                // Over the same connection where it is asked at the same port.
                let kept = kept.filter(|_| body.live_port == body.ready_port);
                match kept.unwrap_or_else(|| Probes::of(place)).last(path).await {
                    Ok(()) => {
                        unready = 0;
                        self.set_ready(true);
                        self.report.send_if_modified(|status| {
                            status.ready_since.get_or_insert_with(Instant::now);
                            std::mem::replace(&mut status.phase, Phase::Ready) != Phase::Ready
                        });
                    }
                    Err(ProbeFailure::Nothing(_)) => {}
                    Err(_) if unready + 1 < UNREADY => unready += 1,
                    Err(seen) => {
                        unready = UNREADY;
                        self.set_ready(false);
                        self.report.send_modify(|status| {
                            status.phase = Phase::Unready(seen.words());
                            status.ready_since = None;
                        });
                    }
                }
            }
        }
    }
}
