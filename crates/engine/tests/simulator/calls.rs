//! The calls of the simulated machine: they leave, take effect or not, and come back or not.

use std::sync::Arc;

use freehold_engine::testing::{Effect, Sent, World};
use freehold_engine::{CallId, InputKind, Performed, ProviderError, Record, Reply, Request, Task};
use freehold_graph::ProviderName;
use freehold_plan::{Observation, Ownership, Plan, Purpose};
use freehold_problem::Code;

use super::machine::{Machine, Mutant};
use super::process::{Flight, Stage};
use crate::fixture::STACK;

impl Machine {
    pub(super) fn send(&mut self, index: usize, call: CallId, provider: ProviderName, deadline: u64, request: Request) {
        // These are not looked at before they act, so their providers wait for what was sent before.
        if matches!(&request, Request::Perform(_, Task::Run { .. } | Task::Lift { .. })) {
            self.settle_own(self.processes[index].number);
        }
        let process = &self.processes[index];
        let mut sent = None;
        if let Request::Perform(step, task) = &request {
            let journal = self.store.journal(process.operation);
            let announced =
                journal.iter().any(|record| matches!(record, Record::StepStarted { step: id, .. } if id == step));
            let subject = match task {
                Task::Apply { resource, .. } => Some(resource.id.clone()),
                Task::Delete { lookup, .. } | Task::Dump { lookup } | Task::Fence { lookup, .. } => {
                    Some(lookup.id.clone())
                }
                Task::Run { .. } | Task::Lift { .. } => None,
            };
            let revision = process.plan.revision;
            sent = Some(self.world.send(STACK, process.operation, step.clone(), revision, task.clone()));
            let compared = self.compared.get(&process.operation);
            let new = process.plan.changes.keys().find(|id| compared.is_none_or(|compared| !compared.contains(id)));
            if let Some(id) = new.cloned() {
                self.wrong(format!("{step} acts before {id} was compared with the plan"));
            }
            if !announced {
                self.wrong(format!("{step} acts before its record is in the journal"));
            }
            if subject.is_some_and(|subject| !self.processes[index].looked.remove(&subject)) {
                self.wrong(format!("{step} acts without having looked"));
            }
        }
        self.processes[index].flights.push(Flight { call, provider, deadline, request, sent, stage: Stage::Out });
    }

    /// A call goes one way further.
    pub(super) fn fly(&mut self, index: usize, flight: usize) {
        let process = &mut self.processes[index];
        let number = process.number;
        let mut flight = process.flights.swap_remove(flight);
        if let Stage::Back(answer) = flight.stage {
            let luck = self.luck.calls;
            let twice = self.unlucky(luck).then(|| answer.clone());
            if let (Request::Observe(lookup), Reply::Observed(Ok(_))) = (&flight.request, &answer) {
                self.processes[index].looked.insert(lookup.id.clone());
                let operation = self.processes[index].operation;
                self.compared.entry(operation).or_default().insert(lookup.id.clone());
            }
            self.feed(index, InputKind::Answered(flight.call, answer));
            if let Some(answer) = twice {
                self.feed(index, InputKind::Answered(flight.call, answer));
            }
            return;
        }
        if self.now >= flight.deadline {
            let answer = no_answer(&flight.request);
            let (call, expires, plan) = (flight.call, process.expires, Arc::clone(&process.plan));
            self.give_up(number, expires, &plan, flight, false);
            return self.feed(index, InputKind::Answered(call, answer));
        }
        let plan = Arc::clone(&process.plan);
        flight.stage = match &flight.request {
            Request::Perform(..) => self.effect(&plan, &flight),
            _ => self.look(index, &flight),
        };
        self.processes[index].flights.push(flight);
    }

    pub(super) fn effect(&mut self, plan: &Arc<Plan>, flight: &Flight) -> Stage {
        let Some(sent) = &flight.sent else { return Stage::Lost(false) };
        let luck = self.luck.calls;
        let fault = if self.unlucky(luck) { self.chance.below(9) } else { 9 };
        let retryable = || Err(ProviderError::retryable(Code::NotNow, "bad luck"));
        let unknown = || Err(ProviderError::unknown(Code::NotNow, "bad luck"));
        let result = match fault {
            0 => retryable(),
            1 => unknown(),
            2 => return Stage::Lost(false),
            3 if self.chance.per_mille(300) => Err(ProviderError::rejected(Code::Newer(999), "very bad luck")),
            _ => {
                let result = self.land(plan, sent);
                match fault {
                    4 => retryable(),
                    5 => unknown(),
                    6 => return Stage::Lost(true),
                    7 => {
                        let Request::Perform(step, task) = &flight.request else { return Stage::Lost(true) };
                        let (operation, _) = World::sender(sent);
                        let again = self.world.send(STACK, operation, step.clone(), plan.revision, task.clone());
                        self.land(plan, &again)
                    }
                    _ => result,
                }
            }
        };
        let result = match result {
            Err(ProviderError::Unknown(_)) if self.mutant == Mutant::TakesNoAnswerForDone => Ok(Performed::default()),
            result => result,
        };
        Stage::Back(Reply::Performed(result))
    }

    /// An effect happens. Checks that the plan allows the loss of data that comes with it.
    pub(super) fn land(&mut self, plan: &Plan, sent: &Sent) -> Result<Performed, ProviderError> {
        let before = self.world.effects.len();
        let result = self.world.land(sent);
        let (operation, step) = World::sender(sent);
        *self.effects.entry(operation).or_default() += self.world.effects.len() - before;
        let dumped = !matches!(plan.purpose, Purpose::Destroy { dump: false });
        let mut wrong = Vec::new();
        for effect in &self.world.effects[before..] {
            let Effect::Deleted(kind, identity, data) = effect else { continue };
            let named = plan.changes.values().any(|change| change.identity == *identity && change.loses_data);
            if kind.holds_data() && !named {
                wrong.push(format!("{step} lost the data of {identity}, which no plan names"));
            }
            if kind.holds_data() && dumped && !self.world.dumps.contains(data) {
                wrong.push(format!("{step} lost the data of {identity} without a dump"));
            }
        }
        let lost = std::mem::take(&mut self.world.lost_rows);
        if plan.purpose == (Purpose::Destroy { dump: true }) && !self.meddled {
            wrong.extend(lost);
        }
        self.world.violations.extend(wrong);
        result
    }

    fn look(&mut self, index: usize, flight: &Flight) -> Stage {
        let luck = self.luck.calls;
        if self.unlucky(luck) {
            let error = ProviderError::unknown(Code::NotNow, "bad luck");
            return match (&flight.request, self.chance.below(3)) {
                (_, 0) => Stage::Lost(false),
                (Request::Observe(_), _) => Stage::Back(Reply::Observed(Err(error))),
                (Request::Readiness(..), _) => {
                    Stage::Back(Reply::Readiness(Err(ProviderError::retryable(Code::NotNow, "bad luck"))))
                }
                _ => Stage::Back(Reply::Owned(Err(error))),
            };
        }
        let number = self.processes[index].number;
        Stage::Back(match &flight.request {
            Request::Observe(lookup) if self.mutant == Mutant::DoesNotLook => {
                let change = &self.processes[index].plan.changes[&lookup.id];
                let seen = change.object.clone().zip(change.observed.clone());
                let seen = seen.map(|(object, body)| Observation {
                    object,
                    body,
                    ownership: Ownership::Ours,
                    foreign_fields: Vec::new(),
                });
                return Stage::Back(Reply::Observed(Ok(seen)));
            }
            Request::Observe(lookup) => {
                self.settle_own(number);
                Reply::Observed(Ok(self.world.observe(STACK, lookup)))
            }
            Request::Readiness(lookup, _) => Reply::Readiness(Ok(self.world.readiness(lookup))),
            Request::Owned => {
                self.settle_own(number);
                Reply::Owned(Ok(self.world.owned(flight.provider, Some(STACK))))
            }
            Request::Perform(..) => return Stage::Lost(false),
        })
    }
}

fn no_answer(request: &Request) -> Reply {
    let unknown = ProviderError::unknown(Code::NotNow, "no answer");
    match request {
        Request::Observe(_) => Reply::Observed(Err(unknown)),
        Request::Perform(..) => Reply::Performed(Err(unknown)),
        Request::Readiness(..) => Reply::Readiness(Err(unknown)),
        Request::Owned => Reply::Owned(Err(unknown)),
    }
}
