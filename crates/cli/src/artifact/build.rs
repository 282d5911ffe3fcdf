//! Running a build command. What it writes goes to stderr as it comes; its last lines are kept for the error.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use freehold_problem::Code;

use crate::layout::{DIM, paint, shorten};
use crate::report::{CommandError, CommandResult};
use crate::terminal::Terminal;

/// How many of the last lines an error shows.
const KEPT: usize = 15;

/// Runs the command in the app's folder.
pub(super) fn run(terminal: Terminal, root: &Path, service: &str, command: &[String]) -> CommandResult<()> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let shown = command.join(" ");
    terminal.tell(format!("Building {service}: {}", shorten(&shown, 60)));
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            CommandError::new(Code::BuildFailed, format!("service {service}: can't run `{program}`: {error}"))
                .help(format!("install {program}, or correct `command` in [service.{service}.build]"))
        })?;
    let (sender, lines) = mpsc::channel::<String>();
    let readers: Vec<_> = [child.stdout.take().map(boxed), child.stderr.take().map(boxed)]
        .into_iter()
        .flatten()
        .map(|stream| {
            let sender = sender.clone();
            std::thread::spawn(move || pass_on(stream, &sender))
        })
        .collect();
    drop(sender);
    let mut last = VecDeque::new();
    for line in lines {
        terminal.tell(format!("  {}", paint(DIM, &line)));
        if last.len() == KEPT {
            last.pop_front();
        }
        last.push_back(line);
    }
    for reader in readers {
        let _ = reader.join();
    }
    let status = child.wait().map_err(|error| CommandError::new(Code::BuildFailed, format!("{shown}: {error}")))?;
    if status.success() {
        return Ok(());
    }
    let how = match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    };
    Err(CommandError::new(Code::BuildFailed, format!("the build of {service} failed, so nothing was changed"))
        .fact(format!("{shown} · {how}"))
        .lines(last.into())
        .help("correct it and run the command again"))
}

type Stream = Box<dyn std::io::Read + Send>;

fn boxed(stream: impl std::io::Read + Send + 'static) -> Stream {
    Box::new(stream)
}

fn pass_on(stream: Stream, lines: &mpsc::Sender<String>) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while let Ok(1..) = reader.read_until(b'\n', &mut line) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        if lines.send(text).is_err() {
            return;
        }
    }
}
