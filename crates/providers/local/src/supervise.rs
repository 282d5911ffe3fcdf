//! The small child that supervises one run of a job: `freehold internal supervise --directory DIR [--tethered]`.
//!
//! It is a process of its own so that a job, and the knowledge of how it ended, outlive Freehold. In this order:
//!
//! ```text
//!   1  take the lock of the run's directory       another supervisor of the same run waits here
//!   2  read the assignment from standard input    cut off: Freehold died while writing; exit, nothing has happened
//!   3  create started.json (exclusively, durable) it is there already: exit, the run is or was another's
//!   4  start the job
//!   5  wait: its end, its time limit, or SIGTERM; tethered also for the end of standard input
//!   6  write status.json (durable, by renaming)
//! ```
//!
//! So a job is started at most once for each directory, whoever is killed when. The outcome is unknown exactly if `started.json` is
//! there, `status.json` is not, and nobody holds the lock: the supervisor itself was killed, or the machine went down.
//!
//! A command that somebody waits for is tethered: its assignment is a line, and the pipe stays open for as long as Freehold lives and wants
//! it. Nobody is left to wait for it after that, so it ends with the pipe, and its record and log are removed.
//!
//! The job's environment contains secrets and comes through the pipe only: it is in no argument and in no file.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{WaitOptions, set_child_subreaper, waitpid};
use serde::{Deserialize, Serialize};
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::cgroup::Group;
use crate::container::ENGINE;
use crate::directory::{self, Durability};
use crate::launcher::Order;
use crate::log::{Log, Trimmer};
use crate::membership::{Members, descendants};
use crate::process::{Exit, Process, out_of_memory};
use crate::process_id::{self, ProcessId};
use crate::program::{PATIENCE, Program};

/// How often what has ended of a job's orphans is taken note of.
const REAP: Duration = Duration::from_secs(2);

/// The argument of a supervisor whose standard input stays open for as long as its run is wanted.
pub(crate) const TETHERED: &str = "--tethered";
pub(crate) const LOCK: &str = "lock";
pub(crate) const STARTED: &str = "started.json";
pub(crate) const STATUS: &str = "status.json";

/// What to run.
#[derive(Serialize, Deserialize)]
pub(crate) struct Assignment {
    pub(crate) instance: String,
    pub(crate) order: Order,
    /// The control group of the run, if it has one.
    pub(crate) group: Option<Group>,
    pub(crate) timeout_seconds: u64,
    pub(crate) log: PathBuf,
    pub(crate) log_size: u64,
}

impl Assignment {
    /// As it goes through the pipe.
    pub(crate) fn to_bytes(&self) -> serde_json::Result<Zeroizing<Vec<u8>>> {
        serde_json::to_vec(self).map(Zeroizing::new)
    }
}

/// That a run has begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Started {
    pub(crate) instance: String,
    /// Milliseconds since 1970.
    pub(crate) at: i64,
    pub(crate) timeout_seconds: u64,
    pub(crate) log: PathBuf,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum End {
    Exited(i32),
    Signalled(i32),
    TimedOut,
    /// The kernel killed it: it took more memory than this limit of its own, in bytes.
    OutOfMemory(u64),
    /// Somebody ended it.
    Cancelled,
    /// It could not be started.
    NotStarted(String),
}

impl End {
    /// As its log says it.
    fn words(&self) -> String {
        match self {
            Self::Exited(code) => format!("ended: exit code {code}"),
            Self::Signalled(signal) => format!("ended: signal {signal}"),
            Self::TimedOut => "ended, because it took longer than it may".to_owned(),
            Self::OutOfMemory(limit) => out_of_memory(*limit),
            Self::Cancelled => "ended on request".to_owned(),
            Self::NotStarted(message) => format!("could not be started: {message}"),
        }
    }
}

/// The outcome of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExitReport {
    pub(crate) end: End,
    pub(crate) milliseconds: u64,
    pub(crate) log: PathBuf,
}

/// The supervisor's main program; `arguments` are those after `supervise`. Exit codes: 0 the outcome is written, 1 it could not be,
/// 2 wrong use, 3 nothing was started here.
pub fn main(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let arguments: Vec<String> = arguments.into_iter().collect();
    let (directory, tethered) = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--directory", directory] => (PathBuf::from(directory), false),
        ["--directory", directory, TETHERED] => (PathBuf::from(directory), true),
        _ => return ExitCode::from(2),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.and_then(|runtime| runtime.block_on(supervise(&directory, tethered)));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(_) => ExitCode::FAILURE,
    }
}

/// Says whether this supervisor was the one that ran the job.
async fn supervise(run: &Path, tethered: bool) -> io::Result<bool> {
    let mut ended = signal(SignalKind::terminate())?;
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(run.join(LOCK))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let mut bytes = Zeroizing::new(Vec::new());
    if tethered {
        io::stdin().lock().read_until(b'\n', &mut bytes)?;
    } else {
        io::stdin().lock().read_to_end(&mut bytes)?;
    }
    let Ok(assignment) = serde_json::from_slice::<Assignment>(&bytes) else { return Ok(false) };
    drop(bytes);
    // What the job leaves behind becomes ours, so that it can be ended with it.
    set_child_subreaper(Some(rustix::process::getpid()))?;
    let members = Members {
        instance: assignment.instance.clone(),
        user: assignment.order.user,
        ancestor: ProcessId::of(rustix::process::getpid().as_raw_pid())?,
        group: assignment.group.clone(),
    };
    let log = Log::at(assignment.log.clone());
    let log_size = assignment.log_size;
    let began = Instant::now();
    if !note_start(run, &assignment)? {
        return Ok(false);
    }
    let log_path = assignment.log.clone();
    let timeout = Duration::from_secs(assignment.timeout_seconds);
    let patience = PATIENCE + if assignment.order.container.is_some() { ENGINE } else { Duration::ZERO };
    let is_cut = Cell::new(false);
    let end = match start(assignment, &log).await {
        Err(message) => End::NotStarted(message),
        Ok(child) => {
            let told = async {
                tokio::select! {
                    _signal = ended.recv() => {}
                    () = cut(tethered) => is_cut.set(true),
                }
            };
            attend(child, &members, (timeout, patience), (&log, log_size), told).await?
        }
    };
    if is_cut.get() {
        // Nobody is left who would read it, or remove it.
        let logs = log_path.parent().unwrap_or(&log_path);
        return directory::remove(logs).and_then(|()| directory::remove(run)).map(|()| true);
    }
    log.event(&end.words());
    let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let outcome = ExitReport { end, milliseconds, log: log_path };
    directory::write_json(&run.join(STATUS), &outcome, Durability::Power)?;
    drop(lock);
    Ok(true)
}

/// Waits until the other end of a tether is gone; for ever without one.
async fn cut(tethered: bool) {
    if !tethered {
        return std::future::pending().await;
    }
    // A thread of its own: a task that reads standard input would hold up the runtime's end.
    let (gone, cut) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 64];
        while io::stdin().lock().read(&mut bytes).is_ok_and(|count| count > 0) {}
        let _ = gone.send(());
    });
    let _ = cut.await;
}

/// Notes durably that the job may have been started from now on; says whether nobody had noted it before.
fn note_start(run: &Path, assignment: &Assignment) -> io::Result<bool> {
    let started = Started {
        instance: assignment.instance.clone(),
        at: chrono::Utc::now().timestamp_millis(),
        timeout_seconds: assignment.timeout_seconds,
        log: assignment.log.clone(),
    };
    let path = run.join(STARTED);
    let mut file = match OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        other => other?,
    };
    let written = file.write_all(&serde_json::to_vec(&started)?).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| File::open(run)?.sync_all()) {
        // The job has not been started, and won't be: say so as far as that is possible.
        let _ = std::fs::remove_file(&path);
        return Err(error);
    }
    Ok(true)
}

async fn start(assignment: Assignment, log: &Log) -> Result<Child, String> {
    let file = log.open().map_err(|error| format!("its log can't be written: {error}"))?;
    let own = std::env::current_exe().map_err(|error| format!("this program is not found any more: {error}"))?;
    let program = Program { order: assignment.order };
    program.start(&own, &file).await.map_err(|error| error.to_string())
}

/// Waits for the job's end, or brings it about.
async fn attend(
    child: Child,
    members: &Members,
    (timeout, patience): (Duration, Duration),
    (log, log_size): (&Log, u64),
    told: impl Future<Output = ()>,
) -> io::Result<End> {
    let mut process = Process::child(child).await?;
    let main = process.id.pid;
    let reaping = async {
        loop {
            tokio::time::sleep(REAP).await;
            let _ = reap_orphans(main);
        }
    };
    let trimmer = Trimmer::default();
    let end = tokio::select! {
        exit = process.exited() => match exit.explained(members.group.as_ref()) {
            Exit::Code(code) => End::Exited(code),
            Exit::Signal(signal) => End::Signalled(signal),
            Exit::OutOfMemory(limit) => End::OutOfMemory(limit),
            Exit::Unknown => End::Signalled(0),
        },
        () = tokio::time::sleep(timeout) => End::TimedOut,
        () = told => End::Cancelled,
        () = trimmer.keep(log, log_size) => End::Cancelled,
        () = reaping => End::Cancelled,
    };
    // What it started and left behind ends with it.
    process.end(members, patience).await;
    if let Some(group) = &members.group {
        group.remove();
    }
    Ok(end)
}

/// Takes note of the end of what the job had left behind, which would stay in the kernel's table otherwise.
fn reap_orphans(main: i32) -> io::Result<()> {
    for pid in descendants(rustix::process::getpid().as_raw_pid())? {
        if pid != main && process_id::stat(pid)?.is_some_and(|stat| stat.dead) {
            let _ = waitpid(rustix::process::Pid::from_raw(pid), WaitOptions::NOHANG);
        }
    }
    Ok(())
}
