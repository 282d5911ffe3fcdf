//! Targets: where stacks run.

use std::collections::{BTreeMap, BTreeSet};

use freehold_spec::Name;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::delivered::AllowedKind;

/// Where a stack runs: the facts of the target that bodies depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Target {
    /// Processes on this machine.
    Local(LocalTarget),
    /// Objects of a Kubernetes cluster.
    Kubernetes(Box<KubernetesTarget>),
}

impl Target {
    /// Its name: `local`, `prod`.
    pub fn name(&self) -> &Name {
        match self {
            Self::Local(target) => &target.name,
            Self::Kubernetes(target) => &target.name,
        }
    }

    /// What host names end with.
    pub fn domain(&self) -> &str {
        match self {
            Self::Local(target) => &target.domain,
            Self::Kubernetes(target) => &target.domain,
        }
    }

    /// The server that the stacks' databases are on; `None` where each stack brings its own.
    pub fn postgres(&self) -> Option<&PostgresServer> {
        match self {
            Self::Local(target) => Some(&target.postgres),
            Self::Kubernetes(target) => match &target.databases {
                ClusterDatabases::Server { server, .. } => Some(server),
                ClusterDatabases::CloudNativePg { .. } => None,
            },
        }
    }

    /// The server that databases with this `server.name` are on; `None` of a name that no server has, and where each stack brings its own.
    pub fn server_of(&self, name: Option<&Name>) -> Option<&PostgresServer> {
        let main = self.postgres()?;
        name.map_or(Some(main), |name| main.named.get(name))
    }

    /// Its cluster, for people: `Kubernetes v1.36.3`; `None` on one machine.
    pub fn cluster(&self) -> Option<String> {
        match self {
            Self::Local(_) => None,
            Self::Kubernetes(target) => Some(format!("Kubernetes {}", target.version)),
        }
    }

    /// What its databases run on, for people: `PostgreSQL 15`, `CloudNativePG`.
    pub fn database_server(&self) -> String {
        match self.postgres() {
            Some(server) => format!("PostgreSQL {}", server.version),
            None => "CloudNativePG".to_owned(),
        }
    }

    /// How people get to a stack's database that has a server of its own; `None` where all of them are on the target's.
    pub fn way_to_own_databases(&self) -> Option<&'static str> {
        self.postgres().is_none().then_some("`kubectl port-forward` leads to them")
    }

    /// Where a browser finds a host of this target: `http://acme.localhost:7080`.
    pub fn url(&self, host: &str) -> String {
        match self {
            Self::Local(target) => format!("http://{host}:{}", target.router_port),
            Self::Kubernetes(target) => {
                let (https, port) = target.entrance();
                match (https, port) {
                    (true, 443) => format!("https://{host}"),
                    (false, 80) => format!("http://{host}"),
                    (true, port) => format!("https://{host}:{port}"),
                    (false, port) => format!("http://{host}:{port}"),
                }
            }
        }
    }
}

/// Where a listener with TLS is, unless it says otherwise.
const HTTPS: u16 = 443;

/// The facts of a cluster. Found or given when the target is added, and kept until it is changed there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesTarget {
    /// Its name: `prod`.
    pub name: Name,
    /// Host names end with it.
    pub domain: String,
    /// The uid of the cluster's namespace `kube-system`. Another cluster behind the same address is refused.
    pub cluster: String,
    /// The API server's version: `v1.36.3`.
    pub version: String,
    /// Where requests come in.
    pub gateway: Gateway,
    /// Where databases are.
    pub databases: ClusterDatabases,
    /// The ClusterIssuer of cert-manager that certificates come from. Without: the gateway's own certificate covers all hosts.
    #[serde(default)]
    pub issuer: Option<String>,
    /// external-dns makes the DNS records of HTTPRoutes.
    #[serde(default)]
    pub external_dns: bool,
    /// Images need the target's registry credentials ([`crate::SecretRef::Target`] `registry`).
    #[serde(default)]
    pub registry_credentials: bool,
    /// The storage class of volumes; without, the cluster's default.
    #[serde(default)]
    pub storage_class: Option<String>,
    /// The namespace in which plans try out what doesn't have its namespace yet. Made by `target add`.
    #[serde(default)]
    pub scratch_namespace: Option<String>,
    /// The CPU architectures of its nodes, as in `status.nodeInfo`: `amd64`.
    #[serde(default)]
    pub architectures: BTreeSet<String>,
    /// The kinds of objects beside [`crate::delivered::ALWAYS`] that manifests may hold.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub allowed_kinds: BTreeSet<AllowedKind>,
    /// The image that caches run, by its digest: with `redis-server` (Redis 7 or Valkey) and `redis-cli`. Without: no caches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_image: Option<String>,
    /// The platform whose target it is, written on each stack's namespace: several platforms may use one cluster.
    #[serde(default)]
    pub platform: Option<Uuid>,
}

impl KubernetesTarget {
    /// A cluster of which nothing is known and that has nothing but what it must: one to fill in the rest of.
    pub fn minimal(name: Name, databases: ClusterDatabases) -> Self {
        Self {
            name,
            domain: String::new(),
            cluster: String::new(),
            version: String::new(),
            gateway: Gateway {
                namespace: String::new(),
                name: String::new(),
                listener: None,
                https: false,
                port: 80,
                listener_port: None,
                data_plane_namespace: String::new(),
                retries: false,
                listener_sets: false,
                cors: false,
                envoy: false,
            },
            databases,
            issuer: None,
            external_dns: false,
            registry_credentials: false,
            storage_class: None,
            scratch_namespace: None,
            architectures: BTreeSet::new(),
            allowed_kinds: BTreeSet::new(),
            cache_image: None,
            platform: None,
        }
    }

    /// The issuer, where each route has a listener with a certificate of its own.
    pub fn own_certificates(&self) -> Option<&str> {
        self.issuer.as_deref().filter(|_| self.gateway.listener_sets)
    }

    /// How browsers reach a route: with TLS or without, and the port.
    pub fn entrance(&self) -> (bool, u16) {
        match (self.gateway.https, self.own_certificates()) {
            // The gateway's own listener speaks no TLS; those of the routes do.
            (false, Some(_)) => (true, self.gateway.given_port().unwrap_or(HTTPS)),
            (https, _) => (https, self.gateway.port),
        }
    }

    /// The port of the listeners that routes bring along: that of the gateway's own one, if it speaks TLS.
    pub fn own_listeners_port(&self) -> u16 {
        if self.gateway.https { self.gateway.listener_port.unwrap_or(self.gateway.port) } else { HTTPS }
    }
}

/// The Gateway through which requests come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// The Gateway's own namespace, not the stacks'.
    pub namespace: String,
    /// The Gateway's name in that namespace.
    pub name: String,
    /// The listener (`sectionName`) that routes attach to; without, every one that lets them.
    #[serde(default)]
    pub listener: Option<String>,
    /// Whether that listener speaks TLS.
    pub https: bool,
    /// The port as clients reach it.
    pub port: u16,
    /// That listener's own port, which is another one where something maps ports in front of the gateway (a NodePort).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener_port: Option<u16>,
    /// The namespace of the Pods that requests come from (the data plane), for network policies.
    pub data_plane_namespace: String,
    /// Whether the installed HTTPRoute has `retry`.
    #[serde(default)]
    pub retries: bool,
    /// Whether the installed Gateway API has ListenerSet.
    #[serde(default)]
    pub listener_sets: bool,
    /// Whether the installed HTTPRoute has the filter CORS.
    #[serde(default)]
    pub cors: bool,
    /// Whether the gateway is Envoy Gateway, with its policies: for all of a route that HTTPRoute doesn't have.
    #[serde(default)]
    pub envoy: bool,
}

impl Gateway {
    /// The port as clients reach it, where that was said and is not the listener's own.
    fn given_port(&self) -> Option<u16> {
        self.listener_port.filter(|own| *own != self.port).map(|_| self.port)
    }
}

/// Where the databases of a cluster's stacks are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterDatabases {
    /// On a server that both the platform and the Pods reach.
    Server {
        /// As the Pods reach it.
        server: PostgresServer,
        /// Its addresses for network policies: `10.0.0.5/32`. With none, no app with a database is expanded.
        addresses: BTreeSet<String>,
    },
    /// Each database is a PostgreSQL cluster of CloudNativePG in the stack's namespace.
    CloudNativePg {
        /// The namespace of its operator, for network policies.
        operator_namespace: String,
    },
}

/// The facts of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalTarget {
    /// As targets are named: `local`.
    pub name: Name,
    /// Host names end with it: `localhost`.
    pub domain: String,
    /// The port of the router, as it stands in URLs.
    pub router_port: u16,
    /// Where the stacks' databases are.
    pub postgres: PostgresServer,
}

/// A PostgreSQL server as the stacks' programs reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostgresServer {
    /// Address, or as libpq has it, the folder of its Unix socket: `/var/lib/freehold/postgres/apps`.
    pub host: String,
    /// Port; also a part of the socket's name.
    pub port: u16,
    /// Major version: 15.
    pub version: u32,
    /// What is known of its TLS. Targets that were added before it was asked for have nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
    /// The other servers of the same target, by the names that its operator has given them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub named: BTreeMap<Name, PostgresServer>,
    /// One that is reached by a socket answers at this port of 127.0.0.1 as well, for drivers that know no sockets.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub loopback: bool,
}

/// How connections to a server are protected: what their URLs say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerTls {
    /// Not at all: the server offers no TLS.
    Disable,
    /// By TLS; which authority the server's certificate is from is not known, so it isn't verified.
    Require,
    /// By TLS, and the server's certificate is verified, whichever host it is for.
    VerifyCa(Authority),
    /// By TLS, and the server's certificate is verified, its host name included.
    VerifyFull(Authority),
}

/// The certificate authority that a server's certificate is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Authority {
    /// Its certificates as PEM: delivered to the programs as a file.
    Pem(String),
    /// A file on this machine.
    File(String),
}

impl PostgresServer {
    /// A server of whose TLS nothing is known.
    pub fn new(host: impl Into<String>, port: u16, version: u32) -> Self {
        Self { host: host.into(), port, version, tls: None, named: BTreeMap::new(), loopback: false }
    }

    /// Whether it is reached by a Unix socket.
    pub fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    /// The certificates that the programs need as a file.
    pub fn delivered_authority(&self) -> Option<&str> {
        match &self.tls {
            Some(ServerTls::VerifyCa(authority) | ServerTls::VerifyFull(authority)) => match authority {
                Authority::Pem(pem) => Some(pem),
                Authority::File(_) => None,
            },
            Some(ServerTls::Disable | ServerTls::Require) | None => None,
        }
    }
}
