//! The `freehold` command: a client of the platform's HTTP API, and with `freehold up` the platform itself.

mod arguments;
mod artifact;
mod command;
mod database_url;
mod definition;
mod follow;
mod kubeconfig;
mod layout;
mod platform;
mod proposal;
mod report;
mod terminal;
mod view;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    command::run(arguments::Cli::parse())
}
