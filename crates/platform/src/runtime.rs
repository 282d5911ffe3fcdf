//! A target at work: its facts, and what talks to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use freehold_engine::capability::{Capacity, Finding};
use freehold_engine::{Capabilities, Dependencies, Provider, ProviderError};
use freehold_graph::{ProviderName, Target};
use freehold_store::{EngineStore, Sharing, Store};
use tokio::sync::Semaphore;

use crate::secret_provider::SealedSecrets;

/// Another replica that works on an operation is left alone after this: the queue shows the operation again when its lease ends.
const WHILE_BUSY: Duration = Duration::from_secs(1);
/// What is said of objects on a database server that no platform manages.
const ACCESS: &str = "postgresql access";
/// Operations at once on one target. What they do at once is bounded by the providers. One target's don't keep back another's.
const OPERATIONS: usize = 64;

/// A target, with its providers. Made anew when the target changes; operations that run go on with the one that they began with, but for
/// the credentials of its cluster, which are always the newest.
pub struct TargetRuntime {
    /// What stacks need to know of it: domain, gateway, database server.
    pub target: Target,
    /// All of them, by name.
    pub(crate) providers: BTreeMap<ProviderName, Arc<dyn Provider>>,
    /// What they can do beside keeping resources.
    pub(crate) capabilities: Capabilities,
    /// What it can't enforce between stacks, in words for people.
    pub(crate) not_enforced: Vec<&'static str>,
    /// Whether several tenants may run here.
    pub(crate) sharing: Sharing,
    pub(crate) database: Option<DatabasePlace>,
    pub(crate) parts: Arc<Dependencies>,
    pub(crate) slots: Arc<Semaphore>,
    /// When it was last changed; `None`: it doesn't change.
    pub(crate) changed_at: Option<DateTime<Utc>>,
}

/// Where a target's database server is for the platform and its users. Pods may have to call it something else.
#[derive(Debug, Clone)]
pub struct DatabasePlace {
    /// Its host, or the folder of its socket.
    pub host: String,
    /// Its port; with a socket's folder, the number in the socket's name.
    pub port: u16,
    /// The server in words: `PostgreSQL 15.18, private, port 54329`.
    pub description: String,
}

/// What a [`TargetRuntime`] is made of.
pub struct RuntimeParts {
    /// The target's facts.
    pub target: Target,
    /// Those of the target's systems; the platform adds that of its own store.
    pub providers: Vec<Arc<dyn Provider>>,
    /// What the target can do that is no provider's business.
    pub capabilities: Capabilities,
    /// What it can't enforce between stacks, in words for people.
    pub not_enforced: Vec<&'static str>,
    /// Whether several tenants may run here.
    pub sharing: Sharing,
    /// The database server, if there is one.
    pub database: Option<DatabasePlace>,
    /// When the target was last changed; `None`: it doesn't change.
    pub changed_at: Option<DateTime<Utc>>,
}

impl TargetRuntime {
    /// Puts the parts together.
    pub fn new(store: &Store, engine: &EngineStore, parts: RuntimeParts) -> Self {
        let RuntimeParts { target, providers, capabilities, not_enforced, sharing, database, changed_at } = parts;
        let own = providers.iter().map(|provider| Arc::clone(provider).capabilities());
        let capabilities = own.fold(capabilities, Capabilities::or);
        let sealed: Arc<dyn Provider> = Arc::new(SealedSecrets::new(store.clone()));
        let providers: BTreeMap<_, _> =
            std::iter::once(sealed).chain(providers).map(|provider| (provider.name(), provider)).collect();
        let parts = Dependencies::new(
            Arc::new(engine.clone()),
            Arc::new(engine.clone()),
            Arc::new(store.clone()),
            providers.values().cloned(),
        );
        Self {
            target,
            capabilities,
            not_enforced,
            sharing,
            database,
            parts: Arc::new(parts.with_patience_while_busy(WHILE_BUSY)),
            providers,
            slots: Arc::new(Semaphore::new(OPERATIONS)),
            changed_at,
        }
    }

    /// The provider of one of the target's systems.
    pub fn provider(&self, name: ProviderName) -> Option<&Arc<dyn Provider>> {
        self.providers.get(&name)
    }

    /// Whether it is the machine that the platform runs on.
    pub(crate) fn is_local(&self) -> bool {
        match &self.target {
            Target::Local(_) => true,
            Target::Kubernetes(_) => false,
        }
    }

    /// All that there is to say about the target itself: its cluster or machine, and its database server.
    pub(crate) async fn inspect(&self) -> Vec<Finding> {
        let mut findings = match &self.capabilities.system {
            Some(system) => system.inspect().await,
            None => Vec::new(),
        };
        if let Some(server) = &self.capabilities.databases {
            let words = self.database.as_ref().map_or("", |place| place.description.as_str());
            findings.push(self.connections(words, server.capacity(None).await));
            for name in server.names() {
                findings.push(self.connections(&format!("server {name}"), server.capacity(Some(&name)).await));
            }
            findings.extend(match server.unmanaged().await {
                Ok(found) if found.is_empty() => {
                    vec![Finding::ok(ACCESS, "no unmanaged objects on the database server")]
                }
                Ok(found) => found,
                Err(error) => vec![Finding::failed(ACCESS, error.into())],
            });
        }
        findings
    }

    /// What of a database server's connections is promised.
    fn connections(&self, server: &str, capacity: Result<Capacity, ProviderError>) -> Finding {
        let subject = "postgresql";
        match capacity {
            Ok(capacity) => {
                let promised: u32 = capacity.promised.values().sum();
                Finding::ok(subject, format!("{server}; {promised} of {} connections are promised", capacity.usable))
            }
            Err(error) if self.is_local() => {
                Finding::error(subject, error.to_string(), "see the log in the data directory")
            }
            Err(error) => {
                let help = "check that the server runs and accepts Freehold's role";
                Finding::error(subject, format!("{server}: {error}"), help)
            }
        }
    }
}
