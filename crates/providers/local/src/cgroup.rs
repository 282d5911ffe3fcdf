//! Control groups: one for each stack, which limits it, and one in it for each instance, which no process can leave.
//!
//! ```text
//!   <hierarchy>/freehold-<platform>/<stack>/             pids, memory, cpu: the limits of the whole stack
//!                                          /<instance>/  in the hierarchy that is used to find processes
//! ```
//!
//! Where the kernel has one hierarchy (version 2), it does both. Where it has one for each controller (version 1), or both side by
//! side, processes are found in the version 2 one if there is any, else in that of `pids`, and limits are set where their controllers
//! are. Only as root; where nothing can be had, the provider goes on without, and says so.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use freehold_graph::StackId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::process;

/// How many processes and threads a stack may have, unless it is said otherwise.
pub(crate) const TASKS: u64 = 4096;
/// The length of a period of cpu time, in microseconds, as the kernel has it by default.
const PERIOD: u64 = 100_000;

/// The controllers that limits are set with.
const CONTROLLERS: [&str; 3] = ["pids", "memory", "cpu"];

/// What a stack may use at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Processes and threads.
    pub(crate) tasks: u64,
    /// Bytes; `None`: all that there is.
    pub(crate) memory: Option<u64>,
    /// Thousandths of a processor; `None`: all that there are.
    pub(crate) cpu: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { tasks: TASKS, memory: None, cpu: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// A mounted hierarchy of groups.
#[derive(Debug, Clone)]
struct Hierarchy {
    version: Version,
    /// Our part of it.
    base: PathBuf,
    controllers: BTreeSet<String>,
}

/// The groups of this platform.
#[derive(Debug)]
pub(crate) struct Cgroups {
    /// Where processes are found.
    finding: Hierarchy,
    /// Where else there are limits.
    limiting: Vec<Hierarchy>,
}

/// The group of one instance or run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Group {
    path: PathBuf,
}

impl Cgroups {
    /// Makes this platform's groups where that is possible; `None` where it isn't.
    pub(crate) fn open(platform: Uuid) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let name = format!("freehold-{}", platform.simple());
        let mut usable: Vec<Hierarchy> = mounts.lines().filter_map(|line| hierarchy(line, &name)).collect();
        usable.retain(|one| match one.prepare() {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(group = %one.base.display(), %error, "no control group can be had here");
                false
            }
        });
        for one in &mut usable {
            if one.version == Version::Two {
                one.controllers = delegated(&one.base);
            }
        }
        let finds = |one: &Hierarchy| one.version == Version::Two;
        let index =
            usable.iter().position(finds).or_else(|| usable.iter().position(|one| one.controllers.contains("pids")))?;
        let finding = usable.remove(index);
        Some(Self { finding, limiting: usable })
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
            if one.controllers.contains("pids") {
                fs::write(folder.join("pids.max"), limits.tasks.to_string())?;
            }
            if one.controllers.contains("memory") {
                let (file, none) = match one.version {
                    Version::One => ("memory.limit_in_bytes", "-1"),
                    Version::Two => ("memory.max", "max"),
                };
                fs::write(folder.join(file), limits.memory.map_or(none.to_owned(), |bytes| bytes.to_string()))?;
            }
            if one.controllers.contains("cpu") {
                let quota = limits.cpu.map(|cpu| (cpu * PERIOD / 1000).max(1000));
                match one.version {
                    Version::One => {
                        fs::write(
                            folder.join("cpu.cfs_quota_us"),
                            quota.map_or("-1".to_owned(), |quota| quota.to_string()),
                        )?;
                    }
                    Version::Two => {
                        let quota = quota.map_or("max".to_owned(), |quota| quota.to_string());
                        fs::write(folder.join("cpu.max"), format!("{quota} {PERIOD}"))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes the group of an instance, after its stack's ([`Cgroups::limit`]). Returns the files that a process writes `0` to in order
    /// to get into it, and into its stack's limits.
    ///
    /// # Errors
    /// The group can't be made.
    pub(crate) fn enter(&self, stack: StackId, instance: &str) -> io::Result<Vec<PathBuf>> {
        let group = self.group(stack, instance);
        make(&group.path)?;
        let mut files: Vec<PathBuf> =
            self.limiting.iter().map(|one| one.base.join(stack.to_string()).join("cgroup.procs")).collect();
        files.push(group.path.join("cgroup.procs"));
        Ok(files)
    }

    /// The group of an instance, whether there is one or not.
    pub(crate) fn group(&self, stack: StackId, instance: &str) -> Group {
        Group { path: self.finding.base.join(stack.to_string()).join(instance) }
    }

    /// All that runs of a stack.
    ///
    /// # Errors
    /// It can't be told.
    pub(crate) fn of_stack(&self, stack: StackId) -> io::Result<Vec<i32>> {
        let folder = self.finding.base.join(stack.to_string());
        let mut found = processes(&folder)?;
        for group in folders(&folder)? {
            found.extend(processes(&group)?);
        }
        Ok(found)
    }

    /// Removes all groups of a stack of which nothing runs any more.
    ///
    /// # Errors
    /// Something runs in one.
    pub(crate) fn remove(&self, stack: StackId) -> io::Result<()> {
        for one in self.all() {
            let folder = one.base.join(stack.to_string());
            for group in folders(&folder)? {
                remove(&group)?;
            }
            remove(&folder)?;
        }
        Ok(())
    }
}

impl Hierarchy {
    /// Makes our part, and gives it the controllers that it can have.
    fn prepare(&self) -> io::Result<()> {
        if self.version == Version::Two
            && let Some(root) = self.base.parent()
        {
            delegate(root);
        }
        make(&self.base)?;
        if self.version == Version::Two {
            delegate(&self.base);
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
    /// It can't be read.
    pub(crate) fn processes(&self) -> io::Result<Vec<i32>> {
        processes(&self.path)
    }

    /// Removes it, once nothing runs in it. What can't be removed now is removed with the stack.
    pub(crate) fn remove(&self) {
        if let Err(error) = remove(&self.path) {
            tracing::debug!(group = %self.path.display(), %error, "a control group is still in use");
        }
    }
}

/// Reads a line of `mountinfo`: `36 35 98:0 / /sys/fs/cgroup/pids rw … - cgroup cgroup rw,pids`.
fn hierarchy(line: &str, name: &str) -> Option<Hierarchy> {
    let (left, right) = line.split_once(" - ")?;
    let mount = left.split(' ').nth(4)?;
    let mut right = right.split(' ');
    let version = match right.next()? {
        "cgroup" => Version::One,
        "cgroup2" => Version::Two,
        _ => return None,
    };
    let options = right.nth(1).unwrap_or_default();
    let controllers: BTreeSet<String> = options.split(',').map(str::to_owned).collect();
    if version == Version::One && !CONTROLLERS.iter().any(|controller| controllers.contains(*controller)) {
        return None;
    }
    Some(Hierarchy { version, base: Path::new(mount).join(name), controllers })
}

/// Lets the groups below have the controllers that we set limits with, as far as they are to be had.
fn delegate(folder: &Path) {
    for controller in CONTROLLERS {
        if let Err(error) = fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}")) {
            tracing::debug!(group = %folder.display(), controller, %error, "a controller can't be had");
        }
    }
}

/// The controllers that the groups below have.
fn delegated(folder: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(folder.join("cgroup.subtree_control")).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

fn make(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The groups in a group.
fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let reading = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in reading {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn processes(folder: &Path) -> io::Result<Vec<i32>> {
    match fs::read_to_string(folder.join("cgroup.procs")) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        Err(error)
            if process::gone(&error) || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchies_of_both_versions_are_read_from_the_kernels_table() {
        let one = hierarchy("29 25 0:26 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids", "f").unwrap();
        assert_eq!((one.version, one.base), (Version::One, PathBuf::from("/sys/fs/cgroup/pids/f")));
        assert!(one.controllers.contains("pids"));
        let two =
            hierarchy("30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate", "f").unwrap();
        assert_eq!((two.version, two.base), (Version::Two, PathBuf::from("/sys/fs/cgroup/f")));
        assert!(hierarchy("22 27 0:20 / /sys rw,nosuid - sysfs sysfs rw", "f").is_none());
    }
}
