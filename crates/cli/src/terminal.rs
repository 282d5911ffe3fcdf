//! The terminal: the only place that writes to stdout and stderr and reads from stdin.
//!
//! Data goes to stdout, everything else to stderr. Styles are stripped where nobody sees colour, and nothing gets out that a terminal
//! would obey ([`text`]). A reader of stdout that goes away (`| head`) is no error: what comes after is dropped. Any other failure to
//! write data is remembered, and fails the command ([`Terminal::unwritten`]).

pub(crate) mod text;

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::OnceLock;

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcgetwinsize, tcsetattr};
use serde::Serialize;

use crate::layout::{WIDTH, hanging};
use text::{json_text, safe};

/// Why stdout could not be written, the first time that it could not.
static UNWRITTEN: OnceLock<io::Error> = OnceLock::new();

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
        let written = writeln!(stdout, "{}", safe(text.as_ref())).and_then(|()| stdout.flush());
        if let Err(error) = written {
            let _ = UNWRITTEN.set(error);
        }
    }

    /// Writes what a program has printed to stdout, which isn't a terminal.
    pub(crate) fn print_as_it_is(self, text: &str) {
        let mut stdout = io::stdout().lock();
        if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            let _ = UNWRITTEN.set(error);
        }
    }

    /// Whether stdout is a terminal.
    pub(crate) fn prints_to_people(self) -> bool {
        io::stdout().is_terminal()
    }

    /// Whether what is printed arrives: nobody has to go on who can't be heard.
    pub(crate) fn is_heard(self) -> bool {
        UNWRITTEN.get().is_none()
    }

    /// Writes a value to stdout, as one line of JSON.
    pub(crate) fn print_json(self, value: &impl Serialize) {
        self.print(json_text(value));
    }

    /// Why not all data could be written to stdout. That nobody reads it any more is no failure.
    pub(crate) fn unwritten(self) -> Option<&'static io::Error> {
        UNWRITTEN.get().filter(|error| error.kind() != io::ErrorKind::BrokenPipe)
    }

    /// Writes a line for people to stderr.
    pub(crate) fn tell(self, text: impl AsRef<str>) {
        let mut stderr = anstream::stderr().lock();
        let _ = writeln!(stderr, "{}", safe(text.as_ref()));
    }

    /// Draws lines over the last `drawn` ones on stderr.
    pub(crate) fn redraw(self, drawn: usize, lines: &[&String]) {
        let up = if drawn > 0 { format!("\x1b[{drawn}A") } else { String::new() };
        let text: String = lines.iter().map(|line| format!("{}\n", safe(line))).collect();
        let mut stderr = anstream::stderr().lock();
        let _ = write!(stderr, "{up}\r\x1b[J{text}").and_then(|()| stderr.flush());
    }

    /// Writes a question to stderr, without a line's end.
    fn put(self, question: &str) {
        let mut stderr = anstream::stderr().lock();
        let _ = write!(stderr, "{}", safe(question)).and_then(|()| stderr.flush());
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

    /// Why nobody can be asked to confirm something; `None` if somebody can.
    pub(crate) fn cannot_confirm(self) -> Option<&'static str> {
        match (self.json, self.can_ask()) {
            (true, _) => Some("with --json nobody is asked to confirm"),
            (false, false) => Some("there is no terminal to ask for confirmation"),
            (false, true) => None,
        }
    }

    /// How wide lines may be that are drawn over again.
    pub(crate) fn width(self) -> usize {
        let columns = tcgetwinsize(std::io::stderr()).map_or(0, |size| usize::from(size.ws_col));
        // The last column stays free: some terminals wrap when it is filled.
        if columns < 20 { WIDTH } else { (columns - 1).min(WIDTH) }
    }

    /// Asks a question and reads one line; `None` at the end of the input.
    pub(crate) fn ask(self, question: &str) -> Option<String> {
        self.put(question);
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
        self.put(question);
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
