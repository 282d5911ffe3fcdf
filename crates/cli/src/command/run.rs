//! `freehold run`: a command in a stack's environment, or a job. Its output is this command's, and so is its exit code.

use freehold::CommandStream;
use freehold::wire::{CommandEvent, CommandRequest};
use freehold_problem::Code;

use crate::arguments::RunArguments;
use crate::platform::{self, Platform};
use crate::report::{CommandError, CommandResult, ExitStatus};
use crate::terminal::Terminal;
use crate::terminal::text::{colours, json_text};

pub(super) fn run(terminal: Terminal, arguments: &RunArguments) -> CommandResult {
    let platform = Platform::connect(&arguments.stack.platform)?;
    let request = CommandRequest {
        service: arguments.service.clone(),
        job: arguments.job.clone(),
        command: arguments.command.clone(),
        timeout_seconds: arguments.timeout.map(|timeout| timeout.0),
    };
    platform::run(async {
        let stack = platform.find(&arguments.stack).await?;
        let events = platform.client.run(stack.id, &request).await?;
        // Ctrl-C closes the stream with this process, and that ends the command.
        follow(terminal, events).await
    })
}

async fn follow(terminal: Terminal, mut events: CommandStream) -> CommandResult {
    let mut output = Output::new(terminal);
    while let Some(event) = events.next().await? {
        if terminal.json {
            terminal.print(json_text(&event));
        }
        match event {
            CommandEvent::Output { text } => output.add(&text),
            CommandEvent::Ended { exit, reason } => {
                output.end();
                if let Some(reason) = reason {
                    terminal.say(&format!("The command was ended: {reason}."));
                }
                return Ok(ExitStatus::Program(u8::try_from(exit).unwrap_or(u8::MAX)));
            }
            CommandEvent::Failed { problem } => {
                output.end();
                let mut error = CommandError::new(problem.code, problem.detail.clone());
                error.problem = *problem;
                error.told = true;
                return Err(error);
            }
        }
        if !terminal.is_heard() {
            return Ok(ExitStatus::Failed);
        }
    }
    output.end();
    let message = "the platform was stopped, or the connection to it broke; the command has been ended";
    Err(CommandError::new(Code::NotUp, message).help("start the platform, then run the command again"))
}

/// What the command prints. On a terminal a line at a time, so that it can't do there what it likes; elsewhere as it comes.
struct Output {
    terminal: Terminal,
    /// The line that has not ended yet.
    line: String,
}

/// The longest line that is waited for the end of, in bytes.
const LONGEST: usize = 16 << 10;

impl Output {
    fn new(terminal: Terminal) -> Self {
        Self { terminal, line: String::new() }
    }

    fn add(&mut self, text: &str) {
        if self.terminal.json {
            return;
        }
        if !self.terminal.prints_to_people() {
            return self.terminal.print_as_it_is(text);
        }
        for piece in text.split_inclusive('\n') {
            self.line.push_str(piece);
            if piece.ends_with('\n') || self.line.len() > LONGEST {
                self.end();
            }
        }
    }

    fn end(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.terminal.print(format!("{}\x1b[0m", colours(line.trim_end_matches(['\r', '\n']))));
        }
    }
}
