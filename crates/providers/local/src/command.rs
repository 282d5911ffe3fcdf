//! Commands that somebody runs in a stack's environment and waits for.
//!
//! A command is supervised as the run of a job is, and on a tether: its supervisor ends it when this process lets go of the pipe, or dies.
//! What it prints goes to a file, which is read from here. File and record are removed with its end, by its supervisor if this process is
//! gone. What both leave behind because both were killed is removed at the next start ([`sweep`]).

use std::path::PathBuf;
use std::time::Duration;

use freehold_engine::backoff::Backoff;
use freehold_engine::capability::{CommandEvent, CommandEvents, CommandRequest};
use freehold_engine::{ProviderError, Utf8Pieces};
use freehold_graph::{ResourceId, StackId, Value};
use freehold_problem::Code;
use futures::StreamExt;
use tokio::process::Child;
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::{Instant, sleep, timeout};

use crate::directory;
use crate::failure;
use crate::log::Output;
use crate::machine::Machine;
use crate::membership::end_all;
use crate::process::out_of_memory;
use crate::run::{self, RunOnce};
use crate::supervise::{End, ExitReport, STATUS};

/// The folder of a stack's commands among its runs.
const COMMANDS: &str = "commands";
/// How often the output is looked at.
const LOOK: Backoff = Backoff::by_half(Duration::from_millis(5), Duration::from_millis(50));
/// How much output is kept for whoever doesn't take it.
const WAITING: usize = 4;
/// How long a supervisor may take to end its command: longer than the command itself may.
const ENDING: Duration = Duration::from_secs(40);
/// How long what is left after that may take.
const LEFT: Duration = Duration::from_secs(5);

/// What shells say of a command that took longer than it may.
const TOO_LONG: i32 = 124;
/// The number of SIGKILL, and of SIGTERM.
const KILL: i32 = 9;
const TERM: i32 = 15;

/// Starts a command.
pub(crate) async fn start(machine: &Machine, request: CommandRequest) -> Result<CommandEvents, ProviderError> {
    let CommandRequest { context, run, timeout } = request;
    let name = context.operation.0.simple().to_string();
    let id = ResourceId::new("command", &name);
    let seconds = Value::from(timeout.as_secs());
    let fields = run.body.as_map().cloned().unwrap_or_default().into_iter();
    let body = Value::Map(fields.chain([("timeout_seconds".to_owned(), seconds)]).collect());
    let stack = context.stack;
    let folder = machine.directory.runs(stack, COMMANDS).join(&name);
    let logs = machine.directory.logs_of(stack, &id.0);
    let once = RunOnce { machine, context: &context, id: &id, body: &body, folder: folder.clone(), name, safe: false };
    let command = Command { machine: machine.clone(), stack, folder, logs };
    let (supervisor, log) = match once.begin_tethered().await {
        Ok(begun) => begun,
        Err(error) => {
            command.remove().await?;
            return Err(error);
        }
    };
    let (sender, mut events) = channel(WAITING);
    tokio::spawn(async move { command.attend(supervisor, Output::of(log), &sender).await });
    Ok(futures::stream::poll_fn(move |context| events.poll_recv(context)).boxed())
}

/// Removes what commands have left that were begun before this process. One whose supervisor lives is removed by that.
pub(crate) async fn sweep(machine: &Machine) -> Result<(), ProviderError> {
    let stacks = machine.directory.stacks();
    let unreadable = |error: std::io::Error| failure::file("read", &stacks, &error);
    for path in directory::entries(&stacks).map_err(unreadable)? {
        let stack = path.file_name().and_then(|name| name.to_str()?.parse().ok()).map(StackId);
        let Some(stack) = stack else { continue };
        for folder in directory::entries(&machine.directory.runs(stack, COMMANDS)).map_err(unreadable)? {
            if run::is_supervised(&folder).map_err(unreadable)? {
                continue;
            }
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let logs = machine.directory.logs_of(stack, &ResourceId::new("command", &name).0);
            Command { machine: machine.clone(), stack, folder, logs }.remove().await?;
        }
    }
    Ok(())
}

/// A command that was started.
struct Command {
    machine: Machine,
    stack: StackId,
    folder: PathBuf,
    logs: PathBuf,
}

impl Command {
    /// Passes on what it prints until it has ended, or nobody listens any more; then nothing of it is left.
    async fn attend(
        self,
        mut supervisor: Child,
        mut output: Output,
        events: &Sender<Result<CommandEvent, ProviderError>>,
    ) {
        // Whoever waits for a child closes its standard input first, but for one that isn't with it.
        let tether = supervisor.stdin.take();
        let mut text = Utf8Pieces::default();
        let mut pause = LOOK.waits();
        let printed = loop {
            // Asked first: what it printed before its end is there by now.
            let ended = !matches!(supervisor.try_wait(), Ok(None));
            let reading = tokio::task::spawn_blocking(move || {
                let bytes = output.read();
                (output, bytes)
            });
            let Ok((read, bytes)) = reading.await else { break Err(failure::stopped("reading what a command prints")) };
            output = read;
            match bytes {
                Ok(bytes) if !bytes.is_empty() => {
                    pause = LOOK.waits();
                    if events.send(Ok(CommandEvent::Output(text.add(&bytes)))).await.is_err() {
                        break Ok(());
                    }
                }
                Ok(_) if ended => break Ok(()),
                Ok(_) => {
                    tokio::select! {
                        _exit = supervisor.wait() => {}
                        () = sleep(pause.take()) => {}
                        () = events.closed() => break Ok(()),
                    }
                }
                Err(error) => break Err(failure::file("read", &self.logs, &error)),
            }
        };
        drop(tether);
        let ended = self.end(supervisor).await;
        let rest = text.end();
        if !rest.is_empty() {
            let _ = events.send(Ok(CommandEvent::Output(rest))).await;
        }
        // Whoever doesn't listen any more has ended it.
        let _ = events.send(printed.and(ended)).await;
    }

    /// Ends it, if it goes on, and removes what there is of it.
    async fn end(&self, mut supervisor: Child) -> Result<CommandEvent, ProviderError> {
        let exit = timeout(ENDING, supervisor.wait()).await;
        if exit.is_err() {
            let _ = supervisor.kill().await;
        }
        let report = directory::read_json::<ExitReport>(&self.folder.join(STATUS));
        self.remove().await?;
        match report.map_err(|error| failure::file("read", &self.folder, &error))? {
            Some(report) => ended(report.end),
            // What it had written was removed: with the stack, or because this end had let go.
            None if matches!(exit, Ok(Ok(exit)) if exit.success()) => ended(End::Cancelled),
            None => Ok(CommandEvent::Ended { exit: 128 + KILL, reason: Some("its supervisor was killed".to_owned()) }),
        }
    }

    async fn remove(&self) -> Result<(), ProviderError> {
        let unreadable = |error: std::io::Error| failure::file("read", &self.folder, &error);
        if let Some(members) = run::members(&self.machine, self.stack, &self.folder).map_err(unreadable)?
            && !end_all(|| members.find(), Instant::now() + LEFT).await.all
        {
            return Err(failure::still_running("a command"));
        }
        for path in [&self.folder, &self.logs] {
            directory::remove(path).map_err(|error| failure::file("remove", path, &error))?;
        }
        Ok(())
    }
}

fn ended(end: End) -> Result<CommandEvent, ProviderError> {
    let (exit, reason) = match end {
        End::Exited(code) => (code, None),
        End::Signalled(signal) => (128 + signal, Some(format!("signal {signal}"))),
        End::TimedOut => (TOO_LONG, Some("it took longer than it may".to_owned())),
        End::OutOfMemory(limit) => (128 + KILL, Some(out_of_memory(limit))),
        End::Cancelled => (128 + TERM, Some("ended on request".to_owned())),
        End::NotStarted(message) => return Err(ProviderError::rejected(Code::CommandNotFound, message)),
    };
    Ok(CommandEvent::Ended { exit, reason })
}
