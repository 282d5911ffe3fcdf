//! Targets: the clusters that stacks are deployed to, and this machine.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use utoipa::ToSchema;

use super::{Problem, words};

/// A cluster to deploy to. `PUT /targets/{name}`: added, or changed; everything that is left out is found out or stays as it was.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetRequest {
    /// A kubeconfig with exactly the context that is meant, credentials included. Left out for a new target: the service account of the
    /// Pod that the platform runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<String>,
    /// What host names end with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The Gateway, `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Its listener (`sectionName`). Left out: the one whose host name covers the domain, one with TLS first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// The port at which clients reach that listener, where it isn't the listener's own (a NodePort).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The namespace of the gateway's Pods. Left out: looked for (Envoy Gateway: `envoy-gateway-system`), else the Gateway's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_plane_namespace: Option<String>,
    /// A server for the stacks' databases: an administrator's URL as the platform reaches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_url: Option<String>,
    /// That server as the Pods reach it, `host:port`. Left out: as in the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_address: Option<String>,
    /// Databases are clusters of CloudNativePG instead.
    #[serde(default)]
    pub cloudnative_pg: bool,
    /// The ClusterIssuer of cert-manager for certificates of each host. Left out: the gateway's certificate covers them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// external-dns watches HTTPRoutes.
    #[serde(default)]
    pub external_dns: bool,
    /// The storage class of volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// The image that caches run, by its digest: `registry.example.org/valkey@sha256:…`. Left out: apps with caches are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_image: Option<String>,
    /// Registry credentials (a `config.json` of Docker), for resolving images and for the Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_credentials: Option<String>,
    /// Registries that are spoken to without TLS, `host:port`.
    #[serde(default)]
    pub insecure_registries: BTreeSet<String>,
    /// The kinds of objects in namespaces that manifests may hold beside ConfigMaps, as RBAC names them: `widgets.example.org`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub allowed_kinds: BTreeSet<String>,
    /// Take the cluster that is there now, although another one was pinned.
    #[serde(default)]
    pub replace_cluster: bool,
    /// Reach the cluster with the service account of the Pod that the platform runs in, instead of the kubeconfig that was given before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_cluster: bool,
    /// What was asked for once and isn't any more: it is off, or found out again.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unset: BTreeSet<TargetSetting>,
}

impl std::fmt::Debug for TargetRequest {
    /// Without what may hold a credential.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TargetRequest")
            .field("domain", &self.domain)
            .field("gateway", &self.gateway)
            .finish_non_exhaustive()
    }
}

/// A setting of a target that can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TargetSetting {
    /// [`TargetRequest::listener`]
    Listener,
    /// [`TargetRequest::port`]
    Port,
    /// [`TargetRequest::data_plane_namespace`]
    DataPlaneNamespace,
    /// [`TargetRequest::issuer`]
    Issuer,
    /// [`TargetRequest::external_dns`]
    ExternalDns,
    /// [`TargetRequest::database_address`]
    DatabaseAddress,
    /// [`TargetRequest::storage_class`]
    StorageClass,
    /// [`TargetRequest::cache_image`]
    CacheImage,
    /// [`TargetRequest::registry_credentials`]
    RegistryCredentials,
    /// [`TargetRequest::insecure_registries`]
    InsecureRegistries,
    /// [`TargetRequest::allowed_kinds`]
    AllowedKinds,
}

/// A place where stacks run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Target {
    /// `prod`; this machine is `local`.
    pub name: String,
    /// This machine or a cluster.
    pub kind: TargetKind,
    /// What host names end with.
    pub domain: String,
    /// How many stacks there are on it.
    pub stacks: usize,
    /// What deploys depend on: `cluster`, `version`, `gateway`, `databases`, … Without any credentials.
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub facts: Json,
    /// Why its record can't be read: a newer release has written it (FH0516). Then domain and facts are empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<Box<Problem>>,
}

words! {
    /// What kind of target.
    TargetKind {
        /// The machine that the platform runs on.
        Local "local",
        /// A Kubernetes cluster.
        Kubernetes "kubernetes",
    }
}
