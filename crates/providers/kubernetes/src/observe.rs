//! Looking at one object.

use freehold_engine::{Lookup, ProviderError};
use freehold_graph::kind::{KubernetesKind, Served};
use freehold_graph::{ResourceId, ResourceKind, StackId};
use freehold_plan::Observation;
use freehold_problem::Code;
use tokio::time::Instant;

use crate::beside;
use crate::body;
use crate::cluster::Cluster;
use crate::mark;
use crate::object::{self, NAMESPACE, Place};

/// Where a resource's object is.
pub(crate) fn place(id: &ResourceId, kind: ResourceKind, identity: &str) -> Result<Place, ProviderError> {
    Ok(Place::of(object::of(kind).ok_or_else(|| not_served(id, kind))?, identity))
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

/// What is there; `None` if there is certainly nothing.
pub(crate) async fn observe(
    cluster: &Cluster,
    stack: StackId,
    lookup: &Lookup,
    deadline: Instant,
) -> Result<Option<Observation>, ProviderError> {
    let place = place(&lookup.id, lookup.kind, &lookup.identity)?;
    if place.namespace.as_ref().is_some_and(|namespace| cluster.spaces().is_absent(namespace)) {
        return Ok(None);
    }
    let asked = Instant::now();
    let object = cluster.look_for(&place, deadline).await?;
    match &object {
        Some(_) => cluster.spaces().note_present(&place),
        None if place.kind == NAMESPACE => cluster.spaces().note_absent(&place.name, asked),
        None => {}
    }
    let observation = object.as_ref().map(|object| Observation {
        object: mark::uid(object).to_owned(),
        ownership: mark::ownership(object, stack),
        body: body::comparable(lookup.kind, object, &lookup.body),
        beside: beside::of(lookup.kind, object, &lookup.body),
    });
    cluster.looks().keep(&place, asked, object);
    Ok(observation)
}
