//! Resources and runs: the nodes of a stack's graph.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::value::Value;

/// A resource's name within its stack: its type's word and its name in the definition, `database.main`.
/// Stable over revisions: it ties what is desired to what exists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceId(pub String);

impl ResourceId {
    /// `word.name`.
    pub fn new(word: &str, name: impl fmt::Display) -> Self {
        Self(format!("{word}.{name}"))
    }

    /// The part before the first dot: `database`.
    pub fn word(&self) -> &str {
        self.0.split_once('.').map_or(self.0.as_str(), |(word, _)| word)
    }

    /// The part behind the first dot: `main`.
    pub fn name(&self) -> &str {
        self.0.split_once('.').map_or("", |(_, name)| name)
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which system a provider talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderName {
    /// The store itself: sealed secrets.
    Store,
    /// A PostgreSQL server.
    Postgres,
    /// This machine: processes and routes.
    Local,
    /// A cluster's API server.
    Kubernetes,
}

impl ProviderName {
    /// The name as it is written everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Postgres => "postgres",
            Self::Local => "local",
            Self::Kubernetes => "kubernetes",
        }
    }
}

/// The types of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ResourceType {
    /// A secret of the definition, sealed in the store.
    #[serde(rename = "store.secret")]
    StoreSecret,
    /// The three roles of a database. Body: see [`crate::expand::local`].
    #[serde(rename = "postgres.roles")]
    PostgresRoles,
    /// Which of a database's logins are open, where rotations made new ones. Body: see [`crate::expand::local`].
    #[serde(rename = "postgres.logins")]
    PostgresLogins,
    /// A database.
    #[serde(rename = "postgres.database")]
    PostgresDatabase,
    /// A service's processes on this machine.
    #[serde(rename = "local.service")]
    LocalService,
    /// A job that runs on a schedule on this machine.
    #[serde(rename = "local.schedule")]
    LocalSchedule,
    /// A host name of this machine's router.
    #[serde(rename = "local.route")]
    LocalRoute,
    /// The namespace of a stack. The body of each object of a cluster is its manifest: see [`crate::expand::kubernetes`].
    #[serde(rename = "kubernetes.namespace")]
    Namespace,
    /// What all of a namespace may use together.
    #[serde(rename = "kubernetes.resource-quota")]
    ResourceQuota,
    /// What a container gets that doesn't say.
    #[serde(rename = "kubernetes.limit-range")]
    LimitRange,
    /// Who may talk to whom.
    #[serde(rename = "kubernetes.network-policy")]
    NetworkPolicy,
    /// Who Pods are for the API server. Without a token.
    #[serde(rename = "kubernetes.service-account")]
    ServiceAccount,
    /// Secret variables of a service or job, or registry credentials.
    #[serde(rename = "kubernetes.secret")]
    ClusterSecret,
    /// Plain variables of a service or job.
    #[serde(rename = "kubernetes.config-map")]
    ConfigMap,
    /// A volume that outlives its Pods.
    #[serde(rename = "kubernetes.persistent-volume-claim")]
    PersistentVolumeClaim,
    /// A service's Pods.
    #[serde(rename = "kubernetes.deployment")]
    Deployment,
    /// A job that runs on a schedule.
    #[serde(rename = "kubernetes.cron-job")]
    CronJob,
    /// A stable address in front of Pods.
    #[serde(rename = "kubernetes.service")]
    ClusterService,
    /// How many Pods have to stay when nodes are drained.
    #[serde(rename = "kubernetes.pod-disruption-budget")]
    PodDisruptionBudget,
    /// More and fewer Pods by load.
    #[serde(rename = "kubernetes.horizontal-pod-autoscaler")]
    HorizontalPodAutoscaler,
    /// A host name of the gateway.
    #[serde(rename = "kubernetes.http-route")]
    HttpRoute,
    /// A listener with a certificate of its own on the gateway.
    #[serde(rename = "kubernetes.listener-set")]
    ListenerSet,
    /// A certificate from cert-manager.
    #[serde(rename = "kubernetes.certificate")]
    Certificate,
    /// A PostgreSQL cluster of CloudNativePG.
    #[serde(rename = "kubernetes.cloudnative-pg")]
    CloudNativePg,
}

impl ResourceType {
    /// The provider that takes care of it.
    pub const fn provider(self) -> ProviderName {
        match self {
            Self::StoreSecret => ProviderName::Store,
            Self::PostgresRoles | Self::PostgresLogins | Self::PostgresDatabase => ProviderName::Postgres,
            Self::LocalService | Self::LocalSchedule | Self::LocalRoute => ProviderName::Local,
            Self::Namespace
            | Self::ResourceQuota
            | Self::LimitRange
            | Self::NetworkPolicy
            | Self::ServiceAccount
            | Self::ClusterSecret
            | Self::ConfigMap
            | Self::PersistentVolumeClaim
            | Self::Deployment
            | Self::CronJob
            | Self::ClusterService
            | Self::PodDisruptionBudget
            | Self::HorizontalPodAutoscaler
            | Self::HttpRoute
            | Self::ListenerSet
            | Self::Certificate
            | Self::CloudNativePg => ProviderName::Kubernetes,
        }
    }

    /// Whether what data it holds can be written to a file and proved to restore.
    pub const fn can_be_dumped(self) -> bool {
        matches!(self, Self::PostgresDatabase)
    }

    /// Every type of object in a cluster, in the order in which a stack's are made.
    pub const KUBERNETES: [Self; 17] = [
        Self::Namespace,
        Self::ResourceQuota,
        Self::LimitRange,
        Self::NetworkPolicy,
        Self::ServiceAccount,
        Self::ClusterSecret,
        Self::ConfigMap,
        Self::PersistentVolumeClaim,
        Self::CloudNativePg,
        Self::Deployment,
        Self::CronJob,
        Self::ClusterService,
        Self::PodDisruptionBudget,
        Self::HorizontalPodAutoscaler,
        Self::Certificate,
        Self::ListenerSet,
        Self::HttpRoute,
    ];

    /// The word that people read in plans: `database`, `service`. For an object of a cluster its kind in lower case, so that
    /// `WORD/NAMESPACE/NAME` is what `kubectl` knows, too. It is the first part of the resource's id, but for a cluster's
    /// Secrets: these are `credentials.NAME`, since `secret.NAME` is what is sealed in the store.
    pub const fn word(self) -> &'static str {
        match self {
            Self::StoreSecret => "secret",
            Self::PostgresRoles => "roles",
            Self::PostgresLogins => "logins",
            Self::PostgresDatabase => "database",
            Self::LocalService => "service",
            Self::LocalSchedule => "schedule",
            Self::LocalRoute => "route",
            Self::Namespace => "namespace",
            Self::ResourceQuota => "resourcequota",
            Self::LimitRange => "limitrange",
            Self::NetworkPolicy => "networkpolicy",
            Self::ServiceAccount => "serviceaccount",
            Self::ClusterSecret => "secret",
            Self::ConfigMap => "configmap",
            Self::PersistentVolumeClaim => "persistentvolumeclaim",
            Self::Deployment => "deployment",
            Self::CronJob => "cronjob",
            Self::ClusterService => "service",
            Self::PodDisruptionBudget => "poddisruptionbudget",
            Self::HorizontalPodAutoscaler => "horizontalpodautoscaler",
            Self::HttpRoute => "httproute",
            Self::ListenerSet => "listenerset",
            Self::Certificate => "certificate",
            Self::CloudNativePg => "cluster",
        }
    }
}

/// One node of a stack's graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Its name within the stack.
    pub id: ResourceId,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ResourceType,
    /// Its name in the outside world: a database's name, a host name, or for a service the name of its processes.
    pub identity: String,
    /// What it should be like (a desired body: with references to secrets).
    pub body: Value,
    /// What has to exist before it, and is deleted after it.
    pub depends_on: BTreeSet<ResourceId>,
}

/// A job to run once for the revision. Not a resource: its absence is never drift.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// `job.NAME`.
    pub id: ResourceId,
    /// Who runs it.
    #[serde(default = "on_this_machine")]
    pub provider: ProviderName,
    /// On this machine the same fields as a service's body as far as they apply, plus `timeout_seconds` and `retry`; in a cluster
    /// `namespace`, `manifest` (of the Job, without a name), `timeout_seconds` and `retry`.
    pub body: Value,
    /// What has to exist before it runs.
    pub depends_on: BTreeSet<ResourceId>,
    /// The services that start (or change) only after it has succeeded.
    pub before: BTreeSet<ResourceId>,
}

fn on_this_machine() -> ProviderName {
    ProviderName::Local
}
