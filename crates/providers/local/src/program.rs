//! What is started: which file, in which folder, with which environment, as which user.
//!
//! Nothing is inherited from Freehold. A program's environment consists of
//!
//! | variable | value |
//! |---|---|
//! | `PATH` | `/usr/local/bin:/usr/bin:/bin` |
//! | `HOME`, `TMPDIR` | folders of the stack's own, the only ones that it may count on to be writable |
//! | `LANG` | `C.UTF-8` |
//! | `HOST`, `PORT`, `PORT_NAME` | where to listen (services that take requests) |
//! | `FREEHOLD_STACK`, `_STEP`, `_RESOURCE`, `_INSTANCE`, `_PLATFORM` | the mark of what Freehold started |
//!
//! and of what the definition says, which wins over all but `PORT` and the marks. It is started in the artifact's folder, which is
//! read-only, or in `HOME` if it has none.
//!
//! A container ([`crate::container`]) has `PATH`, `LANG` and the folder that it is started in from its image, and `TMPDIR` is `/tmp`. Its files
//! are where the definition says.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use freehold_engine::{Context, ProviderError, Revealed};
use freehold_graph::{ArtifactHash, ResourceId, SecretText, StackId, Value};
use freehold_problem::{Code, Problem};
use freehold_spec::Name;
use freehold_spec::app::Port;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::cgroup::Limits;
use crate::container::arguments::{Container, Mount};
use crate::container::engine::Kind;
use crate::container::{self, ContainerOrder, leftovers};
use crate::exhaustion::{self, is_exhaustion};
use crate::failure;
use crate::file;
use crate::instance_record::Held;
use crate::launcher::{self, NotStarted, Order, StopPolicy};
use crate::machine::Machine;
use crate::mark;

const SEARCH_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// How long a job may take to end after SIGTERM.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long a launcher may take to start what it was told to.
const LAUNCH: Duration = Duration::from_secs(120);
/// How much of a launcher's answer is read.
const ANSWER: u64 = 64 << 10;

/// Where programs of images look for a place for temporary files.
const USUAL_TEMPORARY: &str = "/tmp";
/// The most descriptors of a container's programs: what the kernel takes.
const DESCRIPTORS: u64 = 1 << 20;
/// The most processes and threads of a container's user, all together. podman gives itself no more than the kernel has numbers for by default.
const PROCESSES: u64 = 1 << 15;

/// What an argument or a variable may have, with the NUL behind it (`MAX_ARG_STRLEN`).
const LONGEST: usize = 128 << 10;
/// What all of them may have at the most, however large the stack may be: three quarters of the kernel's `_STK_LIM`.
const MOST: usize = 6 << 20;
/// Room for the program's path.
const PATH: usize = 2 * 4096;

/// A program that is ready to be started.
pub(crate) struct Program {
    pub(crate) order: Order,
}

/// How it is seen to that nothing of a program is lost sight of where there are no control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holding {
    /// Its launcher stays as its parent, and ends the rest within this time when it is told to end.
    Launcher(Duration),
    /// Whoever starts it does it himself.
    Starter,
}

/// What is started, and where.
pub(crate) struct Executable {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// The folder that it is started in.
    pub(crate) folder: PathBuf,
    /// What it may read of Freehold's data directory.
    pub(crate) readable: Vec<PathBuf>,
    /// The folders that it may write to, beside its stack's.
    pub(crate) own: Vec<PathBuf>,
}

/// The ports that a program is to listen on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listening {
    /// Its `PORT`.
    pub(crate) port: Option<u16>,
    /// Its named ones: `PORT_NAME`.
    pub(crate) named: BTreeMap<Name, u16>,
}

impl Listening {
    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = u16> {
        self.port.into_iter().chain(self.named.values().copied())
    }

    fn variables(&self) -> impl Iterator<Item = (String, u16)> {
        let named = self.named.iter().map(|(name, port)| (Port::variable(name), *port));
        self.port.map(|port| ("PORT".to_owned(), port)).into_iter().chain(named)
    }
}

/// Who a program is, for its mark.
pub(crate) struct Mark<'a> {
    pub(crate) resource: &'a ResourceId,
    pub(crate) instance: &'a str,
}

impl Program {
    /// From a body's `artifact`, `command` and `env`.
    pub(crate) async fn prepare(
        machine: &Machine,
        context: &Context,
        mark: &Mark<'_>,
        body: &Value,
        listening: &Listening,
        holding: Holding,
    ) -> Result<Self, ProviderError> {
        let user = machine.prepare(context.stack, body)?;
        let revealed = Revealed::all(context, body).await?;
        let mut environment = environment(machine, context, mark, (body, &revealed))?;
        let files = file::place(machine, context, mark.resource, user, (body, &revealed)).await?;
        if let Some(image) = body.get("image").and_then(Value::as_text) {
            environment.extend(variables(listening));
            return Self::contained(machine, context, mark, (body, user), (image, &files), environment, holding).await;
        }
        for value in environment.values_mut() {
            if let Some(place) = files.lead(value.reveal()) {
                *value = SecretText::new(place);
            }
        }
        environment.extend(variables(listening));
        let artifact = artifact(machine, context.stack, user, body).await?;
        let command = command(body);
        let (name, arguments) = command.split_first().ok_or_else(|| {
            ProviderError::rejected(Code::CommandNotFound, format!("{} has no command", mark.resource))
        })?;
        let search = environment.get("PATH").map_or(SEARCH_PATH, SecretText::reveal);
        let program = find(name, artifact.as_deref(), search)?;
        let executable = Executable {
            program,
            arguments: arguments
                .iter()
                .map(|argument| files.lead(argument).unwrap_or((*argument).to_owned()))
                .collect(),
            readable: artifact.iter().cloned().chain(files.folder).collect(),
            folder: artifact.unwrap_or_else(|| machine.directory.home(context.stack)),
            own: Vec::new(),
        };
        Self::with(machine, context, mark, (body, user), executable, environment, holding)
    }

    /// Of a program that is no app's: with the environment that all have, and nothing else in it.
    pub(crate) async fn assemble(
        machine: &Machine,
        context: &Context,
        mark: &Mark<'_>,
        (body, user): (&Value, Option<u32>),
        executable: Executable,
        holding: Holding,
    ) -> Result<Self, ProviderError> {
        let revealed = Revealed::all(context, &Value::Null).await?;
        let environment = environment(machine, context, mark, (&Value::Null, &revealed))?;
        Self::with(machine, context, mark, (body, user), executable, environment, holding)
    }

    fn with(
        machine: &Machine,
        context: &Context,
        mark: &Mark<'_>,
        (body, user): (&Value, Option<u32>),
        executable: Executable,
        environment: BTreeMap<String, SecretText>,
        holding: Holding,
    ) -> Result<Self, ProviderError> {
        let Executable { program, arguments, folder, readable, own } = executable;
        let stay = match holding {
            Holding::Launcher(patience) if machine.separation.groups.is_none() => {
                Some(StopPolicy { patience: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX) })
            }
            Holding::Launcher(_) | Holding::Starter => None,
        };
        let groups = match &machine.separation.groups {
            Some(groups) => groups
                .enter(context.stack, mark.instance, &Limits::read(body))
                .map_err(|error| failure::file("make a control group in", Path::new("/sys/fs/cgroup"), &error))?,
            None => Vec::new(),
        };
        let order = Order {
            program,
            arguments,
            sandbox: machine.sandbox(context.stack, readable, own),
            folder,
            environment: environment.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect(),
            user,
            groups,
            descriptors: crate::descriptors::former(),
            private: machine.private(context.stack),
            stay,
            container: None,
        };
        check_lengths(&order)?;
        Ok(Self { order })
    }

    /// Of an image: with what its stack's processes have, and its own file system around it.
    async fn contained(
        machine: &Machine,
        context: &Context,
        mark: &Mark<'_>,
        (body, user): (&Value, Option<u32>),
        (image, files): (&str, &file::Placed),
        mut environment: BTreeMap<String, SecretText>,
        holding: Holding,
    ) -> Result<Self, ProviderError> {
        let stated = |name: &str| body.get("env").is_some_and(|env| env.get(name).is_some());
        // The image knows better.
        for name in ["PATH", "LANG"].into_iter().filter(|name| !stated(name)) {
            environment.remove(name);
        }
        if !stated("TMPDIR") {
            environment.insert("TMPDIR".to_owned(), SecretText::new(USUAL_TEMPORARY.to_owned()));
        }
        let engine = machine.engines.provide(&machine.search, image).await?;
        leftovers::expect(machine, context.stack)?;
        let groups = machine.separation.groups.as_ref().filter(|_| engine.makes_groups);
        let limits = Limits::read(body);
        if let Some(groups) = groups {
            groups
                .enter(context.stack, mark.instance, &limits)
                .map_err(|error| failure::file("make a control group in", Path::new("/sys/fs/cgroup"), &error))?;
        }
        // Where all run as one user nothing of it is limited, as of processes.
        let limited = groups.is_none() && user.is_some();
        let (home, temporary) = (machine.directory.home(context.stack), machine.directory.temporary(context.stack));
        let written =
            body.get("writable").and_then(Value::as_list).unwrap_or_default().iter().filter_map(Value::as_text);
        let places = files.places().map(|(path, _)| path).chain(written);
        if let Some(place) = places.into_iter().find(|place| Path::new(place).starts_with(&home)) {
            // Its programs could put links there while root makes what is mounted.
            return Err(failure::not_for_containers(&format!("{place} is in the stack's own folder")));
        }
        let sockets = machine.sockets.iter().map(|folder| Mount {
            source: folder.clone(),
            place: folder.clone(),
            read_only: true,
        });
        let files =
            files.places().map(|(path, place)| Mount { source: place.into(), place: path.into(), read_only: true });
        let own = |source: &Path, place: &Path| Mount { source: source.into(), place: place.into(), read_only: false };
        let folders = [own(&home, &home), own(&temporary, Path::new(USUAL_TEMPORARY))];
        let writable = body.get("writable").and_then(Value::as_list).unwrap_or_default().iter();
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let container = Container {
            name: container::name(mark.instance),
            platform: machine.platform.to_string(),
            stack: context.stack.to_string(),
            instance: mark.instance.to_owned(),
            image: image.to_owned(),
            command: body.get("command").map(|_| command(body).into_iter().map(str::to_owned).collect()),
            user: user.map_or((uid, gid), |user| (user, user)),
            rootless: uid != 0,
            mounts: folders.into_iter().chain(sockets).chain(files).collect(),
            writable: writable.filter_map(Value::as_text).map(PathBuf::from).collect(),
            parent: groups.map(|groups| groups.parent(context.stack, mark.instance)),
            descriptors: limit(Resource::Nofile, crate::descriptors::former(), DESCRIPTORS),
            processes: limit(Resource::Nproc, None, PROCESSES),
            tasks: limited.then_some(machine.tasks),
            memory: limits.memory.filter(|_| limited),
            cpu: limits.cpu.filter(|_| limited),
        };
        let patience = match holding {
            Holding::Launcher(patience) => patience,
            Holding::Starter => PATIENCE,
        };
        let container = ContainerOrder {
            arguments: container.create(engine.kind).map_err(|why| failure::not_for_containers(&why))?,
            name: container.name,
            image: image.to_owned(),
            patience: patience.as_secs(),
            engine: (*engine).clone(),
        };
        let order = Order {
            program: engine.path().to_owned(),
            arguments: Vec::new(),
            folder: home,
            environment: environment.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect(),
            user,
            groups: Vec::new(),
            descriptors: None,
            private: None,
            sandbox: None,
            stay: None,
            container: Some(container),
        };
        if let Some(why) = container::unsuitable(&order.environment) {
            return Err(failure::not_for_containers(&why));
        }
        Ok(Self { order })
    }

    /// By what its processes are found.
    pub(crate) fn held(&self) -> Held {
        match &self.order.container {
            Some(container) if container.is_in_group() => Held::Group,
            // Its processes descend from whoever looks after it.
            Some(container) if container.engine.kind == Kind::Podman => Held::Launcher,
            Some(_) => Held::Mark,
            None if self.order.stay.is_some() => Held::Launcher,
            None => Held::Group,
        }
    }

    /// Starts it through a launcher, which is `executable`, as the leader of a session of its own. What it prints goes to `log`.
    pub(crate) async fn start(&self, executable: &Path, log: &File) -> Result<Child, ProviderError> {
        let (mut child, ours) = self.launch(executable, log).map_err(|error| self.unavailable(&error))?;
        let answer = match tokio::time::timeout(LAUNCH, self.hand_over(ours)).await {
            Ok(Ok(None)) => return Ok(child),
            Ok(Ok(Some(answer))) => answer,
            // Nobody would look after it.
            Ok(Err(error)) => return Err(self.given_up(child, &error).await),
            Err(_elapsed) => return Err(self.given_up(child, &io::ErrorKind::TimedOut.into()).await),
        };
        let _ = child.wait().await;
        let error = answer.errno.map_or_else(|| io::Error::other(answer.message.clone()), io::Error::from_raw_os_error);
        Err(self.not_started(&error, &answer))
    }

    fn unavailable(&self, error: &io::Error) -> ProviderError {
        ProviderError::retryable(
            Code::NotNow,
            format!("{} can't be started now: {}", self.path().display(), exhaustion::words(error)),
        )
    }

    async fn given_up(&self, mut child: Child, error: &io::Error) -> ProviderError {
        let _ = child.kill().await;
        self.unavailable(error)
    }

    fn launch(&self, executable: &Path, log: &File) -> io::Result<(Child, UnixStream)> {
        let (ours, theirs) = launcher::channel()?;
        let mut command = Command::new(executable);
        command
            .args(["internal", "launch"])
            .current_dir("/")
            .env_clear()
            .envs(self.marks())
            .stdin(Stdio::from(theirs))
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?)
            // What ends Freehold from its terminal is not for those that it starts.
            .process_group(0);
        // Its end of the socket is the launcher's alone once this is dropped.
        Ok((command.spawn()?, ours))
    }

    /// Gives a launcher its order; returns why it could not carry it out, if so.
    async fn hand_over(&self, mut ours: UnixStream) -> io::Result<Option<NotStarted>> {
        let bytes = self.order.to_bytes()?;
        // One that ends before it has read everything is told by its exit.
        let _ = ours.write_all(&bytes).await;
        let _ = ours.shutdown().await;
        let mut answer = Vec::new();
        let _ = (&mut ours).take(ANSWER).read_to_end(&mut answer).await;
        Ok(serde_json::from_slice(&answer).ok())
    }

    /// The launcher's own environment: the program's marks and nothing else of it, since that could make the launcher load its code.
    fn marks(&self) -> Vec<(&str, String)> {
        let names = [mark::STACK, mark::STEP, mark::RESOURCE, mark::INSTANCE, mark::PLATFORM];
        let marks = names.into_iter().filter_map(|name| Some((name, self.order.environment.get(name)?.clone())));
        let stays = self.order.stay.is_some() || self.order.container.is_some();
        marks
            .map(|(name, value)| match name {
                mark::RESOURCE if stays => (name, format!("{}{value}", mark::LAUNCHER)),
                _ => (name, value),
            })
            .collect()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.order.program
    }

    fn not_started(&self, error: &io::Error, answer: &NotStarted) -> ProviderError {
        let path = self.path().display();
        if is_exhaustion(error) || error.kind() == io::ErrorKind::ExecutableFileBusy {
            return self.unavailable(error);
        }
        if let Some(container) = &self.order.container {
            return failure::refusal(
                Code::ContainerNotStarted,
                format!("{} can't run the image {}: {error}", container.engine.kind.program(), container.image),
                "see that the image has the program and is made for this machine, then deploy again",
            );
        }
        if !answer.program {
            return failure::refusal(
                Code::StepFailed,
                format!("{path} can't be started in isolation from the others: {}", answer.message),
                "nothing was started; `freehold doctor` says what this machine can enforce",
            );
        }
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput => {
                failure::refusal(
                    Code::CommandNotFound,
                    format!("{path} can't be started: {error}"),
                    "if it is a script, check its first line; else see that it was built for this machine",
                )
            }
            _ => ProviderError::rejected(Code::CommandNotFound, format!("{path} can't be started: {error}")),
        }
    }
}

/// The variables that say where to listen.
fn variables(listening: &Listening) -> impl Iterator<Item = (String, SecretText)> {
    listening.variables().map(|(name, port)| (name, SecretText::new(port.to_string())))
}

/// Program and arguments of a body.
fn command(body: &Value) -> Vec<&str> {
    body.get("command").and_then(Value::as_list).unwrap_or_default().iter().filter_map(Value::as_text).collect()
}

/// What a container's limit is, soft and hard: no more than ours.
fn limit(resource: Resource, soft: Option<u64>, most: u64) -> (u64, u64) {
    let hard = getrlimit(resource).maximum.unwrap_or(most).min(most);
    (soft.unwrap_or(most).min(hard), hard)
}

/// Refuses what the kernel would refuse in the new process, where its answer doesn't say what is too long.
fn check_lengths(order: &Order) -> Result<(), ProviderError> {
    // As `exec` counts: each with the NUL behind it, and a pointer to it.
    let variables = || order.environment.iter().map(|(name, value)| (name, name.len() + value.len() + 2));
    let arguments = || order.arguments.iter().map(|argument| argument.len() + 1);
    let longest = (variables().max_by_key(|(_, bytes)| *bytes), arguments().max().unwrap_or_default());
    let count = order.environment.len() + order.arguments.len() + 1;
    let all = variables().map(|(_, bytes)| bytes).sum::<usize>() + arguments().sum::<usize>();
    let stack = getrlimit(Resource::Stack).current.map_or(MOST, |bytes| usize::try_from(bytes / 4).unwrap_or(MOST));
    let what = match longest {
        (Some((name, bytes)), _) if bytes > LONGEST => {
            format!(
                "{name} is {} KiB long with what its references come to, and a variable ends at 128 KiB",
                bytes >> 10
            )
        }
        (_, bytes) if bytes > LONGEST => format!("an argument is {} KiB long, and one ends at 128 KiB", bytes >> 10),
        _ if all + count * size_of::<usize>() + PATH > stack.clamp(LONGEST, MOST) => {
            format!("its arguments and variables are {} KiB together, more than the kernel takes", all >> 10)
        }
        _ => return Ok(()),
    };
    Err(failure::refusal(
        Code::TooLongForProcess,
        format!("{} can't be started: {what}", order.program.display()),
        "put what is that long into a file of the artifact or into the database, then deploy again",
    ))
}

fn environment(
    machine: &Machine,
    context: &Context,
    marks: &Mark<'_>,
    (body, revealed): (&Value, &Revealed),
) -> Result<BTreeMap<String, SecretText>, ProviderError> {
    let mut environment = BTreeMap::new();
    let mut set = |name: &str, value: String| environment.insert(name.to_owned(), SecretText::new(value));
    set("PATH", SEARCH_PATH.to_owned());
    set("HOME", machine.directory.home(context.stack).display().to_string());
    set("TMPDIR", machine.directory.temporary(context.stack).display().to_string());
    set("LANG", "C.UTF-8".to_owned());
    if body.get("serves") == Some(&Value::Bool(true)) || body.get("ports").is_some() {
        set("HOST", "127.0.0.1".to_owned());
    }
    for (name, value) in body.get("env").and_then(Value::as_map).into_iter().flatten() {
        environment.insert(name.clone(), revealed.text(value)?);
    }
    let mut set = |name: &str, value: String| environment.insert(name.to_owned(), SecretText::new(value));
    set(mark::STACK, context.stack.to_string());
    set(mark::STEP, format!("{}/{}", context.operation, context.step));
    set(mark::RESOURCE, marks.resource.to_string());
    set(mark::INSTANCE, marks.instance.to_owned());
    set(mark::PLATFORM, machine.platform.to_string());
    Ok(environment)
}

async fn artifact(
    machine: &Machine,
    stack: StackId,
    user: Option<u32>,
    body: &Value,
) -> Result<Option<PathBuf>, ProviderError> {
    let Some(text) = body.get("artifact").and_then(Value::as_text) else { return Ok(None) };
    let hash: ArtifactHash =
        text.parse().map_err(|error| ProviderError::rejected(Code::StepFailed, format!("{error}")))?;
    match machine.artifacts.path(&hash) {
        Some(path) => {
            let machine = machine.clone();
            let sharing = tokio::task::spawn_blocking(move || machine.share(stack, user, path));
            let shared = sharing.await.map_err(|_| failure::stopped("laying out an artifact"))?;
            shared.map(Some).map_err(|error| failure::file("lay out", Path::new(hash.digits()), &error))
        }
        None => Err(failure::refusal(
            Code::StepFailed,
            format!("the artifact {hash} is not on this machine"),
            "deploy from the sources again, which builds and sends it",
        )),
    }
}

/// Finds a program: with a slash in the artifact's folder (or anywhere, if absolute), without one there and then on `PATH`.
fn find(name: &str, artifact: Option<&Path>, search: &str) -> Result<PathBuf, ProviderError> {
    let candidates: Vec<PathBuf> = if Path::new(name).is_absolute() {
        vec![PathBuf::from(name)]
    } else {
        let on_path = search.split(':').filter(|folder| !folder.is_empty()).map(|folder| Path::new(folder).join(name));
        let on_path = on_path.filter(|_| !name.contains('/'));
        artifact.map(|artifact| artifact.join(name)).into_iter().chain(on_path).collect()
    };
    let is_file = |path: &&PathBuf| path.is_file();
    let executable =
        |path: &&PathBuf| path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    if let Some(path) = candidates.iter().find(executable) {
        return Ok(path.clone());
    }
    if let Some(path) = candidates.iter().find(is_file) {
        return Err(failure::refusal(
            Code::CommandNotFound,
            format!("the command {name} can't be executed: {} has no execute permission", path.display()),
            "make it executable (`chmod +x`) and deploy again",
        ));
    }
    let in_artifact = |path: &PathBuf| match artifact.and_then(|artifact| path.strip_prefix(artifact).ok()) {
        Some(inner) => format!("looked for {} in the artifact", inner.display()),
        None => format!("looked for {}", path.display()),
    };
    Err(ProviderError::from(
        Problem::new(Code::CommandNotFound, format!("the command {name} was not found"))
            .lines(candidates.iter().map(in_artifact).collect())
            .help("add it to `artifact` of the service's build, or correct `command`"),
    ))
}
