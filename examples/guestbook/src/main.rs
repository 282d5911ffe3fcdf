//! A guestbook: a page, an API and a stream of events over one table.
//!
//! ```text
//! guestbook serve      answers HTTP until SIGTERM
//! guestbook migrate    brings the database's schema up to date, and ends
//! guestbook digest     prints what happened in the last 24 hours, and ends
//! ```
//!
//! It is what Freehold's quickstart and tests deploy, so it can also be told to misbehave: see [`fault`].

mod database;
mod digest;
mod entry;
mod fault;
mod feed;
mod http;
mod log;
mod migration;
mod session;
mod settings;

use std::process::ExitCode;

use thiserror::Error;

use crate::fault::Fault;
use crate::settings::{Level, Settings};

const USAGE: &str = "usage: guestbook serve | migrate | digest";

/// Why the program ended without having done its work.
#[derive(Debug, Error)]
enum Failure {
    #[error("{0}")]
    Settings(#[from] settings::SettingsError),
    #[error("{0}")]
    Migration(#[from] migration::MigrationError),
    #[error("the digest could not be made: {0}")]
    Digest(#[source] database::DatabaseError),
    #[error("{0}")]
    Serve(#[from] http::ServeError),
    #[error("the runtime could not be started: {0}")]
    Runtime(#[source] std::io::Error),
    #[error("GUESTBOOK_FAULT=exit-at-start: ending as told")]
    ToldTo,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["serve"] => run(Command::Serve),
        ["migrate"] => run(Command::Migrate),
        ["digest"] => run(Command::Digest),
        ["--version"] => {
            println!("guestbook {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Clone, Copy)]
enum Command {
    Serve,
    Migrate,
    Digest,
}

fn run(command: Command) -> Result<(), Failure> {
    let settings = Settings::new(|name| std::env::var(name).ok());
    let level = settings.log_level();
    log::set_level(*level.as_ref().unwrap_or(&Level::Info));
    let fault = settings.fault();
    if matches!(fault, Ok(Fault::ExitAtStart)) {
        return Err(Failure::ToldTo);
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(Failure::Runtime)?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Serve => Ok(http::serve(settings.serve()?).await?),
            Command::Migrate => Ok(migration::migrate(&settings.migrate()?).await?),
            Command::Digest => digest::print(&settings.digest()?).await.map_err(Failure::Digest),
        }
    });
    // What still sleeps or waits in the background does not delay the end.
    runtime.shutdown_background();
    outcome
}
