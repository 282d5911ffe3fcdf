//! Making an object what it should be.
//!
//! Server-side apply merges silently into whatever is there, so it is looked at first, if that wasn't done a moment ago: what is
//! changed is that very object as it was seen (uid and resource version), what is made must not have been there. In a namespace that the
//! same operation has made there is nothing to look at. Whether an object was made or was there tells the answer (201, 200): if one has
//! appeared in between all the same, the fields that went into it are taken back, and the step stops.

use freehold_engine::{Context, Performed, ProviderError, Revealed};
use freehold_graph::{Resource, ResourceKind, StackId, Value};
use freehold_plan::Conflict;
use freehold_plan::observation::Ownership;
use freehold_problem::{Code, Problem};
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use crate::body;
use crate::cluster::Cluster;
use crate::conflict::Conflicts;
use crate::error::{ClusterError, Reason};
use crate::field_manager::{MANAGER, RUNS, SCALE_MANAGER};
use crate::follow;
use crate::holders;
use crate::hosts;
use crate::mark;
use crate::object::{NAMESPACE, Place};
use crate::observe;
use crate::precondition::{ATTEMPTS, if_absent, with_precondition};
use crate::readiness;
use crate::render::{self, Texts};
use crate::replicas;
use crate::request::Request;

const PLAN_AGAIN: &str = "run the same command again to get a plan that rests on what is there now";

/// A resource to apply.
pub(crate) struct Application<'a> {
    pub(crate) resource: &'a Resource,
    pub(crate) desired: &'a Value,
    pub(crate) object: Option<&'a str>,
    pub(crate) adopt: bool,
    /// Fields of others that the plan takes.
    pub(crate) takes: &'a [Conflict],
}

pub(crate) async fn apply(
    cluster: &Cluster,
    context: &Context,
    wanted: &Application<'_>,
) -> Result<Performed, ProviderError> {
    let Application { resource, desired, object, .. } = *wanted;
    let place = observe::place(&resource.id, resource.kind, &resource.identity, &resource.body)?;
    let revealed = Revealed::all(context, &resource.body).await?;
    let manifest = render::manifest(resource.kind, &resource.body, desired, &Texts::Revealed(&revealed))?;
    let mut first: Option<Value> = None;
    for _ in 0..ATTEMPTS {
        // A namespace that wasn't there a moment ago is made only if it still isn't (`create`).
        let is_untouched = if place.kind == NAMESPACE {
            object.is_none() && cluster.namespaces().is_absent_for_creation(&place.name)
        } else {
            cluster.namespaces().is_untouched(&place, context.operation)
        };
        let live = if is_untouched { None } else { cluster.cached_or_get(&place, context.deadline).await? };
        if resource.kind == ResourceKind::HttpRoute {
            // Somebody may have been quicker than this plan.
            hosts::foresee(cluster, context.stack, &place, live.as_ref(), &manifest, context.deadline).await?;
        }
        let Some(live) = live else {
            return create(cluster, context, wanted, &place, &manifest, !is_untouched).await;
        };
        may_change(&place, &live, context.stack, wanted)?;
        if let Some(since) = mark::deletion(&live) {
            return Err(holders::being_deleted(cluster, &place, (since, &live), context.deadline).await);
        }
        let seen = body::comparable(resource.kind, &live, &resource.body);
        // Unless an earlier call of ours, thought to be lost, has arrived.
        if first.as_ref().is_some_and(|first| *first != seen) && seen != *desired {
            return Err(outdated(&place, "was changed while it was being applied"));
        }
        first = Some(seen);
        let live = match replicas::transfer_replicas(cluster, &place, live, &manifest, context.deadline).await {
            Ok(live) => live,
            Err(error) if error.reason() == Some(Reason::Changed) => continue,
            Err(error) => return Err(error.into()),
        };
        if let Some(awaited) = cluster.awaited(&place.kind) {
            awaited.expect(&place);
        }
        // Without force first: what is taken is what the plan has shown, whatever others have taken since.
        let manifest = with_precondition(&manifest, &live);
        let request = |force| Request::apply(&place, &manifest, force);
        let mut answer = cluster.send(&request(false), context.deadline).await;
        if let Err(error) = &answer
            && let Some(found) = Conflicts::of(cluster, &place, context.stack, error, context.deadline).await?
        {
            may_take(&place, &found.foreign, wanted)?;
            answer = cluster.send(&request(true), context.deadline).await;
        }
        match answer {
            Ok(answer) => return Ok(performed(cluster, resource.kind, &place, &answer.body)),
            Err(error) if error.reason() == Some(Reason::Changed) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ProviderError::retryable(Code::NotNow, format!("{place} was modified concurrently {ATTEMPTS} times")))
}

async fn create(
    cluster: &Cluster,
    context: &Context,
    wanted: &Application<'_>,
    place: &Place,
    manifest: &Json,
    was_looked_for: bool,
) -> Result<Performed, ProviderError> {
    if wanted.object.is_some() {
        return Err(outdated(place, "existed when the plan was made and is gone now"));
    }
    if let Some(awaited) = cluster.awaited(&place.kind) {
        awaited.expect(place);
    }
    let request = if place.kind == NAMESPACE {
        Request::apply(place, &if_absent(manifest), false)
    } else {
        Request::apply(place, manifest, false)
    };
    let answer = match cluster.send(&request, context.deadline).await {
        Ok(answer) => answer,
        // Two requests at once: whoever asks looks again.
        Err(error) if matches!(error.reason(), Some(Reason::Changed | Reason::Exists)) => {
            return Err(ProviderError::retryable(Code::NotNow, format!("{place} appeared while it was being made")));
        }
        Err(error) => return Err(error.into()),
    };
    if answer.is_created() {
        let performed = performed(cluster, wanted.resource.kind, place, &answer.body);
        if place.kind != NAMESPACE {
            return Ok(performed);
        }
        cluster.namespaces().note_made(&place.name, context.operation);
        cluster.namespaces().note_alive(&place.name, Instant::now());
        return Ok(Performed { new_scope: Some(format!("{}/", place.name)), ..performed });
    }
    let others = others(&answer.body);
    if others.is_empty() && (was_looked_for || answer.is_repeated()) {
        // An earlier call of ours, thought to be lost, has arrived.
        return Err(ProviderError::retryable(Code::NotNow, format!("{place} appeared while it was being made")));
    }
    // Nothing was sent there before: whoever applies as our field manager is somebody else.
    let (maker, left) = match others.as_slice() {
        [] => (format!("somebody else who applies as {MANAGER}"), "that field manager owns none of them now"),
        [_, ..] => (others.join(", "), "the object is unchanged for its owner"),
    };
    let message = format!("{place} was made by {maker} at the same moment");
    let withdrawn = release_fields(cluster, context, place, &answer.body).await;
    let detail = match withdrawn {
        Ok(()) => vec![format!("Freehold released its fields; {left}")],
        Err(error) => vec![format!("Freehold could not release its fields: {error}")],
    };
    let help = Some("find out who made it; then rename or remove it, and run the same command again".to_owned());
    Err(ProviderError::from(Problem::new(Code::AppearedMeanwhile, message).lines(detail).maybe_help(help)))
}

/// Gives up all fields that are only ours. None was taken from anybody, so the object is as it was.
async fn release_fields(cluster: &Cluster, context: &Context, place: &Place, live: &Json) -> Result<(), ClusterError> {
    let empty = json!({
        "apiVersion": place.kind.api_version(),
        "kind": place.kind.name,
        "metadata": {"name": place.name, "namespace": place.namespace, "uid": mark::uid(live)},
    });
    cluster.send(&Request::apply(place, &empty, false), context.deadline).await.map(|_| ())
}

/// Who else manages fields of an object.
fn others(object: &Json) -> Vec<String> {
    let entries = object.pointer("/metadata/managedFields").and_then(Json::as_array).into_iter().flatten();
    let own = entries.filter(|entry| entry.get("subresource").is_none());
    let names = own.filter_map(|entry| entry.get("manager")?.as_str());
    names.filter(|name| ![MANAGER, SCALE_MANAGER, RUNS].contains(name)).map(str::to_owned).collect()
}

/// Whether what is there may be changed.
fn may_change(place: &Place, live: &Json, stack: StackId, wanted: &Application<'_>) -> Result<(), ProviderError> {
    let not_ours = |owner: &Ownership| {
        ProviderError::from(
            Problem::new(Code::NotOwned, format!("{place} was not changed: {owner}"))
                .help("find out who made it; then rename or remove it, and run the same command again"),
        )
    };
    match mark::ownership(live, stack) {
        Ownership::Ours => {}
        Ownership::Foreign(_) if wanted.adopt => {}
        owner @ (Ownership::Foreign(_) | Ownership::OtherStack(_)) => return Err(not_ours(&owner)),
    }
    if wanted.object.is_some_and(|object| object != mark::uid(live)) {
        return Err(outdated(place, "is no longer the object that the plan was made for"));
    }
    Ok(())
}

fn outdated(place: &Place, why: &str) -> ProviderError {
    ProviderError::from(
        Problem::new(Code::PlanOutdated, format!("the plan is outdated: {place} {why}")).help(PLAN_AGAIN),
    )
}

/// Whether these are fields that the plan takes. Each that it doesn't is named.
fn may_take(place: &Place, foreign: &[Conflict], wanted: &Application<'_>) -> Result<(), ProviderError> {
    let others = foreign.iter().filter(|conflict| !wanted.takes.contains(conflict));
    let detail: Vec<String> =
        others.map(|conflict| format!("{} is managed by {}", conflict.path, conflict.manager)).collect();
    if detail.is_empty() {
        return Ok(());
    }
    let (code, message, help) = if wanted.adopt {
        (
            Code::PlanOutdated,
            format!("the plan is outdated: it does not take these fields of {place} from others"),
            PLAN_AGAIN,
        )
    } else {
        let help = "give these fields up there, or take them with `--adopt`";
        (Code::FieldConflict, format!("{place} was not changed: other field managers own fields that differ"), help)
    };
    Err(ProviderError::from(Problem::new(code, message).lines(detail).help(help)))
}

fn performed(cluster: &Cluster, kind: ResourceKind, place: &Place, object: &Json) -> Performed {
    follow::applied(cluster, place, object);
    let ready = mark::deletion(object).is_none() && readiness::is_shown(kind, object);
    Performed { object: Some(mark::uid(object).to_owned()), ready, ..Performed::default() }
}
