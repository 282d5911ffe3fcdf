//! Processes that are watched: how one ends, and how it is ended with all that belong to it.
//!
//! Which processes belong to what is the matter of [`crate::membership`], which one is which that of [`crate::process_id`].

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;
use tokio::time::Instant;

use crate::cgroup::Group;
use crate::exhaustion;
use crate::membership::{Ended, Members, end_all};
use crate::process_id::{KILLED, ProcessId, boot, stat};

/// How long a launcher may take to notice that nothing is left of what it looked after.
const LAUNCHER: Duration = Duration::from_millis(500);

const KILL: i32 = 9;
/// What a shell exits with whose program was killed.
const KILLED_CODE: i32 = 128 + KILL;

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
        match exhaustion::waited_out(KILLED, look).await {
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
        if let Err(error) = exhaustion::waited_out(KILLED, || self.id.signal_group(signal)).await {
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

    #[tokio::test]
    async fn a_child_that_nobody_waited_for_counts_as_dead() {
        let child = tokio::process::Command::new("true").spawn().unwrap();
        let mut process = Process::child(child).await.unwrap();
        let id = process.id.clone();
        assert_eq!(process.exited().await, Exit::Code(0));
        assert!(!id.is_alive().unwrap());
    }
}
