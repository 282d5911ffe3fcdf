//! The fake outside world: objects with marks and identities that never come back, data, and jobs that count their runs.
//!
//! It keeps the promises that providers make ([`crate::Provider`]), and no others. In particular two calls that are under way at
//! once don't see each other: a service is started twice, a job run twice, if the engine lets that happen. That is why
//! a call has two halves, [`World::send`] and [`World::land`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use freehold_graph::kind::Fence;
use freehold_graph::{ProviderName, ResourceId, ResourceKind, StackId, Value};
use freehold_plan::{Observation, Ownership};
use freehold_problem::Code;

use crate::journal::OperationId;
use crate::provider::{Lookup, OwnedObject, Performed, ProviderError, Readiness, Task};
use crate::step::StepId;

/// Something that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its identity: never given twice.
    pub id: String,
    /// Whose mark it bears.
    pub mark: Option<StackId>,
    /// What it is like.
    pub body: Value,
    /// Stands for the data in it: never given twice, lost with the object.
    pub data: u64,
}

/// How a job ends in this world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEnd {
    /// Well.
    Succeeds,
    /// With an exit code.
    Fails,
    /// Nobody wrote down how.
    Unknown,
}

/// Something that was done to the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// An object was made.
    Created(ResourceKind, String),
    /// An object was changed.
    Updated(ResourceKind, String),
    /// An object was deleted, with this data.
    Deleted(ResourceKind, String, u64),
    /// A job was run.
    Ran(ResourceId),
    /// A dump was written of this data.
    Dumped(String, u64),
    /// Something was stopped.
    Fenced(ResourceKind, String),
    /// It was started again.
    Lifted(ResourceKind, String),
}

/// A call that has left the caller.
#[derive(Debug, Clone)]
pub struct Sent {
    stack: StackId,
    operation: OperationId,
    step: StepId,
    revision: u64,
    task: Task,
    /// What the provider saw just before it acted.
    saw: Vec<String>,
    saw_run: u32,
}

type Place = (ResourceKind, String);

/// The fake outside world.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// What exists, by place. Only services can be several in one place, and should not.
    pub objects: BTreeMap<Place, Vec<Object>>,
    /// How often each job was run: by stack, revision and job; and how the last run ended.
    pub runs: BTreeMap<(StackId, u64, ResourceId), (u32, JobEnd)>,
    /// How jobs end, by name; the others succeed.
    pub job_ends: BTreeMap<ResourceId, JobEnd>,
    /// Dumps of data.
    pub dumps: BTreeSet<u64>,
    /// What is fenced.
    pub fenced: BTreeSet<Place>,
    /// How many rows were written to data and acknowledged, and how many of them are in its last dump.
    rows: BTreeMap<u64, (u64, u64)>,
    /// Deletions of data with rows that are in no dump, although there was one.
    pub lost_rows: Vec<String>,
    /// What was done, in order.
    pub effects: Vec<Effect>,
    /// Objects that were made although there was one.
    pub duplicates: u32,
    /// Runs of jobs that had been run and may not be repeated.
    pub doubled_runs: u32,
    /// Objects that are not ready yet, and how often they still say so.
    pub slow: BTreeMap<String, u32>,
    /// What objects say of themselves first, by identity.
    pub sayings: BTreeMap<String, VecDeque<Readiness>>,
    /// Things that happened and must not.
    pub violations: Vec<String>,
    /// A provider that doesn't look whose the objects are, to prove that the tests would notice.
    pub careless: bool,
    next: u64,
}

impl World {
    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn place(&self, kind: ResourceKind, identity: &str) -> Option<&Object> {
        self.objects.get(&(kind, identity.to_owned())).and_then(|objects| objects.first())
    }

    /// What is there, as its provider would see it.
    pub fn observe(&self, stack: StackId, lookup: &Lookup) -> Option<Observation> {
        let object = self.place(lookup.kind, &lookup.identity)?;
        let ownership = match object.mark {
            Some(mark) if mark == stack => Ownership::Ours,
            Some(mark) => Ownership::OtherStack(mark),
            None => Ownership::Foreign("somebody else made it".to_owned()),
        };
        // A fence around roles shuts their logins.
        let kind = match lookup.kind.row().fence {
            Fence::With(other) => other,
            Fence::None | Fence::Workers | Fence::Logins => lookup.kind,
        };
        let fenced = self.fenced.contains(&(kind, lookup.identity.clone()));
        let body = if fenced { Value::text("stopped") } else { object.body.clone() };
        Some(Observation { object: object.id.clone(), ownership, body, foreign_fields: Vec::new() })
    }

    /// Whether an object does what it is for.
    pub fn readiness(&mut self, lookup: &Lookup) -> Readiness {
        // Former ones are closed after the verification.
        if lookup.kind.row().after_verification {
            return Readiness::Ready;
        }
        if let Some(said) = self.sayings.get_mut(&lookup.identity).and_then(VecDeque::pop_front) {
            return said;
        }
        if self.place(lookup.kind, &lookup.identity).is_none() {
            return Readiness::failed("it does not exist");
        }
        match self.slow.get_mut(&lookup.identity) {
            Some(times) if *times > 0 => {
                *times -= 1;
                Readiness::Waiting("it is starting".to_owned())
            }
            _ => Readiness::Ready,
        }
    }

    /// All that bears a mark.
    pub fn owned(&self, provider: ProviderName, stack: Option<StackId>) -> Vec<OwnedObject> {
        let here = self.objects.iter().filter(|((kind, _), _)| kind.provider() == provider);
        let all = here.flat_map(|((kind, name), objects)| objects.iter().map(move |object| (kind, name, object)));
        let marked = all.filter_map(|(kind, name, object)| Some((kind, name, object.mark?)));
        let wanted = marked.filter(|(_, _, mark)| stack.is_none_or(|stack| stack == *mark));
        wanted
            .map(|(kind, name, mark)| OwnedObject { stack: mark, kind: kind.word().to_owned(), name: name.clone() })
            .collect()
    }

    /// First half of a call: the provider looks.
    pub fn send(&self, stack: StackId, operation: OperationId, step: StepId, revision: u64, task: Task) -> Sent {
        let mut sent = Sent { stack, operation, step, revision, task, saw: Vec::new(), saw_run: 0 };
        match &sent.task {
            Task::Apply { resource, .. } => {
                let objects = self.objects.get(&(resource.kind, resource.identity.clone()));
                sent.saw = objects.into_iter().flatten().map(|object| object.id.clone()).collect();
            }
            Task::Run { run } => {
                sent.saw_run = self.runs.get(&(stack, revision, run.id.clone())).map_or(0, |(times, _)| *times);
            }
            Task::Delete { .. } | Task::Dump { .. } | Task::Fence { .. } | Task::Lift { .. } => {}
        }
        sent
    }

    /// Second half: it acts on what it saw.
    ///
    /// # Errors
    /// The error that the provider would return.
    pub fn land(&mut self, sent: &Sent) -> Result<Performed, ProviderError> {
        match &sent.task {
            Task::Apply { resource, desired, adopt, .. } => {
                self.apply(sent, resource.kind, &resource.identity, desired.clone(), *adopt)
            }
            Task::Delete { lookup, object } => self.delete(sent, lookup, object.as_deref()),
            Task::Run { run } => {
                self.run(sent, &run.id, run.body.get("retry").and_then(Value::as_text) == Some("safe"))
            }
            Task::Dump { lookup } => self.dump(lookup),
            Task::Fence { lookup, object } => self.fence(sent, lookup, object.as_deref()),
            Task::Lift { resource, .. } => {
                let place = (resource.kind, resource.identity.clone());
                if self.fenced.remove(&place) {
                    self.effects.push(Effect::Lifted(resource.kind, resource.identity.clone()));
                }
                Ok(Performed::default())
            }
        }
    }

    fn apply(
        &mut self,
        sent: &Sent,
        kind: ResourceKind,
        identity: &str,
        body: Value,
        adopt: bool,
    ) -> Result<Performed, ProviderError> {
        let place = (kind, identity.to_owned());
        self.fenced.remove(&place);
        let id = format!("{}-{}", kind.word(), self.fresh());
        let data = self.fresh();
        let careless = self.careless;
        let objects = self.objects.entry(place).or_default();
        // Starting a process is not unique by itself: who saw none starts one.
        let unique = kind != ResourceKind::LocalService;
        let target = objects.iter_mut().find(|object| unique || sent.saw.contains(&object.id));
        if let Some(object) = target {
            let ours = object.mark == Some(sent.stack);
            let free = adopt && object.mark.is_none();
            if !(ours || careless || free) {
                return Err(ProviderError::rejected(Code::NotOwned, format!("{kind:?} {identity} is not ours")));
            }
            if !ours && !adopt {
                self.violations.push(format!("{} took over {kind:?} {identity}", sent.step));
            }
            object.mark = Some(sent.stack);
            object.body = body;
            self.effects.push(Effect::Updated(kind, identity.to_owned()));
            return Ok(Performed { object: Some(object.id.clone()), note: None, ..Performed::default() });
        }
        if objects.iter().any(|object| object.mark != Some(sent.stack)) {
            return Err(ProviderError::rejected(Code::NotOwned, format!("{kind:?} {identity} is not ours")));
        }
        if !objects.is_empty() {
            self.duplicates += 1;
        }
        objects.push(Object { id: id.clone(), mark: Some(sent.stack), body, data });
        self.effects.push(Effect::Created(kind, identity.to_owned()));
        Ok(Performed { object: Some(id), note: None, ..Performed::default() })
    }

    fn delete(&mut self, sent: &Sent, lookup: &Lookup, object: Option<&str>) -> Result<Performed, ProviderError> {
        let place = (lookup.kind, lookup.identity.clone());
        let Some(objects) = self.objects.get_mut(&place).filter(|objects| !objects.is_empty()) else {
            self.objects.remove(&place);
            return Ok(Performed::default());
        };
        let is_it = |found: &Object| found.mark == Some(sent.stack) && object.is_none_or(|object| object == found.id);
        if let Some(other) = objects.iter().find(|found| !is_it(found)) {
            if !self.careless {
                let code = if other.mark == Some(sent.stack) { Code::ChangedExternally } else { Code::NotOwned };
                return Err(ProviderError::rejected(
                    code,
                    format!("{} is not the one that was meant", lookup.identity),
                ));
            }
            self.violations.push(format!("{} deleted {}, which was not meant", sent.step, other.id));
        }
        self.fenced.remove(&place);
        for gone in std::mem::take(objects) {
            let (written, dumped) = self.rows.remove(&gone.data).unwrap_or_default();
            if dumped > 0 && written > dumped {
                self.lost_rows.push(format!("{} lost {} acknowledged rows", sent.step, written - dumped));
            }
            self.effects.push(Effect::Deleted(lookup.kind, lookup.identity.clone(), gone.data));
        }
        self.objects.remove(&place);
        Ok(Performed::default())
    }

    fn run(&mut self, sent: &Sent, job: &ResourceId, safe: bool) -> Result<Performed, ProviderError> {
        let end = self.job_ends.get(job).copied().unwrap_or(JobEnd::Succeeds);
        let (times, last) = self.runs.entry((sent.stack, sent.revision, job.clone())).or_insert((0, JobEnd::Unknown));
        let begin = sent.saw_run == 0 || (safe && *last == JobEnd::Unknown);
        if begin {
            if *times > 0 && !safe {
                self.doubled_runs += 1;
            }
            *times += 1;
            *last = if safe && *times > 1 { JobEnd::Succeeds } else { end };
            self.effects.push(Effect::Ran(job.clone()));
        }
        match last {
            JobEnd::Succeeds => Ok(Performed::default()),
            JobEnd::Fails => Err(ProviderError::rejected(Code::JobFailed, format!("{job} failed: exit code 1"))),
            JobEnd::Unknown if safe => Err(ProviderError::unknown(Code::NotNow, format!("{job} was lost"))),
            JobEnd::Unknown => {
                Err(ProviderError::rejected(Code::ExitedAtOnce, format!("nobody knows how {job} ended")))
            }
        }
    }

    fn fence(&mut self, sent: &Sent, lookup: &Lookup, object: Option<&str>) -> Result<Performed, ProviderError> {
        let Some(found) = self.place(lookup.kind, &lookup.identity) else { return Ok(Performed::default()) };
        if found.mark != Some(sent.stack) || object.is_some_and(|object| object != found.id) {
            let code = if found.mark == Some(sent.stack) { Code::ChangedExternally } else { Code::NotOwned };
            return Err(ProviderError::rejected(code, format!("{} is not the one that was meant", lookup.identity)));
        }
        if self.fenced.insert((lookup.kind, lookup.identity.clone())) {
            self.effects.push(Effect::Fenced(lookup.kind, lookup.identity.clone()));
        }
        Ok(Performed::default())
    }

    /// A row is written to every database whose logins are ours and not shut, and acknowledged.
    pub fn write_rows(&mut self) {
        for ((kind, name), objects) in &self.objects {
            let roles = (ResourceKind::PostgresRoles, name.clone());
            let ours = self.objects.get(&roles).is_some_and(|roles| roles.iter().any(|roles| roles.mark.is_some()));
            if *kind == ResourceKind::PostgresDatabase && ours && !self.fenced.contains(&roles) {
                for object in objects {
                    self.rows.entry(object.data).or_default().0 += 1;
                }
            }
        }
    }

    fn dump(&mut self, lookup: &Lookup) -> Result<Performed, ProviderError> {
        let Some(data) = self.place(lookup.kind, &lookup.identity).map(|object| object.data) else {
            return Err(ProviderError::rejected(
                Code::DataWouldBeDeleted,
                format!("{} does not exist", lookup.identity),
            ));
        };
        self.dumps.insert(data);
        let rows = self.rows.entry(data).or_default();
        rows.1 = rows.0;
        self.effects.push(Effect::Dumped(lookup.identity.clone(), data));
        Ok(Performed {
            object: None,
            note: Some("dumped and restored once to prove it".to_owned()),
            ..Performed::default()
        })
    }

    /// Somebody who isn't Freehold makes an object.
    pub fn intrude(&mut self, kind: ResourceKind, identity: &str, body: Value) {
        let (id, data) = (format!("foreign-{}", self.fresh()), self.fresh());
        self.objects.insert((kind, identity.to_owned()), vec![Object { id, mark: None, body, data }]);
    }

    /// The data of all data-bearing objects.
    pub fn data(&self) -> BTreeSet<u64> {
        let bearing = self.objects.iter().filter(|((kind, _), _)| kind.holds_data());
        bearing.flat_map(|(_, objects)| objects.iter().map(|object| object.data)).collect()
    }

    /// Who sent a call.
    pub fn sender(sent: &Sent) -> (OperationId, &StepId) {
        (sent.operation, &sent.step)
    }
}
