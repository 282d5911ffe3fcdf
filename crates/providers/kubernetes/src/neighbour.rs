//! The kinds of objects that are looked at and never made: what stands around a stack's objects.

use crate::object::{Kind, kind};

const fn of_cluster(group: &'static str, version: &'static str, name: &'static str, plural: &'static str) -> Kind {
    Kind { namespaced: false, ..kind(group, version, name, plural) }
}

pub(crate) const REPLICA_SET: Kind = kind("apps", "v1", "ReplicaSet", "replicasets");
pub(crate) const STATEFUL_SET: Kind = kind("apps", "v1", "StatefulSet", "statefulsets");
pub(crate) const DAEMON_SET: Kind = kind("apps", "v1", "DaemonSet", "daemonsets");
pub(crate) const EVENT: Kind = kind("", "v1", "Event", "events");
pub(crate) const ENDPOINT_SLICE: Kind = kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices");
pub(crate) const GATEWAY: Kind = kind("gateway.networking.k8s.io", "v1", "Gateway", "gateways");
pub(crate) const CHALLENGE: Kind = kind("acme.cert-manager.io", "v1", "Challenge", "challenges");
pub(crate) const ISSUER: Kind = of_cluster("cert-manager.io", "v1", "ClusterIssuer", "clusterissuers");
pub(crate) const STORAGE_CLASS: Kind = of_cluster("storage.k8s.io", "v1", "StorageClass", "storageclasses");
pub(crate) const NODE: Kind = of_cluster("", "v1", "Node", "nodes");
pub(crate) const DEFINITION: Kind =
    of_cluster("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions");
pub(crate) const ACCESS_REVIEW: Kind =
    of_cluster("authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews");
