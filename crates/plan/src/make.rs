//! Makes a plan from what is desired, what is recorded and what was observed.

use std::collections::{BTreeMap, BTreeSet};

use freehold_graph::kind::Data;
use freehold_graph::value::Digests;
use freehold_graph::{Effect, Graph, Request, Resource, ResourceId, Value};
use uuid::Uuid;

use crate::change::{Action, Change, FieldChange};
use crate::conflict::Conflict;
use crate::diff;
use crate::observation::{Observation, Ownership};
use crate::plan::{PLAN_LAYOUT, Plan, PlanError, Purpose};
use crate::preview::Preview;

/// A resource as the store remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// As last applied, or as it was about to be applied.
    pub resource: Resource,
    /// The object's identity; `None` while it is not known whether it was made.
    pub object: Option<String>,
}

/// What the last verified revision was like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Previous {
    /// Its number, counted from 1 for each stack.
    pub revision: u64,
    /// What it consisted of.
    pub graph: Graph,
}

/// Everything that a plan is made from.
pub struct Inputs<'a> {
    /// The plan's identity.
    pub id: Uuid,
    /// What it is for.
    pub purpose: Purpose,
    /// The stack's generation.
    pub generation: u64,
    /// The highest revision that was ever begun; 0 for a new stack.
    pub last_revision: u64,
    /// SHA-256 of the definition's source.
    pub definition: &'a str,
    /// The request, complete.
    pub request: &'a Request,
    /// What is desired; empty for a destroy.
    pub graph: &'a Graph,
    /// What the store remembers.
    pub recorded: &'a BTreeMap<ResourceId, Recorded>,
    /// What was observed of each of [`subjects`]; an id that is missing counts as not observed and is an error of the caller.
    pub observed: &'a BTreeMap<ResourceId, Option<Observation>>,
    /// What the providers say would come of the desired resources; one that is missing comes out as it is desired.
    pub previews: &'a BTreeMap<ResourceId, Preview>,
    /// The last verified revision.
    pub previous: Option<&'a Previous>,
    /// Digests of the secrets.
    pub digests: &'a dyn Digests,
    /// Objects to adopt: `database/acme__guestbook`.
    pub adopt: &'a BTreeSet<String>,
    /// Data-bearing resources that may be deleted: `main`, `database.main`. A secret only by its whole name: `secret.session-key`.
    pub delete_data: &'a BTreeSet<String>,
    /// The jobs that run once in the stack's life and have done so.
    pub succeeded: &'a BTreeSet<ResourceId>,
}

/// The resources to observe before [`make`]: the desired ones, and the recorded ones that are not desired any more. A
/// resource whose outside name changes is there twice; the old one is called `route.web@old.localhost`.
pub fn subjects(graph: &Graph, recorded: &BTreeMap<ResourceId, Recorded>) -> BTreeMap<ResourceId, Resource> {
    let mut subjects = graph.resources.clone();
    for (id, old) in recorded {
        match graph.resources.get(id) {
            None => {
                subjects.insert(id.clone(), old.resource.clone());
            }
            Some(new) if new.identity != old.resource.identity => {
                let id = former(id, &old.resource.identity);
                subjects.insert(id.clone(), Resource { id, ..old.resource.clone() });
            }
            Some(_) => {}
        }
    }
    subjects
}

/// The jobs that run once in the stack's life and have done so, but for those whose data is made anew.
fn still_true(inputs: &Inputs<'_>, changes: &BTreeMap<ResourceId, Change>) -> BTreeSet<ResourceId> {
    let is_anew = |id: &ResourceId| {
        changes
            .get(id)
            .is_some_and(|change| matches!(change.action, Action::Create | Action::Replace) && change.kind.holds_data())
    };
    let run = |job: &ResourceId| inputs.graph.runs.get(job);
    let holds = |job: &&ResourceId| run(job).is_none_or(|run| !run.depends_on.iter().any(is_anew));
    inputs.succeeded.iter().filter(holds).cloned().collect()
}

/// What a rollback does to jobs, data and secrets.
fn going_back(changes: &BTreeMap<ResourceId, Change>) -> String {
    let changed = |what: fn(&Change) -> bool| -> Vec<&str> {
        let changed = changes.values().filter(|change| change.action != Action::NoOp && what(change));
        changed.map(|change| change.id.0.as_str()).collect()
    };
    let data = changed(|change| change.kind.holds_data());
    let secrets = changed(|change| change.kind.is_sealed());
    let data = match data[..] {
        [] => "runs no job and touches no data".to_owned(),
        _ => format!("runs no job; of what holds data it changes {}", data.join(", ")),
    };
    match secrets[..] {
        [] => format!("{data}; secrets keep their present values"),
        _ => format!("{data}; all secrets but {} keep their present values", secrets.join(", ")),
    }
}

fn former(id: &ResourceId, identity: &str) -> ResourceId {
    ResourceId(format!("{id}@{identity}"))
}

/// Makes the plan.
///
/// # Errors
/// All the reasons why there can be none, together.
pub fn make(inputs: &Inputs<'_>) -> Result<Plan, Vec<PlanError>> {
    let mut maker = Maker { inputs, errors: Vec::new(), notes: Vec::new() };
    let changes = maker.changes();
    if !maker.errors.is_empty() {
        return Err(maker.errors);
    }
    // A database that is made anew is empty: without the jobs, the services would find no tables in it.
    let emptied = changes.values().any(|change| change.action == Action::Create && change.kind.holds_data());
    let same = !emptied && inputs.previous.is_some_and(|previous| maker.is_same(&previous.graph));
    let idle = changes.values().all(|change| change.action == Action::NoOp);
    let (revision, runs) = match (inputs.previous, inputs.purpose) {
        // A repair, or nothing at all: no new revision, no run.
        (Some(previous), Purpose::Deploy) if same => (previous.revision, BTreeMap::new()),
        (_, Purpose::Deploy) => (inputs.last_revision + 1, inputs.graph.runs_of_deploy(&still_true(inputs, &changes))),
        (_, Purpose::Rollback { .. }) => (inputs.last_revision + 1, BTreeMap::new()),
        (_, Purpose::Destroy { .. }) => (inputs.last_revision, BTreeMap::new()),
    };
    maker.notes.extend(match inputs.purpose {
        Purpose::Deploy if same && !idle => {
            vec!["no new revision: definition and settings are those of the last one, so no job runs".to_owned()]
        }
        Purpose::Deploy => maker.taken_back(&changes),
        Purpose::Rollback { .. } => vec![going_back(&changes)],
        Purpose::Destroy { .. } => Vec::new(),
    });
    Ok(Plan {
        same,
        id: inputs.id,
        stack: inputs.request.id,
        key: inputs.request.key.clone(),
        layout: PLAN_LAYOUT,
        purpose: inputs.purpose,
        generation: inputs.generation,
        revision,
        definition: inputs.definition.to_owned(),
        request: inputs.request.clone(),
        changes,
        runs,
        outputs: inputs.graph.outputs.clone(),
        not_enforced: inputs.graph.not_enforced.clone(),
        notes: maker.notes,
        settle: true,
    })
}

/// Where there can be no plan: the lines that it would have beside the reasons why, as far as they change or tell anything.
pub fn remainder(inputs: &Inputs<'_>) -> Vec<Change> {
    let mut maker = Maker { inputs, errors: Vec::new(), notes: Vec::new() };
    let changes = maker.changes().into_values();
    changes.filter(|change| change.action != Action::NoOp || !change.foreign_fields.is_empty()).collect()
}

struct Maker<'a> {
    inputs: &'a Inputs<'a>,
    errors: Vec<PlanError>,
    notes: Vec<String>,
}

impl Maker<'_> {
    /// A line for each resource, as far as there can be one.
    fn changes(&mut self) -> BTreeMap<ResourceId, Change> {
        let mut changes = BTreeMap::new();
        let kept = self.kept();
        for (id, resource) in subjects(self.inputs.graph, self.inputs.recorded) {
            let change = match self.inputs.graph.resources.get(&id) {
                Some(desired) => self.desired(desired),
                None if kept.contains(&id) => None,
                None => self.unwanted(&resource),
            };
            changes.extend(change.map(|change| (id, change)));
        }
        changes
    }

    /// Whether the desired graph is what an earlier one was. Outputs are made from it and from where the target is reached; of the latter
    /// a stack has no version.
    fn is_same(&self, previous: &Graph) -> bool {
        self.inputs.graph.resources == previous.resources && self.inputs.graph.runs == previous.runs
    }

    /// What the last revision left as it was and this one has again, a note for each.
    fn taken_back(&self, changes: &BTreeMap<ResourceId, Change>) -> Vec<String> {
        let Some(previous) = self.inputs.previous else { return Vec::new() };
        let again = changes.values().filter(|change| {
            let is_kept =
                self.inputs.recorded.contains_key(&change.id) && !previous.graph.resources.contains_key(&change.id);
            is_kept && change.action == Action::NoOp
        });
        again.map(|change| format!("{} is back in the definition and is reused unchanged", change.id)).collect()
    }

    fn observed(&self, id: &ResourceId) -> Option<&Observation> {
        self.inputs.observed.get(id).and_then(Option::as_ref)
    }

    fn desired(&mut self, resource: &Resource) -> Option<Change> {
        let preview = self.inputs.previews.get(&resource.id).cloned();
        let preview = preview.unwrap_or_else(|| Preview::exact(resource.body.comparable(self.inputs.digests)));
        let Some(observation) = self.observed(&resource.id).cloned() else {
            let mut change = line(resource, Action::Create);
            change.reasons = self.missing(resource);
            change.reasons.extend(preview.notes);
            change.desired = Some(preview.body);
            return Some(change);
        };
        let adopted = match &observation.ownership {
            Ownership::Ours => false,
            Ownership::Foreign(_) if self.inputs.adopt.contains(&handle(resource)) => true,
            owner @ (Ownership::Foreign(_) | Ownership::OtherStack(_)) => {
                self.errors.push(not_ours(resource, owner.clone()));
                return None;
            }
        };
        let takes = !preview.conflicts.is_empty();
        if takes && !self.inputs.adopt.contains(&handle(resource)) {
            self.errors.push(match preview.scaled_by.clone() {
                Some(autoscaler) => {
                    PlanError::Scaled { id: resource.id.clone(), identity: resource.identity.clone(), autoscaler }
                }
                None => conflicts(resource, preview.conflicts.clone()),
            });
        }
        if adopted && !preview.immutable.is_empty() {
            self.errors.push(not_adoptable(resource, preview.immutable));
            return None;
        }
        let fields = changes(resource, &observation, &preview);
        let effect = fields.iter().map(|field| field.effect).max();
        let anew = !preview.immutable.is_empty() || effect == Some(Effect::Replace);
        let action = match effect {
            // What is adopted is never deleted.
            _ if anew && !adopted => Action::Replace,
            _ if adopted || takes => Action::Adopt,
            None if preview.given_up.is_empty() => Action::NoOp,
            _ => Action::Update,
        };
        let mut change = line(resource, action);
        change.loses_data = action == Action::Replace && resource.kind.holds_data();
        change.reasons = self.reasons(resource, &fields);
        change
            .reasons
            .extend(preview.conflicts.iter().map(|taken| format!("takes {} from {}", taken.path, taken.manager)));
        change.reasons.extend(preview.given_up.iter().map(|path| format!("releases {path}; its value stays")));
        change.reasons.extend(preview.notes);
        change.fields = fields;
        self.guard_data(&change);
        change.fingerprint = Some(observation.fingerprint());
        change.object = Some(observation.object);
        change.observed = Some(observation.body);
        change.desired = Some(preview.body);
        change.takes = preview.conflicts;
        // What is made anew has none of it.
        change.foreign_fields = if action == Action::Replace { Vec::new() } else { observation.foreign_fields };
        Some(change)
    }

    /// What is not wanted any more and stays all the same, until it is named or the stack is destroyed: secrets, whose values can't be made
    /// again; for a rollback all that holds data, and what that can't be without.
    fn kept(&mut self) -> BTreeSet<ResourceId> {
        let rollback = match self.inputs.purpose {
            Purpose::Destroy { .. } => return BTreeSet::new(),
            Purpose::Deploy => false,
            Purpose::Rollback { .. } => true,
        };
        let recorded = self.inputs.recorded;
        let unwanted = recorded.iter().filter(|(id, _)| !self.inputs.graph.resources.contains_key(*id));
        let stays = |resource: &Resource| match resource.kind.row().data {
            Data::Sealed => !self.inputs.delete_data.contains(&resource.id.0),
            Data::Kept | Data::Dumped => rollback && !self.is_named(&resource.id),
            Data::None => false,
        };
        let mut open: Vec<&ResourceId> = unwanted.filter(|(_, old)| stays(&old.resource)).map(|(id, _)| id).collect();
        let named: Vec<String> = open.iter().map(|id| id.to_string()).collect();
        let mut kept = BTreeSet::new();
        while let Some(id) = open.pop() {
            if let Some(old) = recorded.get(id).filter(|_| kept.insert(id.clone())) {
                open.extend(old.resource.depends_on.iter().filter(|id| !self.inputs.graph.resources.contains_key(*id)));
            }
        }
        for id in named {
            let note = format!("{id} is not in this definition and is kept; `--delete-data {id}` deletes it");
            self.notes.push(note);
        }
        kept
    }

    /// Whether its data may be deleted.
    fn is_named(&self, id: &ResourceId) -> bool {
        [id.name(), id.0.as_str()].iter().any(|name| self.inputs.delete_data.contains(*name))
    }

    fn unwanted(&mut self, resource: &Resource) -> Option<Change> {
        let mut change = line(resource, Action::Delete);
        if let Some(observation) = self.observed(&resource.id) {
            if observation.ownership != Ownership::Ours {
                let note = format!(
                    "{} {} is no longer managed by this stack and will not be changed",
                    resource.kind.word(),
                    resource.identity
                );
                self.notes.push(note);
                return None;
            }
            change.fingerprint = Some(observation.fingerprint());
            change.observed = Some(observation.body.clone());
            change.object = Some(observation.object.clone());
            change.loses_data = resource.kind.holds_data();
        }
        self.guard_data(&change);
        if !matches!(self.inputs.purpose, Purpose::Destroy { .. }) {
            change.reasons.push("not in the definition any more".to_owned());
        }
        Some(change)
    }

    /// Data is lost only where it was named; a destroy names all of it.
    fn guard_data(&mut self, change: &Change) {
        let named = self.is_named(&change.id);
        let destroys = matches!(self.inputs.purpose, Purpose::Destroy { .. });
        if change.loses_data && !named && !destroys {
            let fixed = change.fields.iter().filter(|field| field.effect == Effect::Replace);
            let fixed = fixed.map(|field| field.path.clone()).collect();
            let (id, identity) = (change.id.clone(), change.identity.clone());
            self.errors.push(PlanError::LosesData { id, identity, fixed });
        }
    }

    /// Why something is to be made that was there before.
    fn missing(&self, resource: &Resource) -> Vec<String> {
        let was_there = self
            .inputs
            .recorded
            .get(&resource.id)
            .is_some_and(|recorded| recorded.object.is_some() && recorded.resource.identity == resource.identity);
        if !was_there {
            return Vec::new();
        }
        let mut reasons = vec!["drift: it was deleted outside Freehold".to_owned()];
        if resource.kind.holds_data() {
            reasons.push("its data is gone with it: the new one will be empty".to_owned());
        }
        reasons
    }

    fn reasons(&self, resource: &Resource, fields: &[FieldChange]) -> Vec<String> {
        let recorded = self.inputs.recorded.get(&resource.id);
        let unchanged = recorded.is_some_and(|recorded| recorded.resource.body == resource.body);
        let mut reasons = Vec::new();
        let mut causes = BTreeSet::new();
        for field in fields {
            let drifted = unchanged && !is_digest(field.before.as_ref()) && !is_digest(field.after.as_ref());
            if drifted {
                reasons.push(format!("drift: {} was changed outside Freehold", field.path));
            }
            if field.effect == Effect::Restart {
                causes.insert(cause(resource, field));
            }
        }
        if !causes.is_empty() {
            reasons.insert(0, format!("restarts: {}", causes.into_iter().collect::<Vec<_>>().join(", ")));
        }
        reasons
    }
}

/// The fields that would change. One that can't be changed makes the whole a replacement.
fn changes(resource: &Resource, observation: &Observation, preview: &Preview) -> Vec<FieldChange> {
    let compare = || diff::fields(resource.kind.row(), &observation.body, &preview.body);
    let mut fields = preview.fields.clone().unwrap_or_else(compare);
    for field in &mut fields {
        let below = |path: &String| {
            field.path.strip_prefix(path.as_str()).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        };
        if preview.immutable.iter().any(below) {
            field.effect = Effect::Replace;
        }
    }
    fields
}

fn conflicts(resource: &Resource, conflicts: Vec<Conflict>) -> PlanError {
    PlanError::Conflicts {
        id: resource.id.clone(),
        identity: resource.identity.clone(),
        handle: handle(resource),
        conflicts,
    }
}

fn is_digest(value: Option<&Value>) -> bool {
    matches!(value, Some(Value::Special(_)))
}

/// What a restart is due to: `session-key changed (reads SESSION_KEY)`.
fn cause(resource: &Resource, field: &FieldChange) -> String {
    let Some(variable) = field.path.strip_prefix("env.") else {
        return match field.path.as_str() {
            "artifact" => "new artifact".to_owned(),
            path => format!("{path} changed"),
        };
    };
    let value = resource.body.get("env").and_then(|env| env.get(variable));
    match value.and_then(|value| value.secrets().first().map(ToString::to_string)) {
        Some(secret) if field.before.is_some() => format!("{secret} changed (reads {variable})"),
        _ => format!("{variable} changed"),
    }
}

/// How an object is named on the command line: `database/acme__guestbook`.
fn handle(resource: &Resource) -> String {
    format!("{}/{}", resource.kind.word(), resource.identity)
}

fn not_ours(resource: &Resource, owner: Ownership) -> PlanError {
    let (id, identity) = (resource.id.clone(), resource.identity.clone());
    PlanError::NotOurs { id, kind: resource.kind, identity, owner, handle: handle(resource) }
}

/// Adopting never means deleting.
fn not_adoptable(resource: &Resource, fields: Vec<String>) -> PlanError {
    PlanError::NotAdoptable { id: resource.id.clone(), identity: resource.identity.clone(), fields }
}

fn line(resource: &Resource, action: Action) -> Change {
    Change {
        id: resource.id.clone(),
        kind: resource.kind,
        identity: resource.identity.clone(),
        action,
        fields: Vec::new(),
        reasons: Vec::new(),
        resource: resource.clone(),
        desired: None,
        observed: None,
        fingerprint: None,
        object: None,
        depends_on: resource.depends_on.clone(),
        loses_data: false,
        takes: Vec::new(),
        foreign_fields: Vec::new(),
    }
}
