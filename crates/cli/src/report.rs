//! Failures as people and machines get them: what happened, to what, why, and what to do next.

use std::process::ExitCode;

use freehold::wire::{self, Problem};
use freehold::{ClientError, ConnectionError};
use freehold_check::Diagnostic;
use freehold_problem::{Code, Exit};

use crate::layout::{BOLD, DIM, RED, WIDTH, columns, hanging, paint, wrap};
use crate::terminal::Terminal;
use crate::view::diagnostics;

/// What the exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// All is well.
    Done,
    /// The work failed.
    Failed,
    /// Wrong use, or an invalid definition.
    Misused,
    /// What a command that was run says.
    Program(u8),
}

impl From<Exit> for ExitStatus {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Failure => Self::Failed,
            Exit::Usage => Self::Misused,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(outcome: ExitStatus) -> Self {
        Self::from(match outcome {
            ExitStatus::Done => 0,
            ExitStatus::Failed => 1,
            ExitStatus::Misused => 2,
            ExitStatus::Program(code) => code,
        })
    }
}

/// The result of a command.
pub(crate) type CommandResult<T = ExitStatus> = Result<T, Box<CommandError>>;

/// Why a command did not do what it was told to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CommandError {
    /// What the exit code says.
    pub outcome: ExitStatus,
    /// The facts; for machines as they are.
    pub problem: Problem,
    /// More facts, below the headline.
    pub facts: Vec<String>,
    /// What exists and still works, below the lines.
    pub standing: Vec<String>,
    /// The definition that the problem's diagnostics point into: its name and its text.
    pub source: Option<(String, String)>,
    /// Machines have been told already, by an event.
    pub told: bool,
}

impl CommandError {
    /// With a code, which says the exit code, and what happened.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            outcome: code.exit().into(),
            problem: Problem {
                kind: format!("urn:freehold:{code}"),
                title: code.title().to_owned(),
                status: code.status().http(),
                detail: detail.into(),
                code,
                help: None,
                lines: Vec::new(),
                diagnostics: Vec::new(),
                operation: None,
            },
            facts: Vec::new(),
            standing: Vec::new(),
            source: None,
            told: false,
        })
    }

    /// With what to do next.
    #[must_use]
    pub(crate) fn help(mut self: Box<Self>, help: impl Into<String>) -> Box<Self> {
        self.problem.help = Some(help.into());
        self
    }

    /// With lines to show below: the end of a log.
    #[must_use]
    pub(crate) fn lines(mut self: Box<Self>, lines: Vec<String>) -> Box<Self> {
        self.problem.lines = lines;
        self
    }

    /// With one more fact.
    #[must_use]
    pub(crate) fn fact(mut self: Box<Self>, fact: impl Into<String>) -> Box<Self> {
        self.facts.push(fact.into());
        self
    }

    /// With what exists and still works.
    #[must_use]
    pub(crate) fn standing(mut self: Box<Self>, fact: impl Into<String>) -> Box<Self> {
        self.standing.push(fact.into());
        self
    }

    /// With what is wrong with a definition. Its code is that of the first error.
    #[must_use]
    pub(crate) fn diagnostics(mut self: Box<Self>, diagnostics: &[Diagnostic], file: &str, text: &str) -> Box<Self> {
        if let Some(first) = diagnostics.iter().find(|diagnostic| diagnostic.is_error()) {
            let code = first.code;
            self.problem.kind = format!("urn:freehold:{code}");
            self.problem.title = code.title().to_owned();
            self.problem.status = code.status().http();
            self.problem.code = code;
        }
        self.problem.diagnostics = diagnostics.iter().map(diagnostics::to_wire).collect();
        self.source = Some((file.to_owned(), text.to_owned()));
        self
    }

    /// With the definition that the problem's diagnostics point into.
    #[must_use]
    pub(crate) fn source(mut self: Box<Self>, source: Option<(String, String)>) -> Box<Self> {
        self.source = self.source.or(source);
        self
    }

    /// Shows it: on stderr for people, and where JSON was asked for as a line on stdout.
    pub(crate) fn show(&self, terminal: Terminal) {
        if terminal.json && !self.told {
            terminal.print_json(&serde_json::json!({
                "event": "refused",
                "state": "failed",
                "operation": self.problem.operation,
                "failure": self.problem,
            }));
        }
        terminal.tell(self.render());
    }

    /// The text for people.
    pub(crate) fn render(&self) -> String {
        let mut blocks = Vec::new();
        let found: Vec<Diagnostic> = self.problem.diagnostics.iter().map(diagnostics::from_wire).collect();
        if let (false, Some((file, text))) = (found.is_empty(), &self.source) {
            blocks.push(diagnostics::render(&found, file, text));
        } else {
            for diagnostic in &self.problem.diagnostics {
                blocks.push(short_diagnostic(diagnostic));
            }
        }
        // Diagnostics are errors of their own: the headline over them would only repeat that.
        if blocks.is_empty() {
            blocks.push(self.headline());
        }
        blocks.join("\n")
    }

    fn headline(&self) -> String {
        let problem = &self.problem;
        let detail = if problem.detail.is_empty() { &problem.title } else { &problem.detail };
        let mut paragraphs = detail.lines();
        let mark = format!("error[{}]:", problem.code);
        let first = paragraphs.next().unwrap_or_default();
        let mut lines = Vec::new();
        for (at, line) in wrap(&format!("{mark} {first}"), WIDTH - 2).iter().enumerate() {
            lines.push(match line.strip_prefix(&mark) {
                Some(rest) if at == 0 => format!("{}{}", paint(RED.bold(), &mark), paint(BOLD, rest)),
                _ => format!("  {}", paint(BOLD, line)),
            });
        }
        for fact in paragraphs.chain(self.facts.iter().map(String::as_str)) {
            lines.push(format!("  {}", hanging(fact, 2, 4)));
        }
        lines.extend(quoted(&problem.lines));
        for fact in &self.standing {
            lines.push(format!("  {}", hanging(fact, 2, 4)));
        }
        if let Some(help) = &problem.help {
            lines.extend(to_do("next:", help));
        }
        lines.join("\n")
    }
}

/// Another program's words, as they are but for the width.
pub(crate) fn quoted(lines: &[String]) -> Vec<String> {
    let bar = format!("    {}", paint(DIM, "│"));
    let wrapped = lines.iter().flat_map(|line| line.lines()).flat_map(|line| match columns(line) {
        0..=74 => vec![line.trim_end().to_owned()],
        _ => hanging(line.trim_end(), 6, 8).lines().map(|line| line.replacen("        ", "  ", 1)).collect(),
    });
    wrapped.map(|line| format!("{bar} {line}")).collect()
}

/// What to do `next:`, and `then:`.
pub(crate) fn to_do(when: &str, help: &str) -> Vec<String> {
    let lines = wrap(help, WIDTH - 8).into_iter().enumerate().map(|(at, line)| match at {
        0 => format!("  {} {line}", paint(BOLD, when)),
        _ => format!("        {line}"),
    });
    lines.collect()
}

/// A diagnostic whose source isn't at hand.
fn short_diagnostic(diagnostic: &wire::Diagnostic) -> String {
    let mut failure = CommandError::new(diagnostic.code, &diagnostic.message);
    if let Some(help) = &diagnostic.help {
        failure = failure.help(help);
    }
    failure.headline()
}

impl From<Problem> for Box<CommandError> {
    fn from(problem: Problem) -> Self {
        let mut failure = CommandError::new(problem.code, "");
        // What a later release's code means, it says by its status.
        let newer = matches!(problem.code, Code::Newer(_)) && matches!(problem.status, 400 | 422);
        if newer || !problem.diagnostics.is_empty() {
            failure.outcome = ExitStatus::Misused;
        }
        failure.problem = problem;
        failure
    }
}

impl From<ClientError> for Box<CommandError> {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Problem(problem) => {
                let mut failure = Box::<CommandError>::from((**problem).clone());
                if problem.code == Code::Unauthorised && std::env::var_os("FREEHOLD_TOKEN").is_some() {
                    failure = failure.help("FREEHOLD_TOKEN has to be the token of the platform at FREEHOLD_URL");
                }
                failure
            }
            ClientError::Connection(ConnectionError::NotRunning(directory)) => not_running(directory),
            ClientError::Connection(error @ ConnectionError::NoUrl(_)) => {
                CommandError::new(Code::ConnectionSettings, error.to_string())
                    .help("set it to the platform's address, or unset it to use the platform on this machine")
            }
            ClientError::Connection(error @ ConnectionError::NoToken) => {
                CommandError::new(Code::ConnectionSettings, error.to_string()).help(
                    "set FREEHOLD_TOKEN to the platform's token, or unset FREEHOLD_URL to use the one on this machine",
                )
            }
            ClientError::Connection(error) => CommandError::new(Code::NotUp, error.to_string())
                .help("choose a data directory with --data-dir or FREEHOLD_DATA_DIR"),
            ClientError::Unreachable { url, .. } => {
                CommandError::new(Code::NotUp, error.to_string()).help(help_for(url))
            }
            ClientError::Broken(_) => CommandError::new(Code::NotUp, error.to_string())
                .help("the operation continues as soon as the platform runs; run the same command again to follow it"),
            ClientError::Answer(_) => CommandError::new(Code::Internal, error.to_string())
                .help("use the same version of Freehold for the command line and the platform"),
        }
    }
}

/// What to do if nobody answers at an address: it may have been given by the environment, or be the one of this machine.
fn help_for(url: &str) -> &'static str {
    match std::env::var("FREEHOLD_URL") {
        Ok(given) if given.starts_with(url) => {
            "FREEHOLD_URL says that it is there: check the address, and that the platform runs and can be reached from here"
        }
        _ => "start the platform with `freehold up`; every stack comes back as it was",
    }
}

/// What the command found out could not be written. What it did is done all the same.
pub(crate) fn unwritten(error: &std::io::Error) -> Box<CommandError> {
    CommandError::new(Code::OutputNotWritten, format!("stdout can't be written: {error}"))
        .fact("the command itself completed unless stated otherwise")
        .help("make room or choose another place for the output, and run it again if you need it")
}

/// No platform runs on a data directory.
pub(crate) fn not_running(directory: &std::path::Path) -> Box<CommandError> {
    CommandError::new(Code::NotUp, format!("no platform is running on {}", directory.display()))
        .help("start it with `freehold up`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(failure: &CommandError) -> String {
        anstream::adapter::strip_str(&failure.render()).to_string()
    }

    #[test]
    fn a_failure_says_what_happened_why_and_what_to_do_next() {
        let failure = CommandError::new(Code::JobFailed, "the migration failed, so the new version was not started")
            .fact("job migrate · exit code 1 after 0.4 s")
            .standing("revision 3 is still serving http://acme.localhost:7080")
            .lines(vec!["error: column \"author\" of relation \"entries\" already exists".to_owned()])
            .help(
                "fix the migration and run `freehold deploy` again, or see `freehold logs --tenant acme --job migrate`",
            );
        insta::assert_snapshot!(plain(&failure), @r#"
        error[FH0701]: the migration failed, so the new version was not started
          job migrate · exit code 1 after 0.4 s
            │ error: column "author" of relation "entries" already exists
          revision 3 is still serving http://acme.localhost:7080
          next: fix the migration and run `freehold deploy` again, or see
                `freehold logs --tenant acme --job migrate`
        "#);
    }

    #[test]
    fn a_missing_platform_is_named_with_the_way_to_start_it() {
        insta::assert_snapshot!(plain(&not_running(std::path::Path::new("/srv/freehold"))), @r"
        error[FH0508]: no platform is running on /srv/freehold
          next: start it with `freehold up`
        ");
    }

    #[test]
    fn no_line_is_wider_than_eighty_columns() {
        let failure = CommandError::new(Code::NotOwned, "namespace ".repeat(20)).fact("managed by helm ".repeat(12));
        assert!(plain(&failure).lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn an_invalid_request_is_wrong_use_and_failed_work_is_not() {
        let outcome = |code, status| {
            Box::<CommandError>::from(Problem { status, ..CommandError::new(code, "x").problem }).outcome
        };
        assert_eq!(outcome(Code::RequestName, 422), ExitStatus::Misused);
        assert_eq!(outcome(Code::PlanOutdated, 409), ExitStatus::Failed);
        assert_eq!(outcome(Code::Newer(1099), 422), ExitStatus::Misused);
        assert_eq!(outcome(Code::Newer(1099), 409), ExitStatus::Failed);
    }
}
