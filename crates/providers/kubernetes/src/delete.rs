//! Deleting an object, and waiting until it is gone.
//!
//! Only the object with the recorded uid and the stack's mark is deleted. Finalizers are waited for and named, within seconds and at the
//! end, and never removed. A namespace takes along what is in it: it goes only when nothing there is somebody else's, which the plan of
//! a deletion finds out, and the deletion once more.

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

use std::time::Duration;

use chrono::{DateTime, Utc};
use freehold_engine::backoff::Backoff;
use freehold_engine::{Context, Deletion, Lookup, Performed, ProviderError};
use freehold_graph::kind::KubernetesKind;
use freehold_graph::{ResourceKind, StackId};
use freehold_plan::observation::Ownership;
use freehold_problem::{Code, Problem};
use serde_json::Value as Json;
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::document::Fields;
use crate::error::{ClusterError, Reason};
use crate::holders;
use crate::mark;
use crate::object::{NAMESPACE, Place};
use crate::observe;
use crate::request::Request;
use crate::unmanaged;
use crate::volume;

/// How often it is asked whether an object is gone.
const POLL: Backoff = Backoff::doubling(Duration::from_millis(50), Duration::from_secs(1));
/// Before the deadline: the time to find out and say what holds the object.
const LAST_WORDS: Duration = Duration::from_secs(4);
/// How long a deletion goes on before it is looked for what holds it, and after how long again. The first is before anybody is told that
/// it is waited for, so that the first words have the cause.
const FIRST_WORDS: Duration = Duration::from_secs(2);
const NEXT_WORDS: Duration = Duration::from_secs(8);

pub(crate) async fn delete(
    cluster: &Cluster,
    context: &Context,
    lookup: &Lookup,
    object: Option<&str>,
) -> Result<Performed, ProviderError> {
    let place = observe::place(&lookup.id, lookup.kind, &lookup.identity, &lookup.body)?;
    let place = cluster.present_place(&place, context.deadline).await?;
    // Never from memory: "gone" ends the step.
    let Some(live) = cluster.look_for(&place, context.deadline).await? else { return Ok(Performed::default()) };
    may_delete(&place, &live, context, object)?;
    let uid = mark::uid(&live);
    if mark::deletion(&live).is_none() {
        if place.kind == NAMESPACE {
            // What may not be looked at was said by the plan.
            unmanaged::none(cluster, &place, context.stack, context.deadline).await?;
        }
        let request = Request::delete(&place, uid, propagation(observe::kind(&lookup.id, lookup.kind)?));
        match cluster.send(&request, context.deadline).await {
            Ok(_) => {}
            Err(error) if error.reason() == Some(Reason::Absent) => return Ok(Performed::default()),
            // Another object has that name by now.
            Err(error) if error.reason() == Some(Reason::Changed) => {
                return Err(not_deletable(Code::ChangedExternally, &place, &error.to_string()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    wait(cluster, context, &place, uid).await
}

/// What runs Pods goes when they are gone.
const fn propagation(kind: KubernetesKind) -> &'static str {
    if holders::dependents_of(kind).is_empty() { "Background" } else { "Foreground" }
}

fn may_delete(place: &Place, live: &Json, context: &Context, object: Option<&str>) -> Result<(), ProviderError> {
    match mark::ownership(live, context.stack) {
        Ownership::Ours => {}
        owner @ (Ownership::Foreign(_) | Ownership::OtherStack(_)) => {
            return Err(not_deletable(Code::NotOwned, place, &owner.to_string()));
        }
    }
    let uid = mark::uid(live);
    match object {
        Some(object) if object != uid => {
            Err(not_deletable(Code::ChangedExternally, place, &format!("it is {uid}, and the plan means {object}")))
        }
        _ => Ok(()),
    }
}

fn not_deletable(code: Code, place: &Place, why: &str) -> ProviderError {
    ProviderError::from(
        Problem::new(code, format!("{place} was not changed: {why}"))
            .help("find out who made it; then rename or remove it, and run the same command again"),
    )
}

/// Finds out what deleting an object would come to. The answer is what people have to know beside it.
pub(crate) async fn preview(
    cluster: &Cluster,
    stack: StackId,
    lookup: &Lookup,
    deadline: Instant,
) -> Result<Deletion, ProviderError> {
    let place = observe::place(&lookup.id, lookup.kind, &lookup.identity, &lookup.body)?;
    if lookup.kind == ResourceKind::PersistentVolumeClaim {
        let empty = volume::was_never_made(cluster, &place, deadline).await?;
        return Ok(Deletion { may_hold_data: !empty, ..Deletion::default() });
    }
    if place.kind != NAMESPACE {
        return Ok(Deletion::default());
    }
    let live = cluster.look(&place, deadline).await?;
    // Where it is going already, nothing keeps what is in it.
    let Some(live) = live.filter(|live| mark::deletion(live).is_none()) else { return Ok(Deletion::default()) };
    let adopted = mark::foreign_maker(&live).map(|maker| {
        format!("{place} was adopted ({maker} made it) and holds nothing but the stack: it is deleted, too")
    });
    let along = unmanaged::none(cluster, &place, stack, deadline).await?.told(&place);
    Ok(Deletion { remarks: adopted.into_iter().chain(along).collect(), ..Deletion::default() })
}

/// Waits until the object is gone, and says meanwhile what holds it.
async fn wait(cluster: &Cluster, context: &Context, place: &Place, uid: &str) -> Result<Performed, ProviderError> {
    let (deadline, mut pause) = (context.deadline, POLL.waits());
    let (mut words, mut next_words) = (format!("{place} is being deleted"), Instant::now() + FIRST_WORDS);
    loop {
        let live = match cluster.look_for(place, deadline).await {
            Ok(live) => live.filter(|live| mark::uid(live) == uid),
            // It was sent and accepted; whether it is gone can be seen later.
            Err(error @ ClusterError::Unreachable { .. }) => {
                return Err(ProviderError::retryable(Code::NotNow, format!("waiting for {place} to be gone: {error}")));
            }
            Err(error) => return Err(error.into()),
        };
        let Some(live) = live else { return Ok(Performed::default()) };
        if Instant::now() + pause.present() + LAST_WORDS >= deadline {
            return Err(ProviderError::from(Problem::new(Code::DeletionHeld, format!("{place} is being deleted and does not go away")).lines(holders::of(cluster, place, &live, deadline).await).help("fix the controller that should remove the finalizer, then run the same command again: Freehold removes none itself")));
        }
        if Instant::now() >= next_words || is_late(&live, cluster.clock().now()) && pause.is_first() {
            let holders = holders::of(cluster, place, &live, deadline).await;
            let held = if holders.is_empty() { String::new() } else { format!(": {}", holders.join("; ")) };
            (words, next_words) = (format!("{place} is being deleted{held}"), Instant::now() + NEXT_WORDS);
        }
        context.waits.tell(words.as_str());
        sleep(pause.take()).await;
    }
}

/// Whether its deletion has lasted long enough to be held by something.
fn is_late(live: &Json, now: DateTime<Utc>) -> bool {
    let deleted = live.time("/metadata/deletionTimestamp").map(|since| now.signed_duration_since(since));
    deleted.and_then(|age| age.to_std().ok()).is_some_and(|age| age >= FIRST_WORDS)
}
