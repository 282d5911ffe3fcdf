//! Processes as the kernel knows them: who one is, whether it lives, how it is ended.
//!
//! A pid alone says nothing: it is used again. A [`ProcessId`] adds the time at which the process started and the boot that this
//! is counted from; nothing is ever signalled without comparing all three. The signal then goes through a pidfd, which was opened
//! before the comparison and so can't have moved on to another process.
//!
//! Processes that Freehold starts bear marks in their environment from `exec` on. The kernel keeps it in `/proc/<pid>/environ`, and
//! children inherit it. A program that overwrites its environment's memory loses the mark; where every stack has a user of its own,
//! the user is a second one.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::OnceLock;
use std::time::Duration;

use freehold_graph::StackId;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;
use tokio::process::Child;
use tokio::time::Instant;
use uuid::Uuid;
use zeroize::Zeroizing;

/// The stack that a process belongs to.
pub(crate) const STACK: &str = "FREEHOLD_STACK";
/// The step that started it: `<operation>/<step>`.
pub(crate) const STEP: &str = "FREEHOLD_STEP";
/// What it is: `service.web`, `job.migrate`.
pub(crate) const RESOURCE: &str = "FREEHOLD_RESOURCE";
/// The instance of a service, or the run of a job.
pub(crate) const INSTANCE: &str = "FREEHOLD_INSTANCE";
/// The platform that started it: two of them on one machine leave each other's processes alone.
pub(crate) const PLATFORM: &str = "FREEHOLD_PLATFORM";

/// How long a killed process may take to be gone. It is the kernel's work alone.
const KILLED: Duration = Duration::from_secs(10);

/// A process, and no other that has its pid before or after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub(crate) pid: i32,
    /// When it started, in clock ticks since the boot (field 22 of `/proc/<pid>/stat`).
    pub(crate) start: u64,
    /// Which boot.
    pub(crate) boot: String,
}

struct Stat {
    dead: bool,
    group: i32,
    start: u64,
}

fn stat(pid: i32) -> io::Result<Option<Stat>> {
    let text = match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(text) => text,
        Err(error) if gone(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    // The name in parentheses may contain anything, parentheses too.
    let fields: Vec<&str> = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
    let (Some(state), Some(group), Some(start)) = (fields.first(), number(2), number(19)) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat can't be read")));
    };
    Ok(Some(Stat { dead: matches!(*state, "Z" | "X" | "x"), group: i32::try_from(group).unwrap_or(0), start }))
}

fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

fn boot() -> io::Result<&'static str> {
    static BOOT: OnceLock<String> = OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Ok(boot);
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
    Ok(BOOT.get_or_init(|| boot))
}

/// The present time as the kernel counts the start times of processes: in clock ticks since the boot.
pub(crate) fn ticks() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/uptime")?;
    let uptime = text.split_whitespace().next().unwrap_or_default().replace('.', "");
    // Given in hundredths of a second, which is what a tick is for programs (USER_HZ) on all machines that Freehold is built for.
    uptime
        .parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/uptime can't be read: {text}")))
}

impl ProcessId {
    /// The process that has this pid now; `None` if none is alive.
    pub(crate) fn of(pid: i32) -> io::Result<Option<Self>> {
        let found = stat(pid)?.filter(|stat| !stat.dead);
        found.map(|stat| boot().map(|boot| Self { pid, start: stat.start, boot: boot.to_owned() })).transpose()
    }

    /// Whether it is running. A zombie is not.
    pub(crate) fn is_alive(&self) -> bool {
        boot().is_ok_and(|boot| boot == self.boot)
            && stat(self.pid).ok().flatten().is_some_and(|stat| stat.start == self.start && !stat.dead)
    }

    /// A handle that stays with it; `None` if it is gone.
    pub(crate) fn open(&self) -> Option<OwnedFd> {
        let handle = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // Compared after opening: whoever has the pid now, with that start time, had it when the handle was opened.
        self.is_alive().then_some(handle)
    }

    /// Sends a signal to it alone. Says whether it was there to get it.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        self.open().is_some_and(|handle| pidfd_send_signal(handle, signal).is_ok())
    }

    /// Sends a signal to its process group, which it leads. While it lives, its group can't be another one.
    fn signal_group(&self, signal: Signal) -> bool {
        let leads = stat(self.pid).ok().flatten().is_some_and(|stat| stat.group == self.pid);
        match (self.open(), Pid::from_raw(self.pid)) {
            (Some(_handle), Some(pid)) if leads => kill_process_group(pid, signal).is_ok(),
            (Some(handle), _) => pidfd_send_signal(handle, signal).is_ok(),
            (None, _) => false,
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
    /// It wasn't our child, so nobody told us.
    Unknown,
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt;
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Unknown,
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("unknown exit status"),
        }
    }
}

/// A process that is watched: our child, or one that a former Freehold started.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    watch: Watch,
}

#[derive(Debug)]
enum Watch {
    Child(Box<Child>),
    Other(AsyncFd<OwnedFd>),
}

impl Process {
    /// Our child. A child that is dead already still has its identity: nobody has waited for it yet.
    pub(crate) fn child(child: Child) -> io::Result<Self> {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).ok_or(io::ErrorKind::NotFound)?;
        let start = stat(pid)?.map(|stat| stat.start).ok_or(io::ErrorKind::NotFound)?;
        let id = ProcessId { pid, start, boot: boot()?.to_owned() };
        Ok(Self { id, watch: Watch::Child(Box::new(child)) })
    }

    /// A process that somebody else started; `None` if it is gone.
    pub(crate) fn adopt(id: ProcessId) -> io::Result<Option<Self>> {
        let Some(handle) = id.open() else { return Ok(None) };
        #[expect(deprecated, reason = "its successor is unsafe; what that asks for, an `OwnedFd` promises by its type")]
        let watched = AsyncFd::new(handle)?;
        Ok(Some(Self { id, watch: Watch::Other(watched) }))
    }

    /// Waits for its end. May be called again, and dropped in between.
    pub(crate) async fn exited(&mut self) -> Exit {
        match &mut self.watch {
            Watch::Child(child) => child.wait().await.map_or(Exit::Unknown, Exit::from),
            // A pidfd is readable once its process has ended.
            Watch::Other(handle) => {
                let _ = handle.readable().await;
                Exit::Unknown
            }
        }
    }

    /// Ends it and all that bear the mark of its instance: SIGTERM, and SIGKILL for what is left after `patience`. Says how it ended
    /// and whether it had to be killed.
    pub(crate) async fn end(&mut self, instance: &str, patience: Duration) -> (Exit, bool) {
        let limit = Instant::now() + patience;
        self.id.signal_group(Signal::TERM);
        let mut killed = false;
        let exit = match tokio::time::timeout_at(limit, self.exited()).await {
            Ok(exit) => exit,
            Err(_elapsed) => {
                killed = true;
                self.id.signal_group(Signal::KILL);
                tokio::time::timeout(KILLED, self.exited()).await.unwrap_or(Exit::Unknown)
            }
        };
        killed |= end_marked(|mark| mark.instance.as_deref() == Some(instance), limit).await;
        (exit, killed)
    }
}

/// A process that bears a stack's mark.
#[derive(Debug, Clone)]
pub(crate) struct Marked {
    pub(crate) id: ProcessId,
    pub(crate) stack: StackId,
    pub(crate) resource: Option<String>,
    pub(crate) instance: Option<String>,
    pub(crate) platform: Option<Uuid>,
}

/// All living processes that bear a mark. Those that may not be looked at aren't ours: ours run as this user, or we are root.
pub(crate) fn marked() -> io::Result<Vec<Marked>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        found.extend(mark(pid));
    }
    Ok(found)
}

fn mark(pid: i32) -> Option<Marked> {
    // It contains the secrets of our services.
    let environment = Zeroizing::new(fs::read(Path::new("/proc").join(pid.to_string()).join("environ")).ok()?);
    let variable = |name: &str| {
        environment.split(|byte| *byte == 0).find_map(|pair| {
            let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            std::str::from_utf8(value).ok().map(str::to_owned)
        })
    };
    let stack = StackId(variable(STACK)?.parse().ok()?);
    Some(Marked {
        id: ProcessId::of(pid).ok().flatten()?,
        stack,
        resource: variable(RESOURCE),
        instance: variable(INSTANCE),
        platform: variable(PLATFORM).and_then(|id| id.parse().ok()),
    })
}

/// All living processes of a user.
pub(crate) fn of_user(uid: u32) -> io::Result<Vec<ProcessId>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let real = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next());
        if real.is_some_and(|real| real == uid.to_string()) {
            found.extend(ProcessId::of(pid)?);
        }
    }
    Ok(found)
}

/// Ends the marked processes that `which` picks: SIGTERM, after `limit` SIGKILL. Says whether any had to be killed. Looks again
/// until none is left, as one may start another while it is being ended.
pub(crate) async fn end_marked(which: impl Fn(&Marked) -> bool, limit: Instant) -> bool {
    let all = || -> Vec<ProcessId> {
        let found = marked().unwrap_or_default();
        found.into_iter().filter(|mark| which(mark)).map(|mark| mark.id).collect()
    };
    end_all(all, limit).await
}

/// Ends all that `find` finds, as in [`end_marked`].
pub(crate) async fn end_all(find: impl Fn() -> Vec<ProcessId>, limit: Instant) -> bool {
    let mut told: Vec<ProcessId> = Vec::new();
    let mut killed = false;
    let give_up = limit.max(Instant::now()) + KILLED;
    loop {
        let left = find();
        let now = Instant::now();
        if left.is_empty() || now >= give_up {
            return killed;
        }
        for process in left {
            if now >= limit {
                killed |= process.signal(Signal::KILL);
            } else if !told.contains(&process) {
                process.signal(Signal::TERM);
                told.push(process);
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_the_same_pid_and_another_start_is_another_one() {
        let own = i32::try_from(std::process::id()).unwrap();
        let me = ProcessId::of(own).unwrap().unwrap();
        assert!(me.is_alive());
        let former = ProcessId { start: me.start - 1, ..me.clone() };
        assert!(!former.is_alive());
        assert!(!former.signal(Signal::KILL));
        assert!(!former.signal_group(Signal::KILL));
        let other_boot = ProcessId { boot: "00000000-0000-0000-0000-000000000000".to_owned(), ..me };
        assert!(!other_boot.signal(Signal::KILL));
    }

    #[tokio::test]
    async fn a_child_that_nobody_waited_for_counts_as_dead() {
        let child = tokio::process::Command::new("true").spawn().unwrap();
        let mut process = Process::child(child).unwrap();
        let id = process.id.clone();
        assert_eq!(process.exited().await, Exit::Code(0));
        assert!(!id.is_alive());
    }
}
