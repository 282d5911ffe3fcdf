//! Whether the gateway has taken a policy of its own (Gateway API, "policy attachment"): it says so for each gateway above the policy's route.

use freehold_engine::Readiness;
use freehold_graph::ResourceKind;
use freehold_problem::Code;
use serde_json::Value as Json;

use crate::document::{Condition, Fields};
use crate::error::ClusterError;
use crate::not_ready::NotReady;
use crate::object::{self, Place};
use crate::reader::Reader;

/// Ready when every gateway that looked at it accepts its present version. It is made before its route, so that the route is never open
/// without it; as long as that isn't there, nobody looks at it, and it is as ready as it can be.
pub(super) async fn readiness(reader: &Reader<'_>, policy: &Json) -> Result<Readiness, ClusterError> {
    let generation = policy.number("/metadata/generation");
    let ancestors = policy.items("/status/ancestors");
    let mut waits = ancestors.is_empty();
    for ancestor in ancestors {
        let accepted = Condition::among(ancestor.items("/conditions"), "Accepted");
        match accepted.filter(|condition| condition.is_about(generation)) {
            Some(condition) if condition.is_true() => {}
            Some(condition) if condition.reason() == "TargetNotFound" => waits = true,
            Some(condition) => {
                let words = format!("the gateway does not accept it: {}", condition.words());
                return Ok(NotReady::failed(Code::RouteRefused, words).readiness(&[]));
            }
            None => waits = true,
        }
    }
    if !waits || !has_route(reader, policy).await? {
        return Ok(Readiness::Ready);
    }
    Ok(Readiness::Waiting("not yet reconciled by the gateway".to_owned()))
}

/// Whether a route that it is for is there.
async fn has_route(reader: &Reader<'_>, policy: &Json) -> Result<bool, ClusterError> {
    let Some(kind) = object::of(ResourceKind::HttpRoute) else { return Ok(false) };
    let namespace = policy.text("/metadata/namespace");
    for target in policy.items("/spec/targetRefs") {
        let place = Place::named(kind, Some(namespace), target.text("/name"));
        if reader.get(&place).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
