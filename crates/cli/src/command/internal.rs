//! `freehold internal …`: what Freehold starts itself. Not for people.

use std::process::ExitCode;

use freehold_problem::Code;

use crate::arguments::InternalArguments;
use crate::report::CommandError;
use crate::terminal::Terminal;

/// The exit code is the part's own: whoever started it reads it.
pub(super) fn run(terminal: Terminal, arguments: InternalArguments) -> ExitCode {
    let mut words = arguments.arguments.into_iter();
    match words.next().as_deref() {
        Some("supervise") => return freehold_provider_local::supervise::main(words),
        Some("launch") => return freehold_provider_local::launcher::main(),
        Some(_) | None => {}
    }
    let failure = CommandError::new(Code::BadRequest, "`freehold internal` is for Freehold itself");
    failure.show(terminal);
    failure.outcome.into()
}
