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

/// A job to run once for the revision. Not a resource: its absence is never drift.
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
    /// What has to exist before it runs.
    pub depends_on: BTreeSet<ResourceId>,
    /// The services that start (or change) only after it has succeeded.
    pub before: BTreeSet<ResourceId>,
}

fn on_this_machine() -> ProviderName {
    ProviderName::Local
}
