//! A call of the binary, and what it gave.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// What the binary reads of its environment to find a platform: whoever runs the tests has no say in that.
const PLATFORM: [&str; 4] = ["FREEHOLD_DATA_DIR", "FREEHOLD_URL", "FREEHOLD_TOKEN", "FREEHOLD_TARGET"];

/// A call of the binary: without a terminal, 80 columns wide.
pub(crate) struct Call(Command);

impl Call {
    /// Its caches are in a folder of the test.
    pub(crate) fn new(binary: &Path, cache: &Path) -> Self {
        let mut command = Command::new(binary);
        for name in PLATFORM {
            command.env_remove(name);
        }
        // An app is built where its definition says, whatever the tests are built into.
        command.env_remove("CARGO_TARGET_DIR");
        command.env("XDG_CACHE_HOME", cache).env("NO_COLOR", "1").env("COLUMNS", "80").stdin(Stdio::null());
        Self(command)
    }

    /// As another user, without any groups of this one.
    pub(crate) fn under(mut self, user: Option<(u32, u32)>, home: &Path) -> Self {
        if let Some((user, group)) = user {
            self.0.uid(user).gid(group).env("HOME", home);
        }
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// With more arguments.
    pub(crate) fn with<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.0.args(arguments);
        self
    }

    /// In another folder.
    pub(crate) fn within(mut self, folder: &Path) -> Self {
        self.0.current_dir(folder);
        self
    }

    /// Waits for its end.
    pub(crate) fn run(mut self) -> Result<Run> {
        Ok(self.0.output()?.into())
    }

    /// Waits for its end; what it prints to standard output goes to a file.
    pub(crate) fn run_into(mut self, stdout: File) -> Result<Run> {
        let child = self.0.stdout(stdout).stderr(Stdio::piped()).spawn()?;
        Ok(child.wait_with_output()?.into())
    }

    /// Waits for its end, with something on its standard input, which it may leave unread.
    pub(crate) fn run_with_input(mut self, input: &str) -> Result<Run> {
        self.0.stdin(Stdio::piped());
        let mut child = self.start()?;
        // It ends with this statement, and so does what the binary reads.
        let written = child.stdin.take().context("no standard input")?.write_all(input.as_bytes());
        match written {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(child.wait_with_output()?.into()),
        }
    }

    /// Doesn't wait.
    pub(crate) fn start(mut self) -> Result<Child> {
        Ok(self.0.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    }

    /// Doesn't wait; all that it prints goes to a file.
    pub(crate) fn start_into(mut self, log: File) -> Result<Child> {
        Ok(self.0.stdout(log.try_clone()?).stderr(log).spawn()?)
    }
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

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
