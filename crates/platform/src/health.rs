//! The health of stacks: what their parts are like now, and the one word that comes of it. Lists, `status`, `doctor`, exit codes and the
//! API all take it from here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use freehold_engine::{Lookup, Provider, ProviderError, Readiness, ReadinessFailure};
use freehold_graph::{ProviderName, Resource, StackId};
use freehold_problem::Code;
use freehold_spec::Name;
use freehold_store::{Stack, StackState, UnreadableResource};
use futures::future::join_all;
use tokio::time::timeout;

use crate::Result;
use crate::actor::Actor;
use crate::records::Records;
use crate::targets::Targets;
use crate::view::{ResourceState, ResourceView, StackHealth};

/// How long the parts of stacks may take to be looked at. What isn't known by then is unknown.
const LOOK: Duration = Duration::from_secs(10);
/// The parts of stacks, each with its state.
pub(super) type Health = BTreeMap<StackId, Vec<ResourceView>>;

/// The objects that one provider of one target is asked about.
type Group = Vec<(StackId, Resource)>;

/// What the parts of these stacks are like now, by id of the part.
pub(super) async fn health(records: &Records, targets: &Targets, actor: &Actor, stacks: &[&Stack]) -> Result<Health> {
    let mut health: Health = stacks.iter().map(|stack| (stack.id, Vec::new())).collect();
    let places: BTreeMap<StackId, &Name> = stacks.iter().map(|stack| (stack.id, &stack.key.target)).collect();
    // One question for all of them, however many there are.
    let ids: Vec<StackId> = places.keys().copied().collect();
    let mut tx = records.store.look(actor.access()).await?;
    let resources = tx.resources(&ids).await?;
    drop(tx);
    let mut groups: BTreeMap<(Name, ProviderName), Group> = BTreeMap::new();
    for listed in resources {
        let (stack, stored) = match listed {
            Ok(stored) => stored,
            Err(left) => {
                health.entry(left.stack).or_default().push(unreadable(left));
                continue;
            }
        };
        let Some(target) = places.get(&stack) else { continue };
        let place = ((*target).clone(), stored.resource.kind.provider());
        groups.entry(place).or_default().push((stack, stored.resource));
    }
    let mut looks = Vec::with_capacity(groups.len());
    for ((target, provider), group) in groups {
        let runtime = targets.find(&target).await.ok();
        let provider = runtime.and_then(|runtime| runtime.providers.get(&provider).cloned());
        looks.push(look(provider, group));
    }
    for (stack, status) in join_all(looks).await.into_iter().flatten() {
        health.entry(stack).or_default().push(status);
    }
    for parts in health.values_mut() {
        parts.sort_by(|one, other| one.id.cmp(&other.id));
    }
    Ok(health)
}

async fn look(provider: Option<Arc<dyn Provider>>, group: Group) -> Vec<(StackId, ResourceView)> {
    let objects: Vec<(StackId, Lookup)> =
        group.iter().map(|(stack, resource)| (*stack, Lookup::from(resource))).collect();
    let unknown = |why: &str| objects.iter().map(|_| Err(ProviderError::retryable(Code::NotNow, why))).collect();
    let answers: Vec<_> = match provider {
        Some(provider) => {
            let answer = timeout(LOOK, provider.health(&objects)).await;
            answer.unwrap_or_else(|_| unknown("it could not be observed in time"))
        }
        None => unknown("its target can't be used"),
    };
    let statuses = group.into_iter().zip(answers).map(|((stack, resource), answer)| (stack, status(&resource, answer)));
    statuses.collect()
}

fn status(resource: &Resource, answer: Result<Readiness, ProviderError>) -> ResourceView {
    let view = |state, reason| ResourceView {
        id: resource.id.clone(),
        kind: resource.kind.written().to_owned(),
        identity: resource.identity.clone(),
        state,
        reason,
        code: None,
        lines: Vec::new(),
        cause: None,
    };
    match answer {
        Ok(Readiness::Ready) => view(ResourceState::Ready, None),
        Ok(Readiness::Settling { remaining }) => {
            view(ResourceState::Ready, Some(format!("it must stay ready for {:.1} s more", remaining.as_secs_f64())))
        }
        Ok(Readiness::Waiting(reason)) => view(ResourceState::Waiting, Some(reason)),
        Ok(Readiness::Failed(ReadinessFailure { code, message, lines })) => {
            ResourceView { code, lines, ..view(ResourceState::Failed, Some(message)) }
        }
        Err(error) => {
            let cause = error.problem().cause.as_deref().map(str::to_owned);
            ResourceView { cause, ..view(ResourceState::Unknown, Some(error.to_string())) }
        }
    }
}

/// A part whose row can't be read: what is known of it all the same.
fn unreadable(left: UnreadableResource) -> ResourceView {
    let UnreadableResource { id, kind, identity, error, .. } = left;
    let (reason, code) = (Some(error.to_string()), Some(error.code()));
    ResourceView { id, kind, identity, state: ResourceState::Unknown, reason, code, lines: Vec::new(), cause: None }
}

/// A stack's state in one word: as its operations have left it, and where these say that all is well, as its parts are now.
pub(super) fn state(stack: &Stack, parts: &[ResourceView]) -> StackHealth {
    match stack.state {
        StackState::New => StackHealth::New,
        StackState::Deploying => StackHealth::Deploying,
        StackState::Ready if parts.iter().any(ResourceView::is_unwell) => StackHealth::Degraded,
        StackState::Ready if parts.iter().any(|part| part.state == ResourceState::Unknown) => StackHealth::Unknown,
        StackState::Ready => StackHealth::Ready,
        StackState::Failed => StackHealth::Failed,
        StackState::Destroying => StackHealth::Destroying,
    }
}

/// Whether a stack's state depends on what its parts are like now.
pub(super) fn depends_on_parts(stack: &Stack) -> bool {
    stack.state == StackState::Ready
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use freehold_graph::{ResourceId, ResourceKind, Value};
    use freehold_problem::Problem;

    use super::*;

    fn seen(answer: Result<Readiness, ProviderError>) -> ResourceView {
        let (id, identity) = (ResourceId::new("service", "web"), "acme/web".to_owned());
        let kind = ResourceKind::LocalService;
        status(&Resource { id, kind, identity, body: Value::Null, depends_on: BTreeSet::new() }, answer)
    }

    #[test]
    fn what_failed_is_told_with_its_code_and_the_end_of_its_log() {
        let failure = ReadinessFailure {
            code: Some(Code::CrashLoop),
            message: "web keeps failing".to_owned(),
            lines: vec!["the table is missing".to_owned()],
        };
        let view = seen(Ok(Readiness::Failed(failure)));
        assert_eq!((view.state, view.code), (ResourceState::Failed, Some(Code::CrashLoop)));
        assert_eq!(view.reason.as_deref(), Some("web keeps failing"));
        assert_eq!(view.explanation().as_deref(), Some("FH0706: web keeps failing\n  │ the table is missing"));
    }

    #[test]
    fn what_can_t_be_observed_has_the_cause_beside_the_reason() {
        let problem = Problem::caused(Code::ClusterUnreachable, "looking at a/web", "the server is away");
        let view = seen(Err(ProviderError::Retryable { problem, after: None }));
        assert_eq!(view.state, ResourceState::Unknown);
        assert_eq!(view.reason.as_deref(), Some("looking at a/web: the server is away"));
        assert_eq!(view.cause.as_deref(), Some("the server is away"));
    }
}
