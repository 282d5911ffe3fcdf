//! One story: a stack is deployed, changed, rolled back, destroyed in random order, with bad luck; then the luck gets good, and
//! everything has to come right.

use std::collections::BTreeMap;
use std::sync::Arc;

use freehold_engine::testing::JobEnd;
use freehold_engine::{Limits, OperationId, OperationState, Outcome, Record, Verb};
use freehold_graph::{Graph, ResourceId};
use freehold_plan::{Plan, PlanError, Previous, Purpose};

use super::chance::Chance;
use super::machine::{Luck, Machine, Mutant};
use crate::fixture::{Known, STACK, Shape, operation, plan};
use crate::shell::PROVIDERS;

/// What is added up over all stories.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) operations: u64,
    pub(crate) kills: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
}

impl Tally {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            operations: self.operations + other.operations,
            kills: self.kills + other.kills,
            succeeded: self.succeeded + other.succeeded,
            failed: self.failed + other.failed,
            cancelled: self.cancelled + other.cancelled,
        }
    }
}

pub(crate) struct Story {
    machine: Machine,
    known: Known,
    shape: Shape,
    past: Vec<Shape>,
    tally: Tally,
    aloud: bool,
}

/// Tells the story that follows from a seed.
pub(crate) fn tell(seed: u64, mutant: Mutant, aloud: bool) -> Result<Tally, String> {
    let mut chance = Chance::new(seed);
    let embedded = chance.per_mille(500);
    let machine = Machine::new(chance, mutant, embedded);
    let (known, shape, tally) = (Known::default(), Shape::default(), Tally::default());
    let mut story = Story { machine, known, shape, past: Vec::new(), tally, aloud };
    for _ in 0..=story.machine.chance.below(2) {
        story.chapter()?;
    }
    story.end()?;
    story.tally.kills = story.machine.kills;
    Ok(story.tally)
}

impl Story {
    fn chance(&mut self) -> &mut Chance {
        &mut self.machine.chance
    }

    fn chapter(&mut self) -> Result<(), String> {
        self.machine.luck = luck(self.chance());
        let kind = self.chance().below(100);
        let (purpose, shape) = match kind {
            0..60 => (Purpose::Deploy, mutate(&self.shape.clone(), self.chance())),
            60..70 => (Purpose::Deploy, self.shape.clone()),
            70..82 if !self.past.is_empty() => {
                let past = self.past.clone();
                (Purpose::Rollback { to: 1 }, self.chance().pick(&past).clone())
            }
            _ => (Purpose::Destroy { dump: self.chance().per_mille(700) }, Shape::default()),
        };
        let adopt = self.chance().per_mille(200);
        self.machine.meddled = false;
        let plan = match self.plan(purpose, &shape, adopt) {
            Ok(plan) => plan,
            Err(errors) if errors.iter().all(|error| matches!(error, PlanError::NotOurs { .. })) => {
                self.machine.tidy();
                return Ok(());
            }
            Err(errors) => return Err(format!("no plan: {errors:?}")),
        };
        if self.machine.luck.meddling > 0 && self.chance().per_mille(300) {
            self.machine.meddle(&plan);
        }
        self.jobs(&plan);
        self.apply(plan, &shape)?;
        self.machine.world.job_ends.clear();
        Ok(())
    }

    fn jobs(&mut self, plan: &Plan) {
        for job in plan.runs.keys() {
            let end = match self.chance().below(10) {
                0 => JobEnd::Fails,
                1 => JobEnd::Unknown,
                _ => JobEnd::Succeeds,
            };
            self.machine.world.job_ends.insert(job.clone(), end);
        }
    }

    fn plan(&self, purpose: Purpose, shape: &Shape, adopt: bool) -> Result<Plan, Vec<PlanError>> {
        plan(&self.machine.world, &self.known, purpose, &shape.graph(), adopt)
    }

    fn apply(&mut self, plan: Plan, shape: &Shape) -> Result<Outcome, String> {
        self.tally.operations += 1;
        let (plan, number) = (Arc::new(plan), operation(self.tally.operations));
        let graph = shape.graph();
        let slow = self.chance().below(3);
        if let Some(resource) = graph.resources.values().next() {
            self.machine.world.slow.insert(resource.identity.clone(), u32::try_from(slow).unwrap());
        }
        let effects = self.machine.world.effects.len();
        let outcome = self.machine.operate(number, &plan);
        if self.aloud {
            self.retell(number, &plan, effects);
        }
        self.wrong()?;
        let outcome = outcome.ok_or("the operation has no outcome")?;
        self.known.recorded = self.machine.store.resources.clone();
        self.known.last_revision = self.known.last_revision.max(plan.revision);
        self.known.generation += 1;
        match outcome {
            Outcome::Succeeded => self.tally.succeeded += 1,
            Outcome::Failed => self.tally.failed += 1,
            Outcome::Cancelled => self.tally.cancelled += 1,
        }
        if plan.is_noop() && self.machine.effects.get(&number).is_some_and(|effects| *effects > 0) {
            return Err("a plan without changes changed something".to_owned());
        }
        self.is_consistent(number, &plan, outcome)?;
        self.nothing_stays_fenced(number, outcome)?;
        self.no_orphans()?;
        if outcome == Outcome::Succeeded {
            let destroyed = matches!(plan.purpose, Purpose::Destroy { .. });
            let previous = Previous { revision: plan.revision, graph: graph.clone() };
            self.known.previous = (!destroyed).then_some(previous);
            if !std::mem::take(&mut self.machine.meddled) {
                self.is_as_desired(&graph)?;
            }
            if !destroyed {
                self.past.push(shape.clone());
            }
            self.shape = shape.clone();
        }
        Ok(outcome)
    }

    /// Prints what happened, for one seed that is told again.
    fn retell(&self, number: OperationId, plan: &Plan, effects: usize) {
        println!("operation {number}, {:?}", plan.purpose);
        for change in plan.changes.values() {
            println!("  plan    {:?} {} {}", change.action, change.id, change.identity);
        }
        for record in self.machine.store.journal(number) {
            let text = format!("{record:?}");
            println!("  record  {}", text.chars().take(160).collect::<String>());
        }
        for effect in &self.machine.world.effects[effects..] {
            println!("  effect  {effect:?}");
        }
        println!("  luck    {:?}, meddled {}", self.machine.luck, self.machine.meddled);
    }

    fn wrong(&self) -> Result<(), String> {
        let world = &self.machine.world;
        if world.duplicates > 0 || world.doubled_runs > 0 {
            return Err(format!("{} duplicates, {} doubled runs", world.duplicates, world.doubled_runs));
        }
        if world.violations.is_empty() { Ok(()) } else { Err(world.violations.join("; ")) }
    }

    /// The journal tells what happened, without a contradiction.
    fn is_consistent(&self, number: OperationId, plan: &Arc<Plan>, outcome: Outcome) -> Result<(), String> {
        let limits = Limits { calls: 1, providers: BTreeMap::new() };
        let mut state = OperationState::new(number, Arc::clone(plan), limits);
        let mut journal = self.machine.store.journal(number).iter();
        journal.try_for_each(|record| state.fold(record)).map_err(|error| error.to_string())?;
        if state.outcome() == Some(outcome) { Ok(()) } else { Err(format!("the journal ends {:?}", state.outcome())) }
    }

    /// An operation that ends before it has deleted anything leaves no fence of its own behind, unless lifting one has failed.
    fn nothing_stays_fenced(&self, number: OperationId, outcome: Outcome) -> Result<(), String> {
        let journal = || self.machine.store.journal(number).iter();
        let fences = |record: &Record| matches!(record, Record::StepStarted { step, .. } if step.verb() == Verb::Fence);
        let excused = journal().any(|record| match record {
            Record::StepStarted { step, .. } => step.verb() == Verb::Delete,
            Record::StepFailed { step, .. } => step.verb() == Verb::Lift,
            _ => false,
        });
        let fenced = &self.machine.world.fenced;
        let excused = excused || !journal().any(fences);
        if outcome == Outcome::Succeeded || excused || self.machine.meddled || fenced.is_empty() {
            return Ok(());
        }
        Err(format!("still fenced: {fenced:?}"))
    }

    /// Whatever bears our mark is known to the store.
    fn no_orphans(&self) -> Result<(), String> {
        for ((kind, identity), objects) in &self.machine.world.objects {
            let ours = objects.iter().any(|object| object.mark == Some(STACK));
            let mut recorded = self.known.recorded.values().map(|recorded| &recorded.resource);
            if ours && !recorded.any(|resource| resource.kind == *kind && resource.identity == *identity) {
                return Err(format!("orphan: {kind:?} {identity}"));
            }
        }
        Ok(())
    }

    fn is_as_desired(&self, graph: &Graph) -> Result<(), String> {
        let world = &self.machine.world;
        let owned: usize = PROVIDERS.iter().map(|provider| world.owned(*provider, Some(STACK)).len()).sum();
        if owned != graph.resources.len() {
            return Err(format!("{owned} objects instead of {}: {:?}", graph.resources.len(), world.objects));
        }
        for resource in graph.resources.values() {
            let seen = world.observe(STACK, &resource.into());
            if seen.map(|seen| seen.body).as_ref() != Some(&resource.body) {
                return Err(format!("{} is not as desired", resource.id));
            }
        }
        Ok(())
    }

    /// The luck is good from now on.
    fn end(&mut self) -> Result<(), String> {
        self.machine.luck = Luck::GOOD;
        let shape = mutate(&self.shape.clone(), self.chance());
        self.until_it_succeeds(Purpose::Deploy, &shape)?;
        let again = self.plan(Purpose::Deploy, &shape, false).map_err(|errors| format!("{errors:?}"))?;
        if !again.is_noop() {
            return Err(format!("a second deploy is no no-op: {:?}", again.changes));
        }
        if self.chance().per_mille(200) {
            self.apply(again, &shape)?;
        }
        self.until_it_succeeds(Purpose::Destroy { dump: true }, &Shape::default())?;
        let known: Vec<&ResourceId> = self.known.recorded.keys().collect();
        if known.is_empty() { Ok(()) } else { Err(format!("destroyed, but still recorded: {known:?}")) }
    }

    /// At the first attempt, unless a call of a dead process lands between plan and operation.
    fn until_it_succeeds(&mut self, purpose: Purpose, shape: &Shape) -> Result<(), String> {
        for _ in 0..3 {
            self.machine.tidy();
            self.machine.meddled = false;
            let plan = self.plan(purpose, shape, false).map_err(|errors| format!("no plan: {errors:?}"))?;
            if self.apply(plan, shape)? == Outcome::Succeeded {
                return Ok(());
            }
        }
        Err(format!("{purpose:?} does not succeed, though the luck is good"))
    }
}

fn luck(chance: &mut Chance) -> Luck {
    let mut sometimes = |figures: &[u64]| *chance.pick(figures);
    Luck {
        calls: sometimes(&[0, 50, 200, 500]),
        store: sometimes(&[0, 50, 300]),
        processes: sometimes(&[0, 5, 20, 60]),
        cancel: sometimes(&[0, 0, 0, 10]),
        meddling: sometimes(&[0, 0, 0, 5, 20]),
    }
}

/// A definition that differs from another here and there.
fn mutate(shape: &Shape, chance: &mut Chance) -> Shape {
    let mut next = shape.clone();
    // Small ones show most of what goes wrong.
    let kinds = if chance.per_mille(300) { 2 } else { 1 };
    let version = |chance: &mut Chance| u32::try_from(1 + chance.below(3)).unwrap();
    for name in ["session-key", "api-key"].into_iter().take(kinds) {
        toggle(&mut next.secrets, name, version(chance), chance);
    }
    for name in ["main", "audit"].into_iter().take(kinds) {
        let owner = if chance.per_mille(150) { 2 } else { 1 };
        toggle(&mut next.databases, name, (version(chance), owner), chance);
    }
    for name in ["web", "worker"].into_iter().take(kinds) {
        toggle(&mut next.services, name, version(chance), chance);
    }
    toggle(&mut next.schedules, "digest", version(chance), chance);
    let host = version(chance);
    toggle(&mut next.routes, "web", (version(chance), host), chance);
    if !next.services.contains_key("web") {
        next.routes.clear();
    }
    toggle(&mut next.jobs, "migrate", false, chance);
    toggle(&mut next.jobs, "warm-up", true, chance);
    next
}

fn toggle<T>(map: &mut std::collections::BTreeMap<&'static str, T>, name: &'static str, value: T, chance: &mut Chance) {
    match chance.below(10) {
        0..2 => {
            map.remove(name);
        }
        2..7 => {
            map.insert(name, value);
        }
        _ => {}
    }
}
