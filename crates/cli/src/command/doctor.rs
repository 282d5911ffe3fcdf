//! `freehold doctor`: what the platform finds, and what can be found without one.

use std::path::{Path, PathBuf};
use std::process::Command;

use freehold::wire::{Finding, Level, Words};

use crate::arguments::DoctorArguments;
use crate::layout::{GREEN, count, paint};
use crate::platform::{self, Platform};
use crate::report::{CommandError, CommandResult, ExitStatus};
use crate::terminal::Terminal;
use crate::view;

/// The oldest PostgreSQL that will do.
const OLDEST: u32 = 15;

pub(super) fn run(terminal: Terminal, arguments: &DoctorArguments) -> CommandResult {
    let mut findings = vec![programs()];
    match Platform::connect(&arguments.platform) {
        Ok(platform) => match platform::run(async { Ok(platform.client.doctor(arguments.all_groups).await?) }) {
            Ok(theirs) => findings.extend(theirs),
            Err(failure) => findings.push(absent(&failure, Level::Error)),
        },
        Err(failure) => {
            findings.push(absent(&failure, Level::Warning));
            findings.push(data(&platform::directory(&arguments.platform)?));
        }
    }
    Ok(told(terminal, &findings))
}

/// Tells findings and what they come to: an error among them is a failure.
pub(super) fn told(terminal: Terminal, findings: &[Finding]) -> ExitStatus {
    let of = |level: &Level| findings.iter().filter(|finding| finding.level == *level).count();
    let (errors, warnings) = (of(&Level::Error), of(&Level::Warning));
    if terminal.json {
        terminal.print_json(&findings);
    } else {
        if !findings.is_empty() {
            terminal.print(view::stack::findings(findings));
        }
        terminal.print(match (errors, warnings) {
            (0, 0) => paint(GREEN, "All is well."),
            (errors, warnings) => format!("{}, {}.", count(errors, "error"), count(warnings, "warning")),
        });
    }
    if errors > 0 { ExitStatus::Failed } else { ExitStatus::Done }
}

fn finding(level: Level, subject: &str, message: impl Into<Words>, help: Option<&str>) -> Finding {
    Finding { level, subject: subject.to_owned(), message: message.into(), help: help.map(str::to_owned) }
}

fn absent(failure: &CommandError, level: Level) -> Finding {
    finding(level, "platform", failure.problem.detail.clone(), failure.problem.help.as_deref())
}

/// Whether PostgreSQL's programs are there and young enough.
fn programs() -> Finding {
    let subject = "programs";
    let Some(folder) = postgres_programs() else {
        let help = "install PostgreSQL 15 or newer (Debian: `apt install postgresql`), or use `--database-url`";
        return finding(Level::Warning, subject, "PostgreSQL's programs were not found".to_owned(), Some(help));
    };
    let output = Command::new(folder.join("postgres")).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    let version = text.split_whitespace().find_map(|word| word.split('.').next()?.parse::<u32>().ok());
    match version {
        Some(version) if version >= OLDEST => {
            finding(Level::Ok, subject, format!("{text} in {}", folder.display()), None)
        }
        Some(version) => {
            let message = format!("PostgreSQL {version} in {} is too old: {OLDEST} is needed", folder.display());
            finding(
                Level::Error,
                subject,
                message,
                Some("install a newer PostgreSQL, or name one with `--postgres-bin`"),
            )
        }
        None => finding(Level::Error, subject, format!("{} does not run", folder.join("postgres").display()), None),
    }
}

/// Where PostgreSQL's programs are: on PATH, or where distributions keep them; the newest.
pub(super) fn postgres_programs() -> Option<PathBuf> {
    let has = |folder: &PathBuf| folder.join("postgres").is_file() && folder.join("initdb").is_file();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut usual = Vec::new();
    for (parent, below) in [("/usr/lib/postgresql", "bin"), ("/usr", "bin"), ("/opt/homebrew/opt", "bin")] {
        let folders = std::fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut folders: Vec<(u32, PathBuf)> =
            folders.filter_map(|folder| Some((version(&folder)?, folder.join(below)))).collect();
        folders.sort();
        usual.extend(folders.into_iter().rev().map(|(_, folder)| folder));
    }
    std::env::split_paths(&path).chain(usual).find(has)
}

/// The version in a folder's name: `/usr/lib/postgresql/15`, `/usr/pgsql-16`.
fn version(folder: &Path) -> Option<u32> {
    let name = folder.file_name()?.to_str()?;
    name.trim_start_matches("pgsql-").trim_start_matches("postgresql@").parse().ok()
}

/// Whether the data directory, or the one that it would be made in, can be written.
fn data(directory: &Path) -> Finding {
    let there = directory.ancestors().find(|path| path.exists()).unwrap_or(directory);
    let state = if there == directory { "is there" } else { "will be made" };
    match rustix::fs::access(there, rustix::fs::Access::WRITE_OK) {
        Ok(()) => finding(Level::Ok, "data directory", format!("{} {state}", directory.display()), None),
        Err(error) => {
            let message = format!("{} can't be written: {error}", there.display());
            finding(Level::Error, "data directory", message, Some("choose another one with --data-dir"))
        }
    }
}
