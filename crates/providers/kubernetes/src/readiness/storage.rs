//! Volumes, and the PostgreSQL clusters of CloudNativePG.

use freehold_engine::Readiness;
use serde_json::Value as Json;

use crate::document::Fields;
use crate::error::ClusterError;
use crate::neighbour::STORAGE_CLASS;
use crate::not_ready;
use crate::object::Place;
use crate::reader::Reader;

/// Ready if it is bound, or will be as soon as a Pod uses it.
pub(super) async fn claim(reader: &Reader<'_>, claim: &Json) -> Result<Readiness, ClusterError> {
    match claim.text("/status/phase") {
        "Bound" => return Ok(Readiness::Ready),
        "Lost" => return Ok(Readiness::failed("the volume that it was bound to is gone")),
        _ => {}
    }
    let class = claim.text("/spec/storageClassName");
    if class.is_empty() {
        let why = "the cluster has no default storage class, so nothing makes a volume for it";
        return Ok(Readiness::Waiting(why.to_owned()));
    }
    let Some(found) = reader.get(&Place::named(STORAGE_CLASS, None, class)).await? else {
        return Ok(Readiness::Waiting(format!("there is no storage class {class}")));
    };
    if found.text("/volumeBindingMode") == "WaitForFirstConsumer" {
        return Ok(Readiness::Ready);
    }
    let said = not_ready::warning(reader, claim).await?;
    let said = said.map(|said| format!(": {said}")).unwrap_or_default();
    Ok(Readiness::Waiting(format!("no volume is bound to it yet{said}")))
}

pub(super) fn postgres(cluster: &Json) -> Readiness {
    let (phase, reason) = (cluster.text("/status/phase"), cluster.text("/status/phaseReason"));
    let (ready, wanted) = (cluster.number("/status/readyInstances"), cluster.number("/spec/instances"));
    if phase == "Cluster in healthy state" && ready >= wanted {
        return Readiness::Ready;
    }
    let said = match (phase, reason) {
        ("", _) => "not yet reconciled by its operator; is CloudNativePG running?".to_owned(),
        (phase, "") => phase.to_owned(),
        (phase, reason) => format!("{phase}: {reason}"),
    };
    // Words of the operator for what it can't go on from by itself.
    if phase.contains("unrecoverable") || phase.contains("Not enough disk space") {
        return Readiness::failed(said);
    }
    Readiness::Waiting(format!("{ready} of {wanted} ready: {said}"))
}

/// PgBouncer before such a cluster.
pub(super) fn pooler(pooler: &Json) -> Readiness {
    let (ready, wanted) = (pooler.number("/status/instances"), pooler.number("/spec/instances"));
    if ready >= wanted {
        return Readiness::Ready;
    }
    Readiness::Waiting(format!("{ready} of {wanted} poolers run; is CloudNativePG running?"))
}
