//! The container engine of this machine: which one there is, and asking it for things. Every call has a time limit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use freehold_engine::ProviderError;
use freehold_graph::image::ImageReference;
use freehold_problem::{Code, Problem};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use crate::failure;

/// How long an engine may take to say who it is, or what it has.
pub(crate) const ASK: Duration = Duration::from_secs(15);
/// How long it may take to make, start or remove a container.
pub(crate) const ACT: Duration = Duration::from_secs(40);
/// How long an engine that was found is relied on.
const FOUND: Duration = Duration::from_secs(60);
/// How often is looked how much room an image that is being fetched has left.
const LOOK: Duration = Duration::from_millis(500);
/// What a fetched image has to leave free of the disk, in bytes.
const ROOM: u64 = 1 << 30;
/// How much of what an engine says of a failure is shown.
const SHOWN: usize = 1500;

/// What an engine takes from the environment of Freehold itself: where its files, its daemon and its proxy are.
const PASSED_ON: [&str; 20] = [
    "HOME",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "DBUS_SESSION_BUS_ADDRESS",
    "DOCKER_HOST",
    "DOCKER_CONFIG",
    "DOCKER_CONTEXT",
    "CONTAINERS_CONF",
    "CONTAINERS_STORAGE_CONF",
    "CONTAINERS_REGISTRIES_CONF",
    "REGISTRY_AUTH_FILE",
    "SSL_CERT_FILE",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];

/// The engines that are known, the first one that works is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Podman,
    Docker,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Podman, Self::Docker];

    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::Docker => "docker",
        }
    }
}

/// An engine that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Engine {
    pub(crate) kind: Kind,
    program: PathBuf,
    environment: BTreeMap<String, String>,
    /// It makes control groups where it is told to, under the name that it is told.
    pub(crate) makes_groups: bool,
}

/// Why an engine didn't do what it was asked for, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EngineFailure {
    /// It said so.
    Said(String),
    /// It gave no answer in time.
    Silent(Duration),
    /// It could not be asked.
    NotAsked(String),
}

impl std::fmt::Display for EngineFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Said(words) => f.write_str(words),
            Self::Silent(limit) => write!(f, "no answer within {} s", limit.as_secs()),
            Self::NotAsked(words) => write!(f, "it can't be started: {words}"),
        }
    }
}

impl Engine {
    /// Calls it, and returns what it prints.
    pub(crate) async fn call(&self, arguments: &[&str], limit: Duration) -> Result<String, EngineFailure> {
        self.call_with(arguments, None, limit).await
    }

    /// The same, with something to read.
    pub(crate) async fn call_with(
        &self,
        arguments: &[&str],
        input: Option<&str>,
        limit: Duration,
    ) -> Result<String, EngineFailure> {
        let mut command = self.command(arguments);
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let called = async {
            let mut child = command.spawn().map_err(|error| EngineFailure::NotAsked(error.to_string()))?;
            if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
                // One that ends before it has read everything says why by itself.
                let _ = pipe.write_all(input.as_bytes()).await;
                let _ = pipe.shutdown().await;
            }
            child.wait_with_output().await.map_err(|error| EngineFailure::NotAsked(error.to_string()))
        };
        let Ok(answer) = tokio::time::timeout(limit, called).await else { return Err(EngineFailure::Silent(limit)) };
        let answer = answer?;
        if answer.status.success() {
            return Ok(String::from_utf8_lossy(&answer.stdout).trim().to_owned());
        }
        let said = String::from_utf8_lossy(&answer.stderr);
        Err(EngineFailure::Said(words(&said).unwrap_or_else(|| format!("it ended with {}", answer.status))))
    }

    /// A call that isn't made yet. What ends whoever makes it is not for the engine.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        if self.kind == Kind::Podman {
            // Its events would go to a log that nobody empties.
            command.arg("--events-backend=none");
            if self.makes_groups {
                command.arg("--cgroup-manager=cgroupfs");
            }
        }
        command.args(arguments).current_dir("/").env_clear().envs(&self.environment).process_group(0);
        command
    }

    pub(crate) fn path(&self) -> &Path {
        &self.program
    }

    /// Whether an image is here.
    async fn has(&self, image: &str) -> Result<bool, EngineFailure> {
        match self.call(&["image", "inspect", "--format={{.Id}}", image], ASK).await {
            Ok(_) => Ok(true),
            Err(EngineFailure::Said(_)) => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// Removes a container, whatever it does. It is no error if there is none.
    pub(crate) async fn remove(&self, container: &str) -> Result<(), EngineFailure> {
        let removed = match self.kind {
            Kind::Podman => self.call(&["rm", "--force", "--ignore", "--volumes", "--time=0", container], ACT).await,
            Kind::Docker => self.call(&["rm", "--force", "--volumes", container], ACT).await,
        };
        match removed {
            Err(EngineFailure::Said(words)) if words.contains("No such container") => Ok(()),
            other => other.map(drop),
        }
    }

    /// Containers with a label, by name, each with the value of another label.
    pub(crate) async fn containers(
        &self,
        label: &str,
        value: &str,
        shown: &str,
    ) -> Result<Vec<(String, String)>, EngineFailure> {
        let filter = format!("--filter=label={label}={value}");
        let format = match self.kind {
            Kind::Podman => format!("--format={{{{.Names}}}} {{{{index .Labels {shown:?}}}}}"),
            Kind::Docker => format!("--format={{{{.Names}}}} {{{{.Label {shown:?}}}}}"),
        };
        let listed = self.call(&["ps", "--all", &filter, &format], ASK).await?;
        Ok(listed
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect())
    }

    /// What an image asks for that containers of stacks don't get, in words.
    async fn asks_for(&self, image: &str) -> Result<Option<String>, EngineFailure> {
        let format = match self.kind {
            // Versions before 4.5.1 hand annotations on to the runtime, which obeys some of them as root.
            Kind::Podman => "--format={{json .Annotations}}",
            // Its volumes would be folders of the machine's disk that nobody limits.
            Kind::Docker => "--format={{json .Config.Volumes}}",
        };
        let answer = self.call(&["image", "inspect", format, image], ASK).await?;
        let found: Option<BTreeMap<String, serde_json::Value>> =
            serde_json::from_str(answer.trim()).map_err(|error| EngineFailure::Said(error.to_string()))?;
        let mut names = found.unwrap_or_default().into_keys();
        Ok(match self.kind {
            Kind::Podman => {
                let obeyed = |name: &String| OBEYED.iter().any(|prefix| name.starts_with(prefix));
                names.find(obeyed).map(|name| format!("has the annotation {name}, which is an order to the runtime"))
            }
            Kind::Docker => names
                .next()
                .map(|name| format!("has a volume at {name}, which docker would make on this machine's disk")),
        })
    }

    /// Sees to it that an image is here.
    async fn fetch(&self, image: &str) -> Result<(), EngineFailure> {
        let mut arguments = vec!["pull", "--quiet"];
        if self.kind == Kind::Podman && is_of_this_machine(image) {
            arguments.push("--tls-verify=false");
        }
        arguments.push(image);
        let root = match self.kind {
            Kind::Podman => self.call(&["info", "--format={{.Store.GraphRoot}}"], ASK).await?,
            Kind::Docker => self.call(&["info", "--format={{.DockerRootDir}}"], ASK).await?,
        };
        let full = async {
            loop {
                if room(Path::new(&root)).is_some_and(|free| free < ROOM) {
                    return;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            biased;
            () = full => Err(EngineFailure::Said(format!("less than {} MB would be free in {root}", ROOM >> 20))),
            pulled = self.call(&arguments, freehold_graph::kind::FETCH) => pulled.map(drop),
        }
    }
}

/// What the names of annotations begin with that runtimes obey.
const OBEYED: [&str; 4] = ["run.oci.", "org.systemd.property.", "io.podman.", "org.criu."];

/// What is free on a disk, in bytes; `None` where that can't be told.
fn room(folder: &Path) -> Option<u64> {
    let figures = rustix::fs::statvfs(folder).ok()?;
    Some(figures.f_bavail.saturating_mul(figures.f_frsize))
}

/// Whether an image's registry is on this machine, where TLS protects from nobody. Engines do the same.
fn is_of_this_machine(image: &str) -> bool {
    image.parse::<ImageReference>().is_ok_and(|image| image.is_of_this_machine())
}

/// The last lines of what an engine printed, without its own decoration; `None` if it said nothing.
fn words(said: &str) -> Option<String> {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let told: Vec<&str> = lines.iter().copied().filter(|line| line.starts_with("Error")).collect();
    let shown = if told.is_empty() { lines } else { told };
    let text = shown.join("; ");
    let text = text.strip_prefix("Error: ").unwrap_or(&text);
    let printable: String = text.chars().filter(|letter| !letter.is_control()).take(SHOWN).collect();
    (!printable.is_empty()).then_some(printable)
}

/// How many images are fetched at a time: many together would fill the disk together, and a registry that dribbles holds up one of them.
const FETCHES: usize = 4;

#[derive(Debug)]
struct Fetching(Semaphore);

impl Default for Fetching {
    fn default() -> Self {
        Self(Semaphore::new(FETCHES))
    }
}

/// The engines of this machine, asked for when they are needed.
#[derive(Debug, Default)]
pub(crate) struct Engines {
    found: Mutex<Option<(Arc<Engine>, Instant)>>,
    fetching: Fetching,
}

impl Engines {
    /// The engine that containers run through.
    ///
    /// # Errors
    /// There is none that works; what is wrong with each.
    pub(crate) async fn find(&self, folders: &[PathBuf]) -> Result<Arc<Engine>, ProviderError> {
        let mut found = self.found.lock().await;
        if let Some((engine, when)) = found.as_ref()
            && when.elapsed() < FOUND
        {
            return Ok(Arc::clone(engine));
        }
        let mut faults = Vec::new();
        for kind in Kind::ALL {
            match try_out(kind, folders).await {
                Ok(engine) => {
                    let engine = Arc::new(engine);
                    *found = Some((Arc::clone(&engine), Instant::now()));
                    return Ok(engine);
                }
                Err(fault) => faults.push(fault),
            }
        }
        *found = None;
        Err(Problem::new(Code::NoContainerEngine, "a service that is an image needs podman or docker on this machine")
            .lines(faults)
            .help("install one: `apt-get install podman`; or give the service a `build`, so that it runs as a process")
            .into())
    }

    /// Sees to it that an image is here, and asks for nothing that it may not have.
    ///
    /// # Errors
    /// There is no engine, or the registry doesn't give the image; its words. Or it isn't for stacks.
    pub(crate) async fn provide(&self, folders: &[PathBuf], image: &str) -> Result<Arc<Engine>, ProviderError> {
        let engine = self.fetched(folders, image).await?;
        match engine.asks_for(image).await.map_err(|failure| no_answer(&engine, &failure))? {
            None => Ok(engine),
            Some(what) => Err(failure::not_for_containers(&format!("the image {image} {what}"))),
        }
    }

    async fn fetched(&self, folders: &[PathBuf], image: &str) -> Result<Arc<Engine>, ProviderError> {
        let engine = self.find(folders).await?;
        let unanswered = |failure: &EngineFailure| no_answer(&engine, failure);
        if engine.has(image).await.map_err(|failure| unanswered(&failure))? {
            return Ok(engine);
        }
        let _one_of_few = self.fetching.0.acquire().await;
        if engine.has(image).await.map_err(|failure| unanswered(&failure))? {
            return Ok(engine);
        }
        tracing::info!(image, engine = engine.kind.program(), "an image is fetched");
        match engine.fetch(image).await {
            Ok(()) => Ok(engine),
            Err(failure) => Err(failure::refusal(
                Code::ImageNotFetched,
                format!("{} can't fetch the image {image}: {failure}", engine.kind.program()),
                "see that this machine reaches the registry and may read from it (`podman login`, `docker login`), then deploy again",
            )),
        }
    }
}

/// That an engine doesn't do its work.
pub(crate) fn no_answer(engine: &Engine, failure: &EngineFailure) -> ProviderError {
    failure::refusal(
        Code::ContainerEngineFailed,
        format!("{} does not do what it is asked for: {failure}", engine.path().display()),
        "see what `podman info` or `docker info` says on this machine, then deploy again",
    )
}

/// Looks for an engine and asks it who it is; else what is wrong with it, in words.
async fn try_out(kind: Kind, folders: &[PathBuf]) -> Result<Engine, String> {
    let name = kind.program();
    let program = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    let program = program.ok_or_else(|| format!("{name} was not found"))?;
    let path = std::env::join_paths(folders).map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    let passed_on = PASSED_ON.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
    let environment = passed_on.chain([("PATH".to_owned(), path)]).collect();
    let mut engine = Engine { kind, program, environment, makes_groups: false };
    // The daemon has to answer where there is one.
    let (asked, groups): (&[&str], &str) = match kind {
        Kind::Podman => (&["info", "--format={{.Host.CgroupManager}}"], ""),
        Kind::Docker => (&["info", "--format={{.CgroupDriver}}"], "cgroupfs"),
    };
    let answer = engine.call(asked, ASK).await.map_err(|failure| format!("{}: {failure}", engine.path().display()))?;
    engine.makes_groups = rustix::process::geteuid().is_root()
        && match kind {
            Kind::Podman => true,
            Kind::Docker => answer == groups,
        };
    Ok(engine)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn program(folder: &Path, name: &str, script: &str) {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[tokio::test]
    async fn without_an_engine_that_works_each_one_says_what_is_wrong_with_it() {
        let folder = tempfile::tempdir().unwrap();
        program(folder.path(), "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1");
        let error = Engines::default().find(&[folder.path().to_owned()]).await.unwrap_err();
        let problem = Problem::from(error);
        assert_eq!(problem.code, Code::NoContainerEngine);
        let lines = problem.lines.join("\n");
        assert!(
            lines.contains("podman was not found") && lines.contains("Cannot connect to the Docker daemon"),
            "{lines}"
        );
    }

    #[tokio::test]
    async fn an_engine_that_hangs_is_ended_and_said_to_be_silent() {
        let folder = tempfile::tempdir().unwrap();
        program(folder.path(), "podman", "case \"$*\" in *info*) echo cgroupfs;; *) exec /bin/sleep 600;; esac");
        let engine = Engines::default().find(&[folder.path().to_owned()]).await.unwrap();
        let limit = Duration::from_millis(200);
        assert_eq!(engine.call(&["ps"], limit).await.unwrap_err(), EngineFailure::Silent(limit));
    }

    #[tokio::test]
    async fn what_a_registry_answers_is_passed_on() {
        let folder = tempfile::tempdir().unwrap();
        let script = "case \"$*\" in *GraphRoot*) echo /;; *info*) echo cgroupfs;; \
                      *) echo 'Error: initializing source: manifest unknown' >&2; exit 125;; esac";
        program(folder.path(), "podman", script);
        let image = format!("ghcr.io/acme/web@sha256:{}", "0".repeat(64));
        let error = Engines::default().provide(&[folder.path().to_owned()], &image).await.unwrap_err();
        let problem = Problem::from(error);
        assert_eq!(problem.code, Code::ImageNotFetched);
        assert!(problem.message.contains("initializing source: manifest unknown"), "{}", problem.message);
    }
}
