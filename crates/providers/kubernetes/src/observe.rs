//! Looking at one object.

use freehold_engine::{Lookup, ProviderError};
use freehold_graph::kind::{KubernetesKind, Served};
use freehold_graph::{ResourceId, ResourceKind, StackId, Value};
use freehold_plan::Observation;
use freehold_problem::Code;
use tokio::time::Instant;

use crate::body;
use crate::cluster::Cluster;
use crate::error::ClusterError;
use crate::foreign_fields;
use crate::mark;
use crate::namespaces::Absence;
use crate::object::{NAMESPACE, Place};

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

/// Whether a namespace, or that of an object, isn't there, so that the object needn't be looked at. Where it was so some time ago, the
/// namespace is asked for again, once for all who ask for it or for objects in it. What is made later is made only if that still holds
/// (`apply::create`).
async fn is_certainly_absent(cluster: &Cluster, place: &Place, deadline: Instant) -> Result<bool, ClusterError> {
    let namespace = if place.kind == NAMESPACE { Some(&*place.name) } else { place.namespace.as_deref() };
    let Some(namespace) = namespace else { return Ok(false) };
    let absence = || match place.kind == NAMESPACE {
        true => cluster.namespaces().own_absence(namespace),
        false => cluster.namespaces().absence(namespace),
    };
    let asking = match absence() {
        Absence::Holds => return Ok(true),
        Absence::Unknown => return Ok(false),
        Absence::WasBefore(asking) => asking,
    };
    let _one = asking.lock().await;
    match absence() {
        Absence::Holds => return Ok(true),
        Absence::Unknown => return Ok(false),
        Absence::WasBefore(_) => {}
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
        foreign_fields: foreign_fields::of(lookup.kind, object, &lookup.body),
    });
    cluster.object_cache().keep(&place, asked, object);
    Ok(observation)
}
