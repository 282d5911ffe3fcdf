//! Resources and runs: the nodes of a stack's graph.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::kind::ResourceKind;
use crate::value::Value;

/// A resource's name within its stack: its type's word and its name in the definition, `database.main`.
/// Stable over revisions: it ties what is desired to what exists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceId(pub String);

impl ResourceId {
    /// `word.name`.
    pub fn new(word: &str, name: impl fmt::Display) -> Self {
        Self(format!("{word}.{name}"))
    }

    /// The part before the first dot: `database`.
    pub fn word(&self) -> &str {
        self.0.split_once('.').map_or(self.0.as_str(), |(word, _)| word)
    }

    /// The part behind the first dot: `main`.
    pub fn name(&self) -> &str {
        self.0.split_once('.').map_or("", |(_, name)| name)
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which system a provider talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderName {
    /// The store itself: sealed secrets.
    Store,
    /// A PostgreSQL server.
    Postgres,
    /// This machine: processes and routes.
    Local,
    /// A cluster's API server.
    Kubernetes,
}

impl ProviderName {
    /// The name as it is written everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Postgres => "postgres",
            Self::Local => "local",
            Self::Kubernetes => "kubernetes",
        }
    }
}

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
