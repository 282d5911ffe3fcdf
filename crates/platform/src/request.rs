//! What callers ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use freehold_graph::StackKind;
use serde::Serialize;
use uuid::Uuid;

/// What to deploy. Whatever is left out stays as it was. Serialized only to know the same request again, by its fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deploy {
    /// The app's name. May be left out if the definition is given, or if the platform knows only one app.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// The definition's source (`freehold.toml`). Left out: the one that the app was last deployed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// The files that the definition names, by their paths.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// The target: `local`, or one that was added. Left out: this machine, else the only one there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The kind of stack.
    pub kind: StackKind,
    /// The stack's name.
    pub name: String,
    /// The tier; only tenants have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// The stage that a tenant belongs to; left out, the one that it has, at first production.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The artifact that each service runs from: `sha256:…`.
    pub artifacts: BTreeMap<String, String>,
    /// The image that each service runs in a cluster; resolved to a digest when the plan is made.
    pub images: BTreeMap<String, String>,
    /// What may be adopted and deleted, and when the operation ends.
    #[serde(flatten)]
    pub options: PlanOptions,
}

impl Deploy {
    /// A stack of the definition's app, with everything else left out.
    pub fn of(definition: impl Into<String>, kind: StackKind, name: impl Into<String>) -> Self {
        Self {
            app: None,
            definition: Some(definition.into()),
            files: BTreeMap::new(),
            target: None,
            kind,
            name: name.into(),
            tier: None,
            stage: None,
            artifacts: BTreeMap::new(),
            images: BTreeMap::new(),
            options: PlanOptions::default(),
        }
    }
}

/// What a plan may adopt and delete, and when its operation ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanOptions {
    /// Unmanaged objects to adopt: `database/acme__guestbook`.
    pub adopt: BTreeSet<String>,
    /// Data-bearing resources that may be deleted: `main`. Whatever isn't named is kept.
    pub delete_data: BTreeSet<String>,
    /// The operation ends once everything has been ready for long enough; false: as soon as everything is ready.
    #[serde(skip_serializing_if = "Clone::clone")]
    pub settle: bool,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { adopt: BTreeSet::new(), delete_data: BTreeSet::new(), settle: true }
    }
}

/// What to apply. Serialized only to know the same request again, by its fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Apply {
    /// A plan that was shown.
    Plan {
        /// The id that came with it.
        plan: Uuid,
    },
    /// Plan and apply in one.
    Deploy(Box<Deploy>),
}

/// A stack to destroy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destroy {
    /// The stack's name, typed again.
    pub confirm: String,
    /// Whether dumps of its databases are written and proved first.
    pub dump: bool,
    /// The plan that was shown; without one, a plan is made and carried out unseen.
    pub plan: Option<Uuid>,
    /// The stack's generation that the caller has seen: nothing is destroyed that has changed since. Left out: whatever it is.
    pub generation: Option<u64>,
}

/// A cluster to deploy to, added or changed: whatever is left out is found out, or stays as it was.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TargetRequest {
    /// A kubeconfig with exactly the context that is meant, credentials included. Left out for a new target: the service account of the
    /// Pod that the platform runs in.
    pub kubeconfig: Option<String>,
    /// What host names end with.
    pub domain: Option<String>,
    /// The Gateway, `namespace/name`.
    pub gateway: Option<String>,
    /// The Gateway's listener (`sectionName`).
    pub listener: Option<String>,
    /// The port at which clients reach that listener, where it isn't the listener's own (a NodePort).
    pub port: Option<u16>,
    /// The namespace of the gateway's Pods.
    pub data_plane_namespace: Option<String>,
    /// A server for the stacks' databases: an administrator's URL as the platform reaches it.
    pub database_url: Option<String>,
    /// That server as the Pods reach it, `host:port`.
    pub database_address: Option<String>,
    /// Databases are clusters of CloudNativePG instead.
    pub cloudnative_pg: bool,
    /// The ClusterIssuer of cert-manager for certificates of each host.
    pub issuer: Option<String>,
    /// external-dns watches HTTPRoutes.
    pub external_dns: bool,
    /// The storage class of volumes.
    pub storage_class: Option<String>,
    /// The image that caches run, by its digest.
    pub cache_image: Option<String>,
    /// Registry credentials (a `config.json` of Docker), for resolving images and for the Pods.
    pub registry_credentials: Option<String>,
    /// Registries that are reached without TLS, `host:port`.
    pub insecure_registries: BTreeSet<String>,
    /// The kinds of objects that manifests may hold, as RBAC names them: `widgets.example.org`.
    pub allowed_kinds: BTreeSet<String>,
    /// Take the cluster that is there now, although another one was pinned.
    pub replace_cluster: bool,
    /// Reach the cluster with the service account of the Pod that the platform runs in, instead of the kubeconfig that was given before.
    pub in_cluster: bool,
    /// Settings to take back: off again, or found out again.
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

/// A setting of a target that can be taken back; each is the field of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is the field of TargetRequest of the same name")]
pub enum TargetSetting {
    Listener,
    Port,
    DataPlaneNamespace,
    Issuer,
    ExternalDns,
    DatabaseAddress,
    StorageClass,
    CacheImage,
    RegistryCredentials,
    InsecureRegistries,
    AllowedKinds,
}

/// Which stacks, and from where on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StackFilter {
    /// On this target.
    pub target: Option<String>,
    /// Of this app.
    pub app: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// Of this name.
    pub name: Option<String>,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// The most stacks on a page: 1 to 1000; 100 by default.
    pub limit: Option<usize>,
}

/// One stack by its key; it need not exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackSelector {
    /// Left out, the target that a deploy would go to.
    pub target: Option<String>,
    /// The app's name.
    pub app: String,
    /// `tenant`, `preview` or `stage`.
    pub kind: String,
    /// The stack's name.
    pub name: String,
}

/// Which log, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// `service.web`, `job.migrate`.
    pub of: String,
    /// How many of the last lines; 100 by default.
    pub lines: Option<usize>,
    /// Continue with whatever is written from now on.
    pub follow: bool,
}

/// A command to run in a stack's environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Run it as this service's program. Without a service and a job, the only service.
    pub service: Option<String>,
    /// Run it as this job's program.
    pub job: Option<String>,
    /// Program and arguments. None: what the job executes.
    pub command: Vec<String>,
    /// When it is ended; by default after an hour, a job when its definition says.
    pub timeout: Option<Duration>,
}
