//! A target at work: its facts, and what talks to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use freehold_engine::{Parts, Provider};
use freehold_graph::expand::ClusterDatabases;
use freehold_graph::{ProviderName, SecretText, Target};
use freehold_problem::{Code, Problem};
use freehold_provider_kubernetes::{Access, KubernetesProvider};
use freehold_provider_local::{ArtifactStore, LocalProvider};
use freehold_provider_postgres::{Binaries, PostgresOptions, PostgresProvider};
use freehold_registry::{Credentials, Registry};
use freehold_store::{Credential, EngineStore, Sharing, Store, StoredTarget};
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Semaphore;

use super::images::Images;
use super::settings::{Settings, login_key, role_password};
use crate::Result;
use crate::sealed::SealedSecrets;

/// Another replica that works on an operation is left alone after this: the queue shows the operation again when its lease ends.
const WHILE_BUSY: Duration = Duration::from_secs(1);

/// Operations at once on one target. What they do at once is bounded by the providers. One target's don't keep back another's.
const OPERATIONS: usize = 64;
/// Steps at once on a target's database server.
const DATABASE_STEPS: usize = 4;

/// A target, with its providers. Made anew when the target changes; operations that run go on with the one that they began with, but for
/// the credentials of its cluster, which are always the newest.
pub struct TargetRuntime {
    /// Its facts.
    pub target: Target,
    /// All of them, by name.
    pub(crate) providers: BTreeMap<ProviderName, Arc<dyn Provider>>,
    /// That of its database server.
    pub(crate) postgres: Option<Arc<PostgresProvider>>,
    /// That of a cluster.
    pub kubernetes: Option<Arc<KubernetesProvider>>,
    /// Only of the machine that the platform runs on.
    pub local: Option<Local>,
    /// Only of a cluster.
    pub(crate) images: Option<Images>,
    /// Where the database server is for the platform and its users. Pods may have to call it something else.
    pub(crate) database: Option<(String, u16)>,
    pub(crate) parts: Arc<Parts>,
    pub(crate) slots: Arc<Semaphore>,
    /// When it was last changed; `None`: it doesn't change.
    pub(crate) changed_at: Option<DateTime<Utc>>,
}

/// What only this machine has.
pub struct Local {
    /// What runs services and jobs.
    pub provider: Arc<LocalProvider>,
    /// What they run from.
    pub artifacts: ArtifactStore,
    /// Where the router listens, on all host names of stacks.
    pub router_port: u16,
    /// Several tenants are wanted here even if nothing keeps them apart.
    pub insecure_shared_user: bool,
}

/// What every target's runtime is made with.
pub struct Workshop {
    /// What the platform knows.
    pub store: Store,
    /// The store as the engine uses it.
    pub engine: EngineStore,
    /// Where final dumps go.
    pub dumps: PathBuf,
    /// PostgreSQL's programs; without them there are no dumps.
    pub binaries: Option<Binaries>,
}

impl Workshop {
    fn parts(&self, providers: &BTreeMap<ProviderName, Arc<dyn Provider>>) -> Arc<Parts> {
        let parts = Parts::new(
            Arc::new(self.engine.clone()),
            Arc::new(self.engine.clone()),
            Arc::new(self.store.clone()),
            providers.values().cloned(),
        );
        Arc::new(parts.with_patience_while_busy(WHILE_BUSY))
    }

    fn providers(&self, others: Vec<Arc<dyn Provider>>) -> BTreeMap<ProviderName, Arc<dyn Provider>> {
        let sealed: Arc<dyn Provider> = Arc::new(SealedSecrets::new(self.store.clone()));
        std::iter::once(sealed).chain(others).map(|provider| (provider.name(), provider)).collect()
    }

    /// This machine.
    pub fn local(&self, target: Target, local: Local, postgres: Arc<PostgresProvider>) -> TargetRuntime {
        let providers = self
            .providers(vec![Arc::<PostgresProvider>::clone(&postgres), Arc::<LocalProvider>::clone(&local.provider)]);
        TargetRuntime {
            database: target.postgres().map(|server| (server.host.clone(), server.port)),
            parts: self.parts(&providers),
            target,
            providers,
            postgres: Some(postgres),
            kubernetes: None,
            local: Some(local),
            images: None,
            slots: Arc::new(Semaphore::new(OPERATIONS)),
            changed_at: None,
        }
    }

    /// A cluster, as it is kept. Connects to nothing: a cluster or a server that is away hinders nobody until it is used.
    pub async fn cluster(&self, stored: &StoredTarget) -> Result<TargetRuntime> {
        let Target::Kubernetes(facts) = &stored.facts else {
            return Err(Problem::new(
                Code::StoreUnreadable,
                format!("target {} in the store is no cluster", stored.name),
            ));
        };
        let settings = Settings::read(stored)?;
        let credential =
            async |credential| self.store.target_credential(&stored.name, credential).await.map_err(Problem::from);
        let access = access(credential(Credential::Kubeconfig).await?);
        let kubernetes = Arc::new(KubernetesProvider::new(access, (**facts).clone()));
        let url = credential(Credential::Database).await?;
        let postgres = match (&facts.databases, url) {
            (ClusterDatabases::Server { .. }, Some(url)) => Some(self.databases(stored, &settings, &url).await?),
            _ => None,
        };
        let registry = credential(Credential::Registry).await?;
        let images =
            Images::new(registry_of(registry.as_ref(), settings.wanted.insecure_registries)?, &facts.architectures);
        let mut others: Vec<Arc<dyn Provider>> = vec![Arc::<KubernetesProvider>::clone(&kubernetes)];
        others.extend(
            postgres.as_ref().map(|(provider, _)| Arc::<PostgresProvider>::clone(provider) as Arc<dyn Provider>),
        );
        let providers = self.providers(others);
        let (postgres, database) = postgres.unzip();
        Ok(TargetRuntime {
            target: stored.facts.clone(),
            parts: self.parts(&providers),
            providers,
            postgres,
            kubernetes: Some(kubernetes),
            local: None,
            images: Some(images),
            database,
            slots: Arc::new(Semaphore::new(OPERATIONS)),
            changed_at: Some(stored.changed_at),
        })
    }

    /// The target's database server, in Freehold's own role there.
    async fn databases(
        &self,
        stored: &StoredTarget,
        settings: &Settings,
        url: &SecretText,
    ) -> Result<(Arc<PostgresProvider>, (String, u16))> {
        let admin = database_url(url)?;
        let place = (admin.get_host().to_owned(), admin.get_port());
        let provisioner = match &settings.database_role {
            Some(role) => {
                let password = role_password(&self.store, &stored.name).await?;
                admin.username(role).password(password.reveal())
            }
            // An administrator who may not make such a role works in its own.
            None => admin,
        };
        let login_key = login_key(&self.store, &stored.name).await?;
        Ok((Arc::new(self.postgres(provisioner, login_key)), place))
    }

    /// A provider on a server.
    pub fn postgres(&self, provisioner: PgConnectOptions, login_key: SecretText) -> PostgresProvider {
        let steps = u32::try_from(DATABASE_STEPS).unwrap_or_default();
        PostgresProvider::new(PostgresOptions {
            provisioner,
            login_key,
            dump_directory: self.dumps.clone(),
            binaries: self.binaries.clone(),
            reserved_connections: PostgresProvider::own_connections(steps),
            sole: None,
            concurrency: DATABASE_STEPS,
            fault: None,
        })
    }
}

impl TargetRuntime {
    /// Whether several tenants may run here.
    pub fn sharing(&self) -> Sharing {
        match &self.local {
            Some(local) if local.provider.shares_user() && !local.insecure_shared_user => Sharing::OneTenant,
            Some(_) | None => Sharing::Tenants,
        }
    }

    /// The target in words: `prod, Kubernetes v1.36.3, PostgreSQL 15`.
    pub fn words(&self) -> String {
        let mut words = vec![self.target.name().to_string()];
        if let Target::Kubernetes(facts) = &self.target {
            words.push(format!("Kubernetes {}", facts.version));
        }
        words.push(match self.target.postgres() {
            Some(server) => format!("PostgreSQL {}", server.version),
            None => "CloudNativePG".to_owned(),
        });
        words.join(", ")
    }
}

/// How a cluster is reached: with its kubeconfig, else as a Pod of it.
pub fn access(kubeconfig: Option<SecretText>) -> Access {
    kubeconfig.map_or(Access::InCluster, Access::Kubeconfig)
}

/// The registries as a target's credentials let us see them.
pub fn registry_of(config: Option<&SecretText>, insecure: BTreeSet<String>) -> Result<Registry> {
    let credentials = match config {
        Some(config) => Credentials::from_docker_config(config.reveal())
            .map_err(|error| Problem::new(error.code(), error.to_string()).help(error.help()))?,
        None => Credentials::none(),
    };
    Registry::new(credentials, insecure)
        .map_err(|error| Problem::new(error.code(), error.to_string()).help(error.help()))
}

/// Reads a database server's URL. It isn't repeated, for it may hold a password.
pub fn database_url(url: &SecretText) -> Result<PgConnectOptions> {
    let plain = ["postgres://", "postgresql://"].iter().any(|scheme| url.reveal().starts_with(scheme));
    let options = if plain { url.reveal().parse::<PgConnectOptions>().ok() } else { None };
    options.ok_or_else(|| {
        Problem::new(Code::TargetDatabase, "the database URL can't be read")
            .help("it looks like postgresql://user:password@host:5432/postgres")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_url_of_postgresql_is_one() {
        assert!(database_url(&SecretText::new("postgresql://ada:x@127.0.0.1:5432/postgres")).is_ok());
        for text in ["", "ada", "mysql://ada:x@h/d", "https://h"] {
            let refusal = database_url(&SecretText::new(text)).unwrap_err();
            assert_eq!(refusal.code, Code::TargetDatabase, "{text}");
            assert!(text.is_empty() || !refusal.message.contains(text));
        }
    }
}
