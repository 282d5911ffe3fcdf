//! Control groups: one for each stack, which limits it, and one in it for each instance, which no process can leave.
//!
//! ```text
//!   <hierarchy>/freehold-<platform>/<stack>/             what the tier gives the whole stack, and how many processes it may have
//!                                          /<instance>/  what the service or job may use
//! ```
//!
//! Where the kernel has one hierarchy (version 2), it does all of it. Where it has one for each controller (version 1), or both side by
//! side, processes are found in the version 2 one if there is any, else in that of `pids`, and limits are set where their controllers
//! are. Only as root; where nothing can be had, the provider goes on without, and says so.
//!
//! Swap is memory here: who could swap would slow the others down instead of keeping to the limit.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use freehold_graph::{StackId, Value};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::process;

/// How many processes and threads a stack may have, unless it is said otherwise.
pub(crate) const TASKS: u64 = 4096;
/// The length of a period of cpu time, in microseconds, as the kernel has it by default.
const PERIOD: u64 = 100_000;

/// Version 1's file for the limit of memory and swap together, where swap is counted.
const WITH_SWAP: &str = "memory.memsw.limit_in_bytes";
/// No limit in bytes is as high; what version 1 shows where there is none is.
const UNLIMITED: u64 = 1 << 60;

/// The controllers that limits are set with.
const CONTROLLERS: [&str; 3] = ["pids", "memory", "cpu"];

/// What a stack, or an instance, may use at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    /// Processes and threads; `None`: no more than others.
    pub(crate) tasks: Option<u64>,
    /// Bytes; `None`: all that there is.
    pub(crate) memory: Option<u64>,
    /// Thousandths of a processor; `None`: all that there are.
    pub(crate) cpu: Option<u64>,
}

impl Limits {
    /// From a body, or the part of it that is about the whole stack.
    pub(crate) fn read(body: &Value) -> Self {
        let number =
            |field: &str| body.get(field).and_then(Value::as_integer).and_then(|number| u64::try_from(number).ok());
        Self { tasks: None, memory: number("memory_bytes"), cpu: number("cpu_millis") }
    }

    fn uses(&self, controller: &str) -> bool {
        match controller {
            "pids" => self.tasks.is_some(),
            "memory" => self.memory.is_some(),
            "cpu" => self.cpu.is_some(),
            _ => false,
        }
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
    /// The same in the hierarchies of version 1, whether it was needed there or not.
    #[serde(default)]
    limiting: Vec<PathBuf>,
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
        Group { path: within(&self.finding), limiting: self.limiting.iter().map(within).collect() }
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

    /// Removes this platform's groups, as far as nothing runs in them. What runs keeps its own.
    pub(crate) fn close(&self) {
        for one in self.all() {
            let stacks = folders(&one.base).unwrap_or_default();
            let instances = stacks.iter().flat_map(|stack| folders(stack).unwrap_or_default());
            for group in instances.collect::<Vec<_>>().iter().chain(&stacks).chain([&one.base]) {
                if let Err(error) = remove(group) {
                    tracing::debug!(group = %group.display(), %error, "a control group is still in use");
                }
            }
        }
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
    /// Writes a group's limits, as far as their controllers are here. What isn't limited is set free.
    fn set(&self, folder: &Path, limits: &Limits) -> io::Result<()> {
        let write = |file: &str, value: String| {
            let path = folder.join(file);
            match fs::write(&path, value) {
                // What runs there has more than that, and the first version takes nothing away from it.
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    tracing::warn!(group = %path.display(), "the limit can't be lowered now; the next start tries it again");
                    Ok(())
                }
                other => other.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
            }
        };
        let has = |controller: &str| self.controllers.contains(controller);
        let none = match self.version {
            Version::One => "-1",
            Version::Two => "max",
        };
        let or_none = |limit: Option<u64>| limit.map_or(none.to_owned(), |limit| limit.to_string());
        if has("pids") {
            write("pids.max", limits.tasks.map_or("max".to_owned(), |tasks| tasks.to_string()))?;
        }
        if has("memory") {
            match self.version {
                // With swap it may never be less than without: out of the way first.
                Version::One if folder.join(WITH_SWAP).exists() => {
                    write(WITH_SWAP, none.to_owned())?;
                    write("memory.limit_in_bytes", or_none(limits.memory))?;
                    write(WITH_SWAP, or_none(limits.memory))?;
                }
                Version::One => write("memory.limit_in_bytes", or_none(limits.memory))?,
                Version::Two => {
                    write("memory.max", or_none(limits.memory))?;
                    if folder.join("memory.swap.max").exists() {
                        write("memory.swap.max", if limits.memory.is_some() { "0" } else { none }.to_owned())?;
                    }
                }
            }
        }
        if has("cpu") {
            let quota = or_none(limits.cpu.map(|cpu| (cpu * PERIOD / 1000).max(1000)));
            match self.version {
                Version::One => write("cpu.cfs_quota_us", quota)?,
                Version::Two => write("cpu.max", format!("{quota} {PERIOD}"))?,
            }
        }
        Ok(())
    }

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

    /// The limit of memory for which the kernel has killed processes in it, in bytes; `None` if it has killed none for the group's own.
    pub(crate) fn exhausted(&self) -> Option<u64> {
        std::iter::once(&self.path).chain(&self.limiting).find_map(|folder| exhausted(folder))
    }

    /// Removes it, once nothing runs in it. What can't be removed now is removed with the stack.
    pub(crate) fn remove(&self) {
        for path in std::iter::once(&self.path).chain(&self.limiting) {
            if let Err(error) = remove(path) {
                tracing::debug!(group = %path.display(), %error, "a control group is still in use");
            }
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

    fn of_version(version: Version, base: PathBuf) -> Hierarchy {
        Hierarchy { version, base, controllers: CONTROLLERS.map(str::to_owned).into() }
    }

    #[test]
    fn limits_are_written_as_either_version_has_them_and_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let read = |file: &str| fs::read_to_string(folder.path().join(file)).unwrap();
        let limits = Limits { tasks: Some(10), memory: Some(64 << 20), cpu: Some(1500) };
        let two = of_version(Version::Two, folder.path().to_owned());
        fs::write(folder.path().join("memory.swap.max"), "max").unwrap();
        two.set(folder.path(), &limits).unwrap();
        assert_eq!((read("pids.max"), read("memory.max")), ("10".to_owned(), "67108864".to_owned()));
        assert_eq!((read("memory.swap.max"), read("cpu.max")), ("0".to_owned(), "150000 100000".to_owned()));
        two.set(folder.path(), &Limits::default()).unwrap();
        assert_eq!((read("memory.max"), read("cpu.max")), ("max".to_owned(), "max 100000".to_owned()));
        let one = of_version(Version::One, folder.path().to_owned());
        fs::write(folder.path().join(WITH_SWAP), "-1").unwrap();
        one.set(folder.path(), &limits).unwrap();
        assert_eq!((read("memory.limit_in_bytes"), read(WITH_SWAP)), ("67108864".to_owned(), "67108864".to_owned()));
        assert_eq!(read("cpu.cfs_quota_us"), "150000");
        one.set(folder.path(), &Limits::default()).unwrap();
        assert_eq!((read(WITH_SWAP), read("cpu.cfs_quota_us")), ("-1".to_owned(), "-1".to_owned()));
    }

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
        assert!(!group.exists() && groups.all().all(|one| !one.base.exists()));
    }
}
