//! Everything that bears a mark in any API group of a cluster, for an administrator: also what a controller copied our labels to, and
//! kinds that Freehold doesn't know.

use std::collections::BTreeMap;
use std::time::Duration;

use freehold_engine::OwnedObject;
use freehold_graph::StackId;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use http::header::ACCEPT;
use serde_json::Value as Json;

use crate::cluster::Cluster;
use crate::document::Fields;
use crate::error::ClusterError;
use crate::readiness::MARK;

const AT_ONCE: usize = 8;
/// How often, and after how long, a collection is asked for again whose server has too much to do.
const MOST_WHILE_BUSY: u32 = 30;
const WHILE_BUSY: Duration = Duration::from_secs(1);
const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// A collection that can be listed.
struct Collection {
    path: String,
    /// `deployment.apps`
    called: String,
}

/// Lists everything in every API group that bears the stack's mark, or any stack's for `None`. Collections of API servers that don't
/// answer (an aggregated one that is down) are left out, with a line in the log.
///
/// # Errors
/// The cluster doesn't answer, or doesn't let us list something.
pub async fn scan_all_groups(cluster: &Cluster, stack: Option<StackId>) -> Result<Vec<OwnedObject>, ClusterError> {
    let mut collections = Vec::new();
    for root in ["/api", "/apis"] {
        collections.extend(listed(&ask(cluster, root, DISCOVERY).await?));
    }
    let selector = stack.map_or("freehold.dev/stack".to_owned(), |stack| format!("freehold.dev/stack%3D{stack}"));
    let selector = &selector;
    // Boxed one by one: a stream of closures that borrow is beyond what the compiler can tell to be `Send`.
    let pages: Vec<_> = collections.iter().map(|collection| marked(cluster, collection, selector).boxed()).collect();
    let pages: Vec<Vec<(String, OwnedObject)>> = stream::iter(pages).buffer_unordered(AT_ONCE).try_collect().await?;
    // The same object may be in two groups, such as an event.
    let found: BTreeMap<String, OwnedObject> = pages.into_iter().flatten().collect();
    let mut found: Vec<OwnedObject> = found.into_values().collect();
    found.sort();
    Ok(found)
}

/// The collections of a discovery document that can be listed, each in its preferred version.
fn listed(discovery: &Json) -> Vec<Collection> {
    let mut collections = Vec::new();
    for group in discovery.items("/items") {
        let name = group.text("/metadata/name");
        let Some(version) = group.items("/versions").first() else { continue };
        let root = match name {
            "" => format!("/api/{}", version.text("/version")),
            name => format!("/apis/{name}/{}", version.text("/version")),
        };
        for resource in version.items("/resources") {
            if !resource.items("/verbs").iter().any(|verb| verb.as_str() == Some("list")) {
                continue;
            }
            let kind = resource.text("/responseKind/kind").to_lowercase();
            let called = if name.is_empty() { kind } else { format!("{kind}.{name}") };
            collections.push(Collection { path: format!("{root}/{}", resource.text("/resource")), called });
        }
    }
    collections
}

/// All objects of a collection that bear the mark, by uid.
async fn marked(
    cluster: &Cluster,
    collection: &Collection,
    selector: &str,
) -> Result<Vec<(String, OwnedObject)>, ClusterError> {
    let mut found = Vec::new();
    let mut page = String::new();
    let mut busy = 0;
    loop {
        let path = format!("{}?labelSelector={selector}&limit=500{page}", collection.path);
        let list = match ask(cluster, &path, METADATA).await {
            Ok(list) => list,
            // A definition that was installed a moment ago is being prepared.
            Err(ClusterError::Answer { why, .. }) if why.starts_with("429") && busy < MOST_WHILE_BUSY => {
                busy += 1;
                tokio::time::sleep(WHILE_BUSY).await;
                continue;
            }
            // Gone since, or not to be listed after all.
            Err(ClusterError::Answer { why, .. }) if why.starts_with("404") || why.starts_with("405") => break,
            Err(ClusterError::Answer { why, .. }) if why.starts_with("503") => {
                tracing::warn!(collection = collection.path, why, "could not be listed");
                break;
            }
            Err(error) => return Err(error),
        };
        for item in list.items("/items") {
            let Ok(stack) = item.text(MARK).parse() else { continue };
            let name = match (item.text("/metadata/namespace"), item.text("/metadata/name")) {
                ("", name) => name.to_owned(),
                (namespace, name) => format!("{namespace}/{name}"),
            };
            let kind = collection.called.clone();
            found.push((item.text("/metadata/uid").to_owned(), OwnedObject { stack: StackId(stack), kind, name }));
        }
        match list.text("/metadata/continue") {
            "" => break,
            next => {
                page = format!("&continue={}", form_urlencoded::byte_serialize(next.as_bytes()).collect::<String>())
            }
        }
    }
    Ok(found)
}

async fn ask(cluster: &Cluster, path: &str, accept: &str) -> Result<Json, ClusterError> {
    let doing = || format!("listing {path}");
    let fault = |why: String| ClusterError::Answer { doing: doing(), why };
    let request = http::Request::get(path).header(ACCEPT, accept).body(Vec::new());
    let request = request.map_err(|error| fault(error.to_string()))?;
    cluster.client().request(request).await.map_err(|error| match error {
        kube::Error::Api(status) => fault(format!("{} {}", status.code, status.message)),
        error => ClusterError::Unreachable {
            doing: doing(),
            server: cluster.server().to_owned(),
            why: error.to_string(),
            uncertain: false,
        },
    })
}
