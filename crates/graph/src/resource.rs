//! Resources and runs: the nodes of a stack's graph.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::kind::ResourceKind;
use crate::provider_name::ProviderName;
use crate::resource_id::ResourceId;
use crate::value::Value;

/// One node of a stack's graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Its name within the stack.
    pub id: ResourceId,
    /// What it is, and who takes care of it.
    #[serde(rename = "type")]
    pub kind: ResourceKind,
    /// Its name in the outside world: a database's name, a host name, or for a service the name of its processes.
    pub identity: String,
    /// What it should be like (a desired body: with references to secrets).
    pub body: Value,
    /// What has to exist before it, and is deleted after it.
    pub depends_on: BTreeSet<ResourceId>,
}

/// When a run is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Due {
    /// With each new revision.
    #[default]
    Revision,
    /// With a new revision, unless it has succeeded in the stack before.
    Once,
    /// When somebody asks for it.
    Demand,
}

impl Due {
    /// With each new revision: then it is left out where runs are written down, as it was when there was nothing else.
    fn is_revision(&self) -> bool {
        *self == Self::Revision
    }
}

/// A job's run, as the revision has it. Not a resource: its absence is never drift.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// `job.NAME`.
    pub id: ResourceId,
    /// Who runs it.
    #[serde(default = "on_this_machine")]
    pub provider: ProviderName,
    /// On this machine the same fields as a service's body as far as they apply, plus `timeout_seconds` and `retry`; in a cluster
    /// `namespace`, `manifest` (of the Job, without a name), `timeout_seconds` and `retry`.
    pub body: Value,
    /// When it is due.
    #[serde(default, skip_serializing_if = "Due::is_revision")]
    pub due: Due,
    /// What has to exist before it runs, and the jobs that have to succeed before it where they run with the same revision.
    pub depends_on: BTreeSet<ResourceId>,
    /// The services that start (or change) only after it has succeeded.
    pub before: BTreeSet<ResourceId>,
}

fn on_this_machine() -> ProviderName {
    ProviderName::Local
}
