//! Whether a Service leads anywhere.

use std::sync::Arc;

use freehold_engine::Readiness;
use serde_json::Value as Json;

use super::deployment;
use crate::awaited::Expected;
use crate::cluster::Cluster;
use crate::document::{Fields, selector};
use crate::error::ClusterError;
use crate::mark;
use crate::neighbour::ENDPOINT_SLICE;
use crate::object::{DEPLOYMENT, Place};
use crate::reader::Reader;

/// A Service that was just applied, once all that is behind it is ready, where that are no Pods. `None` where it has to be looked at: then
/// at least the Deployments behind it that were applied with it are ready, or take their time.
///
/// Nobody else's Deployments are behind it in a namespace that was made a moment ago.
pub(super) async fn settled(cluster: &Cluster, place: &Place, expected: &Expected) -> Option<Arc<Json>> {
    let (namespace, service) = (place.namespace.as_deref()?, expected.newest()?);
    let labels = service.entries("/spec/selector");
    let is_behind = |deployment: &Json| {
        let of_it = deployment.entries("/metadata/labels");
        labels.iter().all(|label| of_it.contains(label))
    };
    let mut behind = Vec::new();
    for deployment in cluster.awaited(&DEPLOYMENT.into())?.in_namespace(namespace) {
        if deployment.newest().is_some_and(|newest| is_behind(&newest)) {
            behind.push(deployment);
        }
    }
    let mut pods = 0;
    for deployment in &behind {
        pods += deployment.settled(deployment::sight).await?.number("/spec/replicas");
    }
    let is_alone = !behind.is_empty() && pods == 0 && cluster.namespaces().is_made(namespace);
    expected.newest().filter(|newest| is_alone && mark::deletion(newest).is_none())
}

/// Ready if a Pod answers behind it, or if none is meant to be there.
pub(super) async fn readiness(reader: &Reader<'_>, service: &Json) -> Result<Readiness, ClusterError> {
    let labels = service.entries("/spec/selector");
    if labels.is_empty() {
        return Ok(Readiness::Ready);
    }
    let (namespace, name) = (service.text("/metadata/namespace"), service.text("/metadata/name"));
    let of_it = format!("kubernetes.io/service-name={name}");
    let slices = reader.list(ENDPOINT_SLICE, Some(namespace), &of_it).await?;
    let ready = |endpoint: &Json| endpoint.pointer("/conditions/ready").and_then(Json::as_bool).unwrap_or(true);
    if slices.iter().flat_map(|slice| slice.items("/endpoints")).any(ready) {
        return Ok(Readiness::Ready);
    }
    let deployments = reader.list(DEPLOYMENT, Some(namespace), &selector(&labels)).await?;
    let meant: i64 = deployments.iter().map(|deployment| deployment.number("/spec/replicas")).sum();
    Ok(if meant == 0 { Readiness::Ready } else { Readiness::Waiting("no pod behind it is ready".to_owned()) })
}
