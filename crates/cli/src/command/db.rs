//! `freehold db shell`: psql on a stack's database.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use freehold_problem::Code;

use crate::arguments::{DbCommand, ShellArguments};
use crate::platform::{self, Platform};
use crate::report::{CommandError, CommandResult};
use crate::terminal::Terminal;

pub(super) fn run(terminal: Terminal, command: &DbCommand) -> CommandResult {
    match command {
        DbCommand::Shell(arguments) => shell(terminal, arguments),
    }
}

fn shell(terminal: Terminal, arguments: &ShellArguments) -> CommandResult {
    let platform = Platform::connect(&arguments.stack.platform)?;
    let access = platform::run(async {
        let stack = platform.find(&arguments.stack).await?;
        Ok(platform.client.database_access(stack.id, &arguments.database, arguments.role.as_str()).await?)
    })?;
    if terminal.can_ask() {
        terminal.tell(format!("{} as {}", access.database, access.user));
    }
    // Nothing in the arguments: they can be read by everybody on the machine.
    let error = Command::new(psql())
        .args(&arguments.psql)
        .env("PGHOST", &access.host)
        .env("PGPORT", access.port.to_string())
        .env("PGDATABASE", &access.database)
        .env("PGUSER", &access.user)
        .env("PGPASSWORD", &access.password)
        .env("PGAPPNAME", "freehold db shell")
        // Whoever answers must prove that it knows the password, and isn't told it. psql before 16 doesn't know the variable.
        .env("PGREQUIREAUTH", "scram-sha-256,none")
        .exec();
    Err(CommandError::new(Code::PostgresNotFound, format!("psql can't be started: {error}"))
        .help("install PostgreSQL's client programs"))
}

/// psql from PATH, or from where Debian keeps it.
fn psql() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("psql")).find(|file| file.is_file());
    found.or_else(|| super::doctor::postgres_programs().map(|folder| folder.join("psql"))).unwrap_or("psql".into())
}
