//! A Freehold of its own: data directory, ports, the running `freehold up`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::call::{Call, Run, binary};
use crate::wait::eventually;

/// A Freehold of its own. It is taken down, with all that it started, when the value is dropped.
pub struct Installation {
    directory: TempDir,
    binary: PathBuf,
    router_port: u16,
    server: Option<Child>,
    arguments: Vec<String>,
    /// As whom it runs, where that isn't whoever runs the tests: user and group.
    user: Option<(u32, u32)>,
    /// What starts the server, where that isn't the binary.
    starter: Option<PathBuf>,
    /// `--insecure-shared-user`, by which tests have many tenants whoever runs them.
    shares_user: Option<&'static str>,
}

/// An account without rights that every machine has.
const ORDINARY: &str = "nobody";

/// A port below those that the system gives to outgoing connections, and another one for each call.
fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes that follow one another have ports far apart.
    let begin = 20_000 + u16::try_from(std::process::id() % 160)? * 60;
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
        Ok(Self {
            directory,
            binary: binary()?,
            router_port: free_port()?,
            server: None,
            arguments: Vec::new(),
            user: None,
            starter: None,
            shares_user: Some("--insecure-shared-user"),
        })
    }

    /// Starts the server from a shell that has done this before, which it inherits: `ulimit -Sn 64`. After it was said as whom it runs.
    ///
    /// # Errors
    /// The script for it can't be written.
    pub fn start_after(&mut self, commands: &str) -> Result<()> {
        let script = self.path().join("starter");
        fs::write(&script, format!("#!/bin/sh\n{commands}\nexec {} \"$@\"\n", self.binary.display()))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        self.starter = Some(script);
        Ok(())
    }

    /// Starts the server with this word about several tenants under one user, or with none.
    pub fn share_user(&mut self, word: Option<&'static str>) {
        self.shares_user = word;
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

    /// Lets an ordinary user run it, if root runs the tests. Before it is started.
    ///
    /// # Errors
    /// There is no such user.
    pub fn as_ordinary_user(&mut self) -> Result<()> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let number = |option: &str| -> Result<u32> {
            let output = Command::new("id").args([option, ORDINARY]).output()?;
            Ok(Run::from(output).succeeded()?.stdout.trim().parse()?)
        };
        self.user = Some((number("-u")?, number("-g")?));
        // The one that was built may lie below a home directory that others can't enter.
        let copy = self.path().join("freehold");
        fs::copy(&self.binary, &copy)?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
        self.binary = copy;
        self.give(self.path())
    }

    /// Gives a file to whoever runs the platform.
    ///
    /// # Errors
    /// It isn't ours.
    pub fn give(&self, path: &Path) -> Result<()> {
        let Some((user, group)) = self.user else { return Ok(()) };
        Ok(std::os::unix::fs::chown(path, Some(user), Some(group))?)
    }

    /// The binary.
    pub fn binary(&self) -> &Path {
        &self.binary
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

    fn call<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Call {
        self.call_of(&self.binary, arguments)
    }

    fn call_of<S: AsRef<OsStr>>(&self, program: &Path, arguments: impl IntoIterator<Item = S>) -> Call {
        let call = Call::new(program, &self.path().join("cache")).under(self.user, self.path());
        call.env("FREEHOLD_DATA_DIR", self.data()).with(arguments)
    }

    /// Starts `freehold up` and waits until the platform answers.
    ///
    /// # Errors
    /// It ends, with what it printed.
    pub fn up(&mut self) -> Result<()> {
        self.spawn()?;
        self.wait_until_up()
    }

    fn wait_until_up(&mut self) -> Result<()> {
        let log = self.path().join("up.log");
        let mut ended = false;
        let server = &mut self.server;
        let data = self.directory.path().join("data/server.json");
        let pid = server.as_ref().map(Child::id);
        eventually("the platform answers", || {
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

    /// As [`Installation::up`], with the port that the platform had last.
    ///
    /// # Errors
    /// It ends, with what it printed.
    pub fn up_without_a_port(&mut self) -> Result<()> {
        self.start_server(&[])?;
        self.wait_until_up()
    }

    /// Another port for the next [`Installation::up`].
    ///
    /// # Errors
    /// There is no free one.
    pub fn move_router(&mut self) -> Result<()> {
        self.router_port = free_port()?;
        Ok(())
    }

    /// Starts `freehold up` and doesn't wait.
    ///
    /// # Errors
    /// The process can't be started.
    pub fn spawn(&mut self) -> Result<()> {
        self.start_server(&["--port", &self.router_port.to_string()])
    }

    fn start_server(&mut self, arguments: &[&str]) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.path().join("up.log"))?;
        let program = self.starter.as_deref().unwrap_or(&self.binary);
        let mut call = self.call_of(program, ["up"]).with(arguments).with(&self.arguments).with(self.shares_user);
        // Another version of PostgreSQL than the system's: see scripts/postgres-versions.
        if let Some(programs) = std::env::var_os("FREEHOLD_TEST_POSTGRES")
            && !self
                .arguments
                .iter()
                .any(|argument| argument.contains("--postgres-bin") || argument.contains("--database-url"))
        {
            call = call.with([OsStr::new("--postgres-bin"), &programs]);
        }
        self.server = Some(call.start_into(log)?);
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
        let status = eventually("the server ends", || server.try_wait().ok().flatten());
        anyhow::ensure!(status.success(), "the server ended with {status}:\n{}", self.log());
        Ok(())
    }

    /// Calls the binary and waits for it.
    ///
    /// # Errors
    /// It can't be started.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<Run> {
        self.call(arguments).run()
    }

    /// Calls the binary in another folder and waits for it.
    ///
    /// # Errors
    /// It can't be started.
    pub fn run_in<S: AsRef<OsStr>>(&self, folder: &Path, arguments: impl IntoIterator<Item = S>) -> Result<Run> {
        self.call(arguments).within(folder).run()
    }

    /// Calls the binary in another folder, with something on its standard input.
    ///
    /// # Errors
    /// It can't be started.
    pub fn run_in_with_input<S: AsRef<OsStr>>(
        &self,
        folder: &Path,
        arguments: impl IntoIterator<Item = S>,
        input: &str,
    ) -> Result<Run> {
        self.call(arguments).within(folder).run_with_input(input)
    }

    /// Calls the binary as if somebody saw colours.
    ///
    /// # Errors
    /// It can't be started.
    pub fn run_in_colour<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<Run> {
        self.call(arguments).env("NO_COLOR", "").env("CLICOLOR_FORCE", "1").run()
    }

    /// Calls the binary with its standard output going somewhere else.
    ///
    /// # Errors
    /// It can't be started.
    pub fn run_into<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>, stdout: File) -> Result<Run> {
        self.call(arguments).run_into(stdout)
    }

    /// Calls the binary with something on its standard input.
    ///
    /// # Errors
    /// It can't be started.
    pub fn run_with_input<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>, input: &str) -> Result<Run> {
        self.call(arguments).run_with_input(input)
    }

    /// Starts the binary and doesn't wait.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start_run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<Child> {
        self.call(arguments).start()
    }

    /// Starts the binary in another folder and doesn't wait.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start_run_in<S: AsRef<OsStr>>(
        &self,
        folder: &Path,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Child> {
        self.call(arguments).within(folder).start()
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

    /// Where the password of the private PostgreSQL's superuser is.
    pub fn password_file(&self) -> PathBuf {
        self.data().join("postgres/password")
    }

    /// The URL of a database of the private PostgreSQL for its superuser.
    ///
    /// # Errors
    /// It was never started.
    pub fn superuser_url(&self, database: &str) -> Result<String> {
        let settings: Value = serde_json::from_slice(&fs::read(self.data().join("settings.json"))?)?;
        let port = settings.get("postgres_port").and_then(Value::as_u64).context("no port")?;
        let password = fs::read_to_string(self.password_file())?;
        Ok(format!("postgresql://postgres:{}@127.0.0.1:{port}/{database}", password.trim()))
    }

    /// One statement on the private PostgreSQL, as its superuser; rows as text.
    ///
    /// # Errors
    /// It fails.
    pub fn sql(&self, database: &str, statement: &str) -> Result<String> {
        let url = self.superuser_url(database)?;
        let output = Command::new("psql").args(["-XAtq", &url, "-c", statement]).output()?;
        Ok(Run::from(output).succeeded()?.stdout.trim().to_owned())
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
        let _ = self.run(["down"]);
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
