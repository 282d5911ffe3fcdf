//! Marks: what Freehold writes into the environment of everything that it starts.
//!
//! The kernel keeps the environment of `exec` in `/proc/<pid>/environ`, and children inherit it. So what isn't recorded is still found.
//!
//! Anybody can write such a mark, and a program can lose its own. So a mark counts only together with the user of the process
//! ([`Accounts::may_mark`](crate::account::Accounts::may_mark)), and what belongs to an instance is found by more than its mark
//! ([`crate::membership`]).

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt;

use freehold_graph::StackId;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::exhaustion::is_exhaustion;
use crate::process_id::{self, ProcessId};

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

/// What the resource has in front of its name in the mark of a supervisor of runs, and of a launcher.
pub(crate) const SUPERVISOR: &str = "supervisor.";
pub(crate) const LAUNCHER: &str = "launcher.";

/// What arguments and variables may have together, in bytes, with a margin: the kernel takes three quarters of 8 MiB.
const MOST: u64 = 8 << 20;

/// What is read in one look of the environments of one tenant's processes, all together, in bytes: 16 KiB for each of the most that a stack
/// may have. What lies beyond counts as shed.
const ROOM: u64 = 64 << 20;

/// A process that bears a stack's mark.
#[derive(Debug, Clone)]
pub(crate) struct Marked {
    pub(crate) id: ProcessId,
    /// The user that it runs as.
    pub(crate) user: u32,
    pub(crate) stack: StackId,
    pub(crate) resource: Option<String>,
    pub(crate) instance: Option<String>,
    pub(crate) platform: Option<Uuid>,
}

impl Marked {
    /// Whether it is a process of this resource, or the launcher of one.
    pub(crate) fn is_of(&self, resource: &str) -> bool {
        self.of() == Some(resource)
    }

    /// The resource whose process, or launcher, it is.
    pub(crate) fn of(&self) -> Option<&str> {
        self.resource.as_deref().map(|resource| resource.strip_prefix(LAUNCHER).unwrap_or(resource))
    }
}

/// All living processes that bear a mark which is believed. `bears` says of which users they may be, `believe` gets the process's user and
/// the stack that its mark names.
///
/// Each of a tenant's processes can have as large an environment as the kernel takes, at no cost to it: all of them would keep whoever looks
/// busy for a minute. So of each tenant only so much is read; processes beyond it are found by their user and control group.
///
/// # Errors
/// They can't be listed, or we lack what it takes to look at one: nothing is known then.
pub(crate) fn marked(bears: impl Fn(u32) -> bool, believe: impl Fn(u32, StackId) -> bool) -> io::Result<Vec<Marked>> {
    marked_within(ROOM, bears, believe)
}

fn marked_within(
    room: u64,
    bears: impl Fn(u32) -> bool,
    believe: impl Fn(u32, StackId) -> bool,
) -> io::Result<Vec<Marked>> {
    let own = rustix::process::geteuid().as_raw();
    let mut left: BTreeMap<u32, u64> = BTreeMap::new();
    let mut found = Vec::new();
    for pid in process_id::pids()? {
        let Some(user) = user_among(pid, &bears)? else { continue };
        // What is ours is bounded by ourselves.
        let room = left.entry(user).or_insert(if user == own { u64::MAX } else { room });
        found.extend(mark(pid, room)?.filter(|mark| believe(mark.user, mark.stack)));
    }
    Ok(found)
}

/// The mark of one process. One that may not be looked at has none: ours run as this user, or we are root. `room` is what may be read of
/// its environment, and what is left of that afterwards.
fn mark(pid: i32, room: &mut u64) -> io::Result<Option<Marked>> {
    let environment = match environment(pid, MOST.min(*room)) {
        Ok(environment) => environment,
        Err(error) if is_exhaustion(&error) => return Err(error),
        Err(_) => return Ok(None),
    };
    *room = room.saturating_sub(u64::try_from(environment.len()).unwrap_or(u64::MAX));
    let variable = |name: &str| {
        environment.split(|byte| *byte == 0).find_map(|pair| {
            let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            std::str::from_utf8(value).ok().map(str::to_owned)
        })
    };
    let Some(stack) = variable(STACK).and_then(|stack| stack.parse().ok()).map(StackId) else { return Ok(None) };
    // As it is by now: it may be a launcher that has just become a tenant's.
    let (Some(id), Some(user)) = (ProcessId::of(pid)?, user(pid)?) else { return Ok(None) };
    Ok(Some(Marked {
        id,
        user,
        stack,
        resource: variable(RESOURCE),
        instance: variable(INSTANCE),
        platform: variable(PLATFORM).and_then(|id| id.parse().ok()),
    }))
}

/// As far as a process can have been started with it. What the kernel takes for it is where the process says (`PR_SET_MM_MAP`), so there
/// may be no end to it.
fn environment(pid: i32, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    // It contains the secrets of our services.
    let mut environment = Zeroizing::new(Vec::new());
    fs::File::open(format!("/proc/{pid}/environ"))?.take(most).read_to_end(&mut environment)?;
    Ok(environment)
}

/// The real user of a process; `None` if it is gone.
fn user(pid: i32) -> io::Result<Option<u32>> {
    let Some(status) = process_id::file_of(pid, "status")? else { return Ok(None) };
    let real = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next());
    Ok(real.and_then(|real| real.parse().ok()))
}

/// All living processes whose user `which` picks, with their users.
///
/// # Errors
/// As [`marked`].
pub(crate) fn of_users(which: impl Fn(u32) -> bool) -> io::Result<Vec<(u32, ProcessId)>> {
    let mut found = Vec::new();
    for pid in process_id::pids()? {
        if let Some(user) = user_among(pid, &which)? {
            found.extend(ProcessId::of(pid)?.map(|id| (user, id)));
        }
    }
    Ok(found)
}

/// The real user of a process, if it is one of those.
fn user_among(pid: i32, which: &impl Fn(u32) -> bool) -> io::Result<Option<u32>> {
    // The folder's owner is the effective user, or root where the process may not be dumped. Ours never run as two users at once.
    match fs::metadata(format!("/proc/{pid}")).map(|folder| folder.uid()) {
        Ok(owner) if owner != 0 && !which(owner) => return Ok(None),
        Err(error) if is_exhaustion(&error) => return Err(error),
        Ok(_) | Err(_) => {}
    }
    Ok(user(pid)?.filter(|user| which(*user)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Command};

    use super::*;

    /// A process of a user with a mark behind so much else.
    fn bearing(user: u32, stack: StackId, bytes: usize) -> Child {
        let mut command = Command::new("sleep");
        command.arg("60").env_clear().env("A", "x".repeat(bytes)).env(STACK, stack.to_string());
        command.uid(user).gid(user).spawn().unwrap()
    }

    #[test]
    fn what_one_tenant_puts_into_its_environments_keeps_nobody_from_finding_those_of_others() {
        if !rustix::process::geteuid().is_root() {
            println!(
                "skipped: what_one_tenant_puts_into_its_environments_keeps_nobody_from_finding_those_of_others: this is not root"
            );
            return;
        }
        let (greedy, other, stack) = (1_234_567_001, 1_234_567_002, StackId(Uuid::new_v4()));
        let room = 100_000;
        let mut children: Vec<Child> = (0..4).map(|_| bearing(greedy, stack, 40_000)).collect();
        if fs::read(format!("/proc/{}/environ", children[0].id())).is_err() {
            println!(
                "skipped: what_one_tenant_puts_into_its_environments_keeps_nobody_from_finding_those_of_others: this root may not \
                 look at others' processes (CAP_SYS_PTRACE)"
            );
            return children.iter_mut().for_each(|child| drop(child.kill().and_then(|()| child.wait())));
        }
        children.push(bearing(other, stack, 40_000));
        // Of ours all is read.
        children.extend((0..4).map(|_| bearing(0, stack, 40_000)));
        let found = marked_within(room, |_| true, |_, named| named == stack);
        let all = marked(|user| user == greedy, |_, named| named == stack);
        children.iter_mut().for_each(|child| {
            child.kill().unwrap();
            child.wait().unwrap();
        });
        let of = |found: &[Marked], user| found.iter().filter(|mark| mark.user == user).count();
        let found = found.unwrap();
        assert_eq!((of(&found, greedy), of(&found, other), of(&found, 0)), (2, 1, 4));
        assert_eq!(of(&all.unwrap(), greedy), 4);
    }
}
