//! What else is in a namespace. Deleting one takes everything in it along, so it goes only when nothing in it is somebody else's.
//!
//! Looked at are the kinds that a stack can consist of, what runs Pods, and Pods. Other kinds aren't, nor what comes between this
//! look and the deletion.

use freehold_engine::ProviderError;
use freehold_graph::StackId;
use freehold_graph::expand::names;
use futures::future::try_join_all;
use serde_json::Value as Json;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::document::Fields;
use crate::error::ClusterError;
use crate::mark;
use crate::neighbour::{DAEMON_SET, STATEFUL_SET};
use crate::object::{Kind, Place, SECRET};
use crate::owned;
use crate::request::Request;

/// How many objects are named at most.
const NAMED: usize = 10;
/// Every such Secret has it, and others may: the type itself is no metadata.
const TOKEN_OF: &str = "kubernetes.io/service-account.name";
/// cert-manager writes it on the Secrets that it makes. They stay when their Certificate goes.
const CERTIFICATE: &str = "cert-manager.io/certificate-name";

/// Makes sure that a namespace, which isn't being deleted yet, holds nothing that isn't the stack's.
///
/// # Errors
/// It does, or that can't be found out.
pub(crate) async fn none(
    cluster: &Cluster,
    namespace: &Place,
    stack: StackId,
    deadline: Instant,
) -> Result<(), ProviderError> {
    let kinds = owned::kinds().chain([STATEFUL_SET, DAEMON_SET]).filter(|kind| kind.namespaced);
    let lists = kinds.map(|kind| of_kind(cluster, kind, &namespace.name, stack, deadline));
    let mut found: Vec<String> = try_join_all(lists).await?.into_iter().flatten().collect();
    if found.is_empty() {
        return Ok(());
    }
    found.sort();
    let count = found.len();
    found.truncate(NAMED);
    let of_them = if count > NAMED { format!(", the first {NAMED} of {count}") } else { String::new() };
    Err(ProviderError::Rejected {
        code: "FH1214",
        message: format!(
            "{namespace} is not deleted: objects in it that aren't this stack's would go with it{of_them}"
        ),
        detail: found,
        help: Some("remove or move them, then run `freehold destroy` again".to_owned()),
    })
}

/// The strangers of a kind: `configmap settings`.
async fn of_kind(
    cluster: &Cluster,
    kind: Kind,
    namespace: &str,
    stack: StackId,
    deadline: Instant,
) -> Result<Vec<String>, ClusterError> {
    let place = Place::all(kind, Some(namespace));
    let all = Request::list(&place, "").metadata();
    let items = cluster.list(&all, deadline).await?;
    let mut strangers: Vec<&Json> = items.iter().filter(|item| is_stranger(kind, item, stack)).collect();
    if kind == SECRET && strangers.iter().any(|item| annotation(item, TOKEN_OF).is_some()) {
        let tokens = all.with("fieldSelector", "type=kubernetes.io/service-account-token");
        let tokens = cluster.list(&tokens, deadline).await?;
        strangers.retain(|item| !tokens.iter().any(|token| mark::uid(token) == mark::uid(item)));
    }
    Ok(strangers.into_iter().map(|item| format!("{} {}", kind.word(), item.text("/metadata/name"))).collect())
}

/// Neither the stack's, nor made by another object here, nor going, nor put there by the cluster.
fn is_stranger(kind: Kind, item: &Json, stack: StackId) -> bool {
    let is_ours = mark::stack(item) == Some(stack);
    let is_made = !item.items("/metadata/ownerReferences").is_empty();
    !(is_ours || is_made || mark::deletion(item).is_some() || is_the_clusters(kind, item))
}

fn is_the_clusters(kind: Kind, item: &Json) -> bool {
    let name = item.text("/metadata/name");
    match kind.name {
        // Put into every namespace by Kubernetes, OpenShift and Istio; into that of a database by CloudNativePG.
        "ConfigMap" => matches!(
            name,
            "kube-root-ca.crt" | "openshift-service-ca.crt" | "istio-ca-root-cert" | "cnpg-default-monitoring"
        ),
        "ServiceAccount" => matches!(name, "default" | "builder" | "deployer"),
        // As a route's Certificate names its Secret.
        "Secret" => annotation(item, CERTIFICATE).is_some_and(|certificate| names::part(certificate, "tls") == name),
        _ => false,
    }
}

fn annotation<'a>(item: &'a Json, name: &str) -> Option<&'a str> {
    item.pointer("/metadata/annotations")?.get(name)?.as_str()
}
