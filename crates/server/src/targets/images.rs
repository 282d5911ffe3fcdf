//! The images of a target, as its registries have them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
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

/// Where engines keep the credentials of `podman login` and `docker login`: in a folder that a variable names, and the file in it.
const LOGINS: [(&str, &str); 4] = [
    ("REGISTRY_AUTH_FILE", ""),
    ("XDG_RUNTIME_DIR", "containers/auth.json"),
    ("DOCKER_CONFIG", "config.json"),
    ("HOME", ".docker/config.json"),
];
/// Where podman keeps those of root, which has no such variable.
const ROOTS: &str = "/run/containers/0/auth.json";

/// The images of this machine: its registries are seen with the credentials that its container engine has.
#[derive(Default)]
pub(crate) struct MachineImages {
    /// The credentials as they were read last, and what they open.
    last: Mutex<Option<(Option<String>, Arc<RegistryImages>)>>,
}

impl MachineImages {
    /// The registries with the credentials as they are now: people log in whenever they like.
    fn now(&self) -> Result<Arc<RegistryImages>, Problem> {
        let stated = LOGINS.iter().filter_map(|(variable, file)| {
            let folder = PathBuf::from(std::env::var_os(variable)?);
            Some(if file.is_empty() { folder } else { folder.join(file) })
        });
        let roots = rustix::process::geteuid().is_root().then(|| PathBuf::from(ROOTS));
        let config = stated.chain(roots).find_map(|path| std::fs::read_to_string(path).ok());
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, images)) = last.as_ref()
            && *known == config
        {
            return Ok(Arc::clone(images));
        }
        let secret = config.clone().map(SecretText::new);
        let registry = registry_of(secret.as_ref(), BTreeSet::new())?;
        let images = Arc::new(RegistryImages::new(registry, &BTreeSet::from([architecture().to_owned()])));
        *last = Some((config, Arc::clone(&images)));
        Ok(images)
    }
}

/// This machine's architecture, as registries call it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[async_trait]
impl Images for MachineImages {
    async fn resolve(&self, reference: &ImageReference) -> Result<String, Problem> {
        self.now()?.resolve(reference).await
    }

    async fn resolve_now(&self, reference: &ImageReference) -> Result<String, Problem> {
        self.now()?.resolve_now(reference).await
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
