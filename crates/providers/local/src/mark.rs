//! Marks: what Freehold writes into the environment of everything that it starts.
//!
//! The kernel keeps the environment of `exec` in `/proc/<pid>/environ`, and children inherit it. So what isn't recorded is still found.
//!
//! Anybody can write such a mark, and a program can lose its own. So a mark counts only together with the user of the process
//! ([`Accounts::may_mark`](crate::account::Accounts::may_mark)), and what belongs to an instance is found by more than its mark
//! ([`crate::membership`]).

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt;

use freehold_graph::StackId;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::process::{self, ProcessId};
use crate::shortage::is_shortage;

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

/// All living processes that bear a mark which is believed. `believe` gets the process's user and the stack that its mark names.
///
/// # Errors
/// They can't be listed, or we lack what it takes to look at one: nothing is known then.
pub(crate) fn marked(believe: impl Fn(u32, StackId) -> bool) -> io::Result<Vec<Marked>> {
    let mut found = Vec::new();
    for pid in process::pids()? {
        found.extend(mark(pid)?.filter(|mark| believe(mark.user, mark.stack)));
    }
    Ok(found)
}

/// The mark of one process. One that may not be looked at has none: ours run as this user, or we are root.
fn mark(pid: i32) -> io::Result<Option<Marked>> {
    let environment = match environment(pid) {
        Ok(environment) => environment,
        Err(error) if is_shortage(&error) => return Err(error),
        Err(_) => return Ok(None),
    };
    let variable = |name: &str| {
        environment.split(|byte| *byte == 0).find_map(|pair| {
            let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            std::str::from_utf8(value).ok().map(str::to_owned)
        })
    };
    let Some(stack) = variable(STACK).and_then(|stack| stack.parse().ok()).map(StackId) else { return Ok(None) };
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
fn environment(pid: i32) -> io::Result<Zeroizing<Vec<u8>>> {
    // It contains the secrets of our services.
    let mut environment = Zeroizing::new(Vec::new());
    fs::File::open(format!("/proc/{pid}/environ"))?.take(MOST).read_to_end(&mut environment)?;
    Ok(environment)
}

/// The real user of a process; `None` if it is gone.
fn user(pid: i32) -> io::Result<Option<u32>> {
    let Some(status) = process::told(pid, "status")? else { return Ok(None) };
    let real = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next());
    Ok(real.and_then(|real| real.parse().ok()))
}

/// All living processes whose user `which` picks, with their users.
///
/// # Errors
/// As [`marked`].
pub(crate) fn of_users(which: impl Fn(u32) -> bool) -> io::Result<Vec<(u32, ProcessId)>> {
    let mut found = Vec::new();
    for pid in process::pids()? {
        // The folder's owner is the effective user, or root where the process may not be dumped. Ours never run as two users at once.
        match fs::metadata(format!("/proc/{pid}")).map(|folder| folder.uid()) {
            Ok(owner) if owner != 0 && !which(owner) => continue,
            Err(error) if is_shortage(&error) => return Err(error),
            Ok(_) | Err(_) => {}
        }
        if let Some(user) = user(pid)?.filter(|user| which(*user)) {
            found.extend(ProcessId::of(pid)?.map(|id| (user, id)));
        }
    }
    Ok(found)
}
