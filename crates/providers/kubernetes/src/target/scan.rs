//! Everything that bears a mark in any API group of a cluster, for an administrator: also what a controller copied our labels to, and
//! kinds that Freehold doesn't know.

use std::collections::BTreeMap;
use std::time::Duration;

use freehold_engine::OwnedObject;
use freehold_graph::StackId;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use serde_json::Value as Json;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::discovery::{self, Unlisted};
use crate::document::Fields;
use crate::error::ClusterError;
use crate::kinds::{Collection, Kinds};
use crate::mark;

const AT_ONCE: usize = 8;
/// How long all of it may take.
const TIME: Duration = Duration::from_secs(300);

/// Lists everything in every API group that bears the stack's mark, or any stack's for `None`. Collections of API servers that don't
/// answer (an aggregated one that is down) are left out, with a line in the log.
///
/// # Errors
/// The cluster doesn't answer, or doesn't let us list something.
pub async fn scan_all_groups(cluster: &Cluster, stack: Option<StackId>) -> Result<Vec<OwnedObject>, ClusterError> {
    let deadline = Instant::now() + TIME;
    let Kinds { collections, hidden, .. } = discovery::kinds(cluster, deadline).await?;
    if hidden {
        let doing = "discovering which kinds exist".to_owned();
        return Err(ClusterError::Answer { doing, why: "not permitted".to_owned() });
    }
    let selector = mark::selector(stack);
    // Boxed one by one: a stream of closures that borrow is beyond what the compiler can tell to be `Send`.
    let lists: Vec<_> =
        collections.iter().map(|collection| marked(cluster, collection, &selector, deadline).boxed()).collect();
    let lists: Vec<Vec<(String, OwnedObject)>> = stream::iter(lists).buffer_unordered(AT_ONCE).try_collect().await?;
    // The same object may be in two groups, such as an event.
    let found: BTreeMap<String, OwnedObject> = lists.into_iter().flatten().collect();
    let mut found: Vec<OwnedObject> = found.into_values().collect();
    found.sort();
    Ok(found)
}

/// All objects of a collection that bear the mark, by uid.
async fn marked(
    cluster: &Cluster,
    collection: &Collection,
    selector: &str,
    deadline: Instant,
) -> Result<Vec<(String, OwnedObject)>, ClusterError> {
    let items = match collection.list(cluster, None, selector, deadline).await {
        Ok(items) => items,
        Err(Unlisted::Silent(why)) => {
            tracing::warn!(collection = collection.resource(), why, "could not be listed");
            return Ok(Vec::new());
        }
        Err(Unlisted::NotPermitted(why)) => {
            return Err(ClusterError::Answer { doing: format!("listing {}", collection.resource()), why });
        }
        Err(Unlisted::Failed(error)) => return Err(error),
    };
    let object = |item: &Json| {
        let name = match (item.text("/metadata/namespace"), item.text("/metadata/name")) {
            ("", name) => name.to_owned(),
            (namespace, name) => format!("{namespace}/{name}"),
        };
        Some((mark::uid(item).to_owned(), OwnedObject { stack: mark::stack(item)?, kind: collection.word(), name }))
    };
    Ok(items.iter().filter_map(object).collect())
}
