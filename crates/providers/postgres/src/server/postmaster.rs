//! One postmaster: started by us, or found running.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::Child;
use tokio::time::{Instant, sleep};

use super::account::Account;
use super::binaries::Binaries;
use super::cluster::Layout;
use super::error::ServerError;
use super::folder::Foreign;

/// How often to look whether a postmaster that isn't our child still runs.
const LOOK: Duration = Duration::from_millis(200);

/// Of the machine's memory, what one session may take for itself: a sixteenth.
const SESSION_SHARE: u64 = 16;
/// What it may take on any machine, in bytes. What a dump, an index or a sort needs by the server's own settings is far less.
const SESSION_LEAST: u64 = 512 << 20;

/// The file in the cluster that says which process runs it.
pub(super) const POSTMASTER_PID: &str = "postmaster.pid";

/// What `postmaster.pid` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PidFile {
    pub(super) pid: i32,
    pub(super) port: u16,
    /// Key and id of its shared memory.
    shared_memory: Option<(i64, i64)>,
}

impl PidFile {
    /// Reads it; `None` if there is none, or one that is being written.
    pub(super) fn read(cluster: &Path) -> Option<Self> {
        Self::parse(&Foreign::open(cluster)?.read(POSTMASTER_PID, 4096)?)
    }

    /// Lines: pid, data directory, start, port, socket directory, address, shared memory, status.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim);
        let pid = lines.next()?.parse().ok()?;
        let port = lines.nth(2)?.parse().ok()?;
        let memory = lines.nth(2).and_then(|line| {
            let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
            Some((numbers.next()??, numbers.next()??))
        });
        Some(Self { pid, port, shared_memory: memory })
    }

    /// Whether the process is a postmaster of this cluster: it runs under the account, and its working directory is the
    /// cluster. `None` if there is no telling (not Linux). The file is the account's, who could write any number there.
    pub(super) fn holds(&self, cluster: &Path, account: &Account) -> Option<bool> {
        if !Path::new("/proc/self/cwd").exists() {
            return None;
        }
        let process = format!("/proc/{}", self.pid);
        if fs::metadata(&process).is_ok_and(|process| process.uid() != account.user()) {
            return Some(false);
        }
        let working = fs::read_link(format!("{process}/cwd")).ok();
        Some(working.is_some_and(|working| cluster.canonicalize().is_ok_and(|cluster| cluster == working)))
    }

    /// Whether backends of a postmaster that is gone are still attached to its shared memory.
    pub(super) fn memory_in_use(&self) -> bool {
        let Some((_, id)) = self.shared_memory else { return false };
        // Columns: key shmid perms size cpid lpid nattch …
        let Ok(table) = fs::read_to_string("/proc/sysvipc/shm") else { return true };
        table.lines().skip(1).any(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let attached = columns.get(6).is_some_and(|count| *count != "0");
            attached && columns.get(1).and_then(|shmid| shmid.parse().ok()) == Some(id)
        })
    }
}

/// Starts a program with a limit for the memory of each of its processes, in kB: the first argument, unless there is a stricter one. A limit
/// of its own every process may lower; that of another user's process, root only with a capability that it doesn't have in every container.
const LIMITED: &str =
    r#"hard=$(ulimit -Hd); [ "$hard" != unlimited ] && [ "$hard" -le "$0" ] || ulimit -d "$0"; exec "$@""#;

/// What a session may take of the memory, in kB. A role may set its own `work_mem` to whatever it likes, and a process that is
/// killed for want of memory takes all sessions of the server with it, where an allocation that fails ends one statement.
fn session_memory() -> u64 {
    let machine = rustix::system::sysinfo();
    #[expect(clippy::useless_conversion, reason = "narrower on some machines")]
    let total = u64::from(machine.totalram).saturating_mul(machine.mem_unit.into());
    (total / SESSION_SHARE).max(SESSION_LEAST) >> 10
}

/// As root, keeps the postmaster from being killed in the place of the process that takes the memory, where the kernel lets us.
fn protect(pid: i32) {
    if rustix::process::geteuid().is_root() {
        let _ = fs::write(format!("/proc/{pid}/oom_score_adj"), "-900");
    }
}

/// A running postmaster.
#[derive(Debug)]
pub(super) struct Postmaster {
    pid: i32,
    /// Set if we started it, so that it is reaped.
    child: Option<Child>,
}

impl Postmaster {
    /// One that was found running.
    pub(super) fn adopted(pid: i32) -> Self {
        Self { pid, child: None }
    }

    /// Starts one. It runs on when we end, and what it says goes to its log.
    pub(super) fn start(
        layout: &Layout,
        binaries: &Binaries,
        account: &Account,
        settings: &[(&str, String)],
    ) -> Result<Self, ServerError> {
        let doing = "starting PostgreSQL";
        let program = binaries.program("postgres");
        let output = layout.start_log()?;
        let errors = output.try_clone().map_err(ServerError::io(doing, &layout.home))?;
        let mut command = account.command(Path::new("/bin/sh"));
        command.arg("-c").arg(LIMITED).arg(session_memory().to_string()).arg(&program);
        command.arg("-D").arg(layout.cluster()).stdout(output).stderr(errors);
        // Its children are as likely to be killed as anybody; itself not, see `protect`.
        command.env("PG_OOM_ADJUST_FILE", "/proc/self/oom_score_adj").env("PG_OOM_ADJUST_VALUE", "0");
        for (name, value) in settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let child = command.spawn().map_err(ServerError::io(doing, &program))?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        protect(pid);
        Ok(Self { pid, child: Some(child) })
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether it was found running.
    pub(super) fn is_adopted(&self) -> bool {
        self.child.is_none()
    }

    /// Whether it runs.
    pub(super) fn is_alive(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => is_alive(self.pid),
        }
    }

    /// Waits for its end. Safe to cancel.
    pub(super) async fn wait(&mut self) {
        match &mut self.child {
            Some(child) => {
                let _ = child.wait().await;
            }
            None => {
                while is_alive(self.pid) {
                    sleep(LOOK).await;
                }
            }
        }
    }

    /// Fast shutdown: sessions are ended, everything is written. After `patience` an immediate one, after which the next
    /// start recovers from the log.
    pub(super) async fn stop(&mut self, patience: Duration) -> Result<(), ServerError> {
        let begun = Instant::now();
        for (signal, patience) in [(Signal::INT, patience), (Signal::QUIT, Duration::from_secs(5))] {
            if !self.is_alive() {
                return Ok(());
            }
            if let Some(pid) = Pid::from_raw(self.pid) {
                let _ = rustix::process::kill_process(pid, signal);
            }
            if tokio::time::timeout(patience, self.wait()).await.is_ok() {
                return Ok(());
            }
        }
        Err(ServerError::NotStopped { pid: self.pid, waited: begun.elapsed() })
    }
}

/// Whether there is such a process; one that may not be signalled is one, too. A zombie is none.
pub(super) fn is_alive(pid: i32) -> bool {
    let Some(pid) = Pid::from_raw(pid) else { return false };
    let exists = match rustix::process::test_kill_process(pid) {
        Ok(()) => true,
        Err(error) => error == rustix::io::Errno::PERM,
    };
    exists && !is_zombie(pid)
}

fn is_zombie(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    // The state follows the name, which is in parentheses and may contain anything.
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_file_tells_process_port_and_shared_memory() {
        let text = "4711\n/data/cluster\n1790000000\n54321\n/data/socket\n127.0.0.1\n  1234567   32769\nready   \n";
        let file = PidFile::parse(text).unwrap();
        assert_eq!((file.pid, file.port, file.shared_memory), (4711, 54321, Some((1234567, 32769))));
    }

    #[test]
    fn a_pid_file_that_is_being_written_is_none() {
        assert_eq!(PidFile::parse("4711\n/data"), None);
        assert_eq!(PidFile::parse(""), None);
    }
}
