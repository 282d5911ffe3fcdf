//! The graph of one stack.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::resource::{Due, Resource, Run};
use crate::resource_id::ResourceId;
use crate::value::Value;

/// What a stack consists of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Graph {
    /// Its resources. Dependencies are among them, and there is no cycle.
    pub resources: BTreeMap<ResourceId, Resource>,
    /// Its jobs, but for those with a schedule: these are resources.
    pub runs: BTreeMap<ResourceId, Run>,
    /// Outside names that have to be unique on the target: `(scope, name)`, such as `("host", "acme.localhost")`.
    pub claims: BTreeSet<(String, String)>,
    /// What people are told when all is done: `routes.web.url`, `databases.main.name`.
    pub outputs: BTreeMap<String, String>,
    /// What this target can't enforce, in a few words each.
    pub not_enforced: Vec<String>,
}

impl Graph {
    /// The runs of a deploy. `succeeded`: the jobs that have done so in the stack before. Who is after one of those that are left out is
    /// after what that one is after.
    pub fn runs_of_deploy(&self, succeeded: &BTreeSet<ResourceId>) -> BTreeMap<ResourceId, Run> {
        let is_due = |run: &Run| match run.due {
            Due::Revision => true,
            Due::Once => !succeeded.contains(&run.id),
            Due::Demand => false,
        };
        let left_out = |id: &ResourceId| self.runs.get(id).filter(|run| !is_due(run));
        let due = self.runs.iter().filter(|(_, run)| is_due(run)).map(|(id, run)| {
            let mut run = run.clone();
            let mut open: Vec<&Run> = run.depends_on.iter().filter_map(left_out).collect();
            let mut seen = BTreeSet::new();
            run.depends_on.retain(|id| left_out(id).is_none());
            while let Some(earlier) = open.pop() {
                if !seen.insert(&earlier.id) {
                    continue;
                }
                for job in earlier.depends_on.iter().filter(|id| self.runs.contains_key(*id)) {
                    match left_out(job) {
                        Some(earlier) => open.push(earlier),
                        None => {
                            run.depends_on.insert(job.clone());
                        }
                    }
                }
            }
            (id.clone(), run)
        });
        due.collect()
    }

    /// The target's database servers that the stack has logins on: `None` is the one without a name.
    pub fn servers(&self) -> BTreeSet<Option<&str>> {
        let with_logins = self.resources.values().filter(|resource| resource.kind.row().logins.is_some());
        with_logins.map(|resource| server_of(&resource.body)).collect()
    }

    /// How many connections of one of these the stack may use at once.
    pub fn connections(&self, server: Option<&str>) -> u32 {
        let on_it = self.resources.values().filter(|resource| server_of(&resource.body) == server);
        let limits = on_it.filter_map(|resource| {
            let logins = resource.kind.row().logins?;
            let limit = resource.body.get(logins.connections)?.as_integer()?;
            Some(u32::try_from(limit).unwrap_or(u32::MAX).saturating_add(logins.reserved))
        });
        limits.fold(0, u32::saturating_add)
    }
}

/// The database server that a resource is on, if it is one with a name.
fn server_of(body: &Value) -> Option<&str> {
    body.get("server").and_then(Value::as_text)
}
