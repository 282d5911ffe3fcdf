//! Processes as the kernel knows them: who one is, whether it lives, how it is ended.
//!
//! A pid alone says nothing: it is used again. A [`ProcessId`] adds the time at which the process started and the boot that this
//! is counted from; nothing is ever signalled without comparing all three. The signal then goes through a pidfd, which was opened
//! before the comparison and so can't have moved on to another process.
//!
//! Which processes belong to what is the matter of [`crate::membership`].

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;
use tokio::process::Child;
use tokio::time::Instant;

use crate::cgroup::Group;
use crate::membership::{Ended, Members, end_all};
use crate::shortage;

/// How long a killed process may take to be gone. It is the kernel's work alone.
pub(crate) const KILLED: Duration = Duration::from_secs(10);
/// How long a launcher may take to notice that nothing is left of what it looked after.
const LAUNCHER: Duration = Duration::from_millis(500);

const KILL: i32 = 9;
/// What a shell exits with whose program was killed.
const KILLED_CODE: i32 = 128 + KILL;

/// A process, and no other that has its pid before or after it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub(crate) pid: i32,
    /// When it started, in clock ticks since the boot (field 22 of `/proc/<pid>/stat`).
    pub(crate) start: u64,
    /// Which boot.
    pub(crate) boot: String,
}

pub(crate) struct Stat {
    pub(crate) dead: bool,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    pub(crate) start: u64,
}

/// What the kernel says of a process in one of its files; `None` if there is none. Among it is the process's name, which it chooses
/// itself: any bytes.
pub(crate) fn told(pid: i32, file: &str) -> io::Result<Option<String>> {
    match fs::read(format!("/proc/{pid}/{file}")) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the kernel says of a process; `None` if there is none.
pub(crate) fn stat(pid: i32) -> io::Result<Option<Stat>> {
    let Some(text) = told(pid, "stat")? else { return Ok(None) };
    // The name in parentheses may contain anything, parentheses too.
    let fields: Vec<&str> = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
    let (Some(state), Some(parent), Some(group), Some(start)) = (fields.first(), number(1), number(2), number(19))
    else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat can't be read")));
    };
    let whole = |number| i32::try_from(number).unwrap_or(0);
    let dead = matches!(*state, "Z" | "X" | "x");
    Ok(Some(Stat { dead, parent: whole(parent), group: whole(group), start }))
}

/// The pids of all processes.
pub(crate) fn pids() -> io::Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        found.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(found)
}

/// Whether an error under `/proc/<pid>` means that the process is gone.
pub(crate) fn gone(error: &io::Error) -> bool {
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
    ///
    /// # Errors
    /// It can't be told: we lack something. Never to be taken for an end.
    pub(crate) fn is_alive(&self) -> io::Result<bool> {
        if boot()? != self.boot {
            return Ok(false);
        }
        Ok(stat(self.pid)?.is_some_and(|stat| stat.start == self.start && !stat.dead))
    }

    /// A handle that stays with it; `None` if it is gone.
    pub(crate) fn open(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Compared after opening: whoever has the pid now, with that start time, had it when the handle was opened.
        Ok(self.is_alive()?.then_some(handle))
    }

    /// Sends a signal to it alone. Says whether it was there to get it.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<bool> {
        Ok(self.open()?.is_some_and(|handle| pidfd_send_signal(handle, signal).is_ok()))
    }

    /// Sends a signal to its process group, which it leads. While it lives, its group can't be another one.
    fn signal_group(&self, signal: Signal) -> io::Result<bool> {
        let leads = stat(self.pid)?.is_some_and(|stat| stat.group == self.pid);
        Ok(match (self.open()?, Pid::from_raw(self.pid)) {
            (Some(_handle), Some(pid)) if leads => kill_process_group(pid, signal).is_ok(),
            (Some(handle), _) => pidfd_send_signal(handle, signal).is_ok(),
            (None, _) => false,
        })
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
    /// The kernel killed it: it took more memory than this limit of its own, in bytes.
    OutOfMemory(u64),
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
            Self::OutOfMemory(limit) => f.write_str(&out_of_memory(*limit)),
            Self::Unknown => f.write_str("unknown exit status"),
        }
    }
}

/// That the kernel has killed for want of memory, in words.
pub(crate) fn out_of_memory(limit: u64) -> String {
    format!("out of memory: killed by the kernel, as it took more than its limit (`memory`) of {}", bytes(limit))
}

/// As it is written in a definition.
fn bytes(bytes: u64) -> String {
    let units = [(30, "Gi"), (20, "Mi"), (10, "Ki")];
    let whole = units.into_iter().find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    whole.map_or_else(|| format!("{bytes} bytes"), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

impl Exit {
    /// With its reason, where the control group of what has ended knows it.
    pub(crate) fn explained(self, group: Option<&Group>) -> Self {
        match (self, group.and_then(Group::exhausted)) {
            // Of what a launcher looked after, or a former Freehold started, nobody says more.
            (Self::Signal(KILL) | Self::Code(KILLED_CODE) | Self::Unknown, Some(limit)) => Self::OutOfMemory(limit),
            (exit, _) => exit,
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
    /// Our child. A child that is dead already still has its identity: nobody has waited for it yet. One whose identity can't be told
    /// is ended: nobody would know of it afterwards.
    pub(crate) async fn child(mut child: Child) -> io::Result<Self> {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).ok_or(io::ErrorKind::NotFound)?;
        let look = || -> io::Result<ProcessId> {
            let start = stat(pid)?.map(|stat| stat.start).ok_or(io::ErrorKind::NotFound)?;
            Ok(ProcessId { pid, start, boot: boot()?.to_owned() })
        };
        match shortage::waited_out(KILLED, look).await {
            Ok(id) => Ok(Self { id, watch: Watch::Child(Box::new(child)) }),
            Err(error) => {
                let _ = child.kill().await;
                Err(error)
            }
        }
    }

    /// A process that somebody else started; `None` if it is gone.
    pub(crate) fn adopt(id: ProcessId) -> io::Result<Option<Self>> {
        let Some(handle) = id.open()? else { return Ok(None) };
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

    async fn tell_group(&self, signal: Signal) {
        if let Err(error) = shortage::waited_out(KILLED, || self.id.signal_group(signal)).await {
            tracing::warn!(%error, pid = self.id.pid, "a process could not be signalled");
        }
    }

    /// Ends it and all that belong to it: SIGTERM, and SIGKILL for what is left after `patience`. Says how it ended, whether anything
    /// had to be killed, and whether all are gone.
    pub(crate) async fn end(&mut self, members: &Members, patience: Duration) -> (Exit, Ended) {
        let limit = Instant::now() + patience;
        self.tell_group(Signal::TERM).await;
        let mut killed = false;
        let exit = match tokio::time::timeout_at(limit, self.exited()).await {
            Ok(exit) => exit,
            Err(_elapsed) => {
                killed = true;
                // What a launcher looks after first: it ends with the last of them, and could not hold on to any once it is gone.
                if members.has_ancestor() {
                    end_all(|| members.find(), Instant::now()).await;
                }
                match tokio::time::timeout(LAUNCHER, self.exited()).await {
                    Ok(exit) if members.has_ancestor() => exit,
                    _ => {
                        self.tell_group(Signal::KILL).await;
                        tokio::time::timeout(KILLED, self.exited()).await.unwrap_or(Exit::Unknown)
                    }
                }
            }
        };
        let mut ended = end_all(|| members.find(), limit).await;
        ended.killed |= killed;
        (exit, ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_the_same_pid_and_another_start_is_another_one() {
        let own = i32::try_from(std::process::id()).unwrap();
        let me = ProcessId::of(own).unwrap().unwrap();
        assert!(me.is_alive().unwrap());
        let former = ProcessId { start: me.start - 1, ..me.clone() };
        assert!(!former.is_alive().unwrap());
        assert!(!former.signal(Signal::KILL).unwrap());
        assert!(!former.signal_group(Signal::KILL).unwrap());
        let other_boot = ProcessId { boot: "00000000-0000-0000-0000-000000000000".to_owned(), ..me };
        assert!(!other_boot.signal(Signal::KILL).unwrap());
    }

    #[test]
    fn a_process_whose_name_is_no_text_is_found_like_any_other() {
        std::thread::spawn(|| {
            rustix::thread::set_name(c"\xff\xfe) Z 1 1").unwrap();
            let own = rustix::thread::gettid().as_raw_pid();
            assert!(ProcessId::of(own).unwrap().is_some());
            assert!(told(own, "status").unwrap().unwrap().contains("Uid:"));
        })
        .join()
        .unwrap();
    }

    #[tokio::test]
    async fn a_child_that_nobody_waited_for_counts_as_dead() {
        let child = tokio::process::Command::new("true").spawn().unwrap();
        let mut process = Process::child(child).await.unwrap();
        let id = process.id.clone();
        assert_eq!(process.exited().await, Exit::Code(0));
        assert!(!id.is_alive().unwrap());
    }
}
