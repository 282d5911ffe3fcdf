//! Which processes belong to an instance of a service or a run of a job, and how all of them are ended.
//!
//! A program may double-fork, change its group and session, its title, overwrite its environment, and let its main process exit first.
//! So members are found by what they can't shed, the first of these that is there:
//!
//! | by | where |
//! |---|---|
//! | a control group of the instance's own | as root, where the kernel has one for us ([`crate::cgroup`]) |
//! | descent from a launcher or supervisor that is a child subreaper: orphans become its children | everywhere else, and runs |
//! | the mark in the environment, together with the user | what a former Freehold started; what is left when a launcher is killed |

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use crate::cgroup::Group;
use crate::exhaustion::is_exhaustion;
use crate::mark::marked;
use crate::process_id::{self, KILLED, ProcessId};

/// How often is looked whether the processes that were told to end have ended.
const LOOK: Duration = Duration::from_millis(10);

/// How the members of one instance or run are found.
#[derive(Debug, Clone)]
pub(crate) struct Members {
    pub(crate) instance: String,
    /// The user whose marks count; `None`: the one that we are.
    pub(crate) user: Option<u32>,
    /// The process that they all descend from. It isn't one of them.
    pub(crate) ancestor: Option<ProcessId>,
    pub(crate) group: Option<Group>,
}

impl Members {
    /// All that live.
    ///
    /// # Errors
    /// The control group or `/proc` can't be read.
    pub(crate) fn find(&self) -> io::Result<Vec<ProcessId>> {
        if let Some(held) = self.find_held()? {
            return Ok(held);
        }
        let own = self.user.unwrap_or_else(|| rustix::process::geteuid().as_raw());
        let bearing = marked(|user| user == own, |_, _| true)?.into_iter();
        let ours = bearing.filter(|mark| mark.instance.as_ref() == Some(&self.instance)).map(|mark| mark.id);
        Ok(ours.filter(|id| self.ancestor.as_ref() != Some(id)).collect())
    }

    /// All that live, by what holds all of them for certain: a control group, or an ancestor that lives. `None` where there is neither.
    ///
    /// # Errors
    /// The control group or `/proc` can't be read.
    pub(crate) fn find_held(&self) -> io::Result<Option<Vec<ProcessId>>> {
        let pids = match (&self.group, &self.ancestor) {
            (Some(group), _) if group.exists() => group.processes()?,
            (_, Some(ancestor)) if ancestor.is_alive()? => descendants(ancestor.pid)?,
            _ => return Ok(None),
        };
        let mut members = Vec::new();
        for pid in pids {
            members.extend(ProcessId::of(pid)?);
        }
        Ok(Some(members))
    }

    pub(crate) fn has_ancestor(&self) -> bool {
        self.ancestor.is_some()
    }
}

/// All processes that descend from this one.
///
/// # Errors
/// `/proc` can't be read.
pub(crate) fn descendants(ancestor: i32) -> io::Result<Vec<i32>> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for pid in process_id::pids()? {
        if let Some(stat) = process_id::stat(pid)? {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut next = vec![ancestor];
    while let Some(parent) = next.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            found.push(child);
            next.push(child);
        }
    }
    Ok(found)
}

/// What came of ending processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Some had to be killed.
    pub(crate) killed: bool,
    /// None is left, and that is known.
    pub(crate) all: bool,
}

/// Ends all that `find` finds: SIGTERM, after `limit` SIGKILL. Looks again until none is left, as one may start another while it is
/// being ended. What can't be found out counts as something that is left.
pub(crate) async fn end_all(find: impl Fn() -> io::Result<Vec<ProcessId>>, limit: Instant) -> Ended {
    let mut told: Vec<ProcessId> = Vec::new();
    let mut killed = false;
    let give_up = limit.max(Instant::now()) + KILLED;
    loop {
        let now = Instant::now();
        let left = find();
        match &left {
            Ok(left) if left.is_empty() => return Ended { killed, all: true },
            Err(error) if !is_exhaustion(error) => {
                tracing::warn!(%error, "the processes that are left can't be listed");
                return Ended { killed, all: false };
            }
            _ if now >= give_up => return Ended { killed, all: false },
            Ok(_) | Err(_) => {}
        }
        for process in left.unwrap_or_default() {
            if now >= limit {
                killed |= process.signal(Signal::KILL).unwrap_or(false);
            } else if !told.contains(&process) && process.signal(Signal::TERM).is_ok() {
                told.push(process);
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_be_listed_does_not_count_as_ended() {
        let unreadable = || Err(io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(end_all(unreadable, Instant::now()).await, Ended { killed: false, all: false });
        assert_eq!(end_all(|| Ok(Vec::new()), Instant::now()).await, Ended { killed: false, all: true });
    }

    #[tokio::test]
    async fn a_lack_of_our_own_is_waited_out() {
        let looks = std::cell::Cell::new(0);
        let short = || {
            looks.set(looks.get() + 1);
            match looks.get() {
                1 | 2 => Err(io::Error::from(rustix::io::Errno::MFILE)),
                _ => Ok(Vec::new()),
            }
        };
        assert!(end_all(short, Instant::now()).await.all);
        assert_eq!(looks.get(), 3);
    }
}
