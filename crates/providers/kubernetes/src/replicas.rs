//! A Deployment's number of Pods, which goes to an autoscaler and comes back.
//!
//! Who gives a field up with server-side apply, and was its only manager, loses its value: the API server would make one Pod of
//! several. So a second manager of ours takes the number over first, with the value that is there:
//!
//! ```text
//!                 freehold           freehold-replicas       kube-controller-manager
//! definition      3                                                                      on: apply the number as freehold-replicas,
//! autoscaler      (gives it up)      3                                                       then the manifest without it
//!                                    (loses it)              5, by the subresource `scale`
//! definition      2, forced          (loses it)              (loses it)                  off
//! ```
//!
//! Both requests are bound to the version of the object that was seen, so a process that dies between them leaves two managers of one
//! number, from which the next one goes on. On the way back nothing foreign is taken: the controller manager scales for autoscalers,
//! and only as long as all that name the Deployment are the stack's own.

use chrono::{DateTime, TimeDelta, Utc};
use freehold_graph::{ResourceKind, StackId};
use freehold_plan::preview::Autoscaler;
use kube::core::response::StatusCause;
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::document::Fields;
use crate::error::ClusterError;
use crate::field_manager::SCALE_MANAGER;
use crate::mark;
use crate::object::{AUTOSCALER, DEPLOYMENT, Place};
use crate::precondition::with_precondition;
use crate::projection::{self, Projection};
use crate::reader::Reader;
use crate::request::Request;

/// As plans name it.
pub(crate) const PATH: &str = "spec.replicas";
const POINTER: &str = "/spec/replicas";
const STEPS: [&str; 2] = ["spec", "replicas"];

/// Whether a manifest leaves the number out, which we have managed so far. No Pods are nothing to keep: given up, they become the
/// one from which an autoscaler goes on, which it wouldn't from none.
pub(crate) fn is_given_up(place: &Place, live: &Json, manifest: &Json) -> bool {
    let has_pods = live.number(POINTER) != 0;
    place.kind == DEPLOYMENT && manifest.pointer(POINTER).is_none() && has_pods && Projection::of(live).owns(&STEPS)
}

/// The same manifest with the number that is there: what will have come of both requests, but for the managers.
pub(crate) fn kept(manifest: &Json, live: &Json) -> Json {
    let mut manifest = manifest.clone();
    if let (Some(Json::Object(spec)), Some(number)) = (manifest.get_mut("spec"), live.pointer(POINTER)) {
        spec.insert("replicas".to_owned(), number.clone());
    }
    manifest
}

/// Takes the number from our fields, in the answer to a dry run with [`kept`].
pub(crate) fn give_up(object: &mut Json) {
    projection::disown(object, &STEPS);
}

/// Makes the number survive that we give it up. Returns the object as it is then.
pub(crate) async fn transfer_replicas(
    cluster: &Cluster,
    place: &Place,
    live: Json,
    manifest: &Json,
    deadline: Instant,
) -> Result<Json, ClusterError> {
    if !is_given_up(place, &live, manifest) || Projection::of(&live).shares(&STEPS) {
        return Ok(live);
    }
    let number = json!({
        "apiVersion": place.kind.api_version(),
        "kind": place.kind.name,
        "metadata": {"name": place.name, "namespace": place.namespace},
        "spec": {"replicas": live.pointer(POINTER)},
    });
    let request = Request::apply_as(SCALE_MANAGER, place, &with_precondition(&number, &live), false);
    Ok(cluster.send(&request, deadline).await?.body)
}

/// Whether a conflict is with our own second manager.
pub(crate) fn is_with_scale_manager(cause: &StatusCause) -> bool {
    is_with(cause, &format!("conflict with \"{SCALE_MANAGER}\""))
}

/// Whether a conflict is with whoever scales for autoscalers.
pub(crate) fn is_with_autoscaler(cause: &StatusCause) -> bool {
    is_with(cause, "conflict with \"kube-controller-manager\" with subresource \"scale\"")
}

fn is_with(cause: &StatusCause, words: &str) -> bool {
    cause.field.trim_start_matches('.') == PATH && cause.message.starts_with(words)
}

/// The autoscaler of somebody else that scales a Deployment.
pub(crate) async fn foreign_autoscaler(
    cluster: &Cluster,
    place: &Place,
    stack: StackId,
    deadline: Instant,
) -> Result<Option<Autoscaler>, ClusterError> {
    let autoscalers = Reader::new(cluster, deadline).list(AUTOSCALER, place.namespace.as_deref(), "").await?;
    let of = |one: &&Json| scales(one) == Some(&place.name) && mark::stack(one) != Some(stack);
    Ok(autoscalers.iter().find(of).map(|one| {
        let (name, namespace) = (one.text("/metadata/name"), place.namespace.as_deref().unwrap_or_default());
        let word = ResourceKind::HorizontalPodAutoscaler.word();
        Autoscaler {
            name: name.to_owned(),
            // The stack's own has the name of what it scales.
            handle: (name == place.name).then(|| format!("{word}/{namespace}/{name}")),
            removal: format!("kubectl delete {word} {name} --namespace {namespace}"),
        }
    }))
}

/// Within this time the cluster has looked at an autoscaler for sure: it does so every 15 s.
const LOOKED_AT: TimeDelta = TimeDelta::minutes(1);

/// Whether what an autoscaler scales may have been there at any time: it keeps the number of Pods that it saw. A new one has seen none yet.
pub(crate) fn may_have_scaled(autoscaler: &Json, now: DateTime<Utc>) -> bool {
    let made = autoscaler.time("/metadata/creationTimestamp");
    let is_new = made.is_none_or(|made| now.signed_duration_since(made) < LOOKED_AT);
    is_new || autoscaler.number("/status/currentReplicas") != 0
}

/// The Deployment that an autoscaler scales: its name.
pub(crate) fn scales(autoscaler: &Json) -> Option<&str> {
    let target = |field: &str| autoscaler.pointer("/spec/scaleTargetRef")?.get(field)?.as_str();
    target("name").filter(|_| target("kind") == Some(DEPLOYMENT.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_autoscaler_that_has_never_seen_what_it_scales_says_so_after_a_while() {
        let autoscaler =
            |status: Json| json!({"metadata": {"creationTimestamp": "2026-03-01T10:00:00Z"}, "status": status});
        let at = |time: &str| format!("2026-03-01T{time}Z").parse().unwrap();
        let never =
            autoscaler(json!({"conditions": [{"type": "AbleToScale", "status": "False", "reason": "FailedGetScale"}]}));
        assert!(may_have_scaled(&never, at("10:00:30")), "nobody has looked yet");
        assert!(!may_have_scaled(&never, at("10:02:00")));
        assert!(may_have_scaled(&autoscaler(json!({"currentReplicas": 2})), at("10:02:00")));
    }
}
