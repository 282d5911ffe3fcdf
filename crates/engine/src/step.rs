//! Steps: what an operation consists of. Made from a plan by a pure function ([`steps`]), so that a resumed operation has
//! the same ones.
//!
//! ```text
//! create, update, adopt, replace     after what they depend on; through no-ops to what these depend on
//!        run                         after what it depends on, other runs among it, before the services that wait for it
//!        dump                        before data is lost, after all that could still write to it is gone
//!        delete                      after all other work, a thing after all that depends on it
//!        verify                      last, but for
//!        closing of former logins    what the version before needs until this one has proved itself
//! ```
//!
//! One exception keeps this free of circles: what depends on a *replaced* resource and is to be deleted is deleted before
//! the replacement. A resource whose outside name changes is replaced, too, in two lines of the plan (`route.web` is created,
//! `route.web@old.localhost` deleted): the old one goes first, because the record of the new one takes its place. And what scales another
//! resource is deleted right before the change of that one: until it is gone, it would overrule the change.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use freehold_graph::kind::{FETCH, Fence};
use freehold_graph::{ProviderName, Resource, ResourceId, Value};
use freehold_plan::{Action, Change, Plan, Purpose};

pub use crate::step_id::{Applied, Assessed, StepId, Verb, Work};

/// How long an operation may take, without its jobs and dumps, which have their own time.
pub const OPERATION_DEADLINE: Duration = Duration::from_secs(600);
/// How long a dump may take, the proof that it restores included.
const DUMP_DEADLINE: Duration = Duration::from_secs(3600);
/// How long a step may take that only writes a file or a row.
const QUICK_DEADLINE: Duration = Duration::from_secs(30);
/// What is added to times that the definition gives, for starting and for telling the outcome.
const SLACK: Duration = Duration::from_secs(30);

/// One step of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Unique within the operation.
    pub id: StepId,
    /// What it does.
    pub verb: Verb,
    /// To what: a resource, a job, or for [`Verb::Verify`] the stack.
    pub subject: ResourceId,
    /// Who does it; `None` for [`Verb::Verify`], which asks all.
    pub provider: Option<ProviderName>,
    /// The steps that have to be done before it.
    pub depends_on: BTreeSet<StepId>,
    /// How long it may take.
    pub deadline: Duration,
}

/// The steps of a plan. Their dependencies are among them, and there is no cycle.
pub fn steps(plan: &Plan) -> BTreeMap<StepId, Step> {
    let mut steps = Steps { plan, steps: BTreeMap::new() };
    steps.applies();
    steps.runs();
    steps.fences();
    steps.deletes();
    let verified = steps.verify();
    steps.afterwards(&verified);
    steps.lifts();
    steps.steps
}

/// How long the whole operation may take.
pub fn operation_deadline(steps: &BTreeMap<StepId, Step>) -> Duration {
    let own_time = steps.values().filter(|step| matches!(step.verb, Verb::Run | Verb::Dump | Verb::Verify));
    own_time.fold(OPERATION_DEADLINE, |sum, step| sum.saturating_add(step.deadline))
}

struct Steps<'a> {
    plan: &'a Plan,
    steps: BTreeMap<StepId, Step>,
}

impl<'a> Steps<'a> {
    fn add(
        &mut self,
        verb: Verb,
        subject: &ResourceId,
        provider: Option<ProviderName>,
        depends_on: BTreeSet<StepId>,
        deadline: Duration,
    ) {
        let id = StepId::new(verb, subject);
        let step = Step { id: id.clone(), verb, subject: subject.clone(), provider, depends_on, deadline };
        self.steps.insert(id, step);
    }

    fn applies(&mut self) {
        for change in self.plan.changes.values().filter(|change| !comes_afterwards(change)) {
            if let Some(step) = applying_step(change) {
                let depends_on = self.through(&change.depends_on);
                self.add(
                    step.0,
                    &change.id,
                    Some(change.kind.provider()),
                    depends_on,
                    apply_deadline(&change.resource),
                );
            }
        }
    }

    /// The applying steps that lie behind `needs`. A no-op is nothing to wait for, but what it depends on may change.
    fn through(&self, needs: &BTreeSet<ResourceId>) -> BTreeSet<StepId> {
        let mut found = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut open: Vec<&ResourceId> = needs.iter().collect();
        while let Some(id) = open.pop() {
            let Some(change) = self.plan.changes.get(id).filter(|_| seen.insert(id)) else { continue };
            match applying_step(change) {
                Some((_, step)) => {
                    found.insert(step);
                }
                None if change.action == Action::NoOp => open.extend(&change.depends_on),
                None => {}
            }
        }
        found
    }

    fn runs(&mut self) {
        for run in self.plan.runs.values() {
            let seconds = run.body.get("timeout_seconds").and_then(Value::as_integer).unwrap_or_default();
            let fetch = if run.body.get("image").is_some() { FETCH } else { Duration::ZERO };
            let deadline = Duration::from_secs(seconds.unsigned_abs()).saturating_add(SLACK).saturating_add(fetch);
            let provider = Some(run.provider);
            let earlier = run.depends_on.iter().filter(|id| self.plan.runs.contains_key(*id));
            let mut depends_on = self.through(&run.depends_on);
            depends_on.extend(earlier.map(|id| StepId::new(Verb::Run, id)));
            self.add(Verb::Run, &run.id, provider, depends_on, deadline);
        }
        for run in self.plan.runs.values() {
            let run_step = StepId::new(Verb::Run, &run.id);
            for service in &run.before {
                let Some((_, step)) = self.plan.changes.get(service).and_then(applying_step) else { continue };
                // A job that uses a service itself can't come before it.
                if !self.reaches(&run_step, &step)
                    && let Some(step) = self.steps.get_mut(&step)
                {
                    step.depends_on.insert(run_step.clone());
                }
            }
        }
    }

    /// Whether `from` has to wait for `to`.
    fn reaches(&self, from: &StepId, to: &StepId) -> bool {
        let mut seen = BTreeSet::new();
        let mut open = vec![from];
        while let Some(id) = open.pop() {
            if id == to {
                return true;
            }
            if seen.insert(id) {
                open.extend(self.steps.get(id).into_iter().flat_map(|step| &step.depends_on));
            }
        }
        false
    }

    /// The line of a plan that deletes what a resource was under its former outside name.
    fn former(&self, id: &ResourceId) -> Option<&Change> {
        let mut lines = self.plan.changes.values();
        lines.find(|change| change.action == Action::Delete && successor(&change.id).as_ref() == Some(id))
    }

    /// The data that a destroy dumps before anything is deleted.
    fn dumped_first(&self) -> Vec<&'a Change> {
        let fenced = self.plan.purpose == Purpose::Destroy { dump: true } && self.plan.layout >= FENCED_LAYOUT;
        self.plan.changes.values().filter(|change| fenced && change.loses_data && change.kind.can_be_dumped()).collect()
    }

    /// What is stopped before the dumps: who writes first, then the logins.
    fn fences(&mut self) {
        if self.dumped_first().is_empty() {
            return;
        }
        let mut before = BTreeSet::new();
        for rank in 0..Fence::RANKS {
            let fenced = self.plan.changes.values().filter(|change| {
                change.action == Action::Delete
                    && change.observed.is_some()
                    && change.kind.row().fence.rank() == Some(rank)
            });
            let mut added = BTreeSet::new();
            for change in fenced {
                let deadline = delete_deadline(&change.resource);
                self.add(Verb::Fence, &change.id, Some(change.kind.provider()), before.clone(), deadline);
                added.insert(StepId::new(Verb::Fence, &change.id));
            }
            before.extend(added);
        }
        for change in self.dumped_first() {
            self.add(Verb::Dump, &change.id, Some(change.kind.provider()), before.clone(), DUMP_DEADLINE);
        }
    }

    /// One for each fence. Nothing waits for them, and they wait for nothing: they are only done when the operation is given up.
    fn lifts(&mut self) {
        let fences: Vec<Step> = self.steps.values().filter(|step| step.verb == Verb::Fence).cloned().collect();
        for fence in fences {
            let Some(change) = self.plan.changes.get(&fence.subject) else { continue };
            let deadline = apply_deadline(&change.resource);
            self.add(Verb::Lift, &fence.subject, fence.provider, BTreeSet::new(), deadline);
        }
    }

    fn deletes(&mut self) {
        let work: BTreeSet<StepId> = self.steps.keys().cloned().collect();
        let dumps: BTreeSet<StepId> = self.dumped_first().iter().map(|of| StepId::new(Verb::Dump, &of.id)).collect();
        for change in self.plan.changes.values() {
            let id = &change.id;
            let dependants = self.deleted_dependants(id);
            match change.action {
                Action::Delete => {
                    let scaled = self.scaled(change).filter(|_| dependants.is_empty());
                    let new = self.replacement(id).or(scaled);
                    let mut before = dependants;
                    if !self.behind_a_replacement(change) {
                        let last = new.as_ref().and_then(|new| self.steps.get(new)).map(|new| &new.depends_on);
                        before.extend(last.unwrap_or(&work).iter().cloned());
                    }
                    if dumps.is_empty() {
                        before.extend(self.dump(change, &before));
                    } else {
                        before.extend(dumps.iter().cloned());
                    }
                    self.add(Verb::Delete, id, Some(change.kind.provider()), before, delete_deadline(&change.resource));
                    if let Some(new) = new.and_then(|new| self.steps.get_mut(&new)) {
                        new.depends_on.insert(StepId::new(Verb::Delete, id));
                    }
                }
                Action::Replace => {
                    let dump = self.dump(change, &dependants);
                    if let Some(step) = self.steps.get_mut(&StepId::new(Verb::Replace, id)) {
                        step.depends_on.extend(dependants);
                        step.depends_on.extend(dump);
                    }
                }
                Action::Create | Action::Update | Action::Adopt | Action::NoOp => {}
            }
        }
    }

    /// Adds the dump that comes before data is lost; returns its step. What can't be dumped was named by whoever lets it go.
    fn dump(&mut self, change: &Change, after: &BTreeSet<StepId>) -> Option<StepId> {
        let wanted = !matches!(self.plan.purpose, Purpose::Destroy { dump: false });
        if !(wanted && change.loses_data && change.kind.can_be_dumped()) {
            return None;
        }
        self.add(Verb::Dump, &change.id, Some(change.kind.provider()), after.clone(), DUMP_DEADLINE);
        Some(StepId::new(Verb::Dump, &change.id))
    }

    /// The deletions of what depends on a resource. What depends on `database.main` may also mean the one that was called so
    /// before its outside name changed, `database.main@old_name`.
    fn deleted_dependants(&self, id: &ResourceId) -> BTreeSet<StepId> {
        let now = successor(id);
        let deleted = self.plan.changes.values().filter(|change| change.action == Action::Delete);
        let dependants = deleted.filter(|change| {
            let needs = &change.depends_on;
            change.id != *id && (needs.contains(id) || now.as_ref().is_some_and(|now| needs.contains(now)))
        });
        dependants.map(|change| StepId::new(Verb::Delete, &change.id)).collect()
    }

    /// Whether something that it depends on is replaced, or gets another outside name. What it calls `database.main` may also be the
    /// one that was called so before.
    fn behind_a_replacement(&self, change: &Change) -> bool {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&ResourceId> = change.depends_on.iter().collect();
        while let Some(id) = open.pop() {
            let Some(change) = self.plan.changes.get(id).filter(|_| seen.insert(id)) else { continue };
            let replaced = match change.action {
                Action::Replace => true,
                Action::Delete => self.replacement(id).is_some(),
                Action::Create | Action::Update | Action::Adopt | Action::NoOp => {
                    applying_step(change).is_some() && self.former(id).is_some()
                }
            };
            if replaced {
                return true;
            }
            open.extend(&change.depends_on);
            open.extend(self.former(id).map(|former| &former.id));
        }
        false
    }

    /// The step that makes what takes the place of a resource's former self.
    fn replacement(&self, former: &ResourceId) -> Option<StepId> {
        let (_, step) = applying_step(self.plan.changes.get(&successor(former)?)?)?;
        Some(step)
    }

    /// The step that changes what a resource scales.
    fn scaled(&self, change: &Change) -> Option<StepId> {
        let scales = change.kind.row().scales?;
        let of = change.depends_on.iter().filter_map(|id| self.plan.changes.get(id));
        let mut scaled = of.filter(|of| of.kind == scales);
        scaled.find_map(applying_step).map(|(_, step)| step)
    }

    fn verify(&mut self) -> StepId {
        let services = self.plan.changes.values().filter(|change| change.action != Action::Delete);
        let slowest = services.map(|change| start_time(&change.resource)).max();
        let deadline = QUICK_DEADLINE.saturating_add(slowest.unwrap_or_default());
        let all = self.steps.keys().cloned().collect();
        let stack = ResourceId::new("stack", &self.plan.key.name);
        self.add(Verb::Verify, &stack, None, all, deadline);
        StepId::new(Verb::Verify, &stack)
    }

    /// What is done only when all of the stack has proved to be well: until then, the version before may have to take over again.
    fn afterwards(&mut self, verified: &StepId) {
        for change in self.plan.changes.values().filter(|change| comes_afterwards(change)) {
            if let Some((verb, _)) = applying_step(change) {
                let (provider, deadline) = (Some(change.kind.provider()), apply_deadline(&change.resource));
                self.add(verb, &change.id, provider, BTreeSet::from([verified.clone()]), deadline);
            }
        }
    }
}

/// Whether something takes away what the version before needs.
fn comes_afterwards(change: &Change) -> bool {
    change.kind.row().after_verification
}

/// How steps are made from a plan ([`Plan::layout`]): since this one a destroy stops everybody and dumps before it deletes anything.
const FENCED_LAYOUT: u16 = 1;
/// Whose fence also stops a resource: mostly its own.
pub(crate) fn fenced_with(change: &Change) -> ResourceId {
    match change.kind.row().fence {
        Fence::With(kind) => ResourceId::new(kind.row().id_word, change.id.name()),
        Fence::None | Fence::Workers | Fence::Logins => change.id.clone(),
    }
}

/// What took the place of `route.web@old.localhost`: `route.web`.
fn successor(id: &ResourceId) -> Option<ResourceId> {
    id.0.split_once('@').map(|(new, _)| ResourceId(new.to_owned()))
}

fn applying_step(change: &Change) -> Option<(Verb, StepId)> {
    let verb = match change.action {
        Action::Create => Verb::Create,
        Action::Update => Verb::Update,
        Action::Replace => Verb::Replace,
        Action::Adopt => Verb::Adopt,
        Action::Delete | Action::NoOp => return None,
    };
    Some((verb, StepId::new(verb, &change.id)))
}

/// How long a resource may take to get ready after it was applied.
fn start_time(resource: &Resource) -> Duration {
    resource.kind.row().times.start.of(&resource.body)
}

fn apply_deadline(resource: &Resource) -> Duration {
    resource.kind.row().times.apply.of(&resource.body)
}

fn delete_deadline(resource: &Resource) -> Duration {
    resource.kind.row().times.delete.of(&resource.body)
}
