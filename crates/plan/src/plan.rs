//! The plan: everything that an operation may do.

use std::collections::BTreeMap;

use freehold_graph::{Due, Graph, Request, ResourceId, ResourceKind, Run, StackId, StackKey};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::change::{Action, Change};
use crate::conflict::Conflict;
use crate::observation::Ownership;
use crate::preview::Autoscaler;

/// What an operation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// To make the stack what the definition and the request say.
    Deploy,
    /// To go back to an older revision's artifacts and settings. Runs no job, and touches no data but what was named.
    Rollback {
        /// The revision to go back to.
        to: u64,
    },
    /// To take the stack away.
    Destroy {
        /// Whether dumps of its databases are written and proved first.
        dump: bool,
    },
}

/// The layout of the steps of plans that are made now. 0: a destroy deletes what a database's data doesn't depend on before it dumps;
/// 1: it stops everybody, dumps, and only then deletes.
pub const PLAN_LAYOUT: u16 = 1;

/// Everything that an operation may do. Nothing changes that isn't in here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its own identity.
    pub id: Uuid,
    /// The stack's identity. A new stack gets it with its first plan.
    pub stack: StackId,
    /// The stack's name.
    pub key: StackKey,
    /// How its steps are made from it ([`PLAN_LAYOUT`]). An operation that goes on after an update of the program keeps to the steps that
    /// it began with.
    #[serde(default)]
    pub layout: u16,
    /// What it is for.
    pub purpose: Purpose,
    /// The stack's generation that the plan rests on: 0 for a new stack. It grows when an operation begins, and when it ends.
    pub generation: u64,
    /// The revision that it makes.
    pub revision: u64,
    /// SHA-256 of the definition's source, in hexadecimal.
    pub definition: String,
    /// The request, complete.
    pub request: Request,
    /// One line for each resource, no-ops included.
    pub changes: BTreeMap<ResourceId, Change>,
    /// The jobs that are run; none if there is nothing to change.
    pub runs: BTreeMap<ResourceId, Run>,
    /// What people are told when it is done.
    pub outputs: BTreeMap<String, String>,
    /// What the target can't enforce.
    pub not_enforced: Vec<String>,
    /// Other things to know: "generated values of secrets are kept".
    pub notes: Vec<String>,
    /// It wants exactly what the last verified revision consists of. A plan without anything to change is still one for a new revision if it
    /// doesn't: what isn't wanted any more may be kept, and what was kept may be wanted again.
    #[serde(default)]
    pub same: bool,
    /// Its operation ends once everything has been ready for long enough; else as soon as everything is ready.
    #[serde(default = "yes")]
    pub settle: bool,
}

fn yes() -> bool {
    true
}

impl Plan {
    /// Whether there is anything to do.
    pub fn is_noop(&self) -> bool {
        self.runs.is_empty() && self.changes.values().all(|change| change.action == Action::NoOp)
    }

    /// Whether it is a plan for exactly this graph: to make each of its resources and no other, to run its jobs, and to end with its outputs.
    /// The same definition and request make another graph on a target that has changed since, and in another release.
    pub fn leads_to(&self, graph: &Graph) -> bool {
        let desired =
            self.changes.values().filter(|change| change.action != Action::Delete).map(|change| &change.resource);
        // A repair and a rollback run no job, and what runs once in a stack's life may have run.
        let left_out = graph.runs.values().filter(|run| run.due == Due::Once && !self.runs.contains_key(&run.id));
        let succeeded = left_out.map(|run| run.id.clone()).collect();
        let runs = self.runs.is_empty() || self.runs == graph.runs_of_deploy(&succeeded);
        desired.eq(graph.resources.values()) && runs && self.outputs == graph.outputs
    }

    /// How many lines have this action.
    pub fn count(&self, action: Action) -> usize {
        self.changes.values().filter(|change| change.action == action).count()
    }
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    /// An object is in the way that isn't ours, and nobody said to adopt it.
    #[error("{} {identity} is not managed by this stack: {owner}", id.word())]
    NotOurs {
        /// The resource that there can be no change of.
        id: ResourceId,
        /// What it is.
        kind: ResourceKind,
        /// Its outside name.
        identity: String,
        /// Whose it is.
        owner: Ownership,
        /// How it is named to adopt it: `namespace/acme--guestbook`.
        handle: String,
    },
    /// Somebody else manages fields that would change, and nobody said to take them.
    #[error("{kind} {identity}: {} managed by others: {}", if conflicts.len() == 1 { "one field is" } else { "some fields are" }, list(conflicts), kind = id.word())]
    Conflicts {
        /// The resource that there can be no change of.
        id: ResourceId,
        /// Its outside name.
        identity: String,
        /// How it is named to take them: `deployment/acme--guestbook/web`.
        handle: String,
        /// The fields that others manage, with their managers.
        conflicts: Vec<Conflict>,
    },
    /// The number of copies is what somebody else's autoscaler makes it, and nobody said to take it. Taken, it would be set again.
    #[error("{kind} {identity} is scaled by the autoscaler {}, which is not this stack's", autoscaler.name, kind = id.word())]
    Scaled {
        /// The resource that there can be no change of.
        id: ResourceId,
        /// Its outside name.
        identity: String,
        /// What scales it.
        autoscaler: Autoscaler,
    },
    /// An object was to be adopted that would have to be made anew, which nobody but its owner may decide.
    #[error("{kind} {identity} can't be adopted: it differs in {}, which can't be changed", fields.join(", "), kind = id.word())]
    NotAdoptable {
        /// The resource that there can be no change of.
        id: ResourceId,
        /// Its outside name.
        identity: String,
        /// The fields that can't be changed.
        fields: Vec<String>,
    },
    /// Data would be lost, and nobody named it.
    #[error("{kind} {identity} and its data would be deleted{}", anew(fixed), kind = id.word())]
    LosesData {
        /// The resource that there can be no change of.
        id: ResourceId,
        /// Its outside name.
        identity: String,
        /// The fields that change and only can in a new one. Empty: it isn't wanted any more.
        fixed: Vec<String>,
    },
}

fn anew(fixed: &[String]) -> String {
    if fixed.is_empty() { String::new() } else { format!(": {} can't be changed in place", fixed.join(", ")) }
}

fn list(conflicts: &[Conflict]) -> String {
    let words: Vec<String> =
        conflicts.iter().map(|conflict| format!("{} (by {})", conflict.path, conflict.manager)).collect();
    words.join(", ")
}
