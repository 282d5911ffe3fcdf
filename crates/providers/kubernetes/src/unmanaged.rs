//! What else is in a namespace. Deleting one takes everything in it along, so it goes only when nothing in it is somebody else's.
//!
//! Looked at is every kind that the cluster has, as far as the permissions go: the least that Freehold needs lets it list the kinds that
//! a stack can consist of, what runs Pods, and Pods. The others are named, by the plan of the deletion. Not seen is what comes between
//! the look and the deletion.

use std::collections::BTreeMap;

use freehold_engine::ProviderError;
use freehold_graph::StackId;
use freehold_graph::expand::names;
use freehold_problem::{Code, Problem};
use futures::future::{try_join, try_join_all};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use serde_json::Value as Json;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::discovery::Unlisted;
use crate::document::Fields;
use crate::error::ClusterError;
use crate::kinds::Collection;
use crate::mark;
use crate::neighbour::{DAEMON_SET, STATEFUL_SET};
use crate::object::{AUTOSCALER, DEPLOYMENT, Kind, Place, SECRET, comes_with_kubernetes};
use crate::owned;
use crate::reader::Reader;
use crate::replicas;
use crate::request::Request;

/// How many objects are named at most.
const NAMED: usize = 10;
/// How many other kinds are looked at at once.
const AT_ONCE: usize = 8;
/// Every such Secret has it, and others may: the type itself is no metadata.
const TOKEN_OF: &str = "kubernetes.io/service-account.name";
/// cert-manager writes it on the Secrets that it makes. They stay when their Certificate goes.
const CERTIFICATE: &str = "cert-manager.io/certificate-name";

/// What goes with a namespace that holds nothing that is in the way.
#[derive(Debug, Default)]
pub(crate) struct NamespaceContent {
    /// The kinds of which nobody can tell, for want of permissions.
    unseen: Vec<String>,
    /// What isn't the stack's and is nothing without it, in words.
    attached: Vec<String>,
}

/// Makes sure that a namespace, which isn't being deleted yet, holds nothing that isn't the stack's.
///
/// # Errors
/// It does, or that can't be found out.
pub(crate) async fn none(
    cluster: &Cluster,
    namespace: &Place,
    stack: StackId,
    deadline: Instant,
) -> Result<NamespaceContent, ProviderError> {
    let look = Look { cluster, namespace: &namespace.name, stack, deadline };
    let (mut known, (others, unseen)) = try_join(look.known_kinds(), look.other_kinds()).await?;
    let attached = look.attached(&mut known).await?;
    // An object may be in two groups.
    let found: BTreeMap<String, String> = known.into_iter().chain(others).collect();
    let mut found: Vec<String> = found.into_values().collect();
    if found.is_empty() {
        return Ok(NamespaceContent { unseen, attached });
    }
    found.sort();
    let count = found.len();
    found.truncate(NAMED);
    let of_them = if count > NAMED { format!(", the first {NAMED} of {count}") } else { String::new() };
    Err(ProviderError::from(
        Problem::new(
            Code::NamespaceShared,
            format!("{namespace} is not deleted: objects in it that aren't this stack's would go with it{of_them}"),
        )
        .lines(found)
        .help("remove or move them, then run the same command again"),
    ))
}

impl NamespaceContent {
    /// What a plan says of it.
    pub(crate) fn told(self, namespace: &Place) -> Vec<String> {
        let unseen = unseen(namespace, self.unseen);
        self.attached.into_iter().chain(unseen).collect()
    }
}

/// The kinds of which a namespace may hold what isn't the stack's.
fn unseen(namespace: &Place, mut kinds: Vec<String>) -> Option<String> {
    let more = match kinds.len() {
        0 => return None,
        count => count.saturating_sub(NAMED),
    };
    kinds.truncate(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let kinds = kinds.join(", ");
    Some(format!(
        "whatever of these kinds is in {namespace} goes with it, since Freehold may not list them: {kinds}{more}"
    ))
}

/// A look at everything in a namespace.
struct Look<'a> {
    cluster: &'a Cluster,
    namespace: &'a str,
    stack: StackId,
    deadline: Instant,
}

/// An unmanaged object by its uid: `configmap settings`.
type Unmanaged = (String, String);

fn known_kinds() -> impl Iterator<Item = Kind> {
    owned::kinds().chain([STATEFUL_SET, DAEMON_SET]).filter(|kind| kind.namespaced)
}

impl Look<'_> {
    /// Takes from what was found the autoscalers that scale nothing but the stack's own Deployments: without these they do nothing, so
    /// nobody has to solve a conflict with them first. What they scale may be gone by now; then they say themselves that it was there.
    async fn attached(&self, found: &mut Vec<Unmanaged>) -> Result<Vec<String>, ProviderError> {
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let reader = Reader::new(self.cluster, self.deadline);
        let autoscalers = reader.list(AUTOSCALER, Some(self.namespace), "").await?;
        let deployments = reader.list(DEPLOYMENT, Some(self.namespace), "").await?;
        let is_ours = |autoscaler: &Json, name: &str| {
            let named = |one: &&Json| one.text("/metadata/name") == name;
            match deployments.iter().find(named) {
                Some(deployment) => mark::stack(deployment) == Some(self.stack),
                None => replicas::may_have_scaled(autoscaler, self.cluster.clock().now()),
            }
        };
        let mut attached = Vec::new();
        for autoscaler in &autoscalers {
            let scaled = replicas::scales(autoscaler).filter(|name| is_ours(autoscaler, name));
            let (Some(scaled), Some(at)) = (scaled, found.iter().position(|(uid, _)| uid == mark::uid(autoscaler)))
            else {
                continue;
            };
            found.remove(at);
            let name = autoscaler.text("/metadata/name");
            attached.push(format!(
                "{} {name}, which is not this stack's, goes with deployment {scaled}, all that it scales",
                AUTOSCALER.word()
            ));
        }
        Ok(attached)
    }

    /// Of the kinds that Freehold's own permissions let it look at.
    async fn known_kinds(&self) -> Result<Vec<Unmanaged>, ProviderError> {
        let lists = try_join_all(known_kinds().map(|kind| self.known(kind))).await?;
        Ok(lists.into_iter().flatten().collect())
    }

    async fn known(&self, kind: Kind) -> Result<Vec<Unmanaged>, ClusterError> {
        let all = Request::list(&Place::all(kind, Some(self.namespace)), "").metadata();
        let items = self.cluster.list(&all, self.deadline).await?;
        let mut unmanaged: Vec<&Json> = items.iter().filter(|item| is_unmanaged(kind.name, item, self.stack)).collect();
        if kind == SECRET && unmanaged.iter().any(|item| annotation(item, TOKEN_OF).is_some()) {
            let tokens = all.with("fieldSelector", "type=kubernetes.io/service-account-token");
            let tokens = self.cluster.list(&tokens, self.deadline).await?;
            unmanaged.retain(|item| !tokens.iter().any(|token| mark::uid(token) == mark::uid(item)));
        }
        Ok(unmanaged.into_iter().map(|item| described(&kind.word(), item)).collect())
    }

    /// Of all other kinds that go with a namespace, and the kinds that may not be looked at: those that don't come with Kubernetes first.
    async fn other_kinds(&self) -> Result<(Vec<Unmanaged>, Vec<String>), ProviderError> {
        let kinds = self.cluster.kinds(self.deadline).await?;
        if let Some(silent) = kinds.silent.first() {
            return Err(self.untold(&format!("the API server of {silent} does not answer")));
        }
        if kinds.hidden {
            return Ok((Vec::new(), vec!["every kind that Freehold doesn't make".to_owned()]));
        }
        let others = kinds.collections.iter().filter(|collection| goes_along(collection));
        // Boxed one by one: a stream of closures that borrow is beyond what the compiler can tell to be `Send`.
        let lists: Vec<_> = others.map(|collection| self.other(collection).boxed()).collect();
        let lists: Vec<_> = stream::iter(lists).buffer_unordered(AT_ONCE).try_collect().await?;
        let (mut unmanaged, mut unseen) = (Vec::new(), Vec::new());
        for (collection, list) in lists {
            match list {
                Some(found) => unmanaged.extend(found),
                None => unseen.push((comes_with_kubernetes(&collection.group), collection.resource())),
            }
        }
        unseen.sort();
        Ok((unmanaged, unseen.into_iter().map(|(_, resource)| resource).collect()))
    }

    async fn other<'c>(
        &self,
        collection: &'c Collection,
    ) -> Result<(&'c Collection, Option<Vec<Unmanaged>>), ProviderError> {
        let items = match collection.list(self.cluster, Some(self.namespace), "", self.deadline).await {
            Ok(items) => items,
            Err(Unlisted::NotPermitted(_)) => return Ok((collection, None)),
            Err(Unlisted::Silent(why)) => return Err(self.untold(&format!("{}: {why}", collection.resource()))),
            Err(Unlisted::Failed(error)) => return Err(error.into()),
        };
        let unmanaged = items.iter().filter(|item| is_unmanaged(&collection.kind, item, self.stack));
        Ok((collection, Some(unmanaged.map(|item| described(&collection.word(), item)).collect())))
    }

    /// Kubernetes itself doesn't finish the deletion of a namespace before each API group has answered.
    fn untold(&self, why: &str) -> ProviderError {
        let namespace = self.namespace;
        ProviderError::retryable(
            Code::NotNow,
            format!("namespace {namespace} cannot be deleted: its contents could not be listed: {why}"),
        )
    }
}

/// A namespace takes it along, and it isn't looked at anyway. Events only tell of other objects.
fn goes_along(collection: &Collection) -> bool {
    let Collection { group, plural, namespaced, can_be_deleted, .. } = collection;
    let is_known = known_kinds().any(|kind| kind.group == group && kind.plural == plural);
    *namespaced && *can_be_deleted && !is_known && plural != "events"
}

fn described(word: &str, item: &Json) -> Unmanaged {
    (mark::uid(item).to_owned(), format!("{word} {}", item.text("/metadata/name")))
}

/// Neither the stack's, nor made by another object here, nor going, nor put there by the cluster.
fn is_unmanaged(kind: &str, item: &Json, stack: StackId) -> bool {
    let is_ours = mark::stack(item) == Some(stack);
    let is_made = !item.items("/metadata/ownerReferences").is_empty();
    !(is_ours || is_made || mark::deletion(item).is_some() || is_the_clusters(kind, item))
}

fn is_the_clusters(kind: &str, item: &Json) -> bool {
    let name = item.text("/metadata/name");
    match kind {
        // Put into every namespace by Kubernetes, OpenShift and Istio; into that of a database by CloudNativePG.
        "ConfigMap" => matches!(
            name,
            "kube-root-ca.crt" | "openshift-service-ca.crt" | "istio-ca-root-cert" | "cnpg-default-monitoring"
        ),
        "RoleBinding" => matches!(name, "system:deployers" | "system:image-builders" | "system:image-pullers"),
        // As Calico's own API server shows each NetworkPolicy of Kubernetes once more.
        "NetworkPolicy" => name.starts_with("knp.default."),
        "ServiceAccount" => matches!(name, "default" | "builder" | "deployer"),
        // As a route's Certificate names its Secret.
        "Secret" => annotation(item, CERTIFICATE).is_some_and(|certificate| names::part(certificate, "tls") == name),
        _ => false,
    }
}

fn annotation<'a>(item: &'a Json, name: &str) -> Option<&'a str> {
    item.pointer("/metadata/annotations")?.get(name)?.as_str()
}
