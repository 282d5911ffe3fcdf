//! Where targets are put together: the only place that knows which provider talks to what.

mod access;
mod cluster;
mod images;
mod keys;
pub(crate) mod named;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use freehold_engine::{Capabilities, Provider};
use freehold_graph::expand::ClusterDatabases;
use freehold_graph::{ProviderName, SecretText, Target};
use freehold_platform::runtime::{DatabasePlace, RuntimeParts, TargetRuntime};
use freehold_platform::{Connected, Settings, TargetChange, TargetFactory};
use freehold_problem::{Code, Problem};
use freehold_provider_kubernetes::KubernetesProvider;
use freehold_provider_local::LocalProvider;
use freehold_provider_postgres::{Binaries, PostgresOptions, PostgresProvider, PostgresServers};
use freehold_spec::Name;
use freehold_store::{Credential, EngineStore, Sharing, Store, StoredTarget};

use access::{Result, access, database_url};
use images::{MachineImages, RegistryImages, registry_of};

/// Steps at once on a target's database server.
const DATABASE_STEPS: usize = 4;

/// What every target is made with.
pub(crate) struct Wiring {
    store: Store,
    engine: EngineStore,
    dumps: PathBuf,
    binaries: Option<Binaries>,
    /// The providers of each cluster that anybody works with: that of the target as it is, and those of operations that began with it as it
    /// was.
    clusters: Mutex<BTreeMap<Name, Vec<Weak<KubernetesProvider>>>>,
}

impl Wiring {
    /// `dumps` is where final dumps go; without PostgreSQL's programs there are none.
    pub(crate) fn new(store: &Store, engine: &EngineStore, dumps: PathBuf, binaries: Option<Binaries>) -> Self {
        let (store, engine) = (store.clone(), engine.clone());
        Self { store, engine, dumps, binaries, clusters: Mutex::default() }
    }

    /// This machine. `database_server` says in words which one it has.
    pub(crate) fn machine(
        &self,
        target: Target,
        database_server: String,
        local: &Arc<LocalProvider>,
        databases: &Arc<PostgresServers>,
        insecure_shared_user: bool,
    ) -> TargetRuntime {
        let database = target.postgres().map(|server| DatabasePlace {
            host: server.host.clone(),
            port: server.port,
            description: database_server,
        });
        let alone = local.shares_user() && !insecure_shared_user;
        let parts = RuntimeParts {
            target,
            providers: vec![
                Arc::<PostgresServers>::clone(databases) as Arc<dyn Provider>,
                Arc::<LocalProvider>::clone(local) as Arc<dyn Provider>,
            ],
            capabilities: Capabilities { images: Some(Arc::new(MachineImages::default())), ..Capabilities::default() },
            not_enforced: local.not_enforced(),
            sharing: if alone { Sharing::OneTenant } else { Sharing::Tenants },
            database,
            changed_at: None,
        };
        TargetRuntime::new(&self.store, &self.engine, parts)
    }

    /// The target's database server, in Freehold's own role there.
    async fn databases(
        &self,
        name: &Name,
        settings: &Settings,
        url: &SecretText,
    ) -> Result<(Arc<PostgresServers>, DatabasePlace)> {
        let admin = database_url(url)?;
        let (host, port) = (admin.get_host().to_owned(), admin.get_port());
        let place = DatabasePlace { description: format!("{host}:{port}"), host, port };
        let provisioner = match &settings.database_role {
            Some(role) => {
                let password = keys::role_password(&self.store, name).await?;
                admin.username(role).password(password.reveal())
            }
            // An administrator who may not make such a role works in its own.
            None => admin,
        };
        let login_key = keys::login_key(&self.store, name).await?;
        let steps = u32::try_from(DATABASE_STEPS).unwrap_or_default();
        let provider = PostgresProvider::new(PostgresOptions {
            provisioner,
            login_key,
            dump_directory: self.dumps.clone(),
            binaries: self.binaries.clone(),
            reserved_connections: PostgresProvider::own_connections(steps),
            sole: None,
            concurrency: DATABASE_STEPS,
            fault: None,
        });
        Ok((Arc::new(PostgresServers::new(Arc::new(provider), BTreeMap::new())), place))
    }
}

#[async_trait]
impl TargetFactory for Wiring {
    async fn make(&self, stored: &StoredTarget) -> Result<TargetRuntime> {
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
            (ClusterDatabases::Server { .. }, Some(url)) => Some(self.databases(&stored.name, &settings, &url).await?),
            (ClusterDatabases::Server { .. }, None) | (ClusterDatabases::CloudNativePg { .. }, _) => None,
        };
        let registry = credential(Credential::Registry).await?;
        let registry = registry_of(registry.as_ref(), settings.settings.insecure_registries)?;
        let (postgres, database) = postgres.unzip();
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        clusters.entry(stored.name.clone()).or_default().push(Arc::downgrade(&kubernetes));
        drop(clusters);
        let providers = std::iter::once(kubernetes as Arc<dyn Provider>)
            .chain(postgres.map(|postgres| postgres as Arc<dyn Provider>));
        let parts = RuntimeParts {
            target: stored.facts.clone(),
            providers: providers.collect(),
            capabilities: Capabilities {
                images: Some(Arc::new(RegistryImages::new(registry, &facts.architectures))),
                ..Capabilities::default()
            },
            not_enforced: Vec::new(),
            sharing: Sharing::Tenants,
            database,
            changed_at: Some(stored.changed_at),
        };
        Ok(TargetRuntime::new(&self.store, &self.engine, parts))
    }

    fn installed(&self, runtime: &TargetRuntime) {
        let Some(installed) = runtime.provider(ProviderName::Kubernetes) else { return };
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(providers) = clusters.get_mut(runtime.target.name()) else { return };
        providers.retain(|provider| provider.strong_count() > 0);
        let all: Vec<Arc<KubernetesProvider>> = providers.iter().filter_map(Weak::upgrade).collect();
        let is_it =
            |provider: &&Arc<KubernetesProvider>| std::ptr::addr_eq(Arc::as_ptr(provider), Arc::as_ptr(installed));
        if let Some(newest) = all.iter().find(is_it) {
            all.iter().filter(|provider| !is_it(provider)).for_each(|former| newest.inherit_from(former));
        }
    }

    async fn connect(&self, change: &TargetChange<'_>) -> Result<Connected> {
        cluster::connect(&self.store, change).await
    }
}
