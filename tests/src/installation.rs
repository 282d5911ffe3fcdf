//! A Freehold of its own: data directory, ports, the running `freehold up`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::wait::within;

/// A Freehold of its own. It is taken down, with all that it started, when the value is dropped.
pub struct Installation {
    directory: TempDir,
    binary: PathBuf,
    router_port: u16,
    server: Option<Child>,
    arguments: Vec<String>,
}

/// What a call of the binary gave.
#[derive(Debug)]
pub struct Run {
    /// The exit code; -1 for a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    /// Standard output as one JSON document.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("not JSON: {self:?}"))
    }

    /// The last line of standard output as JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn last_json(&self) -> Result<Value> {
        let line = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line).with_context(|| format!("the last line is not JSON: {self:?}"))
    }

    /// Fails unless the exit code is 0.
    ///
    /// # Errors
    /// It isn't.
    pub fn succeeded(self) -> Result<Self> {
        if self.code == 0 { Ok(self) } else { bail!("exit code {}\n{}\n{}", self.code, self.stdout, self.stderr) }
    }

    /// Fails unless the exit code is this one and standard error or output contains the text.
    ///
    /// # Errors
    /// It isn't, or doesn't.
    pub fn failed_with(self, code: i32, text: &str) -> Result<Self> {
        if self.code != code || !(self.stderr.contains(text) || self.stdout.contains(text)) {
            bail!("expected exit code {code} and {text:?}, got {}\n{}\n{}", self.code, self.stdout, self.stderr);
        }
        Ok(self)
    }
}

/// Where cargo has put the binary: beside the tests' own.
pub(crate) fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("FREEHOLD_BINARY") {
        return Ok(path.into());
    }
    let tests = std::env::current_exe()?;
    let folder = tests.parent().and_then(Path::parent).context("the tests have no folder")?;
    let path = folder.join("freehold");
    anyhow::ensure!(path.exists(), "{} is missing: build it with `cargo build -p freehold-cli`", path.display());
    Ok(path)
}

/// A port below those that the system gives to outgoing connections, and another one for each call.
fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = 20_000 + u16::try_from(std::process::id() % 4_000)?;
    loop {
        let port = begin + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
}

impl Installation {
    /// Makes the folder and starts nothing.
    ///
    /// # Errors
    /// The folder can't be made or the binary isn't built.
    pub fn new() -> Result<Self> {
        // Not below a home directory: PostgreSQL and the services run as other users where the tests run as root.
        let directory = tempfile::Builder::new().prefix("freehold-test-").tempdir_in("/var/tmp")?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711))?;
        Ok(Self { directory, binary: binary()?, router_port: free_port()?, server: None, arguments: Vec::new() })
    }

    /// Makes the folder and starts the platform.
    ///
    /// # Errors
    /// It doesn't start.
    pub fn start() -> Result<Self> {
        let mut installation = Self::new()?;
        installation.up()?;
        Ok(installation)
    }

    /// More arguments for `up`.
    pub fn arguments(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(ToString::to_string).collect();
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The folder around the data directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The router's port.
    pub fn router_port(&self) -> u16 {
        self.router_port
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.env("FREEHOLD_DATA_DIR", self.data()).env("XDG_CACHE_HOME", self.path().join("cache"));
        command.env("NO_COLOR", "1").env("COLUMNS", "80").stdin(Stdio::null());
        command
    }

    /// Starts `freehold up` and waits until the platform answers.
    ///
    /// # Errors
    /// It ends, or doesn't answer within a minute; with what it printed.
    pub fn up(&mut self) -> Result<()> {
        self.spawn()?;
        let log = self.path().join("up.log");
        let mut ended = false;
        let server = &mut self.server;
        let data = self.directory.path().join("data/server.json");
        let pid = server.as_ref().map(Child::id);
        within(Duration::from_secs(60), "the platform answers", || {
            ended = server.as_mut().is_some_and(|child| child.try_wait().ok().flatten().is_some());
            let announced = fs::read(&data).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
            let ours = announced.is_some_and(|file| file.get("pid").and_then(Value::as_u64) == pid.map(u64::from));
            (ended || ours).then_some(())
        });
        if ended {
            bail!("freehold up has ended:\n{}", fs::read_to_string(log)?);
        }
        Ok(())
    }

    /// Starts `freehold up` and doesn't wait.
    ///
    /// # Errors
    /// The process can't be started.
    pub fn spawn(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.path().join("up.log"))?;
        let mut command = self.command();
        command.args(["up", "--port", &self.router_port.to_string()]).args(&self.arguments);
        self.server = Some(command.stdout(log.try_clone()?).stderr(log).spawn()?);
        Ok(())
    }

    /// What `freehold up` has printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path().join("up.log")).unwrap_or_default()
    }

    /// `kill -9` of the server, and nothing else.
    ///
    /// # Errors
    /// It isn't running.
    pub fn kill(&mut self) -> Result<()> {
        let mut server = self.server.take().context("the server is not running")?;
        server.kill()?;
        server.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits until it has ended.
    ///
    /// # Errors
    /// It isn't running, or ends with a failure.
    pub fn down(&mut self) -> Result<()> {
        let mut server = self.server.take().context("the server is not running")?;
        let pid = Pid::from_child(&server);
        kill_process(pid, Signal::TERM)?;
        let status = within(Duration::from_secs(60), "the server ends", || server.try_wait().ok().flatten());
        anyhow::ensure!(status.success(), "the server ended with {status}:\n{}", self.log());
        Ok(())
    }

    /// Calls the binary and waits for it.
    ///
    /// # Errors
    /// It can't be started.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<Run> {
        Ok(into_run(self.command().args(arguments).output()?))
    }

    /// Calls the binary with something on its standard input.
    ///
    /// # Errors
    /// It can't be started.
    pub fn run_with_input<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>, input: &str) -> Result<Run> {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        child.stdin.take().context("no standard input")?.write_all(input.as_bytes())?;
        Ok(into_run(child.wait_with_output()?))
    }

    /// Starts the binary and doesn't wait.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start_run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<Child> {
        Ok(self.command().args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    }

    /// `deploy --yes --json`, which has to succeed; its last line.
    ///
    /// # Errors
    /// It fails.
    pub fn deploy(&self, directory: &str, arguments: &[&str]) -> Result<Value> {
        let run = self.run(["deploy", directory, "--yes", "--json"].iter().chain(arguments))?;
        run.succeeded()?.last_json()
    }

    /// GET through the router: status and body.
    ///
    /// # Errors
    /// No answer.
    pub fn get(&self, host: &str, path: &str) -> Result<(u16, String)> {
        let client = reqwest::blocking::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
        let url = format!("http://127.0.0.1:{}{path}", self.router_port);
        let response = client.get(url).header("host", host).send()?;
        Ok((response.status().as_u16(), response.text()?))
    }

    /// The processes of the services and jobs of this installation, by the mark in their environment and their data directory.
    pub fn processes(&self) -> Vec<u32> {
        let data = self.data().display().to_string();
        let marked = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let environment = String::from_utf8_lossy(&environment).into_owned();
            environment.contains("FREEHOLD_STACK=") && environment.contains(&data)
        };
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(marked).collect()
    }

    /// One statement on the private PostgreSQL, as its superuser; rows as text.
    ///
    /// # Errors
    /// It fails.
    pub fn sql(&self, database: &str, statement: &str) -> Result<String> {
        let settings: Value = serde_json::from_slice(&fs::read(self.data().join("settings.json"))?)?;
        let port = settings.get("postgres_port").and_then(Value::as_u64).context("no port")?;
        let password = fs::read_to_string(self.data().join("postgres/password"))?;
        let output = Command::new("psql")
            .args([
                "-XAtq",
                "-h",
                "127.0.0.1",
                "-p",
                &port.to_string(),
                "-U",
                "postgres",
                "-d",
                database,
                "-c",
                statement,
            ])
            .env("PGPASSWORD", password.trim())
            .output()?;
        let run = into_run(output);
        Ok(run.succeeded()?.stdout.trim().to_owned())
    }

    /// Ends what is left: the server, its PostgreSQL, processes.
    fn clean(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = kill_process(Pid::from_child(&server), Signal::TERM);
            let mut patience = 500;
            while patience > 0 && matches!(server.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
                patience -= 1;
            }
            let _ = server.kill();
            let _ = server.wait();
        }
        let _ = self.command().arg("down").output();
        for process in self.processes() {
            if let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let postmaster = fs::read_to_string(self.data().join("postgres/cluster/postmaster.pid")).unwrap_or_default();
        if let Some(pid) = postmaster.lines().next().and_then(|line| line.parse().ok()).and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::QUIT);
        }
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        self.clean();
    }
}

pub(crate) fn into_run(output: Output) -> Run {
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
