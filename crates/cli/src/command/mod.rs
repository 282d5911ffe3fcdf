//! The commands, one module each.

mod check;
mod db;
mod deploy;
mod destroy;
mod detach;
mod doctor;
mod down;
mod explain;
mod fleet;
mod history;
mod init;
mod install;
mod internal;
mod list;
mod logs;
mod plan;
mod precheck;
mod ready;
mod render;
mod rollback;
mod run;
mod schema;
mod secret;
mod serve;
mod status;
mod target;
mod up;
mod version;

use std::process::ExitCode;

use crate::arguments::{Cli, Command};
use crate::inherited_fds;
use crate::report::{CommandError, ExitStatus};
use crate::terminal::Terminal;

/// Runs a command and shows its failure, if it has one.
pub(crate) fn run(cli: Cli) -> ExitCode {
    let terminal = Terminal { json: cli.json, verbose: cli.verbose };
    if matches!(cli.command, Command::Up(_) | Command::Serve(_) | Command::Internal(_)) {
        inherited_fds::mask_as_usual();
    }
    let answer = match cli.command {
        Command::Up(arguments) => up::run(terminal, &arguments),
        Command::Down(arguments) => down::run(terminal, &arguments),
        Command::Init(arguments) => init::run(terminal, &arguments),
        Command::Check(arguments) => check::run(terminal, &arguments),
        Command::Render(arguments) => render::run(terminal, &arguments),
        Command::Schema => schema::run(terminal),
        Command::Explain(arguments) => explain::run(terminal, &arguments),
        Command::Plan(arguments) => plan::run(terminal, &arguments),
        Command::Deploy(arguments) => deploy::run(terminal, &arguments),
        Command::Status(arguments) => status::run(terminal, &arguments),
        Command::List(arguments) => list::run(terminal, &arguments),
        Command::Logs(arguments) => logs::run(terminal, &arguments),
        Command::Run(arguments) => run::run(terminal, &arguments),
        Command::History(arguments) => history::run(terminal, &arguments),
        Command::Rollback(arguments) => rollback::run(terminal, &arguments),
        Command::Destroy(arguments) => destroy::run(terminal, &arguments),
        Command::Doctor(arguments) => doctor::run(terminal, &arguments),
        Command::Target(command) => target::run(terminal, &command),
        Command::Secret(command) => secret::run(terminal, &command),
        Command::Db(command) => db::run(terminal, &command),
        Command::Install(arguments) => install::run(terminal, &arguments),
        Command::Serve(arguments) => serve::run(terminal, &arguments),
        Command::Version => version::run(terminal),
        Command::Internal(arguments) => return internal::run(terminal, arguments),
    };
    let mut outcome = answer.unwrap_or_else(|failure: Box<CommandError>| {
        failure.show(terminal);
        failure.outcome
    });
    if let Some(error) = terminal.unwritten() {
        terminal.tell(crate::report::unwritten(error).render());
        if outcome == ExitStatus::Done {
            outcome = ExitStatus::Failed;
        }
    }
    outcome.into()
}
