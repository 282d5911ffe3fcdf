//! The `freehold` command: a client of the platform's HTTP API, and with `freehold up` the platform itself.

mod arenas;
mod arguments;
mod artifact;
mod command;
mod database_url;
mod definition;
mod follow;
mod inherited_fds;
mod init;
mod kubeconfig;
mod layout;
mod platform;
mod platform_log;
mod proposal;
mod report;
mod secret_file;
mod terminal;
mod view;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let error = match arguments::Cli::try_parse() {
        Ok(cli) => {
            if matches!(cli.command, arguments::Command::Up(_) | arguments::Command::Serve(_)) {
                // Before descriptors are kept from those that are started.
                arenas::keep_few();
            }
            inherited_fds::keep();
            return command::run(cli);
        }
        Err(error) => error,
    };
    // Help and versions go to stdout, too.
    match error.print() {
        Err(failed) if failed.kind() != std::io::ErrorKind::BrokenPipe => {
            terminal::Terminal { json: false, verbose: false }.tell(report::unwritten(&failed).render());
            report::ExitStatus::Failed.into()
        }
        Ok(()) | Err(_) => u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from),
    }
}
