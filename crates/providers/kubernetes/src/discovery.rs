//! What kinds of objects an API server has, also those that Freehold doesn't know, and lists of them.

use std::collections::BTreeSet;
use std::time::Duration;

use http::header::ACCEPT;
use serde_json::Value as Json;
use tokio::time::{Instant, sleep, timeout_at};

use crate::cluster::Cluster;
use crate::document::Fields;
use crate::error::ClusterError;
use crate::request::METADATA;

/// How often, and after how long, a collection is asked for again whose server has too much to do.
const MOST_WHILE_BUSY: u32 = 30;
const WHILE_BUSY: Duration = Duration::from_secs(1);
const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// What there is.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    /// The collections that can be listed, each in the version that its group prefers of those that have it.
    pub(crate) collections: Vec<Collection>,
    /// The versions of groups whose own server doesn't answer: `v1beta1.metrics.k8s.io`.
    pub(crate) silent: Vec<String>,
    /// We may not ask.
    pub(crate) hidden: bool,
}

/// The API group of the figures that autoscalers need.
pub(crate) const METRICS: &str = "metrics.k8s.io";

/// Whether a group is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    There,
    /// Its own server doesn't answer.
    Silent,
    /// We may not ask.
    Hidden,
    None,
}

/// All objects of a kind.
#[derive(Debug)]
pub(crate) struct Collection {
    /// `/apis/apps/v1`
    root: String,
    /// Empty for the core.
    pub(crate) group: String,
    /// `deployments`
    pub(crate) plural: String,
    /// `Deployment`
    pub(crate) kind: String,
    pub(crate) namespaced: bool,
    /// A namespace that is deleted takes them along.
    pub(crate) can_be_deleted: bool,
}

/// Why a collection isn't listed.
#[derive(Debug)]
pub(crate) enum Unlisted {
    /// We may not.
    NotPermitted(String),
    /// Its own API server doesn't answer.
    Silent(String),
    /// Anything else.
    Failed(ClusterError),
}

impl Collection {
    /// As RBAC names it: `deployments.apps`.
    pub(crate) fn resource(&self) -> String {
        of_group(&self.plural, &self.group)
    }

    /// For people: `deployment.apps`.
    pub(crate) fn word(&self) -> String {
        of_group(&self.kind.to_lowercase(), &self.group)
    }

    /// The metadata of all its objects that a selector fits, in one namespace or everywhere. None where it isn't there any more, or
    /// can't be listed after all.
    ///
    /// # Errors
    /// Any answer that isn't the whole list.
    pub(crate) async fn list(
        &self,
        cluster: &Cluster,
        namespace: Option<&str>,
        labels: &str,
        deadline: Instant,
    ) -> Result<Vec<Json>, Unlisted> {
        let namespace = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
        let path = format!("{}{namespace}/{}", self.root, self.plural);
        let (mut found, mut next, mut busy) = (Vec::new(), String::new(), 0);
        loop {
            let page = format!("{path}?{}", query(labels, &next));
            let list = match ask(cluster, &page, METADATA, deadline).await {
                Ok(list) => list,
                // A definition that was installed a moment ago is being prepared.
                Err(No::Status(429, _)) if busy < MOST_WHILE_BUSY => {
                    busy += 1;
                    sleep(WHILE_BUSY).await;
                    continue;
                }
                Err(No::Status(404 | 405, _)) => return Ok(found),
                // A page that was asked for too late: the list has to be begun again.
                Err(No::Status(410, _)) if !next.is_empty() => {
                    found.clear();
                    next.clear();
                    continue;
                }
                Err(No::Status(403, why)) => return Err(Unlisted::NotPermitted(why)),
                Err(No::Status(503, why)) => return Err(Unlisted::Silent(why)),
                Err(no) => return Err(Unlisted::Failed(no.listing(&path))),
            };
            if !list.text("/kind").ends_with("List") {
                return Err(Unlisted::Failed(No::Answer("not a list".to_owned()).listing(&path)));
            }
            found.extend_from_slice(list.items("/items"));
            list.text("/metadata/continue").clone_into(&mut next);
            if next.is_empty() {
                return Ok(found);
            }
        }
    }
}

fn query(labels: &str, page: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let given = [("labelSelector", labels), ("continue", page)].into_iter().filter(|(_, value)| !value.is_empty());
    query.append_pair("limit", "500").extend_pairs(given).finish()
}

fn of_group(what: &str, group: &str) -> String {
    if group.is_empty() { what.to_owned() } else { format!("{what}.{group}") }
}

/// Asks which kinds there are.
///
/// # Errors
/// The cluster doesn't say.
pub(crate) async fn kinds(cluster: &Cluster, deadline: Instant) -> Result<Kinds, ClusterError> {
    let mut kinds = Kinds::default();
    for root in ["/api", "/apis"] {
        match ask(cluster, root, DISCOVERY, deadline).await {
            Ok(answer) if answer.text("/kind") == "APIGroupDiscoveryList" => kinds.read(&answer),
            Ok(_) => return Err(No::Answer("not the kinds that there are".to_owned()).listing(root)),
            Err(No::Status(403, _)) => kinds.hidden = true,
            Err(no) => return Err(no.listing(root)),
        }
    }
    Ok(kinds)
}

impl Kinds {
    /// Whether a group is there.
    pub(crate) fn group(&self, name: &str) -> Group {
        if self.hidden {
            Group::Hidden
        } else if self.silent.iter().any(|version| version.split_once('.').is_some_and(|(_, group)| group == name)) {
            Group::Silent
        } else if self.collections.iter().any(|collection| collection.group == name) {
            Group::There
        } else {
            Group::None
        }
    }

    fn read(&mut self, discovery: &Json) {
        for group in discovery.items("/items") {
            let name = group.text("/metadata/name");
            let stale = group.items("/versions").iter().filter(|version| version.text("/freshness") == "Stale");
            self.silent.extend(stale.map(|version| of_group(version.text("/version"), name)));
            let mut known = BTreeSet::new();
            for version in group.items("/versions") {
                let of_version = version.items("/resources").iter();
                let new: Vec<&Json> = of_version.filter(|resource| known.insert(resource.text("/resource"))).collect();
                self.collections.extend(new.into_iter().filter_map(|resource| collection(name, version, resource)));
            }
        }
    }
}

/// `None` for what can't be listed.
fn collection(group: &str, version: &Json, resource: &Json) -> Option<Collection> {
    let may = |verb: &str| resource.items("/verbs").iter().any(|known| known.as_str() == Some(verb));
    let version = version.text("/version");
    may("list").then(|| Collection {
        root: if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") },
        group: group.to_owned(),
        plural: resource.text("/resource").to_owned(),
        kind: resource.text("/responseKind/kind").to_owned(),
        namespaced: resource.text("/scope") == "Namespaced",
        can_be_deleted: may("delete") || may("deletecollection"),
    })
}

/// Not an answer that can be used.
enum No {
    Status(u16, String),
    Answer(String),
    Nothing { server: String, why: String },
}

impl No {
    fn listing(self, path: &str) -> ClusterError {
        let doing = format!("listing {path}");
        match self {
            Self::Status(code, why) => ClusterError::Answer { doing, why: format!("{code} {why}") },
            Self::Answer(why) => ClusterError::Answer { doing, why },
            Self::Nothing { server, why } => ClusterError::Unreachable { doing, server, why, uncertain: false },
        }
    }
}

async fn ask(cluster: &Cluster, path: &str, accept: &str, deadline: Instant) -> Result<Json, No> {
    let request = http::Request::get(path).header(ACCEPT, accept).body(Vec::new());
    let request = request.map_err(|error| No::Answer(error.to_string()))?;
    let nothing = |why: String| No::Nothing { server: cluster.server().to_owned(), why };
    match timeout_at(deadline, cluster.client().request(request)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(No::Status(status.code, status.message)),
        Ok(Err(kube::Error::SerdeError(error))) => Err(No::Answer(error.to_string())),
        Ok(Err(error)) => Err(nothing(error.to_string())),
        Err(_) => Err(nothing("not in time".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resource(plural: &str, kind: &str, scope: &str, verbs: &[&str]) -> Json {
        json!({"resource": plural, "responseKind": {"kind": kind}, "scope": scope, "verbs": verbs})
    }

    #[test]
    fn kinds_are_read_in_their_preferred_version_with_what_can_be_done_to_them() {
        let widgets = resource("widgets", "Widget", "Namespaced", &["list", "delete"]);
        let nodes = resource("nodes", "Node", "Cluster", &["list", "deletecollection"]);
        let mut kinds = Kinds::default();
        kinds.read(&json!({"items": [
            {"metadata": {}, "versions": [{"version": "v1", "freshness": "Current", "resources":
                [nodes, resource("bindings", "Binding", "Namespaced", &["create"])]}]},
            {"metadata": {"name": "example.org"}, "versions": [
                {"version": "v2", "freshness": "Current", "resources": [widgets]},
                {"version": "v1", "freshness": "Current", "resources":
                    [widgets, resource("levers", "Lever", "Namespaced", &["list", "delete"])]},
            ]},
            {"metadata": {"name": "metrics.k8s.io"}, "versions": [{"version": "v1beta1", "freshness": "Stale"}]},
        ]}));
        let told = |collection: &Collection| {
            let Collection { root, namespaced, can_be_deleted, .. } = collection;
            format!("{root} {} {} {namespaced} {can_be_deleted}", collection.resource(), collection.word())
        };
        let told: Vec<String> = kinds.collections.iter().map(told).collect();
        let expected = [
            "/api/v1 nodes node false true",
            "/apis/example.org/v2 widgets.example.org widget.example.org true true",
            "/apis/example.org/v1 levers.example.org lever.example.org true true",
        ];
        assert_eq!(told, expected);
        assert_eq!(kinds.silent, ["v1beta1.metrics.k8s.io"]);
        let groups = [METRICS, "example.org", "example.com"].map(|name| kinds.group(name));
        assert_eq!(groups, [Group::Silent, Group::There, Group::None]);
    }
}
