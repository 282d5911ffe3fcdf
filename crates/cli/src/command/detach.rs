//! `freehold up --detach`: the same program in the background, waited for until it is ready.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use freehold::wire::Problem;
use freehold::{Client, Connection};
use freehold_problem::Code;

use crate::arguments::{LogFormat, UpArguments};
use crate::database_url::{self, VARIABLE};
use crate::platform;
use crate::platform_log;
use crate::proposal::milliseconds;
use crate::report::{CommandError, CommandResult, ExitStatus};
use crate::terminal::Terminal;

use super::ready::ReadyPlatform;

/// How long it may take: making a database server is the longest part.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) fn run(terminal: Terminal, arguments: &UpArguments, directory: &Path) -> CommandResult {
    let begin = Instant::now();
    let path = directory.join(platform_log::FILE);
    let unusable = |error: std::io::Error| {
        CommandError::new(
            Code::DataNotWritable,
            format!("the data directory can't be used: {}: {error}", path.display()),
        )
        .help("make it writable for this user, or choose another one with --data-dir")
    };
    fs::create_dir_all(directory).map_err(unusable)?;
    let log = platform_log::open(directory).map_err(unusable)?;
    let written = log.metadata().map_or(0, |metadata| metadata.len());
    let url = database_url::of_platform(arguments)?;
    database_url::warn_of_password(terminal, arguments);
    let mut child = start(arguments, url.as_deref(), directory, log)
        .map_err(|error| CommandError::new(Code::Internal, format!("the platform can't be started: {error}")))?;
    let pid = child.id();
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(died(&path, written, &status.to_string()));
        }
        if Connection::read(directory).is_ok_and(|connection| connection.pid == pid)
            && let Ok(ready) = ask(directory, begin)
        {
            ready.print(terminal);
            return Ok(ExitStatus::Done);
        }
        if begin.elapsed() > PATIENCE {
            let detail = format!("the platform is not ready after {} s (process {pid})", PATIENCE.as_secs());
            return Err(CommandError::new(Code::NotUp, detail).help(format!("see {}", path.display())));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn start(arguments: &UpArguments, database_url: Option<&str>, directory: &Path, log: File) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    // As JSON, so that its failure can be read.
    command.args(["up", "--background", "--json", "--data-dir"]).arg(directory);
    command.args(["--api-port", &arguments.api_port.to_string()]);
    if let Some(port) = arguments.port {
        command.args(["--port", &port.to_string()]);
    }
    if let Some(domain) = &arguments.domain {
        command.args(["--domain", domain]);
    }
    for proxy in &arguments.trusted_proxy {
        command.args(["--trusted-proxy", &proxy.to_string()]);
    }
    if let Some(days) = arguments.keep_audit {
        command.args(["--keep-audit", &days.to_string()]);
    }
    if let Some(shared) = arguments.insecure_shared_user {
        command.arg(format!("--insecure-shared-user={shared}"));
    }
    for server in &arguments.database_server {
        command.arg("--database-server").arg(format!("{}={}", server.name, server.file.display()));
    }
    if let Some(folder) = &arguments.postgres_bin {
        command.arg("--postgres-bin").arg(folder);
    }
    command.env_remove("FREEHOLD_DATABASE_URL_FILE");
    if let Some(url) = database_url {
        // It holds a password: not in the arguments, which everybody on the machine can read.
        command.env(VARIABLE, url);
    }
    if arguments.log_format == LogFormat::Json {
        command.args(["--log-format", "json"]);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn()
}

/// Asks the new platform about itself.
fn ask(directory: &Path, begin: Instant) -> CommandResult<ReadyPlatform> {
    let client = Client::connect_to(directory)?;
    platform::run(async {
        let platform = client.platform().await?;
        let stacks = client.stacks(&[]).await?.len();
        Ok(ReadyPlatform {
            api_url: client.connection().url.clone(),
            router_port: platform.router_port,
            postgres: platform.postgres,
            stacks,
            milliseconds: milliseconds(begin),
            pid: platform.pid,
            data: directory.display().to_string(),
            domain: platform.domain,
            foreground: false,
        })
    })
}

/// It has ended. What it wrote tells why: its own failure if there is one, else the end of the log.
fn died(log: &Path, written: u64, status: &str) -> Box<CommandError> {
    let text = fs::read(log).unwrap_or_default();
    let text = text.get(usize::try_from(written).unwrap_or(0)..).unwrap_or_default();
    let text = String::from_utf8_lossy(text).into_owned();
    let told = format!("its whole log is {}", log.display());
    let refusal = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        serde_json::from_value::<Problem>(line.get("failure")?.clone()).ok()
    };
    if let Some(problem) = text.lines().rev().find_map(refusal) {
        let mut failure = Box::<CommandError>::from(problem);
        if failure.problem.code != Code::AlreadyUp {
            failure = failure.standing(told);
        }
        return failure;
    }
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let end = lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().to_vec();
    CommandError::new(Code::Internal, format!("the platform did not start ({status})")).lines(end).standing(told)
}
