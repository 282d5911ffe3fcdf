//! Clusters: as targets, and as the place where Freehold itself runs.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use freehold::wire::TargetSetting;

use super::{LogFormat, PlatformArguments};

#[derive(Debug, Subcommand)]
pub(crate) enum TargetCommand {
    /// Add a cluster, or change one. What is left out is found out, or stays as it was.
    Add(Box<AddTarget>),
    /// Look whether a target has what deploys need: each finding with its fix.
    Check(Existing),
    /// List the targets.
    List(PlatformArguments),
    /// Forget a target. It must have no stacks.
    Remove(RemoveTarget),
    /// Print the least permissions that Freehold needs in a cluster, as YAML. Needs no platform.
    Rbac(RbacArguments),
}

#[derive(Debug, Args)]
pub(crate) struct AddTarget {
    /// What it will be called: prod.
    pub name: String,
    /// The context of the kubeconfig [default: for a new target the current one]
    #[arg(long, value_name = "NAME", help_heading = "The cluster")]
    pub context: Option<String>,
    /// The kubeconfig [default: KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "FILE", help_heading = "The cluster")]
    pub kubeconfig: Option<PathBuf>,
    /// The cluster that the platform runs in, with its service account. A target that has a kubeconfig forgets it.
    #[arg(long, conflicts_with_all = ["context", "kubeconfig"], help_heading = "The cluster")]
    pub in_cluster: bool,
    /// Take the cluster that is there now, although the target was another one.
    #[arg(long, help_heading = "The cluster")]
    pub replace_cluster: bool,
    /// What host names end with: example.org.
    #[arg(long, value_name = "DOMAIN", help_heading = "Requests")]
    pub domain: Option<String>,
    /// The Gateway that routes attach to.
    #[arg(long, value_name = "NAMESPACE/NAME", help_heading = "Requests")]
    pub gateway: Option<String>,
    /// Its listener [default: the one for the domain, with TLS if there is one]
    #[arg(long, value_name = "NAME", help_heading = "Requests")]
    pub listener: Option<String>,
    /// The port at which clients reach it [default: the listener's own]
    #[arg(long, value_name = "PORT", help_heading = "Requests")]
    pub port: Option<u16>,
    /// The namespace of the gateway's Pods, for network policies [default: found out]
    #[arg(long, value_name = "NAMESPACE", help_heading = "Requests")]
    pub data_plane_namespace: Option<String>,
    /// The ClusterIssuer of cert-manager [default: the gateway's own certificate covers all hosts]
    #[arg(long, value_name = "NAME", help_heading = "Requests")]
    pub issuer: Option<String>,
    /// external-dns makes the DNS records of HTTPRoutes.
    #[arg(long, help_heading = "Requests")]
    pub external_dns: bool,
    /// What was asked for before and isn't any more: it is off, or found out again; may be repeated.
    #[arg(long, value_name = "SETTING", value_enum)]
    pub unset: Vec<Setting>,
    /// Read the URL of a PostgreSQL server for the stacks' databases from stdin (or give it as FREEHOLD_TARGET_DATABASE_URL).
    #[arg(long, conflicts_with = "cloudnative_pg", help_heading = "Data")]
    pub database_url_stdin: bool,
    /// That server as the Pods reach it [default: as in the URL]
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "cloudnative_pg", help_heading = "Data")]
    pub database_address: Option<String>,
    /// Databases are clusters of CloudNativePG instead.
    #[arg(long, help_heading = "Data")]
    pub cloudnative_pg: bool,
    /// The storage class of volumes [default: the cluster's]
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    pub storage_class: Option<String>,
    /// The image that caches run: Redis 7 or Valkey, by its digest [default: no caches]
    #[arg(long, value_name = "REPOSITORY@DIGEST", help_heading = "Images")]
    pub cache_image: Option<String>,
    /// Registry credentials, for resolving images and for the Pods: a config.json of Docker.
    #[arg(long, value_name = "FILE", help_heading = "Images")]
    pub registry_config: Option<PathBuf>,
    /// A registry that is spoken to without TLS; may be repeated.
    #[arg(long, value_name = "HOST:PORT", help_heading = "Images")]
    pub insecure_registry: Vec<String>,
    /// A kind of objects that manifests may hold beside ConfigMaps: servicemonitors.monitoring.coreos.com; may be repeated. Whoever writes
    /// definitions gets the power of the kind's controller.
    #[arg(long, value_name = "KINDS.GROUP", help_heading = "Manifests")]
    pub allow_kind: Vec<String>,
    #[command(flatten)]
    pub platform: PlatformArguments,
}

/// What `--unset` takes back: the flags that set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Setting {
    Listener,
    Port,
    DataPlaneNamespace,
    Issuer,
    ExternalDns,
    DatabaseAddress,
    StorageClass,
    CacheImage,
    RegistryConfig,
    InsecureRegistry,
    AllowKind,
}

impl From<Setting> for TargetSetting {
    fn from(setting: Setting) -> Self {
        match setting {
            Setting::Listener => Self::Listener,
            Setting::Port => Self::Port,
            Setting::DataPlaneNamespace => Self::DataPlaneNamespace,
            Setting::Issuer => Self::Issuer,
            Setting::ExternalDns => Self::ExternalDns,
            Setting::DatabaseAddress => Self::DatabaseAddress,
            Setting::StorageClass => Self::StorageClass,
            Setting::CacheImage => Self::CacheImage,
            Setting::RegistryConfig => Self::RegistryCredentials,
            Setting::InsecureRegistry => Self::InsecureRegistries,
            Setting::AllowKind => Self::AllowedKinds,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Existing {
    /// The target's name, as `target list` shows it.
    pub name: String,
    #[command(flatten)]
    pub platform: PlatformArguments,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveTarget {
    #[command(flatten)]
    pub target: Existing,
    /// Don't ask for confirmation.
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RbacArguments {
    /// The service account that gets them.
    #[arg(long, value_name = "NAME", default_value = "freehold")]
    pub service_account: String,
    /// The namespace to install into.
    #[arg(long, value_name = "NAME", default_value = "freehold")]
    pub namespace: String,
    /// A kind of objects that manifests of stacks may hold, as in `target add`; may be repeated.
    #[arg(long, value_name = "KINDS.GROUP")]
    pub allow_kind: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct InstallArguments {
    /// The namespace that Freehold gets.
    #[arg(long, value_name = "NAME", default_value = "freehold")]
    pub namespace: String,
    /// Its image, made from the project's Dockerfile, best with its digest.
    #[arg(long, value_name = "IMAGE")]
    pub image: String,
    /// How many Pods.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub replicas: u32,
    /// Let the API be reached at this host through a Gateway; without, only inside of the cluster.
    #[arg(long, value_name = "HOST", requires = "gateway")]
    pub host: Option<String>,
    /// The Gateway for --host.
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "host")]
    pub gateway: Option<String>,
    /// Read the URL of Freehold's own PostgreSQL from stdin (or give it as FREEHOLD_DATABASE_URL).
    #[arg(long, conflicts_with = "existing_secret")]
    pub database_url_stdin: bool,
    /// Use this Secret (master-key, token, database-url) instead of a generated one.
    #[arg(long, value_name = "NAME")]
    pub existing_secret: Option<String>,
    /// Only print the manifests.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// Where the API listens.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// The file with the URL of Freehold's own PostgreSQL [default: the URL is FREEHOLD_DATABASE_URL]
    #[arg(long, value_name = "FILE", env = "FREEHOLD_DATABASE_URL_FILE", hide_env_values = true)]
    pub database_url_file: Option<PathBuf>,
    /// The file with the master key: 32 bytes, or these in Base64. All replicas need the same.
    #[arg(long, value_name = "FILE", env = "FREEHOLD_MASTER_KEY_FILE", hide_env_values = true)]
    pub master_key_file: PathBuf,
    /// The file with the token that callers show.
    #[arg(long, value_name = "FILE", env = "FREEHOLD_TOKEN_FILE", hide_env_values = true)]
    pub token_file: PathBuf,
    /// Where final dumps go: a volume that outlives the replica [default: none are made, and a destroy needs --no-dump]
    #[arg(long, value_name = "DIR")]
    pub dump_dir: Option<PathBuf>,
    /// Where PostgreSQL's programs are, for dumps [default: found on PATH or in the usual places]
    #[arg(long, value_name = "DIR")]
    pub postgres_bin: Option<PathBuf>,
    /// How many days lines of the audit log are kept [default: 400]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub keep_audit: Option<u32>,
    /// How many seconds requests are still answered after it was told to stop.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub linger: u64,
    /// How its own log is written [default: JSON, but on a terminal text]
    #[arg(long, value_enum)]
    pub log_format: Option<LogFormat>,
}
