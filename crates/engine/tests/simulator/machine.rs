//! The simulated machine: one fake world, one store, any number of processes, and bad luck. Everything that happens follows from
//! the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use freehold_engine::testing::{Sent, World};
use freehold_engine::{End, InputKind, OperationId, Outcome, Record};
use freehold_graph::ResourceId;
use freehold_plan::Plan;

use super::chance::Chance;
use super::process::{Demand, Flight, Process, Stage, Writing};
use super::store::{Batch, Store};

/// A fault that is built in on purpose, to prove that the simulator notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    None,
    /// Takes the plan's word for what is there.
    DoesNotLook,
    /// Acts before the record is in the journal.
    ActsBeforeTheRecord,
    /// Takes no answer for a success.
    TakesNoAnswerForDone,
    /// Goes on when the lease has lapsed.
    IgnoresTheLease,
    /// A provider that deletes and overwrites whatever has the right name.
    CarelessProvider,
    /// After a crash it begins anew instead of loading the journal.
    ForgetsTheJournal,
}

/// How bad the luck is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Luck {
    /// Faults of calls, per mille of them.
    pub(crate) calls: u64,
    /// Faults of the store, per mille of writes.
    pub(crate) store: u64,
    /// Crashes, pauses and second processes, per mille of moves.
    pub(crate) processes: u64,
    /// Cancellations, per mille of moves.
    pub(crate) cancel: u64,
    /// Somebody meddles, per mille of moves.
    pub(crate) meddling: u64,
}

impl Luck {
    pub(crate) const GOOD: Self = Self { calls: 0, store: 0, processes: 0, cancel: 0, meddling: 0 };
}

/// A call whose process is gone, or has given it up, and which may still land.
struct Zombie {
    process: u64,
    until: u64,
    plan: Arc<Plan>,
    sent: Sent,
}

pub(crate) struct Machine {
    pub(crate) chance: Chance,
    pub(crate) now: u64,
    pub(crate) world: World,
    pub(crate) store: Store,
    pub(crate) luck: Luck,
    pub(crate) mutant: Mutant,
    /// A restarted server knows that its predecessor is dead, and takes its leases at once.
    pub(crate) embedded: bool,
    pub(crate) meddled: bool,
    pub(crate) kills: u64,
    pub(super) processes: Vec<Process>,
    zombies: Vec<Zombie>,
    /// How many effects each operation had.
    pub(crate) effects: BTreeMap<OperationId, usize>,
    /// The lines of its plan that each operation has looked at.
    pub(super) compared: BTreeMap<OperationId, BTreeSet<ResourceId>>,
    numbers: u64,
    batches: u64,
    moves: u64,
}

/// More moves than any operation needs whose faults have ended.
const PATIENCE: u64 = 20_000;
/// Faults end after as many moves.
const FAULTY: u64 = 1_500;

impl Machine {
    pub(crate) fn new(mut chance: Chance, mutant: Mutant, embedded: bool) -> Self {
        let mut world = World::default();
        world.careless = mutant == Mutant::CarelessProvider;
        let mut store = Store::default();
        store.forgets = chance.per_mille(300);
        Self {
            chance,
            now: 1_000,
            world,
            store,
            luck: Luck::GOOD,
            mutant,
            embedded,
            meddled: false,
            kills: 0,
            processes: Vec::new(),
            zombies: Vec::new(),
            effects: BTreeMap::new(),
            compared: BTreeMap::new(),
            numbers: 0,
            batches: 0,
            moves: 0,
        }
    }

    pub(super) fn wrong(&mut self, what: impl Into<String>) {
        self.world.violations.push(what.into());
    }

    /// Works on an operation until it is finished, whatever happens in between.
    pub(crate) fn operate(&mut self, operation: OperationId, plan: &Arc<Plan>) -> Option<Outcome> {
        self.moves = 0;
        self.store.begin();
        loop {
            self.moves += 1;
            if self.moves > PATIENCE {
                self.wrong("the operation makes no progress");
                return None;
            }
            if !self.world.violations.is_empty() {
                return None;
            }
            if self.luck.meddling > 0 && self.is_faulty() && self.chance.per_mille(self.luck.meddling) {
                self.meddle(plan);
            }
            self.zombies_move();
            self.world.write_rows();
            if self.chance.per_mille(20) {
                self.store.land_late();
            }
            self.start(operation, plan);
            self.one_moves(operation);
            if let Some(outcome) = self.bury(operation) {
                return Some(outcome);
            }
        }
    }

    fn is_faulty(&self) -> bool {
        self.moves < FAULTY
    }

    /// Whether something goes wrong now.
    pub(super) fn unlucky(&mut self, per_mille: u64) -> bool {
        per_mille > 0 && self.is_faulty() && self.chance.per_mille(per_mille)
    }

    /// Starts a process if the operation has none, and sometimes a second one.
    fn start(&mut self, operation: OperationId, plan: &Arc<Plan>) {
        let here =
            self.processes.iter().any(|process| process.operation == operation && process.paused_until <= self.now);
        let luck = self.luck.processes;
        if here && !self.unlucky(luck) {
            return;
        }
        let Some(fence) = self.store.acquire(self.now) else { return };
        self.numbers += 1;
        let mut process = Process::new(self.numbers, operation, plan, fence, self.now);
        if self.mutant != Mutant::ForgetsTheJournal
            && let Err(error) = process.load(self.store.journal(operation))
        {
            return self.wrong(error);
        }
        self.processes.push(process);
        let last = self.processes.len() - 1;
        self.feed(last, InputKind::Begun);
    }

    /// Takes away processes that have ended; returns the outcome if one of them finished the operation.
    fn bury(&mut self, operation: OperationId) -> Option<Outcome> {
        let mut outcome = None;
        let mut index = 0;
        while let Some(process) = self.processes.get(index) {
            let Some(end) = process.end.clone() else {
                index += 1;
                continue;
            };
            let process = self.processes.swap_remove(index);
            match end {
                End::Finished(how) => {
                    if process.is_settled() {
                        self.store.release(self.now, process.fence);
                    }
                    if process.operation == operation {
                        outcome = Some(how);
                    }
                }
                End::LeaseLost => {}
                End::Broken(error) => self.wrong(error.to_string()),
            }
            self.abandon(process, false);
        }
        outcome
    }

    /// A process is gone; what it had sent may land, or not. A dead server's lock on the data directory is released only
    /// when nothing of it is left, so then it is decided at once.
    fn abandon(&mut self, process: Process, dead: bool) {
        let Process { number, expires, plan, flights, .. } = process;
        for flight in flights {
            self.give_up(number, expires, &plan, flight, dead && self.embedded);
        }
    }

    pub(super) fn give_up(&mut self, process: u64, until: u64, plan: &Arc<Plan>, flight: Flight, at_once: bool) {
        let (Stage::Out | Stage::Lost(false), Some(sent)) = (flight.stage, flight.sent) else { return };
        let zombie = Zombie { process, until, plan: Arc::clone(plan), sent };
        if !at_once {
            self.zombies.push(zombie);
        } else if self.now < until && self.chance.per_mille(500) {
            self.land(&zombie.plan, &zombie.sent).ok();
        }
    }

    fn zombies_move(&mut self) {
        let now = self.now;
        for index in 0..self.processes.len() {
            let process = &self.processes[index];
            let is_out = |flight: &Flight| matches!((&flight.stage, &flight.sent), (Stage::Out, Some(_)));
            // What a sleeping process has sent goes on without it.
            if process.paused_until > now
                && now < process.expires
                && self.chance.per_mille(50)
                && let Some(place) = process.flights.iter().position(is_out)
            {
                let plan = Arc::clone(&process.plan);
                let mut flight = self.processes[index].flights.swap_remove(place);
                flight.stage = self.effect(&plan, &flight);
                self.processes[index].flights.push(flight);
            }
        }
        self.zombies.retain(|zombie| now < zombie.until);
        if !self.zombies.is_empty() && self.chance.per_mille(100) {
            let index = self.chance.index(self.zombies.len());
            let zombie = self.zombies.swap_remove(index);
            self.land(&zombie.plan, &zombie.sent).ok();
        }
    }

    /// Providers see what an earlier call of the same process did: the outside system finishes the one before the other.
    pub(super) fn settle_own(&mut self, process: u64) {
        while let Some(index) = self.zombies.iter().position(|zombie| zombie.process == process) {
            let zombie = self.zombies.swap_remove(index);
            if self.chance.per_mille(500) {
                self.land(&zombie.plan, &zombie.sent).ok();
            }
        }
    }

    fn one_moves(&mut self, operation: OperationId) {
        let now = self.now;
        let awake: Vec<usize> =
            (0..self.processes.len()).filter(|index| self.processes[*index].paused_until <= now).collect();
        if awake.is_empty() {
            return self.pass_time();
        }
        let index = *self.chance.pick(&awake);
        let luck = self.luck;
        if self.unlucky(luck.processes) {
            return self.strike(index);
        }
        if self.unlucky(luck.cancel) {
            return self.feed(index, InputKind::CancelRequested);
        }
        if self.unlucky(luck.store / 10) {
            self.store.down_until = self.now + self.chance.below(40_000);
            if self.chance.per_mille(500) {
                self.store.crash(operation);
            }
        }
        let process = &self.processes[index];
        if !process.lapsed && now >= process.hold_until && self.mutant != Mutant::IgnoresTheLease {
            return self.lapse(index);
        }
        let up = self.store.is_up(now);
        if up && (process.lapsed || now >= process.renew_at) {
            return self.renew(index);
        }
        let can_write = process.writing.is_some() || !process.queue.is_empty();
        let can_write = can_write && (up || !process.writing.as_ref().is_some_and(|writing| writing.tried));
        let movable: Vec<usize> = (0..process.flights.len())
            .filter(|flight| {
                !matches!(process.flights[*flight].stage, Stage::Lost(_)) || process.flights[*flight].deadline <= now
            })
            .collect();
        if can_write && (movable.is_empty() || self.chance.per_mille(400)) {
            self.write(index);
        } else if !movable.is_empty() {
            let flight = *self.chance.pick(&movable);
            self.fly(index, flight);
        } else if process.next_wake().is_some_and(|wake| wake <= now) {
            self.feed(index, InputKind::Woke);
        } else {
            return self.pass_time();
        }
        self.now += self.chance.below(4);
    }

    /// Nothing can move: time passes until something can.
    fn pass_time(&mut self) {
        let now = self.now;
        let mut times = vec![self.store.down_until, self.store.expires];
        for process in &self.processes {
            times.extend([process.paused_until, process.renew_at, process.hold_until]);
            times.extend(process.next_wake());
            times.extend(process.flights.iter().map(|flight| flight.deadline));
        }
        let next = times.into_iter().filter(|time| *time > now).min();
        self.now = next.unwrap_or(now + 100);
    }

    /// Something bad happens to a process.
    fn strike(&mut self, index: usize) {
        if self.chance.per_mille(600) {
            let process = self.processes.swap_remove(index);
            self.kills += 1;
            if self.embedded {
                self.settle_own(process.number);
                if process.fence == self.store.fence {
                    self.store.expires = self.now;
                }
            }
            self.abandon(process, true);
        } else {
            self.processes[index].paused_until = self.now + self.chance.below(40_000);
        }
    }

    fn lapse(&mut self, index: usize) {
        let process = &mut self.processes[index];
        process.lapsed = true;
        let (number, expires, plan) = (process.number, process.expires, Arc::clone(&process.plan));
        for flight in std::mem::take(&mut process.flights) {
            self.give_up(number, expires, &plan, flight, false);
        }
        self.feed(index, InputKind::LeaseLapsed);
    }

    fn renew(&mut self, index: usize) {
        let (now, fence) = (self.now, self.processes[index].fence);
        if !self.store.renew(now, fence) {
            if self.mutant == Mutant::IgnoresTheLease {
                self.processes[index].renew_at = now + 5_000;
                return;
            }
            return self.feed(index, InputKind::LeaseLost);
        }
        let process = &mut self.processes[index];
        process.extend(now);
        if std::mem::take(&mut process.lapsed) {
            self.feed(index, InputKind::LeaseRestored);
        }
    }

    pub(super) fn feed(&mut self, index: usize, what: InputKind) {
        for Demand::Send(call, provider, deadline, request) in self.processes[index].feed(self.now, what) {
            self.send(index, call, provider, deadline, request);
        }
    }

    fn write(&mut self, index: usize) {
        let now = self.now;
        let process = &mut self.processes[index];
        let (operation, fence, known) = (process.operation, process.fence, process.known);
        let Some(Writing { batch, .. }) = process.writing.take() else {
            let records = std::mem::take(&mut process.queue);
            self.batches += 1;
            process.writing = Some(Writing { batch: Batch { number: self.batches, records }, tried: false });
            return;
        };
        let up = self.store.is_up(now);
        let luck = self.luck.store;
        let fault = if self.unlucky(luck) { self.chance.below(3) } else { 3 };
        let hasty = self.mutant == Mutant::ActsBeforeTheRecord;
        if hasty {
            self.acknowledge(index, batch.records.clone());
        }
        match fault {
            _ if !up => {}
            0 => {}
            1 => self.store.commit_later(operation, fence, known, &batch),
            _ if !self.store.commit(operation, fence, known, &batch) => return self.feed(index, InputKind::LeaseLost),
            2 => {}
            _ => {
                self.processes[index].known += batch.records.len();
                if !hasty {
                    self.acknowledge(index, batch.records);
                }
                return;
            }
        }
        if !hasty {
            self.processes[index].writing = Some(Writing { batch, tried: true });
        }
    }

    fn acknowledge(&mut self, index: usize, records: Vec<Record>) {
        let luck = self.luck.calls;
        let twice = self.unlucky(luck).then(|| records.clone());
        self.feed(index, InputKind::Appended(records));
        if let Some(records) = twice {
            self.feed(index, InputKind::Appended(records));
        }
    }

    /// Somebody who isn't Freehold changes, deletes or makes something.
    pub(crate) fn meddle(&mut self, plan: &Plan) {
        self.meddled = true;
        let changes: Vec<_> = plan.changes.values().collect();
        if changes.is_empty() {
            return;
        }
        let change = *self.chance.pick(&changes);
        let place = (change.kind, change.identity.clone());
        let body = freehold_graph::Value::text(format!("meddled {}", self.now));
        match self.world.objects.get_mut(&place).and_then(|objects| objects.first_mut()) {
            None => self.world.intrude(change.kind, &change.identity, body),
            Some(object) if self.chance.per_mille(500) => object.body = body,
            Some(object) if self.chance.per_mille(300) => object.mark = None,
            Some(_) => {
                self.world.objects.remove(&place);
            }
        }
    }

    /// Whoever meddled takes his things away again.
    pub(crate) fn tidy(&mut self) {
        for objects in self.world.objects.values_mut() {
            objects.retain(|object| object.mark.is_some());
        }
        self.world.objects.retain(|_, objects| !objects.is_empty());
    }
}
