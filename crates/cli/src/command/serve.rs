//! `freehold serve`: the platform as one of several replicas, as it runs in a cluster.

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use freehold_problem::Code;
use freehold_server::cluster::{self, Options, Ready};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::arguments::{LogFormat, ServeArguments};
use crate::database_url;
use crate::layout::{count, seconds};
use crate::report::{CommandError, CommandResult, ExitStatus};
use crate::terminal::Terminal;

use super::up;

pub(super) fn run(terminal: Terminal, arguments: &ServeArguments) -> CommandResult {
    let usual = if std::io::stderr().is_terminal() { LogFormat::Text } else { LogFormat::Json };
    crate::platform_log::begin(arguments.log_format.unwrap_or(usual), None);
    let options = Options {
        listen: arguments.listen,
        database_url: database_url(arguments.database_url_file.as_deref())?,
        master_key_file: arguments.master_key_file.clone(),
        token_file: arguments.token_file.clone(),
        dump_directory: arguments.dump_dir.clone(),
        postgres_binaries: arguments.postgres_bin.clone(),
        audit_days: arguments.keep_audit,
        linger: Duration::from_secs(arguments.linger),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CommandError::new(Code::Internal, format!("no runtime: {error}")))?;
    let answer = runtime.block_on(serve(terminal, options));
    runtime.shutdown_background();
    answer
}

fn database_url(file: Option<&Path>) -> CommandResult<String> {
    database_url::given(file)?.ok_or_else(|| {
        CommandError::new(Code::BadRequest, "Freehold needs a PostgreSQL of its own, and none was named")
            .help("name the file that holds its URL with --database-url-file, or set FREEHOLD_DATABASE_URL")
    })
}

/// Runs until it is told to stop; told twice, it leaves at once: what it had begun is carried on by the other replicas.
async fn serve(terminal: Terminal, options: Options) -> CommandResult {
    let unheard = |error| CommandError::new(Code::Internal, format!("can't listen for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unheard)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(unheard)?;
    let stop = CancellationToken::new();
    let platform = cluster::run(options, |ready| tell(terminal, ready), stop.clone());
    tokio::pin!(platform);
    loop {
        tokio::select! {
            answer = &mut platform => return answer.map(|()| ExitStatus::Done).map_err(up::refused),
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if stop.is_cancelled() {
            return Ok(ExitStatus::Failed);
        }
        stop.cancel();
    }
}

fn tell(terminal: Terminal, ready: &Ready) {
    if terminal.json {
        return terminal.print_json(&serde_json::json!({
            "state": "ready",
            "api_url": format!("http://{}", ready.address),
            "postgres": ready.postgres,
            "targets": ready.targets,
            "milliseconds": ready.milliseconds,
        }));
    }
    let targets = count(ready.targets.len(), "target");
    let (address, postgres) = (ready.address, &ready.postgres);
    terminal.say(&format!("Ready in {} on {address} · {postgres} · {targets}", seconds(ready.milliseconds)));
}
