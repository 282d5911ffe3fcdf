//! The kernel's hierarchies of control groups, in both versions: finding them, and writing what a group may use.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use freehold_graph::Value;
use uuid::Uuid;

use crate::process_id;

/// The length of a period of cpu time, in microseconds, as the kernel has it by default.
const PERIOD: u64 = 100_000;
/// The most of it that is asked for, in microseconds: of ten million processors. The kernel refuses what is some times more.
const MOST: u64 = 1_000_000_000_000;

/// Version 1's file for the limit of memory and swap together, where swap is counted.
const WITH_SWAP: &str = "memory.memsw.limit_in_bytes";
/// How many other groups' worth (a unit's of systemd, a session's) all of ours together get: the server's and the stacks' each one.
const BASE_SHARE: u64 = 2;

/// The controllers that limits are set with.
pub(super) const CONTROLLERS: [&str; 3] = ["pids", "memory", "cpu"];

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

    pub(super) fn uses(&self, controller: &str) -> bool {
        match controller {
            "pids" => self.tasks.is_some(),
            "memory" => self.memory.is_some(),
            "cpu" => self.cpu.is_some(),
            _ => false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// A mounted hierarchy of groups.
#[derive(Debug, Clone)]
pub(super) struct Hierarchy {
    pub(super) version: Version,
    /// Our part of it.
    pub(super) base: PathBuf,
    pub(super) controllers: BTreeSet<String>,
}

/// The hierarchies in which this platform can have groups.
pub(super) fn usable(platform: Uuid) -> Vec<Hierarchy> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let name = name(platform);
    let mut usable: Vec<Hierarchy> = mounts.lines().filter_map(|line| hierarchy(line, &name)).collect();
    usable.retain(|one| match one.prepare() {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(group = %one.base.display(), %error, "control groups are not available here");
            false
        }
    });
    for one in &mut usable {
        if one.version == Version::Two {
            one.controllers = delegated(&one.base);
        }
        if one.controllers.contains("cpu")
            && let Err(error) = one.weigh(&one.base, BASE_SHARE)
        {
            tracing::debug!(group = %one.base.display(), %error, "the platform's groups have no weight of their own");
        }
    }
    usable
}

/// Our part of every hierarchy that is mounted, whether it is there or not.
pub(super) fn all(platform: Uuid) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let base = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let is_one = matches!(right.split(' ').next()?, "cgroup" | "cgroup2");
        let mount = left.split(' ').nth(4).filter(|_| is_one)?;
        Some(Path::new(mount).join(name(platform)))
    };
    mounts.lines().filter_map(base).collect()
}

fn name(platform: Uuid) -> String {
    format!("freehold-{}", platform.simple())
}

impl Hierarchy {
    /// Writes a group's limits, as far as their controllers are here. What isn't limited is set free.
    pub(super) fn set(&self, folder: &Path, limits: &Limits) -> io::Result<()> {
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
            let quota = or_none(limits.cpu.map(|cpu| (cpu.saturating_mul(PERIOD) / 1000).clamp(1000, MOST)));
            match self.version {
                Version::One => write("cpu.cfs_quota_us", quota)?,
                Version::Two => write("cpu.max", format!("{quota} {PERIOD}"))?,
            }
        }
        Ok(())
    }

    /// Gives a group as much processor time as so many others where it is short.
    pub(super) fn weigh(&self, folder: &Path, shares: u64) -> io::Result<()> {
        match self.version {
            Version::One => fs::write(folder.join("cpu.shares"), (shares * 1024).to_string()),
            Version::Two => fs::write(folder.join("cpu.weight"), (shares * 100).to_string()),
        }
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
pub(super) fn delegate(folder: &Path) {
    for controller in CONTROLLERS {
        if let Err(error) = fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}")) {
            tracing::debug!(group = %folder.display(), controller, %error, "a controller is not available");
        }
    }
}

/// The controllers that the groups below have.
fn delegated(folder: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(folder.join("cgroup.subtree_control")).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

pub(super) fn make(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

pub(super) fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The groups in a group.
pub(super) fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
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

pub(super) fn processes(folder: &Path) -> io::Result<Vec<i32>> {
    match fs::read_to_string(folder.join("cgroup.procs")) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        Err(error)
            if process_id::gone(&error) || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) =>
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
}
