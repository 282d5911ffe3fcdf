//! Whether a Service leads anywhere.

use freehold_engine::Readiness;
use serde_json::Value as Json;

use crate::document::{Fields, selector};
use crate::error::ClusterError;
use crate::neighbour::ENDPOINT_SLICE;
use crate::object::DEPLOYMENT;
use crate::reader::Reader;

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
