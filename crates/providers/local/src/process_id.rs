//! Processes as the kernel knows them: who one is, and whether it lives.
//!
//! A pid alone says nothing: it is used again. A [`ProcessId`] adds the time at which the process started and the boot that this
//! is counted from; nothing is ever signalled without comparing all three. The signal then goes through a pidfd, which was opened
//! before the comparison and so can't have moved on to another process.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// How long a killed process may take to be gone. It is the kernel's work alone.
pub(crate) const KILLED: Duration = Duration::from_secs(10);

/// A process, and no other that has its pid before or after it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub(crate) pid: i32,
    /// When it started, in clock ticks since the boot (field 22 of `/proc/<pid>/stat`).
    pub(crate) start: u64,
    /// The boot that `start` counts from: `/proc/sys/kernel/random/boot_id`.
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
pub(crate) fn file_of(pid: i32, file: &str) -> io::Result<Option<String>> {
    match fs::read(format!("/proc/{pid}/{file}")) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the kernel says of a process; `None` if there is none.
pub(crate) fn stat(pid: i32) -> io::Result<Option<Stat>> {
    let Some(text) = file_of(pid, "stat")? else { return Ok(None) };
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

pub(crate) fn boot() -> io::Result<&'static str> {
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
    /// `/proc` can't be read, for want of descriptors or memory. That is no proof that the process has ended.
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
    pub(crate) fn signal_group(&self, signal: Signal) -> io::Result<bool> {
        let leads = stat(self.pid)?.is_some_and(|stat| stat.group == self.pid);
        Ok(match (self.open()?, Pid::from_raw(self.pid)) {
            (Some(_handle), Some(pid)) if leads => kill_process_group(pid, signal).is_ok(),
            (Some(handle), _) => pidfd_send_signal(handle, signal).is_ok(),
            (None, _) => false,
        })
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
            assert!(file_of(own, "status").unwrap().unwrap().contains("Uid:"));
        })
        .join()
        .unwrap();
    }
}
