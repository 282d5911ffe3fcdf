//! `freehold down`: stops the platform that runs on a data directory, and waits until it has ended.

use std::time::{Duration, Instant};

use freehold::Client;
use freehold_problem::Code;
use rustix::process::{Pid, Signal, kill_process};

use crate::arguments::PlatformArguments;
use crate::layout::seconds;
use crate::platform::{self, connection, is_alive};
use crate::proposal::milliseconds;
use crate::report::{CommandError, CommandResult, ExitStatus};
use crate::terminal::Terminal;

/// How long the platform may take: open streams are drained, services end, PostgreSQL shuts down.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) fn run(terminal: Terminal, arguments: &PlatformArguments) -> CommandResult {
    let directory = platform::directory(arguments)?;
    let connection = connection(&directory)?;
    let pid = connection.pid;
    let client = Client::to(connection)?;
    // The number may belong to another process by now: only the platform itself can tell.
    let platform = platform::run(async { Ok(client.platform().await?) }).map_err(|failure| {
        failure.fact(format!("process {pid} was not stopped: it did not identify itself as the platform"))
    })?;
    if platform.pid != pid {
        let detail = format!("process {pid} is not the platform on {}", directory.display());
        return Err(CommandError::new(Code::NotUp, detail));
    }
    let begin = Instant::now();
    let failed = |reason: String| CommandError::new(Code::NotUp, format!("process {pid} can't be stopped: {reason}"));
    let target = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| failed("no such process".to_owned()))?;
    kill_process(target, Signal::TERM).map_err(|error| failed(error.to_string()))?;
    if !terminal.json {
        terminal.tell(format!("Stopping the platform on {} (process {pid})", directory.display()));
    }
    while is_alive(pid) {
        if begin.elapsed() > PATIENCE {
            return Err(failed(format!("it is still running after {} s", PATIENCE.as_secs()))
                .help("see what it says in its log; `freehold down` may be tried again"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let time = milliseconds(begin);
    match terminal.json {
        true => terminal.print_json(&serde_json::json!({ "state": "stopped", "pid": pid, "milliseconds": time })),
        false => {
            terminal.print(format!("Stopped in {}. `freehold up` brings every stack back as it was.", seconds(time)))
        }
    }
    Ok(ExitStatus::Done)
}
