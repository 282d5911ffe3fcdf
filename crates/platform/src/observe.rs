//! What is there, and what would come of a change: through a target's providers, without changing anything.

use std::collections::{BTreeMap, BTreeSet};

use freehold_engine::provider::Proposal;
use freehold_engine::{Lookup, ProviderError};
use freehold_graph::{Graph, Resource, ResourceId, StackId, Value};
use freehold_plan::{Action, Observation, Ownership, Plan, Preview};
use freehold_problem::{About, Code, Problem};
use freehold_store::SecretDigests;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};

use super::refused;
use super::runtime::TargetRuntime;
use crate::Result;

/// How many observations are made at once for one plan.
const OBSERVATIONS: usize = 16;

/// A look at a resource through its provider.
type Call<'a, T> = BoxFuture<'a, (ResourceId, Result<T, ProviderError>)>;

/// What was seen of each resource.
pub(super) type Observed = BTreeMap<ResourceId, Option<Observation>>;

impl TargetRuntime {
    /// Looks at every one of these.
    pub(super) async fn observe(&self, stack: StackId, subjects: &BTreeMap<ResourceId, Resource>) -> Result<Observed> {
        // Where a namespace isn't there, nothing in it has to be looked for.
        let (mut enclosing, mut others) = (Vec::new(), Vec::new());
        for (id, resource) in subjects {
            let name = resource.kind.provider();
            let provider = self.providers.get(&name);
            let provider = provider.ok_or_else(|| self.no_provider(id))?;
            let lookup = Lookup::from(resource);
            let look = async move { (id.clone(), provider.observe(stack, &lookup).await) }.boxed();
            if resource.kind.row().encloses { enclosing.push(look) } else { others.push(look) }
        }
        all_of([enclosing, others]).await
    }

    fn no_provider(&self, id: &ResourceId) -> Problem {
        let message = format!("{id} is on a server that target {} no longer has", self.target.name());
        Problem::new(Code::TargetIncomplete, message).help("`freehold target check` says what is missing")
    }

    /// Asks what would come of the desired resources.
    pub(super) async fn preview(
        &self,
        stack: StackId,
        graph: &Graph,
        observed: &Observed,
        digests: &SecretDigests,
        adopt: &BTreeSet<String>,
    ) -> Result<BTreeMap<ResourceId, Preview>> {
        let mut wanted = Vec::new();
        let mut is_refused = false;
        for resource in graph.resources.values() {
            let adopt = adopt.contains(&format!("{}/{}", resource.kind.word(), resource.identity));
            let observed = observed.get(&resource.id).and_then(Option::as_ref);
            is_refused |= observed.is_some_and(|there| there.ownership != Ownership::Ours) && !adopt;
            let desired = resource.body.comparable(digests);
            if needs_preview(observed, &desired, adopt) {
                let provider = self.providers.get(&resource.kind.provider());
                let provider = provider.ok_or_else(|| self.no_provider(&resource.id))?;
                wanted.push((provider, resource, observed, desired, adopt));
            }
        }
        let trials = wanted.iter().map(|(provider, resource, observed, desired, adopt)| {
            async move {
                let proposal = Proposal { resource, desired, observed: *observed, adopt: *adopt };
                (resource.id.clone(), provider.preview(stack, &proposal).await)
            }
            .boxed()
        });
        let (previews, failures) = call_all([trials.collect()]).await;
        // In a namespace that isn't ours the cluster may deny whatever is tried out. The plan is refused because of whose it is, which
        // says more.
        if failures.is_empty() || is_refused { Ok(previews) } else { Err(combine(failures)) }
    }

    /// Takes into a plan what its deletions would come to. One that can't be carried out is refused here, before anything is gone.
    pub(super) async fn preview_deletions(&self, plan: &mut Plan) -> Result<()> {
        let (stack, changes) = (plan.stack, plan.changes.values());
        let deleted = changes.filter(|change| change.action == Action::Delete && change.observed.is_some());
        let mut looks = Vec::new();
        for change in deleted {
            let name = change.kind.provider();
            let provider = self.providers.get(&name).ok_or_else(|| self.no_provider(&change.id))?;
            let lookup = Lookup::from(&change.resource);
            let look = async move { (change.id.clone(), provider.preview_deletion(stack, &lookup).await) };
            looks.push(look.boxed());
        }
        for (id, deletion) in all_of([looks]).await? {
            plan.notes.extend(deletion.remarks);
            if let Some(change) = plan.changes.get_mut(&id) {
                change.loses_data &= deletion.may_hold_data;
            }
        }
        Ok(())
    }

    /// Refuses a plan that promises dumps which can't be had: found out in the middle of the operation, the services would be gone already.
    pub(super) async fn preview_dumps(&self, plan: &Plan) -> Result<()> {
        let dumped = plan.changes.values().filter(|change| change.loses_data && change.kind.can_be_dumped());
        let mut looks = Vec::new();
        for change in dumped {
            let provider = self.providers.get(&change.kind.provider());
            let provider = provider.ok_or_else(|| self.no_provider(&change.id))?;
            let lookup = Lookup::from(&change.resource);
            let look = async move { (change.id.clone(), provider.preview_dump(plan.stack, &lookup).await) };
            looks.push(look.boxed());
        }
        all_of([looks]).await.map(drop)
    }
}

/// Carries out looks, one group after another; what each has seen, or all failures. They are boxed one by one: a stream of closures that
/// borrow is beyond what the compiler can tell to be `Send`.
async fn all_of<T, const GROUPS: usize>(groups: [Vec<Call<'_, T>>; GROUPS]) -> Result<BTreeMap<ResourceId, T>> {
    let (seen, failures) = call_all(groups).await;
    if failures.is_empty() { Ok(seen) } else { Err(combine(failures)) }
}

type Failures = BTreeMap<ResourceId, ProviderError>;

async fn call_all<T, const GROUPS: usize>(groups: [Vec<Call<'_, T>>; GROUPS]) -> (BTreeMap<ResourceId, T>, Failures) {
    let (mut seen, mut failures) = (BTreeMap::new(), BTreeMap::new());
    for looks in groups {
        let mut answers = stream::iter(looks).buffer_unordered(OBSERVATIONS);
        while let Some((id, answer)) = answers.next().await {
            match answer {
                Ok(found) => drop(seen.insert(id, found)),
                Err(error) => drop(failures.insert(id, error)),
            }
        }
    }
    (seen, failures)
}

/// What is as it should be, down to who keeps which field, comes out as it is. What isn't ours is refused anyway.
fn needs_preview(observed: Option<&Observation>, desired: &Value, adopt: bool) -> bool {
    match observed {
        None => true,
        Some(there) if there.ownership == Ownership::Ours => there.body != *desired,
        Some(_) => adopt,
    }
}

/// All failures in one answer: the reason of the first that a retry doesn't fix, else of the first.
fn combine(failures: Failures) -> Problem {
    if failures.values().filter_map(denial).count() > 1 {
        return refused::not_permitted(failures.values().filter_map(denial));
    }
    let mut words: BTreeSet<String> = failures.values().map(ToString::to_string).collect();
    let mut failures: Vec<ProviderError> = failures.into_values().collect();
    failures.sort_by_key(|error| !matches!(error, ProviderError::Rejected(_)));
    let Some(first) = failures.into_iter().next() else {
        return Problem::new(Code::Internal, "internal error: no observation and no failure");
    };
    let told = first.to_string();
    words.remove(&told);
    let mut problem = Problem::from(first);
    problem.lines.extend(words);
    problem
}

/// What the cluster doesn't permit, if that is why it failed.
fn denial(error: &ProviderError) -> Option<&About> {
    error.problem().about.as_deref().filter(|about| matches!(about, About::Permission { .. }))
}
