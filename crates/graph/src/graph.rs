//! The graph of one stack.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::resource::{Resource, Run};
use crate::resource_id::ResourceId;

/// What a stack consists of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Graph {
    /// Its resources. Dependencies are among them, and there is no cycle.
    pub resources: BTreeMap<ResourceId, Resource>,
    /// The jobs to run for the revision.
    pub runs: BTreeMap<ResourceId, Run>,
    /// Outside names that have to be unique on the target: `(scope, name)`, such as `("host", "acme.localhost")`.
    pub claims: BTreeSet<(String, String)>,
    /// What people are told when all is done: `routes.web.url`, `databases.main.name`.
    pub outputs: BTreeMap<String, String>,
    /// What this target can't enforce, in a few words each.
    pub not_enforced: Vec<String>,
}

impl Graph {
    /// How many connections of its target's database server the stack may use at once.
    pub fn connections(&self) -> u32 {
        let limits = self.resources.values().filter_map(|resource| {
            let logins = resource.kind.row().logins?;
            let limit = resource.body.get(logins.connections)?.as_integer()?;
            Some(u32::try_from(limit).unwrap_or(u32::MAX).saturating_add(logins.reserved))
        });
        limits.fold(0, u32::saturating_add)
    }
}
