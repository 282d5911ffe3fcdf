//! The kinds of resources, a row for each: everything that others want to know of a kind they ask its row.

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

pub mod describe;
mod kubernetes;
mod local;
mod postgres;
pub mod row;
mod store;

use serde::{Deserialize, Serialize};

use crate::provider_name::ProviderName;
pub use describe::New;
pub use kubernetes::{CONFIG_CHECKSUM, CREDENTIALS_CHECKSUM};
pub use local::FETCH;
pub use postgres::MIGRATOR_CONNECTIONS;
pub use row::{Api, Called, Cause, Data, Effect, Fence, Fold, Limit, Logins, Program, Row, Texts, Times};

macro_rules! kinds {
    ($($(#[doc = $all:literal])+ $provider:ident $enum:ident {
        $($(#[doc = $doc:literal])+ $name:ident = $short:ident $written:literal $row:path;)+
    })+) => {
        /// The kinds of resources.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ResourceKind {
            $($($(#[doc = $doc])+ #[serde(rename = $written)] $name,)+)+
        }

        $(
            $(#[doc = $all])+
            #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub enum $enum {
                $($(#[doc = $doc])+ $short,)+
            }

            impl $enum {
                /// All of them, in the order in which a stack's are made.
                pub const ALL: &'static [Self] = &[$(Self::$short,)+];

                /// The same kind among all.
                pub const fn kind(self) -> ResourceKind {
                    match self {
                        $(Self::$short => ResourceKind::$name,)+
                    }
                }
            }
        )+

        /// A kind as its provider knows it: that one matches its own kinds, all of them, and no others.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Served {
            $($(#[doc = $all])+ $provider($enum),)+
        }

        impl ResourceKind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$($(Self::$name,)+)+];

            /// Its name as it is written: in the store, in plans, on the wire.
            pub const fn written(self) -> &'static str {
                match self {
                    $($(Self::$name => $written,)+)+
                }
            }

            /// What it is like.
            pub const fn row(self) -> &'static Row {
                match self {
                    $($(Self::$name => &$row,)+)+
                }
            }

            /// Who takes care of it, and as what.
            pub const fn served(self) -> Served {
                match self {
                    $($(Self::$name => Served::$provider($enum::$short),)+)+
                }
            }

            /// The provider that takes care of it.
            pub const fn provider(self) -> ProviderName {
                match self {
                    $($(Self::$name => ProviderName::$provider,)+)+
                }
            }
        }
    };
}

kinds! {
    /// What is kept in the store.
    Store StoreKind {
        /// A secret of the definition, sealed in the store.
        StoreSecret = Secret "store.secret" store::SECRET;
    }
    /// What is on a PostgreSQL server.
    Postgres PostgresKind {
        /// The three roles of a database. Body: see [`crate::expand::local`].
        PostgresRoles = Roles "postgres.roles" postgres::ROLES;
        /// Which of a database's logins are open, where rotations made new ones. Body: see [`crate::expand::local`].
        PostgresLogins = Logins "postgres.logins" postgres::LOGINS;
        /// A database with its extensions and rights.
        PostgresDatabase = Database "postgres.database" postgres::DATABASE;
    }
    /// What is on this machine.
    Local LocalKind {
        /// A service's processes on this machine.
        LocalService = Service "local.service" local::SERVICE;
        /// The folder with the data of a cache that persists, on this machine.
        LocalCacheData = CacheData "local.cache-data" local::CACHE_DATA;
        /// A cache's server on this machine.
        LocalCache = Cache "local.cache" local::CACHE;
        /// A bucket: the folder with its objects on this machine, and the server for it within Freehold.
        LocalBucket = Bucket "local.bucket" local::BUCKET;
        /// A job that runs on a schedule on this machine.
        LocalSchedule = Schedule "local.schedule" local::SCHEDULE;
        /// A host name of this machine's router.
        LocalRoute = Route "local.route" local::ROUTE;
    }
    /// Objects of a cluster.
    Kubernetes KubernetesKind {
        /// The namespace of a stack. The body of each object of a cluster is its manifest: see [`crate::expand::kubernetes`].
        Namespace = Namespace "kubernetes.namespace" kubernetes::NAMESPACE;
        /// What all of a namespace may use together.
        ResourceQuota = ResourceQuota "kubernetes.resource-quota" kubernetes::RESOURCE_QUOTA;
        /// What a container gets that doesn't say.
        LimitRange = LimitRange "kubernetes.limit-range" kubernetes::LIMIT_RANGE;
        /// Who may talk to whom.
        NetworkPolicy = NetworkPolicy "kubernetes.network-policy" kubernetes::NETWORK_POLICY;
        /// Who Pods are for the API server. Without a token.
        ServiceAccount = ServiceAccount "kubernetes.service-account" kubernetes::SERVICE_ACCOUNT;
        /// Secret variables of a service or job, or registry credentials.
        ClusterSecret = Secret "kubernetes.secret" kubernetes::SECRET;
        /// Plain variables of a service or job.
        ConfigMap = ConfigMap "kubernetes.config-map" kubernetes::CONFIG_MAP;
        /// A volume that outlives its Pods.
        PersistentVolumeClaim = PersistentVolumeClaim "kubernetes.persistent-volume-claim" kubernetes::PERSISTENT_VOLUME_CLAIM;
        /// A PostgreSQL cluster of CloudNativePG.
        CloudNativePg = CloudNativePg "kubernetes.cloudnative-pg" kubernetes::CLOUDNATIVE_PG;
        /// Poolers before a PostgreSQL cluster of CloudNativePG.
        CloudNativePgPooler = CloudNativePgPooler "kubernetes.cloudnative-pg-pooler" kubernetes::CLOUDNATIVE_PG_POOLER;
        /// A service's Pods.
        Deployment = Deployment "kubernetes.deployment" kubernetes::DEPLOYMENT;
        /// A job that runs on a schedule.
        CronJob = CronJob "kubernetes.cron-job" kubernetes::CRON_JOB;
        /// A stable address in front of Pods.
        ClusterService = Service "kubernetes.service" kubernetes::SERVICE;
        /// How many Pods have to stay when nodes are drained.
        PodDisruptionBudget = PodDisruptionBudget "kubernetes.pod-disruption-budget" kubernetes::POD_DISRUPTION_BUDGET;
        /// More and fewer Pods by load.
        HorizontalPodAutoscaler = HorizontalPodAutoscaler "kubernetes.horizontal-pod-autoscaler" kubernetes::HORIZONTAL_POD_AUTOSCALER;
        /// An object of a manifest, of any kind that the target allows: as it stands in its file.
        KubernetesObject = Object "kubernetes.object" kubernetes::OBJECT;
        /// A certificate from cert-manager.
        Certificate = Certificate "kubernetes.certificate" kubernetes::CERTIFICATE;
        /// A listener with a certificate of its own on the gateway.
        ListenerSet = ListenerSet "kubernetes.listener-set" kubernetes::LISTENER_SET;
        /// Who is let in by a route: a policy of Envoy Gateway.
        SecurityPolicy = SecurityPolicy "kubernetes.security-policy" kubernetes::SECURITY_POLICY;
        /// How much is let in by a route: a policy of Envoy Gateway.
        BackendTrafficPolicy = BackendTrafficPolicy "kubernetes.backend-traffic-policy" kubernetes::BACKEND_TRAFFIC_POLICY;
        /// A fixed answer: a filter of Envoy Gateway.
        HttpRouteFilter = HttpRouteFilter "kubernetes.http-route-filter" kubernetes::HTTP_ROUTE_FILTER;
        /// A host name of the gateway.
        HttpRoute = HttpRoute "kubernetes.http-route" kubernetes::HTTP_ROUTE;
    }
}

impl ResourceKind {
    /// The word that people read in plans: see [`Row::word`].
    pub const fn word(self) -> &'static str {
        self.row().word
    }

    /// Whether data is lost with it: see [`Data`].
    pub const fn holds_data(self) -> bool {
        matches!(self.row().data, Data::Kept | Data::Dumped)
    }

    /// Whether what data it holds can be written to a file and proved to restore.
    pub const fn can_be_dumped(self) -> bool {
        matches!(self.row().data, Data::Dumped)
    }

    /// Whether it is a value that a deploy keeps, and that can be deleted only by its whole id: see [`Data::Sealed`].
    pub const fn is_sealed(self) -> bool {
        matches!(self.row().data, Data::Sealed)
    }

    /// The kind of this name: see [`ResourceKind::written`]. `None` for those of a later release.
    pub fn of_written(written: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.written() == written)
    }

    /// The kind whose ids begin with this word; `None` for jobs, and for those of a later release.
    pub fn of_id_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.row().id_word == word)
    }
}
