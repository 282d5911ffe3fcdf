//! `freehold init`: a first definition, from what is in the folder.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use freehold_check::Diagnostic;
use freehold_problem::Code;
use serde_json::json;

use crate::arguments::InitArguments;
use crate::definition::FILE;
use crate::init::{self, Made};
use crate::layout::{GREEN, paint};
use crate::report::{CommandError, CommandResult, ExitStatus};
use crate::terminal::Terminal;

pub(super) fn run(terminal: Terminal, arguments: &InitArguments) -> CommandResult {
    let directory = arguments.directory.as_deref().unwrap_or(Path::new("."));
    let file = directory.join(FILE);
    if file.symlink_metadata().is_ok() && !arguments.dry_run {
        return Err(there(&file));
    }
    let unreadable = |error: std::io::Error| {
        CommandError::new(Code::NoDefinition, format!("{} can't be read: {error}", directory.display()))
            .help("name the folder of an app")
    };
    let Some(Made { text, guesses }) = init::make(directory).map_err(unreadable)? else {
        let detail = format!("{} has nothing that says how to run it", directory.display());
        return Err(CommandError::new(Code::NoDefinition, detail)
            .help("`freehold init` reads a compose file, Dockerfile, Procfile, package.json, pyproject.toml or Cargo.toml; docs/definition.md says how to write a definition"));
    };
    let (_, diagnostics) = freehold_check::source(&text);
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(CommandError::new(Code::Internal, "the definition that was made is wrong, so it is not written")
            .diagnostics(&diagnostics, FILE, &text));
    }
    if arguments.dry_run {
        terminal.print(text.trim_end());
        return Ok(ExitStatus::Done);
    }
    write(&file, &text)?;
    if terminal.json {
        terminal.print_json(&json!({ "file": file.display().to_string(), "guesses": guesses }));
        return Ok(ExitStatus::Done);
    }
    terminal.print(format!("{} {}", paint(GREEN, "✓"), file.display()));
    for guess in guesses {
        terminal.print(format!("  · {guess}"));
    }
    terminal.print("next: read it, then `freehold check`");
    Ok(ExitStatus::Done)
}

/// Never over a file that is there, or through a link.
fn write(file: &Path, text: &str) -> CommandResult<()> {
    let written =
        OpenOptions::new().write(true).create_new(true).open(file).and_then(|mut open| open.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => there(file),
        _ => CommandError::new(Code::OutputNotWritten, format!("{} can't be written: {error}", file.display()))
            .help("let the folder be writable, or take `--dry-run` to print it"),
    })
}

fn there(file: &Path) -> Box<CommandError> {
    CommandError::new(Code::BadRequest, format!("{} is there already, and is never overwritten", file.display()))
        .help("`freehold init --dry-run` prints what would be made")
}
