//! Control groups: one for each stack, which limits it, and one in it for each instance, which no process can leave.
//!
//! ```text
//!   <hierarchy>/freehold-<platform>/<stack>/             what the tier gives the whole stack, and how many processes it may have
//!                                  /       /<instance>/  what the service or job may use
//!                                  /postgres/            the platform's own server
//! ```
//!
//! Where processor time is short, each stack gets as much as any other, however many processes it has, and the server, which works for
//! all of them, as much as several ([`ServerGroup`]): neither a stack's programs nor its queries can take what others' programs need.
//!
//! Where the kernel has one hierarchy (version 2), it does all of it. Where it has one for each controller (version 1), or both side by
//! side, processes are found in the version 2 one if there is any, else in that of `pids`, and limits are set where their controllers
//! are. Only as root; where nothing can be had, the provider goes on without, and says so.
//!
//! Swap is memory here: who could swap would slow the others down instead of keeping to the limit.

mod hierarchy;
mod server;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use freehold_graph::StackId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use hierarchy::{Hierarchy, Version, delegate, folders, make, processes, remove, usable};

pub(crate) use hierarchy::Limits;
pub use server::ServerGroup;

/// How many processes and threads a stack may have, unless it is said otherwise.
pub(crate) const TASKS: u64 = 4096;
/// No limit in bytes is as high; what version 1 shows where there is none is.
const UNLIMITED: u64 = 1 << 60;

/// The groups of this platform.
#[derive(Debug)]
pub(crate) struct Cgroups {
    /// Where processes are found.
    finding: Hierarchy,
    /// Where else there are limits.
    limiting: Vec<Hierarchy>,
    /// Our part of the hierarchies that we have no use for: a container engine makes groups of the same name there.
    unused: Vec<PathBuf>,
}

/// The group of one instance or run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Group {
    path: PathBuf,
    /// The same in the hierarchies of version 1, whether it was needed there or not.
    #[serde(default)]
    limiting: Vec<PathBuf>,
}

impl Cgroups {
    /// Makes this platform's groups where that is possible; `None` where it isn't.
    pub(crate) fn open(platform: Uuid) -> Option<Self> {
        let mut usable = usable(platform);
        let finds = |one: &Hierarchy| one.version == Version::Two;
        let index =
            usable.iter().position(finds).or_else(|| usable.iter().position(|one| one.controllers.contains("pids")))?;
        let finding = usable.remove(index);
        let unused = hierarchy::all(platform).into_iter();
        let unused =
            unused.filter(|base| *base != finding.base && usable.iter().all(|one| one.base != *base)).collect();
        Some(Self { finding, limiting: usable, unused })
    }

    /// Whether this controller's limits are set.
    pub(crate) fn limits(&self, controller: &str) -> bool {
        self.all().any(|one| one.controllers.contains(controller))
    }

    fn all(&self) -> impl Iterator<Item = &Hierarchy> {
        std::iter::once(&self.finding).chain(&self.limiting)
    }

    /// Makes a stack's groups and sets its limits.
    ///
    /// # Errors
    /// A group or a limit can't be written.
    pub(crate) fn limit(&self, stack: StackId, limits: &Limits) -> io::Result<()> {
        for one in self.all() {
            let folder = one.base.join(stack.to_string());
            make(&folder)?;
            if one.version == Version::Two {
                delegate(&folder);
            }
            one.set(&folder, limits)?;
        }
        Ok(())
    }

    /// Makes the groups of an instance, after its stack's ([`Cgroups::limit`]). Returns the files that a process writes `0` to in order
    /// to get into them.
    ///
    /// # Errors
    /// A group or a limit can't be written.
    pub(crate) fn enter(&self, stack: StackId, instance: &str, limits: &Limits) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for one in &self.limiting {
            let mut folder = one.base.join(stack.to_string());
            if one.controllers.iter().any(|controller| limits.uses(controller)) {
                folder = folder.join(instance);
                make(&folder)?;
                one.set(&folder, limits)?;
            }
            files.push(folder.join("cgroup.procs"));
        }
        let group = self.group(stack, instance);
        make(&group.path)?;
        self.finding.set(&group.path, limits)?;
        files.push(group.path.join("cgroup.procs"));
        Ok(files)
    }

    /// The group of an instance, whether there is one or not.
    pub(crate) fn group(&self, stack: StackId, instance: &str) -> Group {
        let within = |one: &Hierarchy| one.base.join(stack.to_string()).join(instance);
        let unused = self.unused.iter().map(|base| base.join(stack.to_string()).join(instance));
        Group { path: within(&self.finding), limiting: self.limiting.iter().map(within).chain(unused).collect() }
    }

    /// What the group of an instance is called in every hierarchy, seen from its root: where a container engine is to make its own.
    pub(crate) fn parent(&self, stack: StackId, instance: &str) -> String {
        let base = self.finding.base.file_name().unwrap_or_default().to_string_lossy();
        format!("/{base}/{stack}/{instance}")
    }

    /// All that runs of a stack.
    ///
    /// # Errors
    /// The stack's control groups can't be read.
    pub(crate) fn of_stack(&self, stack: StackId) -> io::Result<Vec<i32>> {
        all_processes(&self.finding.base.join(stack.to_string()))
    }

    /// Removes this platform's groups, as far as nothing runs in them. What runs keeps its own.
    pub(crate) fn close(&self) {
        for base in self.bases() {
            let stacks = folders(base).unwrap_or_default();
            for instance in stacks.iter().flat_map(|stack| folders(stack).unwrap_or_default()) {
                remove_or_leave(&instance);
            }
            for group in stacks.iter().chain([base]) {
                if let Err(error) = remove(group) {
                    tracing::debug!(group = %group.display(), %error, "a control group is still in use");
                }
            }
        }
    }

    fn bases(&self) -> impl Iterator<Item = &PathBuf> {
        self.all().map(|one| &one.base).chain(&self.unused)
    }

    /// Removes all groups of a stack of which nothing runs any more.
    ///
    /// # Errors
    /// A process runs in one of the groups.
    pub(crate) fn remove(&self, stack: StackId) -> io::Result<()> {
        for base in self.bases() {
            let folder = base.join(stack.to_string());
            for group in folders(&folder)? {
                remove_or_leave(&group);
                remove(&group)?;
            }
            remove(&folder)?;
        }
        Ok(())
    }
}

impl Group {
    /// Whether it was made, and hasn't been removed.
    pub(crate) fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Those that run in it.
    ///
    /// # Errors
    /// The group's list of processes can't be read.
    pub(crate) fn processes(&self) -> io::Result<Vec<i32>> {
        all_processes(&self.path)
    }

    /// The limit of memory for which the kernel has killed processes in it, in bytes; `None` if it has killed none for the group's own.
    pub(crate) fn exhausted(&self) -> Option<u64> {
        std::iter::once(&self.path).chain(&self.limiting).find_map(|folder| exhausted(folder))
    }

    /// Removes it, once nothing runs in it. What can't be removed now is removed with the stack.
    pub(crate) fn remove(&self) {
        std::iter::once(&self.path).chain(&self.limiting).for_each(|path| remove_or_leave(path));
    }
}

/// The processes of a group and of those in it: a container has one of its own.
fn all_processes(group: &Path) -> io::Result<Vec<i32>> {
    let mut found = processes(group)?;
    for inner in folders(group)? {
        found.extend(all_processes(&inner)?);
    }
    Ok(found)
}

/// Removes an instance's group with what a container engine has made in it, as far as nothing runs there.
fn remove_or_leave(group: &Path) {
    let inner = folders(group).unwrap_or_default();
    for path in inner.iter().map(PathBuf::as_path).chain([group]) {
        if let Err(error) = remove(path) {
            tracing::debug!(group = %path.display(), %error, "a control group is still in use");
        }
    }
}

/// The most that the kernel takes from a group's limit at once, and that may be missing when it is reached, in bytes.
const CHARGE: u64 = 1 << 20;

/// The limit of a group in which the kernel has killed, if it was this limit that was reached: a process in it may as well die of the
/// stack's limit, or of the machine's.
fn exhausted(folder: &Path) -> Option<u64> {
    let read = |file: &str| fs::read_to_string(folder.join(file)).ok();
    let counts = |text: String, event: &str| {
        text.lines().any(|line| line.strip_prefix(event).is_some_and(|number| number.trim() != "0"))
    };
    let (limit, killed, reached) = match read("memory.max") {
        // Before Linux 5.2 the events of the groups below are counted in.
        Some(limit) => {
            let own = read("memory.events.local").or_else(|| read("memory.events"))?;
            (limit, counts(read("memory.events")?, "oom_kill "), counts(own, "oom "))
        }
        None => {
            let killed = counts(read("memory.oom_control")?, "oom_kill ");
            // The counts of failures don't count where swap is limited, too.
            let number = |file: &str| read(file)?.trim().parse::<u64>().ok();
            let reached =
                number("memory.max_usage_in_bytes")?.saturating_add(CHARGE) >= number("memory.limit_in_bytes")?;
            (read("memory.limit_in_bytes")?, killed, reached)
        }
    };
    if !(killed && reached) {
        return None;
    }
    // Without a limit of its own it is a large figure here, and nobody's to name.
    limit.trim().parse().ok().filter(|limit| *limit < UNLIMITED)
}

#[cfg(test)]
mod tests {
    use super::hierarchy::CONTROLLERS;
    use super::*;

    #[test]
    fn a_kill_for_want_of_memory_is_read_from_either_versions_files() {
        let versions = [
            ("memory.max", "memory.events", "memory.events.local", ["oom 3", "oom 0"], "max"),
            (
                "memory.limit_in_bytes",
                "memory.oom_control",
                "memory.max_usage_in_bytes",
                ["67100000", "50000000"],
                "9223372036854771712",
            ),
        ];
        for (limit, events, file, [reached, not_reached], none) in versions {
            let folder = tempfile::tempdir().unwrap();
            let write = |file: &str, text: String| fs::write(folder.path().join(file), text).unwrap();
            write(limit, "67108864\n".to_owned());
            write(events, "low 0\noom 0\noom_kill 0\n".to_owned());
            write(file, format!("{reached}\n"));
            assert_eq!(exhausted(folder.path()), None);
            write(events, "low 0\noom 0\noom_kill 2\n".to_owned());
            assert_eq!(exhausted(folder.path()), Some(64 << 20));
            // The stack's limit was reached, or the machine had no more.
            write(file, format!("{not_reached}\n"));
            assert_eq!(exhausted(folder.path()), None);
            write(file, format!("{reached}\n"));
            write(limit, none.to_owned());
            assert_eq!(exhausted(folder.path()), None);
        }
    }

    #[test]
    fn the_groups_of_this_machine_hold_what_gets_into_them_and_leave_no_trace() {
        let Some(groups) = Cgroups::open(Uuid::new_v4()) else {
            return println!("no control groups here, or not root: not tried");
        };
        let stack = StackId(Uuid::new_v4());
        // More than there ever is is no limit, and no error.
        groups.limit(stack, &Limits { cpu: Some(u64::MAX), ..Limits::default() }).unwrap();
        groups.limit(stack, &Limits { tasks: Some(50), memory: Some(1 << 30), cpu: Some(1000) }).unwrap();
        let files = groups.enter(stack, "one", &Limits { memory: Some(64 << 20), ..Limits::default() }).unwrap();
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        for file in &files {
            fs::write(file, child.id().to_string()).unwrap();
        }
        let group = groups.group(stack, "one");
        assert_eq!(group.processes().unwrap(), [i32::try_from(child.id()).unwrap()]);
        assert_eq!(groups.of_stack(stack).unwrap(), group.processes().unwrap());
        let inside = fs::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
        for controller in CONTROLLERS.into_iter().filter(|controller| groups.limits(controller)) {
            let line = inside.lines().find(|line| {
                line.split(':').nth(1).is_some_and(|names| names.split(',').any(|name| name == controller))
            });
            let line = line.or_else(|| inside.lines().find(|line| line.starts_with("0::"))).unwrap();
            assert!(line.contains(&stack.to_string()), "{controller}: {line}");
            assert_eq!(
                line.ends_with("/one"),
                controller == "memory" || line.starts_with("0::"),
                "{controller}: {line}"
            );
        }
        assert_eq!(group.exhausted(), None);
        child.kill().unwrap();
        child.wait().unwrap();
        groups.close();
        assert!(!group.exists() && groups.bases().all(|base| !base.exists()));
    }
}
