//! The namespace in which plans try out what doesn't have its namespace yet. Nothing is ever made in it: dry runs only.
//!
//! It has what admission looks at in a stack's namespace: the labels for Pod Security, and the LimitRange whose defaults a dry run shows.
//! No quota: dry runs don't add up, that sum is the plan's own. It is known as ours by an annotation, so that a namespace that happens
//! to be called so is neither used nor removed. Several targets may share it, also of several platforms, as it holds nothing: each writes
//! its own annotation on it, and whose is the last one removes it.

use std::collections::BTreeMap;
use std::time::Duration;

use freehold_graph::ResourceKind;
use freehold_graph::expand::KubernetesTarget;
use freehold_graph::expand::kubernetes::POD_SECURITY;
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use freehold_engine::capability::Finding;

use super::finding;
use crate::cluster::Cluster;
use crate::document::Fields;
use crate::error::{ClusterError, Reason};
use crate::mark;
use crate::object::{self, NAMESPACE, Place};
use crate::reader::Reader;
use crate::request::Request;

/// What it is called.
pub const SCRATCH_NAMESPACE: &str = "freehold-scratch";
/// What marks it.
pub(crate) const SCRATCH_MARK: &str = "freehold.dev/scratch";
const MARK_POINTER: &str = "/metadata/annotations/freehold.dev~1scratch";
/// Who uses it: `PLATFORM.scratch.freehold.dev/TARGET`.
const USE: &str = ".scratch.freehold.dev/";
/// How long all of it may take.
const TIME: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Makes the scratch namespace, or brings it up to date.
///
/// # Errors
/// One of that name is there that isn't ours, or the cluster refuses.
pub async fn prepare(cluster: &Cluster, facts: &mut KubernetesTarget) -> Result<(), ClusterError> {
    let reader = Reader::new(cluster, Instant::now() + TIME);
    let place = Place::named(NAMESPACE, None, SCRATCH_NAMESPACE);
    loop {
        match look(&reader, SCRATCH_NAMESPACE).await? {
            State::Foreign => return Err(foreign(SCRATCH_NAMESPACE)),
            // Released a moment ago.
            State::Ending => {
                pause(&reader, "is being deleted").await?;
                continue;
            }
            State::Absent | State::Ours(_) => {}
        }
        cluster.send(&Request::apply(&place, &namespace(), false), reader.deadline).await?;
        // Not applied with the rest: the next who applies that would take it away.
        let change = json!({"metadata": {"annotations": {usage(facts): "tries out its plans here"}}});
        match cluster.send(&Request::merge(&place, &change), reader.deadline).await {
            // The last of its users went in between.
            Err(error) if error.reason() == Some(Reason::Absent) => {}
            Ok(answer) if mark::deletion(&answer.body).is_some() => {}
            answer => {
                answer?;
                break;
            }
        }
    }
    if let Some(kind) = object::of(ResourceKind::LimitRange) {
        let place = Place::named(kind, Some(SCRATCH_NAMESPACE), "freehold");
        cluster.send(&Request::apply(&place, &limits(), false), reader.deadline).await?;
    }
    facts.scratch_namespace = Some(SCRATCH_NAMESPACE.to_owned());
    Ok(())
}

/// The target's own annotation.
fn usage(facts: &KubernetesTarget) -> String {
    format!("{}{USE}{}", facts.platform.unwrap_or_default(), facts.name)
}

fn namespace() -> Json {
    let managed = [("app.kubernetes.io/managed-by", "freehold")];
    let labels: BTreeMap<&str, &str> = managed.into_iter().chain(POD_SECURITY).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": SCRATCH_NAMESPACE,
            "annotations": {SCRATCH_MARK: "plans try out here what has no namespace yet"},
            "labels": labels,
        },
    })
}

/// The defaults that a stack's namespace gives to containers that say nothing.
fn limits() -> Json {
    json!({
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {
            "name": "freehold",
            "namespace": SCRATCH_NAMESPACE,
            "labels": {"app.kubernetes.io/managed-by": "freehold"},
        },
        "spec": freehold_graph::expand::kubernetes::limits(),
    })
}

/// Gives the scratch namespace up. Unless another target uses it, it is removed, and waited for until it is gone. None is as good.
///
/// # Errors
/// It isn't ours, or the cluster refuses, or something holds it.
pub async fn release(cluster: &Cluster, facts: &KubernetesTarget) -> Result<(), ClusterError> {
    let Some(name) = &facts.scratch_namespace else { return Ok(()) };
    let reader = Reader::new(cluster, Instant::now() + TIME);
    let place = Place::named(NAMESPACE, None, name);
    loop {
        match look(&reader, name).await? {
            State::Absent => return Ok(()),
            State::Foreign => return Err(foreign(name)),
            State::Ending => pause(&reader, "is not gone").await?,
            State::Ours(found) => {
                let usage = usage(facts);
                let is_shared =
                    found.entries("/metadata/annotations").iter().any(|(key, _)| key.contains(USE) && *key != usage);
                if is_shared {
                    // Of two that give it up at once, one sees the other.
                    let version = found.text("/metadata/resourceVersion");
                    let change = json!({"metadata": {"resourceVersion": version, "annotations": {usage: null}}});
                    match cluster.send(&Request::merge(&place, &change), reader.deadline).await {
                        Err(ClusterError::Refused { refusal, .. }) if matches!(refusal.status.code, 404 | 409) => {
                            continue;
                        }
                        answer => return answer.map(drop),
                    }
                }
                let request = Request::delete_as_seen(&place, &found);
                match cluster.send(&request, reader.deadline).await {
                    // Somebody else was faster: then there is nothing, it is on its way, or they use it.
                    Err(ClusterError::Refused { refusal, .. }) if matches!(refusal.status.code, 404 | 409) => {}
                    answer => drop(answer?),
                }
            }
        }
    }
}

pub(super) async fn check(reader: &Reader<'_>, facts: &KubernetesTarget) -> Finding {
    let subject = "scratch namespace";
    let again = format!("`freehold target add {}` makes it again", facts.name);
    let Some(name) = &facts.scratch_namespace else {
        let message = "none: a plan for a new stack is not tried out in the cluster";
        return Finding::warning(subject, message, again);
    };
    match look(reader, name).await {
        Ok(State::Ours(_)) => Finding::ok(subject, name.clone()),
        Ok(State::Absent) => Finding::error(subject, format!("{name} does not exist"), again),
        Ok(State::Ending) => Finding::error(subject, format!("{name} is being deleted"), again),
        Ok(State::Foreign) => finding::of_error(subject, &foreign(name)),
        Err(error) => finding::of_error(subject, &error),
    }
}

enum State {
    Absent,
    Foreign,
    Ending,
    Ours(Json),
}

async fn look(reader: &Reader<'_>, name: &str) -> Result<State, ClusterError> {
    let Some(found) = reader.get(&Place::named(NAMESPACE, None, name)).await? else { return Ok(State::Absent) };
    if found.pointer(MARK_POINTER).is_none() {
        return Ok(State::Foreign);
    }
    if found.pointer("/metadata/deletionTimestamp").is_some() {
        return Ok(State::Ending);
    }
    Ok(State::Ours(found))
}

async fn pause(reader: &Reader<'_>, why: &str) -> Result<(), ClusterError> {
    if Instant::now() + LOOK_AGAIN >= reader.deadline {
        return Err(ClusterError::Unfit {
            why: format!("namespace {SCRATCH_NAMESPACE} {why} after {} s", TIME.as_secs()),
            help: format!(
                "`kubectl describe namespace {SCRATCH_NAMESPACE}` says what holds it; then do the same again"
            ),
        });
    }
    tokio::time::sleep(LOOK_AGAIN).await;
    Ok(())
}

fn foreign(name: &str) -> ClusterError {
    ClusterError::Unfit {
        why: format!("namespace {name} exists and is unmanaged; it will not be used"),
        help: format!("rename or remove it; Freehold's own has the annotation {SCRATCH_MARK}"),
    }
}
