//! What the platform depends on, and whether it responds: the store, without which nothing works, and the clusters, each of which only
//! hinders its own stacks.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::doctor::Doctor;
use crate::runtime::TargetRuntime;

/// How long a dependency may take to respond.
const DEADLINE: Duration = Duration::from_secs(3);

/// Something that the platform depends on, as it was just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// `database`, `cluster prod`.
    pub name: String,
    /// Without it nothing works.
    pub critical: bool,
    /// It responded within 3 s, and is what it was.
    pub healthy: bool,
    /// How long the response took, or how long it was waited for.
    pub latency: Duration,
}

impl Doctor {
    /// Asks everything that the platform depends on, all at once.
    pub async fn dependencies(&self) -> Vec<Dependency> {
        let clusters = self.targets.all().into_iter().filter(|runtime| !runtime.is_local());
        let clusters = clusters.map(|runtime| {
            let name = format!("cluster {}", runtime.target.name());
            async move { ask(name, false, responds(runtime)).await }
        });
        let store = async { self.records.store.ping().await.is_ok() };
        let (store, clusters) = tokio::join!(ask("database".to_owned(), true, store), join_all(clusters));
        std::iter::once(store).chain(clusters).collect()
    }
}

async fn ask(name: String, critical: bool, responds: impl Future<Output = bool>) -> Dependency {
    let begin = Instant::now();
    let healthy = matches!(tokio::time::timeout(DEADLINE, responds).await, Ok(true));
    Dependency { name, critical, healthy, latency: begin.elapsed() }
}

/// Whether a target's cluster is there, and still the same.
async fn responds(runtime: Arc<TargetRuntime>) -> bool {
    match &runtime.capabilities.system {
        Some(system) => system.ping().await.is_ok(),
        None => true,
    }
}
