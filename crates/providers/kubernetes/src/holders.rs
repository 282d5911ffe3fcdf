//! What keeps an object from going away: its own finalizers; what belongs to it, where it goes after that; and for a namespace what is
//! in it. Its conditions say which kinds are left and which finalizers hold them; a look at these kinds gives the objects' names.

use chrono::{DateTime, Utc};
use freehold_engine::ProviderError;
use freehold_graph::kind::KubernetesKind;
use freehold_problem::{Code, Problem};
use http::header::ACCEPT;
use serde_json::Value as Json;
use tokio::time::{Instant, timeout_at};

use crate::cluster::Cluster;
use crate::document::{Fields, is_owned_by};
use crate::error::ClusterError;
use crate::mark;
use crate::neighbour::REPLICA_SET;
use crate::object::{self, CLAIM, JOB, Kind, NAMESPACE, POD, Place};
use crate::reader::Reader;
use crate::request::METADATA;

/// How many objects are named at most.
const NAMED: usize = 20;
/// Waits for what belongs to the object, as it was told to.
const FOREGROUND: &str = "foregroundDeletion";
/// Waits for the Pods that use a volume.
const IN_USE: &str = "kubernetes.io/pvc-protection";

/// What belongs to an object of this kind and runs or keeps data for it, kind by kind: each belongs to it, or to one of the kind before.
pub(crate) const fn dependents_of(kind: KubernetesKind) -> &'static [Kind] {
    match kind {
        KubernetesKind::Deployment => &[REPLICA_SET, POD],
        KubernetesKind::CronJob => &[JOB, POD],
        KubernetesKind::CloudNativePg => &[POD, CLAIM],
        KubernetesKind::Namespace
        | KubernetesKind::ResourceQuota
        | KubernetesKind::LimitRange
        | KubernetesKind::NetworkPolicy
        | KubernetesKind::ServiceAccount
        | KubernetesKind::Secret
        | KubernetesKind::ConfigMap
        | KubernetesKind::PersistentVolumeClaim
        | KubernetesKind::CloudNativePgPooler
        | KubernetesKind::Service
        | KubernetesKind::PodDisruptionBudget
        | KubernetesKind::HorizontalPodAutoscaler
        | KubernetesKind::Object
        | KubernetesKind::Certificate
        | KubernetesKind::ListenerSet
        | KubernetesKind::SecurityPolicy
        | KubernetesKind::BackendTrafficPolicy
        | KubernetesKind::HttpRouteFilter
        | KubernetesKind::HttpRoute => &[],
    }
}

/// Lines for people: what holds an object that is being deleted.
pub(crate) async fn of(cluster: &Cluster, place: &Place, live: &Json, deadline: Instant) -> Vec<String> {
    let finalizers = mark::finalizers(live).into_iter().filter(|finalizer| finalizer != FOREGROUND);
    let mut lines: Vec<String> =
        finalizers.map(|finalizer| format!("{place} is held by its finalizer {finalizer}")).collect();
    let reader = Reader::new(cluster, deadline);
    let kind = KubernetesKind::ALL.iter().find(|kind| object::of(kind.kind()).is_some_and(|kind| place.kind == kind));
    // Whoever may not look has the finalizers' names.
    let more = if place.kind == NAMESPACE {
        Ok(of_namespace(cluster, &place.name, live, deadline).await)
    } else if place.kind == CLAIM {
        users(&reader, live).await
    } else {
        dependents(&reader, live, kind.map_or(&[], |kind| dependents_of(*kind))).await
    };
    lines.extend(more.unwrap_or_default());
    lines.truncate(NAMED);
    lines
}

/// What belongs to an object, kind by kind: each belongs to it, or to one of the kind before.
async fn dependents(reader: &Reader<'_>, owner: &Json, kinds: &[Kind]) -> Result<Vec<String>, ClusterError> {
    let mut owners = vec![mark::uid(owner).to_owned()];
    let mut lines = Vec::new();
    for kind in kinds {
        let all = reader.list(*kind, Some(owner.text("/metadata/namespace")), "").await?;
        let ours: Vec<Json> =
            all.into_iter().filter(|one| owners.iter().any(|owner| is_owned_by(one, owner))).collect();
        owners.extend(ours.iter().map(|one| mark::uid(one).to_owned()));
        let now = reader.cluster.clock().now();
        lines.extend(ours.iter().filter_map(|one| told(&kind.word(), one, now)));
    }
    // What only waits for the last ones says nothing more than these.
    Ok(lines)
}

/// The Pods that use a claim.
async fn users(reader: &Reader<'_>, claim: &Json) -> Result<Vec<String>, ClusterError> {
    if !mark::finalizers(claim).iter().any(|finalizer| finalizer == IN_USE) {
        return Ok(Vec::new());
    }
    let name = claim.text("/metadata/name");
    let pods = reader.list(POD, Some(claim.text("/metadata/namespace")), "").await?;
    let uses = |pod: &&Json| {
        let mut volumes = pod.items("/spec/volumes").iter();
        volumes.any(|volume| volume.text("/persistentVolumeClaim/claimName") == name)
    };
    Ok(pods.iter().filter(uses).map(|pod| format!("pod {} uses it", place_of(pod))).collect())
}

fn place_of(object: &Json) -> String {
    format!("{}/{}", object.text("/metadata/namespace"), object.text("/metadata/name"))
}

/// What one object that has to go first waits for, by its metadata. `None` if only for what belongs to it.
fn told(word: &str, object: &Json, now: DateTime<Utc>) -> Option<String> {
    let place = place_of(object);
    let finalizers = mark::finalizers(object);
    let held: Vec<&str> = finalizers.iter().map(String::as_str).filter(|one| *one != FOREGROUND).collect();
    let Some(end) = object.time("/metadata/deletionTimestamp") else {
        return Some(format!("{word} {place} is still there"));
    };
    if !held.is_empty() {
        return Some(format!("{word} {place} is held by its finalizer {}", held.join(", ")));
    }
    if !finalizers.is_empty() {
        return None;
    }
    let node = object.text("/spec/nodeName");
    Some(if end > now {
        let left = end.signed_duration_since(now).num_seconds();
        format!("{word} {place} is ending and has {left} s more for it")
    } else if node.is_empty() {
        format!("{word} {place} is ending")
    } else {
        format!("{word} {place} should have ended at {}: does its node {node} answer?", end.format("%H:%M:%SZ"))
    })
}

/// Lines for people: what holds the namespace.
async fn of_namespace(cluster: &Cluster, namespace: &str, live: &Json, deadline: Instant) -> Vec<String> {
    let mut lines = Vec::new();
    let conditions = live.pointer("/status/conditions").and_then(Json::as_array).into_iter().flatten();
    for condition in conditions {
        let text = |field: &str| condition.get(field).and_then(Json::as_str).unwrap_or_default();
        if text("status") != "True" {
            continue;
        }
        let message = text("message");
        lines.push(message.to_owned());
        if text("type") == "NamespaceContentRemaining" {
            for resource in resources(message) {
                lines.extend(objects(cluster, namespace, resource, deadline).await);
            }
        }
    }
    lines
}

/// `Some resources are remaining: configmaps. has 1 resource instances, pods. has 2 resource instances`
fn resources(message: &str) -> Vec<&str> {
    let list = message.split_once(": ").map_or(message, |(_, list)| list);
    list.split(", ").filter_map(|item| Some(item.split_once(" has ")?.0.trim())).collect()
}

/// The objects of a resource (`configmaps.`, `widgets.example.org`) and what holds each.
async fn objects(cluster: &Cluster, namespace: &str, resource: &str, deadline: Instant) -> Vec<String> {
    let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
    // Whoever may not list them is left with the condition's words.
    let list = async {
        let root = match group {
            "" => "/api/v1".to_owned(),
            group => {
                let versions = ask(cluster, &format!("/apis/{group}")).await?;
                format!("/apis/{}", versions.pointer("/preferredVersion/groupVersion")?.as_str()?)
            }
        };
        ask(cluster, &format!("{root}/namespaces/{namespace}/{plural}?limit={NAMED}")).await
    };
    let list = timeout_at(deadline, list).await.ok().flatten();
    let items = list.as_ref().and_then(|list| list.get("items")?.as_array());
    let now = cluster.clock().now();
    items.into_iter().flatten().filter_map(|item| told(plural, item, now)).collect()
}

async fn ask(cluster: &Cluster, path: &str) -> Option<Json> {
    let request = http::Request::get(path).header(ACCEPT, METADATA).body(Vec::new()).ok()?;
    cluster.client().request(request).await.ok()
}

/// With what holds it: what belongs to it, where its own finalizer only waits for that.
pub(crate) async fn being_deleted(
    cluster: &Cluster,
    place: &Place,
    (since, live): (&str, &Json),
    deadline: Instant,
) -> ProviderError {
    ProviderError::from(
        Problem::new(Code::BeingDeleted, format!("{place} is being deleted since {since}"))
            .lines(of(cluster, place, live, deadline).await)
            .help("wait until it is gone, then run the same command again"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_condition_names_the_kinds() {
        let message = "Some resources are remaining: configmaps. has 1 resource instances, widgets.example.org has 2 resource instances";
        assert_eq!(resources(message), ["configmaps.", "widgets.example.org"]);
    }

    #[test]
    fn what_has_to_go_first_is_told_with_what_it_waits_for() {
        let now = "2026-03-01T10:00:00Z".parse().unwrap();
        let line = |metadata: Json| {
            let mut pod = serde_json::json!({"metadata": metadata, "spec": {"nodeName": "n1"}});
            (pod["metadata"]["namespace"], pod["metadata"]["name"]) = ("a".into(), "web-1".into());
            told("pod", &pod, now)
        };
        let at = |time: &str| format!("2026-03-01T{time}Z");
        let told = |metadata| line(metadata).unwrap();
        assert_eq!(told(serde_json::json!({})), "pod a/web-1 is still there");
        let ending = serde_json::json!({"deletionTimestamp": at("10:00:25")});
        assert_eq!(told(ending), "pod a/web-1 is ending and has 25 s more for it");
        let lost = serde_json::json!({"deletionTimestamp": at("09:59:00")});
        assert_eq!(told(lost), "pod a/web-1 should have ended at 09:59:00Z: does its node n1 answer?");
        let held = serde_json::json!({"deletionTimestamp": at("09:59:00"), "finalizers": ["example.org/keep"]});
        assert_eq!(told(held), "pod a/web-1 is held by its finalizer example.org/keep");
        let waits = serde_json::json!({"deletionTimestamp": at("09:59:00"), "finalizers": [FOREGROUND]});
        assert_eq!(line(waits), None, "it waits for what belongs to it, which is told");
    }
}
