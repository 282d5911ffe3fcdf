//! What whoever adds a target says of it.

use std::collections::BTreeSet;

use freehold_graph::AllowedKind;
use freehold_graph::expand::{ClusterDatabases, KubernetesTarget};
use freehold_spec::Name;

/// What a target is meant to be like, as given by whoever adds it. What is left out is found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirements {
    /// The target's name.
    pub name: Name,
    /// What host names end with.
    pub domain: String,
    /// The Gateway: namespace and name.
    pub gateway: (String, String),
    /// Its listener; left out: the one whose host name covers the domain, one with TLS first.
    pub listener: Option<String>,
    /// The port at which clients reach that listener; left out: the listener's own.
    pub port: Option<u16>,
    /// The namespace of the gateway's Pods; left out: looked for.
    pub data_plane_namespace: Option<String>,
    /// Where databases are.
    pub databases: ClusterDatabases,
    /// The ClusterIssuer for certificates of each host.
    pub issuer: Option<String>,
    /// external-dns watches HTTPRoutes.
    pub external_dns: bool,
    /// The storage class of volumes.
    pub storage_class: Option<String>,
    /// The image that caches run, by its digest.
    pub cache_image: Option<String>,
    /// Images need the target's registry credentials.
    pub registry_credentials: bool,
    /// The kinds of objects that manifests may hold, as RBAC names them: `widgets.example.org`.
    pub allowed_kinds: BTreeSet<String>,
}

impl From<&KubernetesTarget> for Requirements {
    fn from(facts: &KubernetesTarget) -> Self {
        let gateway = &facts.gateway;
        Self {
            name: facts.name.clone(),
            domain: facts.domain.clone(),
            gateway: (gateway.namespace.clone(), gateway.name.clone()),
            listener: gateway.listener.clone(),
            port: Some(gateway.port),
            data_plane_namespace: Some(gateway.data_plane_namespace.clone()),
            databases: facts.databases.clone(),
            issuer: facts.issuer.clone(),
            external_dns: facts.external_dns,
            storage_class: facts.storage_class.clone(),
            cache_image: facts.cache_image.clone(),
            registry_credentials: facts.registry_credentials,
            allowed_kinds: facts.allowed_kinds.iter().map(AllowedKind::resource).collect(),
        }
    }
}
