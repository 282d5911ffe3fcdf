//! The launcher of a container: it has it made, waits for its end, and leaves nothing of it.
//!
//! ```text
//!   create ─► start ─► wait for its end ─────────────► ask how it ended ─► remove ─► end like it
//!                        └─ SIGTERM: stop, then kill ─────┘
//! ```
//!
//! podman leaves a `conmon` behind, which becomes this process's child, and through it the program. docker's are its daemon's; there
//! the client that passes on what the program prints is the child.

use std::io::{self, Write as _};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Signal, set_child_subreaper};
use tokio::process::Child;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

use super::ContainerOrder;
use super::engine::{ACT, ASK, Engine, EngineFailure, Kind};
use crate::process::Process;
use crate::process_id::ProcessId;

/// How often is looked whether a container runs.
const LOOK: Duration = Duration::from_millis(40);
/// How long the engine may take to know that a container has ended.
const KNOWN: Duration = Duration::from_secs(10);
/// What a program ends with that was killed.
const KILLED: u8 = 128 + 9;
/// What a program ends with that was ended before it ran.
const TERMINATED: u8 = 128 + 15;

/// How a container is, as its engine has it.
#[derive(Debug, PartialEq, Eq)]
enum State {
    /// It was made and hasn't run yet.
    Made,
    Running(i32),
    Ended(u8),
}

impl State {
    /// From `running 4711 0`.
    fn read(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let (status, pid, code) = (words.next()?, words.next()?, words.next()?);
        match status {
            "created" | "initialized" | "configured" => Some(Self::Made),
            "running" | "paused" | "stopping" | "restarting" => pid.parse().ok().map(Self::Running),
            "exited" | "stopped" | "dead" | "removing" => {
                // What can't be an exit code is one that nobody knows.
                Some(Self::Ended(code.parse::<i64>().ok().and_then(|code| u8::try_from(code).ok()).unwrap_or(125)))
            }
            _ => None,
        }
    }
}

/// What a launcher does for a container. `started` is called once: with why it could not be started, or when it runs.
pub(crate) async fn run(order: &ContainerOrder, variables: &str, started: impl FnOnce(Option<&str>)) -> ExitCode {
    let heard = signal(SignalKind::terminate());
    let taken = set_child_subreaper(Some(rustix::process::getpid()));
    let mut asked = match (heard, taken) {
        (Ok(asked), Ok(())) => asked,
        (Err(error), _) => return failed(started, &error.to_string()),
        (_, Err(error)) => return failed(started, &error.to_string()),
    };
    let shim = Shim { order, engine: &order.engine };
    let making = async {
        let arguments: Vec<&str> = order.arguments.iter().map(String::as_str).collect();
        shim.engine.call_with(&arguments, Some(variables), ACT).await.map_err(|failure| failure.to_string())?;
        shim.start().await
    };
    let made = tokio::select! {
        made = making => made.map(Some),
        _ = asked.recv() => Ok(None),
    };
    let code = match made {
        Err(why) => {
            shim.remove().await;
            return failed(started, &why);
        }
        Ok(None) => TERMINATED,
        Ok(Some((state, client))) => {
            started(None);
            shim.attend(state, client, &mut asked).await
        }
    };
    shim.remove().await;
    ExitCode::from(code)
}

fn failed(started: impl FnOnce(Option<&str>), why: &str) -> ExitCode {
    started(Some(why));
    ExitCode::from(125)
}

struct Shim<'a> {
    order: &'a ContainerOrder,
    engine: &'a Engine,
}

impl Shim<'_> {
    /// Starts it with our own standard output as its.
    async fn start(&self) -> Result<(State, Child), String> {
        let before = printed();
        let arguments: &[&str] = match self.engine.kind {
            Kind::Podman => &["start", "--attach", "--sig-proxy=false", &self.order.name],
            Kind::Docker => &["start", "--attach", &self.order.name],
        };
        let mut client = self.engine.command(arguments);
        client.stdin(Stdio::null()).stdout(Stdio::inherit()).stderr(Stdio::inherit()).kill_on_drop(true);
        let mut client = client.spawn().map_err(|error| error.to_string())?;
        let limit = Instant::now() + ACT;
        loop {
            // Asked first: what it has ended with is known by then.
            let gone = client.try_wait().ok().flatten();
            match (self.state().await, gone) {
                (Ok(Some(State::Made) | None), Some(exit)) => {
                    let said = said_since(before);
                    return Err(said.unwrap_or_else(|| format!("{} ended with {exit}", self.engine.kind.program())));
                }
                (Ok(Some(state @ (State::Running(_) | State::Ended(_)))), _) => return Ok((state, client)),
                (Ok(Some(State::Made) | None), None) => {}
                (Err(failure), _) => return Err(failure.to_string()),
            }
            if Instant::now() >= limit {
                return Err(EngineFailure::Silent(ACT).to_string());
            }
            sleep(LOOK).await;
        }
    }

    async fn state(&self) -> Result<Option<State>, EngineFailure> {
        let format = "--format={{.State.Status}} {{.State.Pid}} {{.State.ExitCode}}";
        let answer = self.engine.call(&["container", "inspect", format, &self.order.name], ASK).await?;
        Ok(State::read(&answer))
    }

    /// Waits for its end, or brings it about. Returns its exit code.
    async fn attend(&self, state: State, mut client: Child, asked: &mut Signals) -> u8 {
        let mut program = match state {
            State::Running(pid) => ProcessId::of(pid).ok().flatten().and_then(|id| Process::adopt(id).ok().flatten()),
            State::Made | State::Ended(_) => None,
        };
        if self.engine.kind == Kind::Podman {
            // The program writes to the log itself: nothing is left for the client to do.
            end(&mut client).await;
        }
        if let Some(program) = &mut program {
            tokio::select! {
                _exit = program.exited() => {}
                _ = asked.recv() => self.stop(program).await,
            }
        }
        if self.engine.kind == Kind::Docker {
            // What it has printed last.
            let _ = timeout(KNOWN, client.wait()).await;
        }
        let until = Instant::now() + KNOWN;
        loop {
            match self.state().await {
                Ok(Some(State::Ended(code))) => return code,
                _ if Instant::now() >= until => return KILLED,
                _ => sleep(LOOK).await,
            }
        }
    }

    /// Has it ended with the signal that its image asks for; an engine that doesn't is not waited for.
    async fn stop(&self, program: &mut Process) {
        let patience = Duration::from_secs(self.order.patience);
        let seconds = format!("--time={}", self.order.patience);
        let arguments = ["stop", &seconds, &self.order.name];
        let stopping = self.engine.call(&arguments, patience + ACT);
        let overdue = sleep(patience + Duration::from_secs(1));
        tokio::select! {
            _exit = program.exited() => return,
            _stopped = stopping => {}
            () = overdue => {}
        }
        let _ = program.id.signal(Signal::KILL);
        let _ = timeout(KNOWN, program.exited()).await;
    }

    async fn remove(&self) {
        if let Err(failure) = self.engine.remove(&self.order.name).await {
            // Into the program's log. Freehold removes it later, by its label.
            let _ = writeln!(io::stderr(), "freehold: the container {} is not removed yet: {failure}", self.order.name);
        }
    }
}

/// Ends the client of an engine in order: it may be about to write something.
async fn end(client: &mut Child) {
    let id = client.id().and_then(|pid| i32::try_from(pid).ok()).and_then(|pid| ProcessId::of(pid).ok().flatten());
    if let Some(id) = id {
        let _ = id.signal(Signal::TERM);
    }
    if timeout(KNOWN, client.wait()).await.is_err() {
        let _ = client.kill().await;
    }
}

/// How much there is of our own standard error, where that is a file.
fn printed() -> Option<u64> {
    std::fs::metadata("/proc/self/fd/2").ok().filter(std::fs::Metadata::is_file).map(|file| file.len())
}

/// What was written to it since: that is, what the engine said.
fn said_since(before: Option<u64>) -> Option<String> {
    use std::io::{Read, Seek};
    let read = || -> io::Result<String> {
        let mut file = std::fs::File::open("/proc/self/fd/2")?;
        file.seek(io::SeekFrom::Start(before.unwrap_or_default()))?;
        let mut bytes = Vec::new();
        file.take(4096).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    before?;
    let said = read().ok()?;
    let line = said.lines().rfind(|line| !line.trim().is_empty())?;
    Some(line.strip_prefix("Error: ").unwrap_or(line).chars().filter(|letter| !letter.is_control()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_both_engines_are_read() {
        assert_eq!(State::read("running 4711 0"), Some(State::Running(4711)));
        assert_eq!(State::read("initialized 4711 0"), Some(State::Made));
        assert_eq!(State::read("created 0 0"), Some(State::Made));
        assert_eq!(State::read("exited 0 137"), Some(State::Ended(137)));
        assert_eq!(State::read("exited 0 -1"), Some(State::Ended(125)));
        assert_eq!(State::read("unheard-of 0 0"), None);
        assert_eq!(State::read(""), None);
    }
}
