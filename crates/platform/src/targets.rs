//! Which targets there are, and which one a request means.
//!
//! This machine is one where the platform runs on it, and never changes. Clusters are kept in the store; what is known of them here
//! is brought up to date when one is changed through this process, when another process says that it has changed one, and when a target is
//! asked for that isn't known.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use freehold_engine::backoff::Backoff;
use freehold_problem::{Code, Problem};
use freehold_spec::Name;
use freehold_store::{Signal, Store, StoredTarget, UnreadableTarget};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::factory::TargetFactory;
use super::runtime::TargetRuntime;
use crate::Result;
use crate::actor::Actor;

/// The pauses before changes of other processes that couldn't be used are tried again.
const RETRIES: Backoff = Backoff::doubling(Duration::from_secs(5), LONGEST_PAUSE);
/// The longest of them, and how often changes are looked for though nobody has signalled any: a replica of an earlier release doesn't.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The targets at work.
pub struct Targets {
    pub(super) store: Store,
    pub(super) factory: Arc<dyn TargetFactory>,
    local: Option<Arc<TargetRuntime>>,
    clusters: RwLock<BTreeMap<Name, Arc<TargetRuntime>>>,
    /// One change at a time.
    pub(super) changing: tokio::sync::Mutex<()>,
}

impl Targets {
    /// All that are kept. One that can't be read or used hinders neither the start nor the others.
    pub async fn load(store: &Store, factory: Arc<dyn TargetFactory>, local: Option<TargetRuntime>) -> Result<Self> {
        let (store, local) = (store.clone(), local.map(Arc::new));
        let (clusters, changing) = (RwLock::default(), tokio::sync::Mutex::default());
        let targets = Self { store, factory, local, clusters, changing };
        for stored in targets.stored().await? {
            match stored {
                Ok(stored) => {
                    if let Err(refusal) = targets.install(&stored).await {
                        error!(target = %stored.name, "can't be used: {}", refusal.message);
                    }
                }
                Err(UnreadableTarget { name, error, .. }) => error!(target = %name, "can't be used: {error}"),
            }
        }
        Ok(targets)
    }

    /// This machine, where the platform runs on one.
    pub fn local(&self) -> Option<&Arc<TargetRuntime>> {
        self.local.as_ref()
    }

    /// Those that are known by now, this machine first.
    pub fn all(&self) -> Vec<Arc<TargetRuntime>> {
        let clusters = self.clusters.read().unwrap_or_else(PoisonError::into_inner);
        self.local.iter().chain(clusters.values()).cloned().collect()
    }

    /// One that is known by now.
    pub fn known(&self, name: &Name) -> Option<Arc<TargetRuntime>> {
        if let Some(local) = self.local.as_ref().filter(|local| local.target.name() == name) {
            return Some(Arc::clone(local));
        }
        self.clusters.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// One by its name.
    pub async fn find(&self, name: &Name) -> Result<Arc<TargetRuntime>> {
        if let Some(known) = self.known(name) {
            return Ok(known);
        }
        match self.stored_one(name).await? {
            Some(stored) => self.install(&stored).await,
            None => Err(self.unknown(name)),
        }
    }

    /// The one that a request means: the one it names, else this machine, else the only one.
    pub async fn choose(&self, name: Option<&str>) -> Result<Arc<TargetRuntime>> {
        if let Some(name) = name {
            let parsed: Name = name.parse().map_err(|error| {
                Problem::new(Code::RequestName, format!("{name:?} can't be the name of a target: {error}"))
            })?;
            return self.find(&parsed).await;
        }
        if let Some(local) = &self.local {
            return Ok(Arc::clone(local));
        }
        // Also those that can't be read: the others are not the only ones for that.
        let name =
            |stored: Result<StoredTarget, UnreadableTarget>| stored.map_or_else(|left| left.name, |one| one.name);
        let names: Vec<Name> = self.stored().await?.into_iter().map(name).collect();
        match names.as_slice() {
            [only] => self.find(only).await,
            [] => Err(Problem::new(Code::TargetNotChosen, "there is no target yet")
                .help("add one with `freehold target add`")),
            [..] => {
                let names: Vec<&str> = names.iter().map(Name::as_str).collect();
                let message = format!("the platform has several targets: {}", names.join(", "));
                Err(Problem::new(Code::TargetNotChosen, message).help("choose one with --target"))
            }
        }
    }

    fn unknown(&self, name: &Name) -> Problem {
        let all = self.all();
        let names: Vec<&str> = all.iter().map(|runtime| runtime.target.name().as_str()).collect();
        let known = if names.is_empty() { "none yet".to_owned() } else { names.join(", ") };
        Problem::new(Code::UnknownTarget, format!("there is no target {name}; there are: {known}"))
            .help("`freehold target list` shows them, `freehold target add` adds one")
    }

    /// The clusters as they are kept.
    pub(super) async fn stored(&self) -> Result<Vec<Result<StoredTarget, UnreadableTarget>>> {
        let mut tx = self.store.look(Actor::system("targets").access()).await?;
        Ok(tx.targets().await?)
    }

    /// One as it is kept.
    pub(super) async fn stored_one(&self, name: &Name) -> Result<Option<StoredTarget>> {
        let mut tx = self.store.look(Actor::system("targets").access()).await?;
        Ok(tx.target(name).await?)
    }

    /// Works with a target as it is kept from now on.
    pub(super) async fn install(&self, stored: &StoredTarget) -> Result<Arc<TargetRuntime>> {
        let runtime = Arc::new(self.factory.make(stored).await?);
        let mut clusters = self.clusters.write().unwrap_or_else(PoisonError::into_inner);
        // Of two that take it in at once the later state stays.
        match clusters.get(&stored.name).filter(|known| known.changed_at > runtime.changed_at) {
            Some(newer) => Ok(Arc::clone(newer)),
            None => {
                clusters.insert(stored.name.clone(), Arc::clone(&runtime));
                self.factory.installed(&runtime);
                Ok(runtime)
            }
        }
    }

    /// A target that isn't kept any more.
    pub(super) fn forget(&self, name: &Name) -> Option<Arc<TargetRuntime>> {
        self.clusters.write().unwrap_or_else(PoisonError::into_inner).remove(name)
    }

    /// Takes in what other processes have changed; whether all of it could be used.
    async fn refresh(&self) -> Result<bool> {
        let mut tx = self.store.look(Actor::system("targets").access()).await?;
        let changes = tx.target_changes().await?;
        drop(tx);
        for runtime in self.all() {
            let name = runtime.target.name();
            if runtime.changed_at.is_some() && !changes.contains_key(name) {
                self.forget(name);
            }
        }
        let mut all_usable = true;
        for (name, changed_at) in changes {
            let fresh = self.known(&name).is_some_and(|known| known.changed_at == Some(changed_at));
            if !fresh && let Err(refusal) = self.reinstall(&name).await {
                // As it was is better than not at all, and the others are none the worse for it.
                error!(target = %name, "its change can't be used: {}", refusal.message);
                all_usable = false;
            }
        }
        Ok(all_usable)
    }

    async fn reinstall(&self, name: &Name) -> Result<()> {
        match self.stored_one(name).await? {
            Some(stored) => self.install(&stored).await.map(drop),
            None => Ok(()),
        }
    }
}

impl Targets {
    /// Keeps them up to date until `stop`. For a platform that isn't the only process on its store.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut signals = self.store.signals_from_now();
        let mut waits = RETRIES.waits();
        loop {
            let again = match self.refresh().await {
                Ok(all_usable) => !all_usable,
                Err(refusal) => {
                    warn!("the targets could not be brought up to date: {}", refusal.message);
                    true
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = targets_changed(&mut signals) => waits.reset(),
                () = tokio::time::sleep(if again { waits.present() } else { LONGEST_PAUSE }) => {
                    waits.take();
                }
            }
        }
    }
}

/// Waits until a target may have changed.
async fn targets_changed(signals: &mut broadcast::Receiver<Signal>) {
    loop {
        match signals.recv().await {
            Ok(Signal::Targets | Signal::Missed) | Err(RecvError::Lagged(_)) => return,
            Ok(
                Signal::Queued(_) | Signal::Appended(_) | Signal::Grown(_) | Signal::Cancel(_) | Signal::Finished(_),
            ) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
