//! The images of a target, as its registries have them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use freehold_engine::capability::Images;
use freehold_engine::newest::Newest;
use freehold_graph::SecretText;
use freehold_graph::image::ImageReference;
use freehold_problem::Problem;
use freehold_registry::{Credentials, Platform as Machine, Registry};

/// How long an image at its digest is taken to be where it was seen.
const SEEN: Duration = Duration::from_secs(60);

/// The registries of a target, and for which machines images have to be.
pub(crate) struct RegistryImages {
    registry: Registry,
    machines: BTreeSet<Machine>,
    /// Images at their digests that were there lately.
    seen: Mutex<BTreeMap<String, Instant>>,
    /// What is being asked for, by reference: many deploys name the same image at the same time.
    asked: Mutex<BTreeMap<String, Arc<Newest<String>>>>,
}

impl RegistryImages {
    pub(crate) fn new(registry: Registry, architectures: &BTreeSet<String>) -> Self {
        let machines = architectures.iter().map(|architecture| Machine::new("linux", architecture)).collect();
        Self { registry, machines, seen: Mutex::default(), asked: Mutex::default() }
    }

    fn was_seen(&self, pinned: &str) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(pinned).is_some_and(|when| when.elapsed() < SEEN)
    }

    /// Those who ask for the same image.
    fn asking(&self, reference: &ImageReference) -> Arc<Newest<String>> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|_, asking| Arc::strong_count(asking) > 1);
        Arc::clone(asked.entry(reference.to_string()).or_default())
    }
}

#[async_trait]
impl Images for RegistryImages {
    async fn resolve(&self, reference: &ImageReference) -> Result<String, Problem> {
        let pinned = reference.digest().map(|digest| format!("{}@{digest}", reference.name()));
        match pinned.filter(|pinned| self.was_seen(pinned)) {
            Some(pinned) => Ok(pinned),
            None => self.resolve_now(reference).await,
        }
    }

    async fn resolve_now(&self, reference: &ImageReference) -> Result<String, Problem> {
        let asking = self.asking(reference);
        let ask = async { Ok::<_, Problem>(self.registry.resolve(reference, &self.machines).await?.pinned()) };
        let pinned = asking.get(ask).await?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, when| when.elapsed() < SEEN);
        seen.insert(pinned.clone(), Instant::now());
        Ok(pinned)
    }
}

/// The registries as a target's credentials let us see them.
pub(crate) fn registry_of(config: Option<&SecretText>, insecure: BTreeSet<String>) -> Result<Registry, Problem> {
    let credentials = match config {
        Some(config) => Credentials::from_docker_config(config.reveal())
            .map_err(|error| Problem::new(error.code(), error.to_string()).help(error.help()))?,
        None => Credentials::none(),
    };
    Ok(Registry::new(credentials, insecure)?)
}
