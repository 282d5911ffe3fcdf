//! Everything in the cluster that bears a mark, whatever our records say.

use std::collections::{BTreeMap, BTreeSet};

use freehold_engine::{OwnedObject, ProviderError};
use freehold_graph::{AllowedKind, StackId};
use futures::future::try_join_all;
use serde_json::Value as Json;
use tokio::time::Instant;
use uuid::Uuid;

use crate::cluster::Cluster;
use crate::error::ClusterError;
use crate::mark;
use crate::object::{self, JOB, Kind, NAMESPACE, ObjectKind, POD, Place};
use crate::request::Request;

/// All kinds that a stack can leave behind beside those that its target allows: those that it is made of, and what its Jobs and
/// Deployments make.
pub(crate) fn kinds() -> impl Iterator<Item = Kind> {
    object::all().chain([JOB, POD])
}

pub(crate) async fn owned(
    cluster: &Cluster,
    allowed: &BTreeSet<AllowedKind>,
    stack: Option<StackId>,
    deadline: Instant,
) -> Result<Vec<OwnedObject>, ProviderError> {
    let selector = mark::selector(stack);
    let mut all: Vec<ObjectKind> = kinds().map(ObjectKind::from).collect();
    for kind in allowed {
        let served = cluster.served(kind, deadline).await?;
        all.extend(served.filter(|served| !kinds().any(|known| *served == known)));
    }
    let lists = all.into_iter().map(|kind| of_kind(cluster, kind, &selector, deadline));
    let mut objects: Vec<OwnedObject> = try_join_all(lists).await?.into_iter().flatten().collect();
    objects.sort();
    Ok(objects)
}

/// The platforms that the cluster's stacks belong to, as their namespaces say.
pub(crate) async fn platforms(cluster: &Cluster, deadline: Instant) -> Result<BTreeMap<StackId, Uuid>, ProviderError> {
    let request = Request::list(&Place::all(NAMESPACE, None), &mark::selector(None)).metadata();
    let namespaces = cluster.list(&request, deadline).await?;
    Ok(namespaces.iter().filter_map(|found| Some((mark::stack(found)?, mark::platform(found)?))).collect())
}

async fn of_kind(
    cluster: &Cluster,
    kind: ObjectKind,
    selector: &str,
    deadline: Instant,
) -> Result<Vec<OwnedObject>, ClusterError> {
    let all = Place::all(kind, None);
    let items = cluster.list(&Request::list(&all, selector).metadata(), deadline).await?;
    Ok(items.iter().filter_map(|item| marked(&all.kind.word(), item)).collect())
}

pub(crate) fn marked(word: &str, item: &Json) -> Option<OwnedObject> {
    let text = |pointer| item.pointer(pointer).and_then(Json::as_str);
    let name = text("/metadata/name")?;
    let name = text("/metadata/namespace").map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"));
    Some(OwnedObject { stack: mark::stack(item)?, kind: word.to_owned(), name })
}
