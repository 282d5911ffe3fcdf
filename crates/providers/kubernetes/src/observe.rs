//! Looking at one object.

use freehold_engine::{Lookup, ProviderError};
use freehold_graph::kind::{KubernetesKind, Served};
use freehold_graph::{ResourceId, ResourceKind, StackId, Value};
use freehold_plan::Observation;
use freehold_problem::Code;
use tokio::time::Instant;

use crate::beside;
use crate::body;
use crate::cluster::Cluster;
use crate::error::ClusterError;
use crate::mark;
use crate::namespaces::Absence;
use crate::object::{NAMESPACE, Place};
use crate::object_cache;

/// Where a resource's object is.
pub(crate) fn place(id: &ResourceId, kind: ResourceKind, identity: &str, body: &Value) -> Result<Place, ProviderError> {
    Place::of_resource(kind, identity, body).ok_or_else(|| not_served(id, kind))
}

/// A resource's kind among those of a cluster.
pub(crate) fn kind(id: &ResourceId, kind: ResourceKind) -> Result<KubernetesKind, ProviderError> {
    match kind.served() {
        Served::Kubernetes(kind) => Ok(kind),
        Served::Store(_) | Served::Postgres(_) | Served::Local(_) => Err(not_served(id, kind)),
    }
}

fn not_served(id: &ResourceId, kind: ResourceKind) -> ProviderError {
    let message = format!("provider kubernetes does not serve {} ({id})", kind.word());
    ProviderError::rejected(Code::StepFailed, message)
}

/// Whether the namespace of an object isn't there, so that the object needn't be looked at. Where it was so some time ago, the namespace is
/// asked for again, once for all objects in it.
async fn is_certainly_absent(cluster: &Cluster, place: &Place, deadline: Instant) -> Result<bool, ClusterError> {
    if place.kind == NAMESPACE {
        // The step follows the comparison at once.
        let since = cluster.namespaces().absent_since(&place.name).filter(|since| object_cache::absence_holds(*since));
        if let Some(since) = since {
            cluster.object_cache().keep(place, since, None);
        }
        return Ok(since.is_some());
    }
    let Some(namespace) = place.namespace.as_deref() else { return Ok(false) };
    let asking = match cluster.namespaces().absence(namespace) {
        Absence::Holds => return Ok(true),
        Absence::Unknown => return Ok(false),
        Absence::WasBefore(asking) => asking,
    };
    let _one = asking.lock().await;
    if !matches!(cluster.namespaces().absence(namespace), Absence::WasBefore(_)) {
        return Ok(cluster.namespaces().is_absent(namespace));
    }
    let (asked, place) = (Instant::now(), Place::named(NAMESPACE, None, namespace));
    let found = cluster.look(&place, deadline).await?;
    match &found {
        Some(_) => cluster.namespaces().note_found(&place),
        None => cluster.namespaces().note_absent(namespace, asked),
    }
    Ok(found.is_none())
}

/// What is there; `None` if there is certainly nothing.
pub(crate) async fn observe(
    cluster: &Cluster,
    stack: StackId,
    lookup: &Lookup,
    deadline: Instant,
) -> Result<Option<Observation>, ProviderError> {
    let place = place(&lookup.id, lookup.kind, &lookup.identity, &lookup.body)?;
    if is_certainly_absent(cluster, &place, deadline).await? {
        return Ok(None);
    }
    let asked = Instant::now();
    let object = cluster.look_for(&place, deadline).await?;
    match &object {
        Some(_) => cluster.namespaces().note_found(&place),
        None if place.kind == NAMESPACE => cluster.namespaces().note_absent(&place.name, asked),
        None => {}
    }
    let observation = object.as_ref().map(|object| Observation {
        object: mark::uid(object).to_owned(),
        ownership: mark::ownership(object, stack),
        body: body::comparable(lookup.kind, object, &lookup.body),
        beside: beside::of(lookup.kind, object, &lookup.body),
    });
    cluster.object_cache().keep(&place, asked, object);
    Ok(observation)
}
