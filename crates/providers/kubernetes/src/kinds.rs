//! The kinds of objects that an API server has, as its discovery lists them.

use std::collections::BTreeSet;

use freehold_graph::delivered::of_group;
use serde_json::Value as Json;

use crate::document::Fields;

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
    pub(crate) root: String,
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

impl Collection {
    /// `v1`
    pub(crate) fn version(&self) -> &str {
        self.root.rsplit('/').next().unwrap_or_default()
    }

    /// As RBAC names it: `deployments.apps`.
    pub(crate) fn resource(&self) -> String {
        of_group(&self.plural, &self.group)
    }

    /// For people: `deployment.apps`.
    pub(crate) fn word(&self) -> String {
        of_group(&self.kind.to_lowercase(), &self.group)
    }
}

impl Kinds {
    /// A kind by its group and its plural, in the version that the group prefers.
    pub(crate) fn collection(&self, group: &str, plural: &str) -> Option<&Collection> {
        self.collections.iter().find(|collection| collection.group == group && collection.plural == plural)
    }

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

    pub(crate) fn read(&mut self, discovery: &Json) {
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
