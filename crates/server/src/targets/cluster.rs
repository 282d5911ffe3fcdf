//! A cluster that is to become a target: connected to, known again by its identity, surveyed and prepared.

use async_trait::async_trait;
use freehold_engine::ProviderError;
use freehold_graph::SecretText;
use freehold_graph::expand::{ClusterDatabases, KubernetesTarget};
use freehold_platform::{Connected, ConnectedCluster, Settings, TargetChange};
use freehold_problem::{Code, Problem};
use freehold_provider_kubernetes::{self as kubernetes, Cluster, ClusterError, Requirements};
use freehold_provider_postgres::{ensure_provisioner, version_of};
use freehold_spec::Name;
use freehold_store::{Credential, Store};
use tracing::warn;
use uuid::Uuid;

use super::access::{Result, access, database_url};
use super::images::registry_of;
use super::keys;

/// The oldest major version of PostgreSQL that databases can be on.
const OLDEST_POSTGRES: u32 = 15;

/// A cluster that answers, and what it has to have.
struct Candidate {
    cluster: Cluster,
    requirements: Requirements,
    platform: Uuid,
}

#[async_trait]
impl ConnectedCluster for Candidate {
    async fn prepare(self: Box<Self>) -> Result<KubernetesTarget> {
        let mut facts = kubernetes::discover(&self.cluster, &self.requirements).await?;
        facts.platform = Some(self.platform);
        kubernetes::prepare(&self.cluster, &mut facts).await?;
        Ok(facts)
    }
}

pub(crate) async fn connect(store: &Store, change: &TargetChange<'_>) -> Result<Connected> {
    let TargetChange { name, settings, credentials, former, replace_cluster, platform } = *change;
    registry_of(credentials.get(&Credential::Registry), settings.settings.insecure_registries.clone())?;
    let cluster = Cluster::connect(&access(credentials.get(&Credential::Kubeconfig).cloned())).await?;
    if let Some(former) = former
        && former.cluster != cluster.identity()
        && !replace_cluster
    {
        let (expected, found) = (former.cluster.clone(), cluster.identity().to_owned());
        let error = Problem::from(ClusterError::WrongCluster { expected, found });
        return Err(error.help("if the cluster was recreated on purpose, pass --replace-cluster"));
    }
    let (databases, database_role) = match credentials.get(&Credential::Database) {
        Some(url) => server(store, name, settings, url).await?,
        None => (Settings::cloudnative_pg(), None),
    };
    let registry_credentials = credentials.contains_key(&Credential::Registry);
    let requirements = requirements(name, settings, databases.clone(), registry_credentials);
    Ok(Connected { databases, database_role, cluster: Box::new(Candidate { cluster, requirements, platform }) })
}

/// A server for databases, with a role of our own on it that is made or brought up to date, where the URL's role may do that.
async fn server(
    store: &Store,
    name: &Name,
    settings: &Settings,
    url: &SecretText,
) -> Result<(ClusterDatabases, Option<String>)> {
    let admin = database_url(url)?;
    let reached = (admin.get_host().to_owned(), admin.get_port());
    let unusable = |error: ProviderError| {
        let message =
            format!("the database server at {}:{} can't be used: {error}", admin.get_host(), admin.get_port());
        Problem::new(Code::TargetDatabase, message)
            .help("check the URL, and that its role may make roles and databases")
    };
    // First of all whether the server is there and lets us in: only then does a refusal of the role say something.
    let version = version_of(&admin).await.map_err(unusable)?.major;
    let role = keys::role_name(store, name).await?;
    let password = keys::role_password(store, name).await?;
    let role = match ensure_provisioner(&admin, &role, &password).await {
        Ok(()) => Some(role),
        Err(failure) => {
            // A managed server's administrator is no superuser. All but dumps of tables under forced row-level security works.
            warn!(target = %name, "the role of the database URL is used, for {role} could not be made: {failure}");
            None
        }
    };
    if version < OLDEST_POSTGRES {
        let message = format!("the server runs PostgreSQL {version}; {OLDEST_POSTGRES} or newer is required");
        return Err(Problem::new(Code::TargetDatabase, message));
    }
    Ok((settings.server(reached, version).await?, role))
}

/// What is to be found out of the cluster. The settings have been checked.
fn requirements(
    name: &Name,
    settings: &Settings,
    databases: ClusterDatabases,
    registry_credentials: bool,
) -> Requirements {
    let asked = &settings.settings;
    Requirements {
        name: name.clone(),
        domain: asked.domain.clone().unwrap_or_default(),
        gateway: settings.gateway().unwrap_or_default(),
        listener: asked.listener.clone(),
        port: asked.port,
        data_plane_namespace: asked.data_plane_namespace.clone(),
        databases,
        issuer: asked.issuer.clone(),
        external_dns: asked.external_dns,
        storage_class: asked.storage_class.clone(),
        cache_image: asked.cache_image.clone(),
        registry_credentials,
        allowed_kinds: asked.allowed_kinds.clone(),
    }
}
