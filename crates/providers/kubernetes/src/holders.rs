//! What keeps a namespace from going away: its conditions say which kinds are left and which finalizers hold them; a look at these
//! kinds gives the objects' names.

use http::header::ACCEPT;
use serde_json::Value as Json;
use tokio::time::{Instant, timeout_at};

use crate::cluster::Cluster;
use crate::mark;
use crate::request::METADATA;

/// How many objects are named at most.
const NAMED: usize = 20;

/// Lines for people: what holds the namespace.
pub(crate) async fn of_namespace(cluster: &Cluster, namespace: &str, live: &Json, deadline: Instant) -> Vec<String> {
    let mut lines = Vec::new();
    let conditions = live.pointer("/status/conditions").and_then(Json::as_array).into_iter().flatten();
    for condition in conditions {
        let text = |field: &str| condition.get(field).and_then(Json::as_str).unwrap_or_default();
        if text("status") != "True" {
            continue;
        }
        let message = text("message");
        lines.push(message.to_owned());
        if text("type") == "NamespaceContentRemaining" {
            for resource in resources(message) {
                lines.extend(objects(cluster, namespace, resource, deadline).await);
            }
        }
    }
    lines.truncate(NAMED);
    lines
}

/// `Some resources are remaining: configmaps. has 1 resource instances, pods. has 2 resource instances`
fn resources(message: &str) -> Vec<&str> {
    let list = message.split_once(": ").map_or(message, |(_, list)| list);
    list.split(", ").filter_map(|item| Some(item.split_once(" has ")?.0.trim())).collect()
}

/// The objects of a resource (`configmaps.`, `widgets.example.org`) and what holds each.
async fn objects(cluster: &Cluster, namespace: &str, resource: &str, deadline: Instant) -> Vec<String> {
    let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
    // Whoever may not list them is left with the condition's words.
    let list = async {
        let root = match group {
            "" => "/api/v1".to_owned(),
            group => {
                let versions = ask(cluster, &format!("/apis/{group}")).await?;
                format!("/apis/{}", versions.pointer("/preferredVersion/groupVersion")?.as_str()?)
            }
        };
        ask(cluster, &format!("{root}/namespaces/{namespace}/{plural}?limit={NAMED}")).await
    };
    let list = timeout_at(deadline, list).await.ok().flatten();
    let items = list.as_ref().and_then(|list| list.get("items")?.as_array());
    let line = |item: &Json| {
        let name = item.pointer("/metadata/name").and_then(Json::as_str).unwrap_or("?");
        match mark::finalizers(item).as_slice() {
            [] => format!("{plural} {namespace}/{name} is still there"),
            held => format!("{plural} {namespace}/{name} is held by its finalizer {}", held.join(", ")),
        }
    };
    items.into_iter().flatten().map(line).collect()
}

async fn ask(cluster: &Cluster, path: &str) -> Option<Json> {
    let request = http::Request::get(path).header(ACCEPT, METADATA).body(Vec::new()).ok()?;
    cluster.client().request(request).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_condition_names_the_kinds() {
        let message = "Some resources are remaining: configmaps. has 1 resource instances, widgets.example.org has 2 resource instances";
        assert_eq!(resources(message), ["configmaps.", "widgets.example.org"]);
    }
}
