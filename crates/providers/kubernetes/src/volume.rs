//! Volumes: whether anything would make one, and whether one was ever made.

use freehold_engine::ProviderError;
use freehold_problem::{Code, Problem};
use serde_json::Value as Json;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::document::Fields;
use crate::error::ClusterError;
use crate::neighbour::STORAGE_CLASS;
use crate::object::Place;
use crate::reader::Reader;

/// By this a storage class says that it is taken where none is named.
pub(crate) const DEFAULT_CLASS: &str = "/metadata/annotations/storageclass.kubernetes.io~1is-default-class";

/// What a plan says of a claim that is to be made: nothing, or that nothing makes a volume for it unless somebody has made one by hand.
///
/// # Errors
/// The storage class that it names isn't there: no volume would ever come.
pub(crate) async fn foresee(
    cluster: &Cluster,
    claim: &Place,
    manifest: &Json,
    deadline: Instant,
) -> Result<Option<String>, ProviderError> {
    let reader = Reader::new(cluster, deadline);
    let class = manifest.text("/spec/storageClassName");
    if !class.is_empty() {
        let found = reader.get(&Place::named(STORAGE_CLASS, None, class)).await?;
        return if found.is_some() { Ok(None) } else { Err(missing(claim, class)) };
    }
    let classes = reader.list(STORAGE_CLASS, None, "").await?;
    let has_default = classes.iter().any(|class| class.text(DEFAULT_CLASS) == "true");
    Ok((!has_default).then(|| {
        "the cluster has no default storage class: the claim stays pending unless a matching volume exists".to_owned()
    }))
}

fn missing(claim: &Place, class: &str) -> ProviderError {
    ProviderError::from(
        Problem::new(
            Code::ClusterUnfit,
            format!("{claim} would never get a volume: the cluster has no storage class {class}"),
        )
        .help("make that storage class, or give the target another one with `freehold target add --storage-class`"),
    )
}

/// Whether no volume was ever bound to a claim, so that there is nothing in it.
pub(crate) async fn was_never_made(cluster: &Cluster, claim: &Place, deadline: Instant) -> Result<bool, ClusterError> {
    let found = Reader::new(cluster, deadline).get(claim).await?;
    Ok(found.is_some_and(|claim| claim.text("/status/phase") == "Pending" && claim.text("/spec/volumeName").is_empty()))
}
