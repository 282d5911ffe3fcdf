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
use crate::layout::{BOLD, DIM, GREEN, count, paint, seconds};
use crate::platform;
use crate::platform_log;
use crate::report::{Answer, Failure, Outcome};
use crate::terminal::Terminal;

use super::detach;

pub(super) fn run(terminal: Terminal, arguments: &UpArguments) -> Answer {
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
    warn_of_password(terminal, arguments);
    let facts = Facts {
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
    let runtime = runtime.map_err(|error| Failure::new(Code::Internal, format!("no runtime: {error}")))?;
    let answer = runtime.block_on(serve(terminal, options, facts));
    // Whatever still runs is not waited for: services outlive the platform and are taken over by the next one.
    runtime.shutdown_background();
    if answer? {
        terminal.say("Stopped. `freehold up` brings every stack back as it was.");
        return Ok(Outcome::Done);
    }
    terminal.say("Left at once. Services are still running; `freehold up` takes them over.");
    Ok(Outcome::Failed)
}

fn options(arguments: &UpArguments, directory: &Path) -> Answer<Options> {
    let executable = std::env::current_exe()
        .map_err(|error| Failure::new(Code::Internal, format!("it is not known where this program is: {error}")))?;
    Ok(Options {
        data_directory: directory.to_owned(),
        router_port: arguments.port,
        audit_days: arguments.keep_audit,
        trusted_proxies: (!arguments.trusted_proxy.is_empty())
            .then(|| arguments.trusted_proxy.iter().filter_map(|proxy| proxy.0).collect()),
        insecure_shared_user: arguments.insecure_shared_user,
        api_port: arguments.api_port,
        database_url: database_url(arguments)?,
        postgres_binaries: arguments.postgres_bin.clone(),
        domain: arguments.domain.clone(),
        executable,
    })
}

/// The server to use instead of a private one.
pub(super) fn database_url(arguments: &UpArguments) -> Answer<Option<String>> {
    match arguments.database_url.clone().filter(|url| !url.is_empty()) {
        None => database_url::given(arguments.database_url_file.as_deref()),
        url => Ok(url),
    }
}

/// Arguments can be read by everybody on the machine for as long as the process lives.
pub(super) fn warn_of_password(terminal: Terminal, arguments: &UpArguments) {
    if arguments.database_url.as_deref().is_some_and(database_url::has_password) {
        terminal.say(
            "warning: everybody on this machine can read the password in --database-url. FREEHOLD_DATABASE_URL or \
             --database-url-file keep it to yourself.",
        );
    }
}

/// Runs the platform until it is told to stop; false if it was told twice and didn't end cleanly.
async fn serve(terminal: Terminal, options: Options, facts: Facts) -> Answer<bool> {
    inherited_fds::hear_ignored_signals();
    let unheard = |error| Failure::new(Code::Internal, format!("can't listen for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unheard)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(unheard)?;
    let stop = CancellationToken::new();
    let ready = |ready: &Ready| {
        let ready = ready.clone();
        let Ready { api_url, router_port, domain, postgres, stacks, milliseconds } = ready;
        Facts { api_url, router_port, domain, postgres, stacks, milliseconds, ..facts }.tell(terminal);
    };
    let platform = embedded::run(options, ready, stop.clone());
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
pub(super) fn refused(error: StartError) -> Box<Failure> {
    let mut failure = Failure::new(error.code, error.message).lines(error.detail);
    failure.problem.help = error.help;
    failure
}

/// What there is to know about a platform that is ready.
pub(super) struct Facts {
    pub api_url: String,
    pub router_port: u16,
    pub postgres: String,
    pub stacks: usize,
    pub milliseconds: u64,
    pub pid: u32,
    pub data: String,
    pub domain: String,
    pub foreground: bool,
}

impl Facts {
    /// Tells them.
    pub(super) fn tell(&self, terminal: Terminal) {
        if terminal.json {
            return terminal.print_json(&serde_json::json!({
                "state": "ready",
                "api_url": self.api_url,
                "router_port": self.router_port,
                "postgres": self.postgres,
                "stacks": self.stacks,
                "milliseconds": self.milliseconds,
                "pid": self.pid,
                "data_directory": self.data,
            }));
        }
        terminal.print(self.text());
    }

    fn text(&self) -> String {
        let head = format!("Freehold is ready in {}", seconds(self.milliseconds));
        let end = match self.foreground {
            true => "Ctrl-C stops it. Meanwhile, elsewhere: `freehold deploy DIR --tenant NAME`",
            false => "`freehold down` stops it. Next: `freehold deploy DIR --tenant NAME`",
        };
        let rows = [
            ("stacks", format!("http://NAME.{}:{}", self.domain, self.router_port)),
            ("API", format!("{}   (token in server.json)", self.api_url)),
            ("database", self.postgres.clone()),
            ("data", self.data.clone()),
        ];
        let mut lines = vec![format!("{} · {}", paint(GREEN.bold(), head), count(self.stacks, "stack"))];
        lines.extend(rows.iter().map(|(name, value)| format!("  {}{value}", paint(BOLD, format!("{name:<11}")))));
        lines.push(paint(DIM, end));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_that_is_ready_says_where_it_is_and_how_to_stop_it() {
        let facts = Facts {
            api_url: "http://127.0.0.1:7081".to_owned(),
            router_port: 7080,
            postgres: "PostgreSQL 15.18, private, port 54329".to_owned(),
            stacks: 1,
            milliseconds: 1234,
            pid: 1,
            data: "/var/lib/freehold".to_owned(),
            domain: "localhost".to_owned(),
            foreground: true,
        };
        let text = facts.text();
        insta::assert_snapshot!(anstream::adapter::strip_str(&text).to_string(), @r"
        Freehold is ready in 1.2 s · 1 stack
          stacks     http://NAME.localhost:7080
          API        http://127.0.0.1:7081   (token in server.json)
          database   PostgreSQL 15.18, private, port 54329
          data       /var/lib/freehold
        Ctrl-C stops it. Meanwhile, elsewhere: `freehold deploy DIR --tenant NAME`
        ");
    }
}
