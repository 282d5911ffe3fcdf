//! Daemons that never outlive the test process, however it ends.
//!
//! A small shell, the guard, waits for the end of its standard input; the other end of that pipe is held by the test
//! process alone. Then it ends every daemon whose number is recorded in the folder, runs the folder's `end.sh` if there is
//! one, and removes the folder.

use std::fs::{self, File};
use std::io::{self, BufRead};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{net, thread};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

const GUARD: &str = include_str!("guard.sh");
/// Records the number before the program begins, so that the guard knows of every one.
const START: &str = r#"folder=$1; shift; : >"$folder/pids/$$" || exit 1; exec "$@""#;

/// A temporary folder and the daemons that work in it. All end, and the folder goes, when this is dropped.
#[derive(Debug)]
pub(super) struct Processes {
    folder: PathBuf,
    guard: Child,
    stdin: Option<ChildStdin>,
    running: Mutex<Vec<(String, Child)>>,
}

impl Processes {
    /// An empty folder with its guard. With a file to lock this waits until nobody else's guard holds it; it is held until
    /// all is cleaned up.
    pub(super) fn new(prefix: &str, lock: Option<&Path>) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix(prefix).tempdir()?.keep();
        fs::create_dir(folder.join("pids"))?;
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "sh"])
            .arg(&folder)
            .args(lock)
            // A group of its own: Ctrl-C is for the test, whose end the guard notices.
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("starting the guard of a cluster")?;
        let stdin = guard.stdin.take();
        let stdout = guard.stdout.take().context("the guard has no output")?;
        let said = io::BufReader::new(stdout).lines().next().transpose()?;
        ensure!(said.as_deref() == Some("ready"), "the guard of a cluster could not take {lock:?}");
        Ok(Self { folder, guard, stdin, running: Mutex::default() })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts a daemon; its output goes to `NAME.log`, after what an earlier one of that name has written.
    pub(super) fn start(&self, name: &str, program: &Path, arguments: &[String]) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(self.folder.join(format!("{name}.log")))?;
        let child = Command::new("sh")
            .args(["-c", START, "sh"])
            .arg(&self.folder)
            .arg(program)
            .args(arguments)
            .current_dir(&self.folder)
            .process_group(0)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        self.lock().push((name.to_owned(), child));
        Ok(())
    }

    /// Ends a daemon with `kill -9`, and waits for its end.
    pub(super) fn kill(&self, name: &str) -> anyhow::Result<()> {
        let mut running = self.lock();
        let at = running.iter().position(|(of, _)| of == name).with_context(|| format!("{name} doesn't run"))?;
        let (_, mut child) = running.swap_remove(at);
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Sends a daemon a signal.
    pub(super) fn signal(&self, name: &str, signal: Signal) -> anyhow::Result<()> {
        let running = self.lock();
        let (_, child) = running.iter().find(|(of, _)| of == name).with_context(|| format!("{name} doesn't run"))?;
        Ok(kill_process(Pid::from_child(child), signal)?)
    }

    /// What a daemon has written.
    pub(super) fn log(&self, name: &str) -> String {
        let log = fs::read(self.folder.join(format!("{name}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Fails, with the end of its log, if any daemon has ended by itself.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        for (name, child) in self.lock().iter_mut() {
            if let Some(status) = child.try_wait()? {
                let log = self.log(name);
                let lines: Vec<&str> = log.lines().rev().take(20).collect();
                let end: Vec<&str> = lines.into_iter().rev().collect();
                bail!("{name} has ended ({status}):\n{}", end.join("\n"));
            }
        }
        Ok(())
    }

    /// Waits until something is so, as long as all daemons live.
    pub(super) fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        attempt: impl FnMut() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        wait(what, limit, attempt, || self.check())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(String, Child)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.guard.wait();
        for (_, child) in self.lock().iter_mut() {
            let _ = child.wait();
        }
    }
}

/// Tries until it succeeds; fails at the limit with the last error, or as soon as it is hopeless.
pub(super) fn wait<T>(
    what: &str,
    limit: Duration,
    mut attempt: impl FnMut() -> anyhow::Result<T>,
    hopeless: impl Fn() -> anyhow::Result<()>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => {
                return Err(error.context(format!("{what}: not so within {} s", limit.as_secs())));
            }
            Err(_) => hopeless()?,
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// A port of 127.0.0.1 that nobody listens on, for now.
pub(super) fn free_port() -> anyhow::Result<u16> {
    Ok(net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
