//! `freehold up`: the platform on this machine, in the foreground.

use std::path::Path;

use freehold_problem::Code;
use freehold_server::StartError;
use freehold_server::embedded::{self, Options, Ready};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::arguments::UpArguments;
use crate::database_url;
use crate::inherited_fds;
use crate::platform;
use crate::platform_log;
use crate::report::{CommandError, CommandResult, ExitStatus};
use crate::terminal::Terminal;

use super::detach;
use super::ready::ReadyPlatform;

pub(super) fn run(terminal: Terminal, arguments: &UpArguments) -> CommandResult {
    let directory = platform::directory(&arguments.platform)?;
    if arguments.detach {
        return detach::run(terminal, arguments, &directory);
    }
    if arguments.background {
        // A session of its own: the terminal that it was started from may go away.
        let _ = rustix::process::setsid();
    }
    platform_log::begin(arguments.log_format, arguments.background.then_some(directory.as_path()));
    let options = options(arguments, &directory)?;
    database_url::warn_of_password(terminal, arguments);
    let ready = ReadyPlatform {
        api_url: String::new(),
        router_port: 0,
        postgres: String::new(),
        stacks: 0,
        milliseconds: 0,
        pid: std::process::id(),
        data: directory.display().to_string(),
        domain: String::new(),
        foreground: !arguments.background,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CommandError::new(Code::Internal, format!("no runtime: {error}")))?;
    let answer = runtime.block_on(serve(terminal, options, ready));
    // Whatever still runs is not waited for: services outlive the platform and are taken over by the next one.
    runtime.shutdown_background();
    if answer? {
        terminal.say("Stopped. `freehold up` brings every stack back as it was.");
        return Ok(ExitStatus::Done);
    }
    terminal.say("Left at once. Services are still running; `freehold up` takes them over.");
    Ok(ExitStatus::Failed)
}

fn options(arguments: &UpArguments, directory: &Path) -> CommandResult<Options> {
    let executable = std::env::current_exe().map_err(|error| {
        CommandError::new(Code::Internal, format!("it is not known where this program is: {error}"))
    })?;
    Ok(Options {
        data_directory: directory.to_owned(),
        router_port: arguments.port,
        audit_days: arguments.keep_audit,
        trusted_proxies: (!arguments.trusted_proxy.is_empty())
            .then(|| arguments.trusted_proxy.iter().filter_map(|proxy| proxy.0).collect()),
        insecure_shared_user: arguments.insecure_shared_user,
        api_port: arguments.api_port,
        database_url: database_url::of_platform(arguments)?,
        database_servers: database_url::of_others(arguments)?,
        postgres_binaries: arguments.postgres_bin.clone(),
        domain: arguments.domain.clone(),
        executable,
    })
}

/// Runs the platform until it is told to stop; false if it was told twice and didn't end cleanly.
async fn serve(terminal: Terminal, options: Options, ready: ReadyPlatform) -> CommandResult<bool> {
    inherited_fds::hear_ignored_signals();
    let unheard = |error| CommandError::new(Code::Internal, format!("can't listen for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unheard)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(unheard)?;
    let stop = CancellationToken::new();
    let announce = |started: &Ready| {
        let Ready { api_url, router_port, domain, postgres, stacks, milliseconds } = started.clone();
        ReadyPlatform { api_url, router_port, domain, postgres, stacks, milliseconds, ..ready }.print(terminal);
    };
    let platform = embedded::run(options, announce, stop.clone());
    tokio::pin!(platform);
    let mut told = false;
    loop {
        tokio::select! {
            answer = &mut platform => return answer.map(|()| true).map_err(refused),
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if told {
            return Ok(false);
        }
        told = true;
        terminal.say("Stopping: streams are drained, services end, then PostgreSQL. Once more to leave at once.");
        stop.cancel();
    }
}

/// A platform that can't start.
pub(super) fn refused(error: StartError) -> Box<CommandError> {
    let mut failure = CommandError::new(error.code, error.message).lines(error.detail);
    failure.problem.help = error.help;
    failure
}
