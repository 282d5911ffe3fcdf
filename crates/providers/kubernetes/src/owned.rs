//! Everything in the cluster that bears a mark, whatever our records say.

use freehold_engine::{OwnedObject, ProviderError};
use freehold_graph::{ResourceType, StackId};
use futures::future::try_join_all;
use serde_json::Value as Json;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::error::ClusterError;
use crate::mark::{self, MARK};
use crate::object::{self, JOB, Kind, POD, Place};
use crate::request::Request;

/// All kinds that a stack can leave behind: those that it is made of, and what its Jobs and Deployments make.
pub(crate) fn kinds() -> impl Iterator<Item = Kind> {
    ResourceType::KUBERNETES.into_iter().filter_map(object::of).chain([JOB, POD])
}

/// Lists them.
pub(crate) async fn owned(
    cluster: &Cluster,
    stack: Option<StackId>,
    deadline: Instant,
) -> Result<Vec<OwnedObject>, ProviderError> {
    let selector = stack.map_or_else(|| MARK.to_owned(), |stack| format!("{MARK}={stack}"));
    let lists = kinds().map(|kind| of_kind(cluster, kind, &selector, deadline));
    let mut objects: Vec<OwnedObject> = try_join_all(lists).await?.into_iter().flatten().collect();
    objects.sort();
    Ok(objects)
}

async fn of_kind(
    cluster: &Cluster,
    kind: Kind,
    selector: &str,
    deadline: Instant,
) -> Result<Vec<OwnedObject>, ClusterError> {
    let items = cluster.list(&Request::list(&Place::all(kind, None), selector).metadata(), deadline).await?;
    Ok(items.iter().filter_map(|item| marked(kind, item)).collect())
}

pub(crate) fn marked(kind: Kind, item: &Json) -> Option<OwnedObject> {
    let text = |pointer| item.pointer(pointer).and_then(Json::as_str);
    let name = text("/metadata/name")?;
    let name = text("/metadata/namespace").map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"));
    Some(OwnedObject { stack: mark::stack(item)?, kind: kind.word(), name })
}
