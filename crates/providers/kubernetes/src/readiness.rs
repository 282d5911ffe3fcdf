//! Whether an object does what it is for, with the true reason if not: as early as the cluster lets it be known, not at a deadline.
//!
//! The object itself is asked first, and that is all where everything is well. Only what isn't ready is looked into: a Deployment's
//! ReplicaSets and Pods, their events and logs, a route's Gateway, a certificate's challenges.
//!
//! What is older than the change that is judged is no evidence ([`crate::moment`]).
//!
//! `Failed` is said where waiting doesn't help: [`pod`] has the list for Pods; a Pod that the cluster refuses to make, after
//! [`pod::GRACE`], and by a quota only as long as that has no room; a rollout whose time is over; a route that no listener lets in; a certificate that could not be issued; an object
//! that is gone or is being deleted. All else is `Waiting`, with the same words.

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

mod autoscaler;
mod certificate;
mod custom;
pub(crate) mod deployment;
pub(crate) mod pod;
mod policy;
pub(crate) mod quota;
mod route;
mod service;
mod storage;

use std::sync::Arc;
use std::time::Duration;

use freehold_engine::{Lookup, ProviderError, Readiness, Serving};
use freehold_graph::kind::{KubernetesKind, Served};
use freehold_graph::{ResourceKind, StackId};
use freehold_problem::Code;
use serde_json::Value as Json;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::document::Fields;
use crate::error::ClusterError;
use crate::holders;
use crate::mark;
use crate::moment::Moment;
use crate::object::{self, Place};
use crate::observe;
use crate::reader::Reader;

/// How long one look may take, with everything that is looked into.
const LOOK: Duration = Duration::from_secs(12);

/// Looks at one object of a stack, after a change of that long ago or as things are.
pub(crate) async fn of(
    cluster: &Cluster,
    stack: StackId,
    lookup: &Lookup,
    changed: Option<Duration>,
) -> Result<Readiness, ProviderError> {
    let place = observe::place(&lookup.id, lookup.kind, &lookup.identity, &lookup.body)?;
    let settled = match changed {
        Some(_) => settled(cluster, &place).await,
        None => None,
    };
    if settled.is_some_and(|found| mark::stack(&found) == Some(stack)) {
        return Ok(Readiness::Ready);
    }
    let reader = Reader::new(cluster, Instant::now() + LOOK);
    let Some(found) = reader.get(&place).await? else {
        let absent = || Readiness::failed("it does not exist");
        return Ok(without_namespace(&reader, &place).await?.unwrap_or_else(absent));
    };
    Ok(judge(&reader, stack, (lookup.kind, &place), &found, changed).await?)
}

/// An object that was just applied, once it is ready as its watch shows it; `None` where it has to be looked at.
async fn settled(cluster: &Cluster, place: &Place) -> Option<Arc<Json>> {
    let expected = cluster.awaited(&place.kind)?.at(place)?;
    let settled = if place.kind == object::SERVICE {
        service::settled(cluster, place, &expected).await
    } else {
        expected.settled(deployment::sight).await
    };
    expected.note_asked();
    settled
}

/// Judges an object that was seen.
pub(crate) async fn judge(
    reader: &Reader<'_>,
    stack: StackId,
    (kind, place): (ResourceKind, &Place),
    found: &Json,
    changed: Option<Duration>,
) -> Result<Readiness, ClusterError> {
    if mark::stack(found) != Some(stack) {
        let why = "an object of its name exists without this stack's ownership label";
        return Ok(Readiness::failed_with(Code::NotOwned, why));
    }
    if let Some(since) = mark::deletion(found) {
        let holders = holders::of(reader.cluster, place, found, reader.deadline).await;
        let held = if holders.is_empty() { String::new() } else { format!(": {}", holders.join("; ")) };
        let why = format!("it is being deleted, since {since}{held}");
        return Ok(Readiness::failed_with(Code::BeingDeleted, why));
    }
    // By the cluster's clock, which the answer just now has told.
    let moment = Moment::new(reader.cluster.clock().now()).after(changed);
    let readiness = look(reader, kind, found, moment).await?;
    // What it waits for doesn't come where nothing new gets in.
    match &readiness {
        Readiness::Waiting(_) => Ok(without_namespace(reader, place).await?.unwrap_or(readiness)),
        Readiness::Ready | Readiness::Settling { .. } | Readiness::Failed(_) => Ok(readiness),
    }
}

/// The namespace of an object that isn't there, or not ready, is a reason for it when it goes away.
async fn without_namespace(reader: &Reader<'_>, place: &Place) -> Result<Option<Readiness>, ClusterError> {
    let Some(namespace) = place.namespace.as_deref() else { return Ok(None) };
    let namespaces = reader.cluster.namespaces();
    if namespaces.is_alive(namespace) {
        return Ok(None);
    }
    let asked = Instant::now();
    let found = reader.get(&Place::named(object::NAMESPACE, None, namespace)).await?;
    let since = found.as_ref().and_then(mark::deletion);
    if found.is_some() && since.is_none() {
        namespaces.note_alive(namespace, asked);
    }
    let why = |since| format!("its namespace {namespace} is being deleted, since {since}");
    Ok(since.map(|since| Readiness::failed_with(Code::BeingDeleted, why(since))))
}

/// Which versions of a Deployment take requests now.
pub(crate) async fn serving(
    cluster: &Cluster,
    stack: StackId,
    lookup: &Lookup,
) -> Result<Option<Serving>, ProviderError> {
    if lookup.kind != ResourceKind::Deployment {
        return Ok(None);
    }
    let reader = Reader::new(cluster, Instant::now() + LOOK);
    let found = reader.get(&Place::of(object::DEPLOYMENT, &lookup.identity)).await?;
    let Some(found) = found.filter(|found| mark::stack(found) == Some(stack)) else {
        return Ok(Some(Serving::default()));
    };
    Ok(Some(deployment::serving(&reader, &found).await?))
}

async fn look(
    reader: &Reader<'_>,
    kind: ResourceKind,
    found: &Json,
    moment: Moment,
) -> Result<Readiness, ClusterError> {
    let Served::Kubernetes(kind) = kind.served() else { return Ok(Readiness::Ready) };
    match kind {
        KubernetesKind::Deployment => deployment::readiness(reader, found, moment).await,
        KubernetesKind::Service => service::readiness(reader, found).await,
        KubernetesKind::PersistentVolumeClaim => storage::claim(reader, found).await,
        KubernetesKind::CloudNativePg => Ok(storage::postgres(found)),
        KubernetesKind::CloudNativePgPooler => Ok(storage::pooler(found)),
        KubernetesKind::HttpRoute => route::of_route(reader, found, moment.now).await,
        KubernetesKind::ListenerSet => route::of_listeners(reader, found, moment.now).await,
        KubernetesKind::SecurityPolicy | KubernetesKind::BackendTrafficPolicy => policy::readiness(reader, found).await,
        KubernetesKind::Object => Ok(custom::readiness(found)),
        KubernetesKind::Certificate => certificate::readiness(reader, found).await,
        KubernetesKind::Namespace => Ok(match found.text("/status/phase") {
            "Active" => Readiness::Ready,
            phase => Readiness::Waiting(format!("it is {phase}")),
        }),
        KubernetesKind::PodDisruptionBudget => Ok(budget(found)),
        KubernetesKind::HorizontalPodAutoscaler => autoscaler::readiness(reader, found, moment).await,
        // They are what they are as soon as they are stored.
        KubernetesKind::ResourceQuota
        | KubernetesKind::LimitRange
        | KubernetesKind::NetworkPolicy
        | KubernetesKind::ServiceAccount
        | KubernetesKind::Secret
        | KubernetesKind::ConfigMap
        | KubernetesKind::CronJob
        | KubernetesKind::HttpRouteFilter => Ok(Readiness::Ready),
    }
}

/// Whether an object that was just applied is ready by what the answer shows: nothing but the API server has a say in it.
pub(crate) fn is_shown(kind: ResourceKind, applied: &Json) -> bool {
    !kind.row().status || kind == ResourceKind::Namespace && applied.text("/status/phase") == "Active"
}

fn budget(found: &Json) -> Readiness {
    let failed = found.condition("DisruptionAllowed").filter(|condition| condition.reason() == "SyncFailed");
    match failed {
        Some(condition) => Readiness::Waiting(format!("its pods can't be counted: {}", condition.message())),
        None if found.number("/status/observedGeneration") < found.number("/metadata/generation") => {
            Readiness::Waiting("not yet reconciled by the cluster".to_owned())
        }
        None => Readiness::Ready,
    }
}
