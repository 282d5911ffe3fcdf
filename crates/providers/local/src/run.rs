//! Runs of jobs: once for each stack, revision and job.
//!
//! A run's directory says all there is to know of it, and [`crate::supervise`] is who writes it:
//!
//! | `started.json` | `status.json` | lock | |
//! |---|---|---|---|
//! | no | no | free | nothing has happened: a supervisor is started |
//! | any | no | held | it is running: wait |
//! | any | yes | any | it has ended: this is the outcome |
//! | yes | no | free | nobody knows; the job's own processes are waited for first, if any are left |
//!
//! An unknown outcome stops and asks, unless the job says `retry = "safe"`: then the traces are put aside and it runs again.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use freehold_engine::backoff::Backoff;
use freehold_engine::{Context, Performed, ProviderError};
use freehold_graph::{ResourceId, Run, StackId, StackKey, Value};
use freehold_problem::{Code, Problem};
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::Instant;
use uuid::Uuid;

use crate::directory;
use crate::exhaustion::is_exhaustion;
use crate::failure;
use crate::launch::{named_ports, seconds};
use crate::log::{Log, prune};
use crate::machine::Machine;
use crate::mark::{self, Marked, SUPERVISOR};
use crate::membership::{Members, end_all};
use crate::process::out_of_memory;
use crate::process_id::ProcessId;
use crate::program::{Holding, Listening, Mark, Program};
use crate::readiness::{self, SHOWN_LINES};
use crate::supervise::{Assignment, End, ExitReport, LOCK, STARTED, STATUS, Started, TETHERED};

/// How often a run's folder is read while it goes on.
const POLL: Backoff = Backoff::by_half(Duration::from_millis(5), LONGEST_LOOK);
const LONGEST_LOOK: Duration = Duration::from_millis(100);
/// How many earlier revisions' runs are kept on record.
const KEPT: usize = 10;
/// How often a supervisor that did nothing is followed by another.
const ATTEMPTS: u32 = 3;
/// The part of the time that is left before a deadline in which to answer.
const SLACK: Duration = Duration::from_millis(200);

/// One run: where it is written down, and what is to be run.
pub(crate) struct RunOnce<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) context: &'a Context,
    /// `job.migrate`, `schedule.digest`.
    pub(crate) id: &'a ResourceId,
    pub(crate) body: &'a Value,
    pub(crate) folder: PathBuf,
    /// What its log is called: the revision, or the time that it was due.
    pub(crate) name: String,
    /// It may run again if nobody knows how it ended.
    pub(crate) safe: bool,
}

/// Does a step's run.
pub(crate) async fn perform(machine: &Machine, context: &Context, run: &Run) -> Result<Performed, ProviderError> {
    let folder = machine.directory.runs(context.stack, &context.revision.to_string());
    let folder = folder.join(directory::component(run.id.name()));
    let safe = run.body.get("retry").and_then(Value::as_text) == Some("safe");
    let name = context.revision.to_string();
    let once = RunOnce { machine, context, id: &run.id, body: &run.body, folder, name, safe };
    let outcome = once.outcome().await?;
    if let Err(error) = forget_old(&machine.directory.all_runs(context.stack), context.revision) {
        tracing::warn!(stack = %context.stack, %error, "the records of old runs could not be removed");
    }
    judge(&context.key, &run.id, &outcome).await
}

/// Removes the records of revisions' runs but for the last ones. A revision runs its jobs while it is the newest, and never again.
fn forget_old(folder: &Path, revision: u64) -> io::Result<()> {
    let number = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u64>().ok());
    let mut old: Vec<(u64, PathBuf)> = directory::entries(folder)?
        .into_iter()
        .filter_map(|path| Some((number(&path)?, path)))
        .filter(|(of, _)| *of < revision)
        .collect();
    old.sort();
    for (_, path) in old.iter().take(old.len().saturating_sub(KEPT)) {
        let supervised =
            directory::entries(path)?.iter().map(|run| is_supervised(run)).collect::<io::Result<Vec<_>>>()?;
        if !supervised.contains(&true) {
            directory::remove(path)?;
        }
    }
    Ok(())
}

/// What a run's outcome means for its step.
async fn judge(key: &StackKey, id: &ResourceId, outcome: &ExitReport) -> Result<Performed, ProviderError> {
    let after = readiness::seconds(Duration::from_millis(outcome.milliseconds));
    let name = id.name();
    let how = match &outcome.end {
        End::Exited(0) => return Ok(Performed::default()),
        End::Exited(code) => format!("exit code {code} after {after}"),
        End::Signalled(signal) => format!("ended by signal {signal} after {after}"),
        End::TimedOut => format!("ended because it took longer than it may, after {after}"),
        End::OutOfMemory(limit) => format!("{}, after {after}", out_of_memory(*limit)),
        End::Cancelled => {
            let message = format!("job {name} was ended on request after {after}");
            return Err(ProviderError::rejected(Code::Cancelled, message));
        }
        End::NotStarted(message) => {
            return Err(ProviderError::rejected(Code::CommandNotFound, format!("job {name}: {message}")));
        }
    };
    Err(ProviderError::from(
        Problem::new(Code::JobFailed, format!("job {name} failed, so the new version was not started\n{how}"))
            .lines(Log::at(outcome.log.clone()).last(SHOWN_LINES).await)
            .help(format!("fix it and deploy again; its log: `freehold logs {} --job {name}`", key.option())),
    ))
}

impl RunOnce<'_> {
    /// Starts the run, or waits for it, or tells how it ended.
    pub(crate) async fn outcome(&self) -> Result<ExitReport, ProviderError> {
        let mut supervisor: Option<Child> = None;
        let mut attempts = 0;
        let mut pause = POLL.waits();
        loop {
            // Asked before looking at what is written: if nobody holds the lock, nothing more will be written.
            let supervised = is_supervised(&self.folder).map_err(|error| self.unreadable(&error))?;
            if let Some(outcome) = self.read::<ExitReport>(STATUS)? {
                if let Some(mut supervisor) = supervisor {
                    // It ends now; waiting for it leaves no zombie.
                    let _ = tokio::time::timeout(SLACK, supervisor.wait()).await;
                }
                return Ok(outcome);
            }
            let ours_ended = match supervisor.as_mut() {
                Some(child) => child.try_wait().map_err(|error| self.unreadable(&error))?.is_some(),
                None => true,
            };
            if !supervised && ours_ended {
                supervisor = None;
                match self.read::<Started>(STARTED)? {
                    None if attempts < ATTEMPTS => {
                        attempts += 1;
                        supervisor = Some(self.start().await?);
                    }
                    None => {
                        return Err(ProviderError::retryable(
                            Code::NotNow,
                            format!("{} could not be started", self.id),
                        ));
                    }
                    // It was written under the lock, after we had looked: look again.
                    Some(_) if self.is_decided()? => {}
                    Some(started) if !self.wait_for_orphans(&started).await? => {}
                    Some(_) if self.safe => self.put_aside()?,
                    Some(started) => return Err(self.unknown(&started).await),
                }
                continue;
            }
            self.wait(supervisor.as_mut(), pause.take()).await?;
        }
    }

    /// Whether there is a supervisor, or an outcome.
    fn is_decided(&self) -> Result<bool, ProviderError> {
        let supervised = is_supervised(&self.folder).map_err(|error| self.unreadable(&error))?;
        Ok(supervised || self.read::<ExitReport>(STATUS)?.is_some())
    }

    /// Waits for the supervisor if it is our child, else for a while.
    async fn wait(&self, supervisor: Option<&mut Child>, pause: Duration) -> Result<(), ProviderError> {
        let left = self.context.deadline.saturating_duration_since(Instant::now()).saturating_sub(SLACK);
        if left.is_zero() {
            return Err(ProviderError::unknown(Code::NotNow, format!("{} is still running", self.id)));
        }
        match supervisor {
            Some(child) => drop(tokio::time::timeout(left, child.wait()).await),
            None => tokio::time::sleep(pause.min(left)).await,
        }
        Ok(())
    }

    fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, ProviderError> {
        directory::read_json(&self.folder.join(name)).map_err(|error| self.unreadable(&error))
    }

    fn unreadable(&self, error: &io::Error) -> ProviderError {
        failure::file("read", &self.folder, error)
    }

    /// Starts a supervisor and gives it the assignment.
    async fn start(&self) -> Result<Child, ProviderError> {
        let (mut supervisor, _) = self.begin(Listening::default(), &[]).await?;
        if let Some(mut pipe) = supervisor.stdin.take() {
            let _ = pipe.shutdown().await;
        }
        Ok(supervisor)
    }

    /// The same, with a supervisor that ends what it has begun when its standard input does; and the log of it.
    pub(crate) async fn begin_tethered(&self) -> Result<(Child, PathBuf), ProviderError> {
        // Where a service's program would listen: at a free port. Nobody sends a command requests.
        let serves = self.body.get("serves") == Some(&Value::Bool(true));
        let free = || std::net::TcpListener::bind("127.0.0.1:0")?.local_addr().map(|address| address.port());
        let port = serves.then(free).and_then(Result::ok);
        let named = named_ports(self.body).into_iter().filter_map(|name| Some((name, free().ok()?))).collect();
        self.begin(Listening { port, named }, &[TETHERED]).await
    }

    /// Starts a supervisor with its assignment, a line. The pipe to it is still open.
    async fn begin(&self, listening: Listening, tether: &[&str]) -> Result<(Child, PathBuf), ProviderError> {
        let instance = Uuid::new_v4().simple().to_string();
        let mark = Mark { resource: self.id, instance: &instance };
        let program =
            Program::prepare(self.machine, self.context, &mark, self.body, &listening, Holding::Starter).await?;
        let logs = self.machine.directory.logs_of(self.context.stack, &self.id.0);
        let limits = &self.machine.log_limits;
        if let Err(error) = prune(self.machine, self.context.stack, &self.id.0) {
            tracing::warn!(folder = %logs.display(), %error, "old logs could not be removed");
        }
        let log = Log::begin(&logs, &self.name).path().to_owned();
        let assignment = Assignment {
            instance: instance.clone(),
            order: program.order,
            group: self.machine.group(self.context.stack, &instance),
            timeout_seconds: seconds(self.body, "timeout_seconds", 600).as_secs(),
            log: log.clone(),
            log_size: limits.size,
        };
        directory::make(&self.folder, 0o700).map_err(|error| failure::file("make", &self.folder, &error))?;
        let mut child = self.spawn(&instance, tether)?;
        let bytes = assignment.to_bytes();
        let bytes = bytes.map_err(|error| ProviderError::rejected(Code::StepFailed, error.to_string()))?;
        if let Some(pipe) = child.stdin.as_mut() {
            // A supervisor that is gone already shows below.
            let _ = pipe.write_all(&bytes).await;
            let _ = pipe.write_all(b"\n").await;
        }
        Ok((child, log))
    }

    fn spawn(&self, instance: &str, tether: &[&str]) -> Result<Child, ProviderError> {
        let context = self.context;
        Command::new(&self.machine.executable)
            .args(["internal", "supervise", "--directory"])
            .arg(&self.folder)
            .args(tether)
            .env_clear()
            .env(mark::STACK, context.stack.to_string())
            .env(mark::STEP, format!("{}/{}", context.operation, context.step))
            .env(mark::RESOURCE, format!("{SUPERVISOR}{}", self.id))
            // Not the job's instance: what ends the job's processes by their mark must not end the one who tells of it.
            .env(mark::INSTANCE, format!("{SUPERVISOR}{instance}"))
            .env(mark::PLATFORM, self.machine.platform.to_string())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| {
                ProviderError::retryable(
                    Code::NotNow,
                    format!("{} can't be started: {error}", self.machine.executable.display()),
                )
            })
    }

    /// Waits until the processes of a job whose supervisor was killed have ended, and ends them when their time is over. Says whether
    /// none is left now.
    async fn wait_for_orphans(&self, started: &Started) -> Result<bool, ProviderError> {
        let members = Members {
            instance: started.instance.clone(),
            user: self.machine.accounts.known(self.context.stack),
            ancestor: None,
            group: self.machine.group(self.context.stack, &started.instance),
        };
        match members.find() {
            Ok(left) if left.is_empty() => return Ok(true),
            Err(error) if !is_exhaustion(&error) => return Err(self.unreadable(&error)),
            Ok(_) | Err(_) => {}
        }
        let age = chrono::Utc::now().timestamp_millis().saturating_sub(started.at);
        if u64::try_from(age).unwrap_or_default() / 1000 >= started.timeout_seconds {
            end_all(|| members.find(), Instant::now() + Duration::from_secs(10)).await;
        } else {
            self.wait(None, LONGEST_LOOK).await?;
        }
        Ok(false)
    }

    /// Keeps the traces of a run that nobody knows the end of beside, so that it can run again.
    fn put_aside(&self) -> Result<(), ProviderError> {
        let from = self.folder.join(STARTED);
        let to = self.folder.join(format!("lost-{}.json", chrono::Utc::now().timestamp_millis()));
        std::fs::rename(&from, to).map_err(|error| failure::file("rename", &from, &error))
    }

    async fn unknown(&self, started: &Started) -> ProviderError {
        let (name, key) = (self.id.name(), self.context.key.option());
        let message = format!(
            "job {name} was started, and its outcome is unknown: its supervisor was killed, or the machine went down"
        );
        let help = format!(
            "see what it did (`freehold logs {key} --job {name}`); if it may run again, deploy again, or say `retry = \"safe\"` in \
             [job.{name}]"
        );
        let lines = Log::at(started.log.clone()).last(SHOWN_LINES).await;
        Problem::new(Code::RunOutcomeUnknown, message).lines(lines).help(help).into()
    }
}

/// How the processes of a run are found that has been started and whose end isn't written down; `None` of any other.
pub(crate) fn members(machine: &Machine, stack: StackId, folder: &Path) -> io::Result<Option<Members>> {
    if folder.join(STATUS).exists() {
        return Ok(None);
    }
    let started = match directory::read_json::<Started>(&folder.join(STARTED)) {
        Err(error) if directory::is_torn(&error) => None,
        other => other?,
    };
    Ok(started.map(|started| Members {
        group: machine.group(stack, &started.instance),
        user: machine.accounts.known(stack),
        ancestor: None,
        instance: started.instance,
    }))
}

/// Whether a supervisor holds the lock of a run's directory.
pub(crate) fn is_supervised(folder: &Path) -> io::Result<bool> {
    let file = match File::open(folder.join(LOCK)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    // Given back when the file is closed, at the end of this function.
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Ends the runs of a stack that are going on: their supervisors end the jobs, and write down that they did. Whether all have ended by
/// `limit`.
///
/// # Errors
/// The supervisors that run can't be listed.
pub(crate) async fn end_runs(machine: &Machine, stack: StackId, limit: Instant) -> io::Result<bool> {
    end_supervised(machine, stack, |resource| resource.starts_with(SUPERVISOR), limit).await
}

/// Ends the run of one job or schedule.
///
/// # Errors
/// It has not ended by `limit`, which passes; it can't be told which are going on.
pub(crate) async fn end_runs_of(
    machine: &Machine,
    stack: StackId,
    id: &ResourceId,
    limit: Instant,
) -> Result<(), ProviderError> {
    let name = format!("{SUPERVISOR}{id}");
    match end_supervised(machine, stack, |resource| resource == name, limit).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(failure::still_running(&format!("the runs of {id}"))),
        Err(error) => Err(failure::file("read", Path::new("/proc"), &error)),
    }
}

async fn end_supervised(
    machine: &Machine,
    stack: StackId,
    which: impl Fn(&str) -> bool,
    limit: Instant,
) -> io::Result<bool> {
    let supervisor = |mark: &Marked| mark.stack == stack && mark.resource.as_deref().is_some_and(&which);
    let mut told: Vec<ProcessId> = Vec::new();
    loop {
        match machine.marked() {
            Ok(found) => {
                let left: Vec<ProcessId> =
                    found.into_iter().filter(|mark| supervisor(mark)).map(|mark| mark.id).collect();
                if left.is_empty() {
                    return Ok(true);
                }
                for process in left {
                    if !told.contains(&process) && process.signal(Signal::TERM).is_ok() {
                        told.push(process);
                    }
                }
            }
            Err(error) if is_exhaustion(&error) && Instant::now() < limit => {}
            Err(error) => return Err(error),
        }
        if Instant::now() >= limit {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
