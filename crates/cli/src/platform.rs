//! The platform that a command talks to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use freehold::wire::{Stack, Target, TargetKind};
use freehold::{Client, Connection, ConnectionError, default_data_directory};
use freehold_graph::StackKind;
use freehold_problem::Code;
use rustix::process::{Pid, test_kill_process};

use crate::arguments::{OneStack, PlatformArguments};
use crate::report::{CommandError, CommandResult, not_running};

/// How long to wait for a platform that has gone away to come back.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait for one that was stopped: as long as a restart takes.
const RESTART: Duration = Duration::from_secs(10);

/// The kind of target that this machine is.
pub(crate) const LOCAL: &str = "local";

/// A platform and where it was found.
pub(crate) struct Platform {
    /// Every request to it goes through this one.
    pub client: Client,
    /// Its data directory; `None` where its address was given by the environment.
    directory: Option<PathBuf>,
}

/// Runs a command's asynchronous part: one thread is enough for a client.
pub(crate) fn run<T>(work: impl Future<Output = CommandResult<T>>) -> CommandResult<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CommandError::new(Code::Internal, format!("no runtime: {error}")))?;
    let answer = runtime.block_on(work);
    // A thread that reads stdin can't be ended; nobody waits for it.
    runtime.shutdown_background();
    answer
}

/// Where the data directory is.
pub(crate) fn directory(arguments: &PlatformArguments) -> CommandResult<PathBuf> {
    match &arguments.data_dir {
        Some(directory) => Ok(directory.clone()),
        None => Ok(default_data_directory().map_err(freehold::ClientError::from)?),
    }
}

/// Whether a process is there. One of another user counts too; one that has ended doesn't, although its parent has not asked how yet.
pub(crate) fn is_alive(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH)) && !has_ended(pid)
}

/// Whether all that is left of a process is its exit status.
fn has_ended(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    // The state follows the name, which is in parentheses and may contain anything.
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

/// How the platform on a data directory is reached; an error if it isn't running, whatever it may have left.
pub(crate) fn connection(directory: &Path) -> CommandResult<Connection> {
    match Connection::read(directory) {
        Ok(connection) if is_alive(connection.pid) => Ok(connection),
        Ok(_) | Err(ConnectionError::NotRunning(_)) => Err(not_running(directory)),
        Err(error) => Err(freehold::ClientError::from(error).into()),
    }
}

/// Whether the platform on a data directory was stopped on purpose, and has ended: one that was killed leaves word of where it was.
fn is_stopped(directory: &Path) -> bool {
    matches!(Connection::read(directory), Err(ConnectionError::NotRunning(_)))
}

impl Platform {
    /// The one that the arguments or the environment name.
    pub(crate) fn connect(arguments: &PlatformArguments) -> CommandResult<Self> {
        if arguments.data_dir.is_none()
            && let Some(connection) = Connection::from_environment().map_err(freehold::ClientError::from)?
        {
            return Ok(Self { client: Client::to(connection)?, directory: None });
        }
        let directory = directory(arguments)?;
        let client = Client::to(connection(&directory)?)?;
        Ok(Self { client, directory: Some(directory) })
    }

    /// Tells platforms apart, for what is remembered about them.
    pub(crate) fn identity(&self) -> String {
        match &self.directory {
            Some(directory) => directory.canonicalize().unwrap_or_else(|_| directory.clone()).display().to_string(),
            None => self.client.connection().url.clone(),
        }
    }

    /// The target of that name.
    pub(crate) async fn target(&self, name: &str) -> CommandResult<Target> {
        let mut targets = self.client.targets().await?;
        match targets.iter().position(|target| target.name == name) {
            Some(at) => Ok(targets.swap_remove(at)),
            None => Err(unknown_target(name, &targets)),
        }
    }

    /// Whether what is deployed there runs from artifacts: on this machine it does, a cluster pulls images. Without a name, the
    /// target that the platform would choose.
    pub(crate) async fn takes_artifacts(&self, target: Option<&str>) -> CommandResult<bool> {
        if let Some(name) = target {
            return Ok(self.target(name).await?.kind == TargetKind::Local);
        }
        let targets = self.client.targets().await?;
        Ok(targets.is_empty() || targets.iter().any(|target| target.kind == TargetKind::Local))
    }

    /// Waits until the platform answers again, wherever it is by then; not for long if somebody has stopped it.
    pub(crate) async fn reconnect(&mut self) -> CommandResult<()> {
        let begin = Instant::now();
        let mut stopped: Option<Instant> = None;
        loop {
            let client = match &self.directory {
                Some(directory) => connection(directory).and_then(|connection| Ok(Client::to(connection)?)),
                None => Ok(self.client.clone()),
            };
            let failure = match client {
                Ok(client) => match client.platform().await {
                    Ok(_) => {
                        self.client = client;
                        return Ok(());
                    }
                    Err(error) => error.into(),
                },
                Err(failure) => failure,
            };
            match self.directory.as_deref().is_some_and(is_stopped) {
                true => drop(stopped.get_or_insert_with(Instant::now)),
                false => stopped = None,
            }
            if begin.elapsed() > PATIENCE || stopped.is_some_and(|since| since.elapsed() > RESTART) {
                return Err(failure);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The stack that is meant; an error that names near ones if there is none, or the apps or targets if there are several.
    pub(crate) async fn find(&self, selection: &OneStack) -> CommandResult<Stack> {
        let Some((kind, name)) = selection.which.selected() else {
            return Err(CommandError::new(Code::BadRequest, "no stack was named"));
        };
        let (app, target) = (selection.app.as_deref(), selection.target.as_deref());
        let mut query = vec![("kind", kind.as_str()), ("name", name)];
        query.extend(app.map(|app| ("app", app)));
        let mut stacks = self.client.stacks(&query).await?;
        stacks.retain(|stack| target.is_none_or(|target| stack.target == target));
        if stacks.is_empty() {
            if let Some(target) = target {
                self.target(target).await?;
            }
            return Err(unknown(kind, name, app, target, &self.client.stacks(&[]).await?));
        }
        one(kind, name, stacks, app_at_hand())
    }
}

/// The only one, or the only one of the app whose definition is at hand.
fn one(kind: StackKind, name: &str, mut stacks: Vec<Stack>, here: Option<String>) -> CommandResult<Stack> {
    let of = |part: fn(&Stack) -> &String, stacks: &[Stack]| -> BTreeSet<String> {
        stacks.iter().map(|stack| part(stack).clone()).collect()
    };
    if let Some(app) = here.filter(|app| stacks.iter().any(|stack| stack.app == *app)) {
        stacks.retain(|stack| stack.app == app);
    }
    let (apps, targets) = (of(|stack| &stack.app, &stacks), of(|stack| &stack.target, &stacks));
    let list = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(", ");
    match (stacks.len(), stacks.pop()) {
        (1, Some(stack)) => Ok(stack),
        _ if apps.len() > 1 => {
            let detail = format!("several apps have a {kind} {name}: {}", list(apps));
            Err(CommandError::new(Code::BadRequest, detail).help("choose one with --app NAME"))
        }
        _ => {
            let detail = format!("the {kind} {name} is on several targets: {}", list(targets));
            Err(CommandError::new(Code::BadRequest, detail).help("choose one with --target NAME"))
        }
    }
}

/// There is no such target; perhaps another one was meant.
fn unknown_target(name: &str, targets: &[Target]) -> Box<CommandError> {
    let failure = CommandError::new(Code::UnknownTarget, format!("there is no target {name}"));
    match freehold_spec::nearest(name, targets.iter().map(|target| target.name.as_str())) {
        Some(near) => failure.help(format!("did you mean {near}?")),
        None => failure.help("`freehold target list` shows what there is, `freehold target add` adds a cluster"),
    }
}

/// The app whose definition is in the current folder, whether it has errors or not.
pub(crate) fn app_at_hand() -> Option<String> {
    let definition = crate::definition::find(None).ok().flatten()?;
    definition.app.map(|app| app.name.value.to_string())
}

/// There is no such stack; perhaps another one was meant.
fn unknown(
    kind: StackKind,
    name: &str,
    app: Option<&str>,
    target: Option<&str>,
    stacks: &[Stack],
) -> Box<CommandError> {
    let of = app.map(|app| format!(" of {app}")).unwrap_or_default();
    let on = target.map(|target| format!(" on {target}")).unwrap_or_default();
    let failure = CommandError::new(Code::NotFound, format!("there is no {kind} {name}{of}{on}"));
    let elsewhere = stacks.iter().find(|stack| stack.kind == kind && stack.name == name);
    if let Some(stack) = elsewhere.filter(|stack| target.is_some_and(|target| stack.target != target)) {
        return failure.help(format!("there is one on {0}: --target {0}", stack.target));
    }
    let near = freehold_spec::nearest(name, stacks.iter().map(|stack| stack.name.as_str()));
    match near.and_then(|near| stacks.iter().find(|stack| stack.name == near)) {
        Some(stack) if stack.name == name => failure
            .help(format!("there is a {} of that name, of {}: --{} {}", stack.kind, stack.app, stack.kind, stack.name)),
        Some(stack) => failure.help(format!("did you mean --{} {}?", stack.kind, stack.name)),
        None => failure.help("`freehold list` shows what there is"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freehold_graph::StackKind;

    fn stack(name: &str) -> Stack {
        let now = chrono::DateTime::UNIX_EPOCH;
        Stack {
            id: uuid::Uuid::nil(),
            target: "local".to_owned(),
            app: "guestbook".to_owned(),
            kind: StackKind::Tenant,
            name: name.to_owned(),
            state: "ready".into(),
            generation: 1,
            revision: Some(1),
            tier: None,
            stage: None,
            artifacts: Default::default(),
            outputs: serde_json::Value::Null,
            created_at: now,
            updated_at: now,
            operation: None,
            failed: None,
            waits: Vec::new(),
            resources: Vec::new(),
            serving: Vec::new(),
            not_enforced: Vec::new(),
            unreadable: None,
        }
    }

    #[test]
    fn a_misspelt_stack_is_answered_with_the_nearest_name() {
        let failure = unknown(StackKind::Tenant, "amce", None, None, &[stack("globex"), stack("acme")]);
        assert_eq!(failure.problem.help.as_deref(), Some("did you mean --tenant acme?"));
        let failure = unknown(StackKind::Tenant, "zzz", None, None, &[stack("acme")]);
        assert_eq!(failure.problem.help.as_deref(), Some("`freehold list` shows what there is"));
    }

    #[test]
    fn a_stack_that_is_on_another_target_is_named_with_it() {
        let failure = unknown(StackKind::Tenant, "acme", None, Some("prod"), &[stack("acme")]);
        assert_eq!(failure.problem.detail, "there is no tenant acme on prod");
        assert_eq!(failure.problem.help.as_deref(), Some("there is one on local: --target local"));
    }

    #[test]
    fn of_several_stacks_of_a_name_one_has_to_be_chosen() {
        let on = |app: &str, target: &str| Stack { app: app.to_owned(), target: target.to_owned(), ..stack("acme") };
        let both = vec![on("guestbook", "local"), on("guestbook", "prod")];
        let failure = one(StackKind::Tenant, "acme", both.clone(), None).unwrap_err();
        assert_eq!(failure.problem.detail, "the tenant acme is on several targets: local, prod");
        let apps = vec![on("board", "prod"), on("guestbook", "local")];
        let failure = one(StackKind::Tenant, "acme", apps.clone(), None).unwrap_err();
        assert_eq!(failure.problem.help.as_deref(), Some("choose one with --app NAME"));
        assert_eq!(one(StackKind::Tenant, "acme", apps, Some("board".to_owned())).unwrap().target, "prod");
    }

    #[test]
    fn a_stack_of_another_kind_is_named_with_its_flag() {
        let failure = unknown(StackKind::Stage, "acme", None, None, &[stack("acme")]);
        assert!(failure.problem.help.as_deref().is_some_and(|help| help.ends_with("--tenant acme")));
    }

    #[test]
    fn a_platform_that_was_killed_may_come_back_by_itself_and_one_that_was_stopped_does_not() {
        let directory = tempfile::tempdir().unwrap();
        assert!(is_stopped(directory.path()));
        let connection = serde_json::json!({ "url": "http://127.0.0.1:1", "token": "", "pid": i32::MAX });
        std::fs::write(directory.path().join(freehold::CONNECTION_FILE), connection.to_string()).unwrap();
        assert!(!is_stopped(directory.path()));
    }

    #[test]
    fn a_process_that_is_gone_is_not_alive() {
        assert!(is_alive(std::process::id()));
        assert!(!is_alive(i32::MAX as u32));
        assert!(!is_alive(0));
        // Its parent doesn't ask how it has ended.
        let mut ended = std::process::Command::new("true").stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut nothing = String::new();
        std::io::Read::read_to_string(&mut ended.stdout.take().unwrap(), &mut nothing).unwrap();
        let limit = Instant::now() + Duration::from_secs(60);
        while is_alive(ended.id()) {
            assert!(Instant::now() < limit, "a zombie is taken for a process that runs");
            std::thread::yield_now();
        }
        ended.wait().unwrap();
    }
}
