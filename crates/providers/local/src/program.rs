//! What is started: which file, in which folder, with which environment, as which user.
//!
//! Nothing is inherited from Freehold. A program's environment consists of
//!
//! | variable | value |
//! |---|---|
//! | `PATH` | `/usr/local/bin:/usr/bin:/bin` |
//! | `HOME`, `TMPDIR` | folders of the stack's own, the only ones that it may count on to be writable |
//! | `LANG` | `C.UTF-8` |
//! | `HOST`, `PORT` | where to listen (services that take requests) |
//! | `FREEHOLD_STACK`, `_STEP`, `_RESOURCE`, `_INSTANCE`, `_PLATFORM` | the mark of what Freehold started |
//!
//! and of what the definition says, which wins over all but `PORT` and the marks. It is started in the artifact's folder, which is
//! read-only, or in `HOME` if it has none.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use freehold_engine::{Context, ProviderError, Revealed};
use freehold_graph::{ResourceId, SecretText, Value};
use tokio::process::{Child, Command};

use crate::artifact::ArtifactHash;
use crate::failure;
use crate::machine::Machine;
use crate::process;

const SEARCH_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A program that is ready to be started.
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) folder: PathBuf,
    pub(crate) environment: BTreeMap<String, SecretText>,
    pub(crate) user: Option<u32>,
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
        port: Option<u16>,
    ) -> Result<Self, ProviderError> {
        let user = machine.prepare(context.stack)?;
        let mut environment = environment(machine, context, mark, body).await?;
        if let Some(port) = port {
            environment.insert("PORT".to_owned(), SecretText::new(port.to_string()));
        }
        let artifact = artifact(machine, body)?;
        let command: Vec<&str> = body
            .get("command")
            .and_then(Value::as_list)
            .unwrap_or_default()
            .iter()
            .filter_map(Value::as_text)
            .collect();
        let (name, arguments) = command.split_first().ok_or_else(|| {
            ProviderError::rejected(failure::COMMAND_NOT_FOUND, format!("{} has no command", mark.resource))
        })?;
        let search = environment.get("PATH").map_or(SEARCH_PATH, SecretText::reveal);
        Ok(Self {
            path: find(name, artifact.as_deref(), search)?,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            folder: artifact.unwrap_or_else(|| machine.directory.home(context.stack)),
            environment,
            user,
        })
    }

    /// Starts it as the leader of a process group of its own. What it prints goes to `log`.
    pub(crate) fn start(&self, log: &std::fs::File) -> Result<Child, ProviderError> {
        let cannot = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput => {
                failure::refusal(
                    failure::COMMAND_NOT_FOUND,
                    format!("{} can't be started: {error}", self.path.display()),
                    "if it is a script, check its first line; else see that it was built for this machine",
                )
            }
            io::ErrorKind::ExecutableFileBusy | io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => {
                ProviderError::retryable(format!("{} can't be started now: {error}", self.path.display()))
            }
            _ => ProviderError::rejected(
                failure::COMMAND_NOT_FOUND,
                format!("{} can't be started: {error}", self.path.display()),
            ),
        };
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .current_dir(&self.folder)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value.reveal())))
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(cannot)?)
            .stderr(log.try_clone().map_err(cannot)?)
            .process_group(0);
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command.spawn().map_err(cannot)
    }
}

async fn environment(
    machine: &Machine,
    context: &Context,
    mark: &Mark<'_>,
    body: &Value,
) -> Result<BTreeMap<String, SecretText>, ProviderError> {
    let revealed = Revealed::all(context, body).await?;
    let mut environment = BTreeMap::new();
    let mut set = |name: &str, value: String| environment.insert(name.to_owned(), SecretText::new(value));
    set("PATH", SEARCH_PATH.to_owned());
    set("HOME", machine.directory.home(context.stack).display().to_string());
    set("TMPDIR", machine.directory.temporary(context.stack).display().to_string());
    set("LANG", "C.UTF-8".to_owned());
    if body.get("serves") == Some(&Value::Bool(true)) {
        set("HOST", "127.0.0.1".to_owned());
    }
    for (name, value) in body.get("env").and_then(Value::as_map).into_iter().flatten() {
        environment.insert(name.clone(), revealed.text(value)?);
    }
    let mut set = |name: &str, value: String| environment.insert(name.to_owned(), SecretText::new(value));
    set(process::STACK, context.stack.to_string());
    set(process::STEP, format!("{}/{}", context.operation, context.step));
    set(process::RESOURCE, mark.resource.to_string());
    set(process::INSTANCE, mark.instance.to_owned());
    set(process::PLATFORM, machine.platform.to_string());
    Ok(environment)
}

fn artifact(machine: &Machine, body: &Value) -> Result<Option<PathBuf>, ProviderError> {
    let Some(text) = body.get("artifact").and_then(Value::as_text) else { return Ok(None) };
    let hash: ArtifactHash =
        text.parse().map_err(|error| ProviderError::rejected(failure::STEP_FAILED, format!("{error}")))?;
    match machine.artifacts.path(&hash) {
        Some(path) => Ok(Some(path)),
        None => Err(failure::refusal(
            failure::STEP_FAILED,
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
            failure::COMMAND_NOT_FOUND,
            format!("the command {name} can't be executed: {} has no execute permission", path.display()),
            "make it executable (`chmod +x`) and deploy again",
        ));
    }
    let in_artifact = |path: &PathBuf| match artifact.and_then(|artifact| path.strip_prefix(artifact).ok()) {
        Some(inner) => format!("looked for {} in the artifact", inner.display()),
        None => format!("looked for {}", path.display()),
    };
    Err(ProviderError::Rejected {
        code: failure::COMMAND_NOT_FOUND,
        message: format!("the command {name} was not found"),
        detail: candidates.iter().map(in_artifact).collect(),
        help: Some("add it to `artifact` of the service's build, or correct `command`".to_owned()),
    })
}
