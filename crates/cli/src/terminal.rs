//! The terminal: the only place that writes to stdout and stderr and reads from stdin.
//!
//! Data goes to stdout, everything else to stderr. Styles are stripped where nobody sees colour. A reader of stdout that
//! goes away (`| head`) is no error: what comes after is dropped.

use std::io::{BufRead, IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcgetwinsize, tcsetattr};
use serde::Serialize;

use crate::layout::{WIDTH, hanging};

/// How a command talks to whoever called it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// JSON was asked for: stdout gets nothing else.
    pub json: bool,
    /// Every object is to be shown, one by one.
    pub verbose: bool,
}

impl Terminal {
    /// Writes a line of data to stdout.
    pub(crate) fn print(self, text: impl AsRef<str>) {
        let mut stdout = anstream::stdout().lock();
        let _ = writeln!(stdout, "{}", text.as_ref()).and_then(|()| stdout.flush());
    }

    /// Writes bytes to stdout as they are; false once nobody reads them any more.
    pub(crate) fn print_bytes(self, bytes: &[u8]) -> bool {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).is_ok()
    }

    /// Writes a styled text to stdout; false once nobody reads it any more.
    pub(crate) fn print_styled(self, text: &str) -> bool {
        let mut stdout = anstream::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_ok()
    }

    /// Writes a value to stdout, as one line of JSON.
    pub(crate) fn print_json(self, value: &impl Serialize) {
        match serde_json::to_string(value) {
            Ok(line) => self.print(line),
            Err(error) => self.tell(format!("can't be written as JSON: {error}")),
        }
    }

    /// Writes a line for people to stderr.
    pub(crate) fn tell(self, text: impl AsRef<str>) {
        let mut stderr = anstream::stderr().lock();
        let _ = writeln!(stderr, "{}", text.as_ref());
    }

    /// Writes to stderr without a line's end, for what is drawn over again.
    pub(crate) fn draw(self, text: &str) {
        let mut stderr = anstream::stderr().lock();
        let _ = write!(stderr, "{text}").and_then(|()| stderr.flush());
    }

    /// Writes a sentence for people to stderr, broken at 80 columns.
    pub(crate) fn say(self, text: &str) {
        self.tell(hanging(text, 0, 0));
    }

    /// Whether a person watches stderr: progress may be drawn. Not on a terminal that gets no control sequences (`NO_COLOR`,
    /// `TERM=dumb`): they would be stripped.
    pub(crate) fn is_watched(self) -> bool {
        let stderr = std::io::stderr();
        !self.json && stderr.is_terminal() && anstream::AutoStream::choice(&stderr) != anstream::ColorChoice::Never
    }

    /// Whether a person can be asked.
    pub(crate) fn can_ask(self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// How wide lines may be that are drawn over again.
    pub(crate) fn width(self) -> usize {
        let columns = tcgetwinsize(std::io::stderr()).map_or(0, |size| usize::from(size.ws_col));
        // The last column stays free: some terminals wrap when it is filled.
        if columns < 20 { WIDTH } else { (columns - 1).min(WIDTH) }
    }

    /// Asks a question and reads one line; `None` at the end of the input.
    pub(crate) fn ask(self, question: &str) -> Option<String> {
        self.draw(question);
        let mut line = String::new();
        match std::io::stdin().lock().read_line(&mut line) {
            Ok(1..) => Some(line.trim().to_owned()),
            _ => {
                self.tell("");
                None
            }
        }
    }

    /// Asks yes or no; anything but yes is no.
    pub(crate) fn confirm(self, question: &str) -> bool {
        let answer = self.ask(&format!("{question} [y/N] "));
        matches!(answer.as_deref(), Some("y" | "Y" | "yes" | "Yes"))
    }

    /// Reads a secret: one line without echo from a terminal, else all of stdin less one line's end.
    pub(crate) fn read_secret(self, question: &str) -> std::io::Result<String> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            let mut bytes = std::io::read_to_string(stdin.lock())?;
            if bytes.ends_with('\n') {
                bytes.pop();
                if bytes.ends_with('\r') {
                    bytes.pop();
                }
            }
            return Ok(bytes);
        }
        self.draw(question);
        let before = tcgetattr(&stdin)?;
        let mut silent = before.clone();
        silent.local_modes &= !(LocalModes::ECHO | LocalModes::ECHOE | LocalModes::ECHOK);
        tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
        let mut line = String::new();
        let read = stdin.lock().read_line(&mut line);
        tcsetattr(&stdin, OptionalActions::Flush, &before)?;
        self.tell("");
        read?;
        Ok(line.trim_end_matches(['\n', '\r']).to_owned())
    }
}
