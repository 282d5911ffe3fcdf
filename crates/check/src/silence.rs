//! Warnings that a definition allows, at their place and with a reason.
//!
//! ```toml
//! MAPS_KEY = "1234"       # freehold:allow FH0109: the provider shows it to every browser
//!
//! # freehold:allow FH0404: the only stack of this app
//! hosts = ["www.example.org"]
//! ```
//!
//! At the end of a line it is about what is found on that line; on a line of its own, about the next one with something on it. It is a comment, as
//! in most linters: what is found has its place in the source and not always in a table, the reason stands beside it, and the app is
//! the same with and without it. Errors are never allowed. A comment that allows nothing is reported ([`Code::AllowsNothing`]).

use std::collections::BTreeMap;

use freehold_problem::Code;
use freehold_spec::Span;
use toml_parser::Source;
use toml_parser::lexer::TokenKind;

use crate::diagnostic::{Diagnostic, Severity};
use crate::render::Lines;

/// How such a comment begins, without the `#`.
const MARK: &str = "freehold:";
const FORM: &str = "write `# freehold:allow FH0109: REASON`, with several codes `FH0109, FH0404: REASON`";

/// What a definition allows.
pub(crate) struct Silences<'s> {
    lines: Lines<'s>,
    /// By the line that they are about, from 0.
    by_line: BTreeMap<usize, Vec<Silence>>,
    /// Comments that are meant as one and can't be read.
    unread: Vec<Diagnostic>,
}

/// One code that a comment allows.
struct Silence {
    code: Code,
    reason: String,
    /// The code, as the comment has it.
    span: Span,
    used: bool,
    /// What was found on the line with this code, and can't be allowed.
    is_error: bool,
}

impl<'s> Silences<'s> {
    /// Reads the comments of a definition.
    pub(crate) fn of(source: &'s str) -> Self {
        let mut silences = Self { lines: Lines::new(source), by_line: BTreeMap::new(), unread: Vec::new() };
        // Comments on lines of their own, which are about the next line with something on it.
        let mut open: Vec<Span> = Vec::new();
        let mut begun = None;
        let tokens = source.contains(MARK).then(|| Source::new(source).lex()).into_iter().flatten();
        for token in tokens {
            let span = Span { start: token.span().start(), end: token.span().end() };
            match token.kind() {
                TokenKind::Whitespace => {}
                TokenKind::Newline => begun = None,
                TokenKind::Comment => match begun {
                    Some(line) => silences.read(span, line),
                    None => open.push(span),
                },
                // Nothing comes behind the comments that are still open.
                TokenKind::Eof => {}
                TokenKind::Dot
                | TokenKind::Equals
                | TokenKind::Comma
                | TokenKind::LeftSquareBracket
                | TokenKind::RightSquareBracket
                | TokenKind::LeftCurlyBracket
                | TokenKind::RightCurlyBracket
                | TokenKind::LiteralString
                | TokenKind::BasicString
                | TokenKind::MlLiteralString
                | TokenKind::MlBasicString
                | TokenKind::Atom => {
                    let line = silences.lines.line(span.end.saturating_sub(1).max(span.start));
                    begun = Some(line);
                    let first = silences.lines.line(span.start);
                    std::mem::take(&mut open).into_iter().for_each(|comment| silences.read(comment, first));
                }
            }
        }
        open.into_iter().for_each(|comment| silences.read(comment, usize::MAX));
        silences
    }

    /// Reads a comment that is about a line.
    fn read(&mut self, comment: Span, line: usize) {
        let source = self.lines.source();
        let Some(text) = source.get(comment.start..comment.end) else { return };
        let Some(rest) = text.trim_start_matches('#').trim_start().strip_prefix(MARK) else { return };
        let rest = rest.trim_start();
        let Some(rest) = rest.strip_prefix("allow").filter(|rest| rest.starts_with([' ', '\t'])) else {
            if names_a_code(rest) {
                self.refuse(comment, "a comment for Freehold says nothing that it knows");
            }
            return;
        };
        let (codes, reason) = rest.split_once(':').unwrap_or((rest, ""));
        let reason = reason.trim();
        if reason.is_empty() || reason.chars().any(char::is_control) {
            return self.refuse(comment, "a comment that allows a warning gives no reason");
        }
        let mut next = comment.end - rest.len();
        for word in codes.split(',') {
            let start = next + (word.len() - word.trim_start().len());
            next += word.len() + 1;
            let code = word.trim();
            let span = Span { start, end: start + code.len() };
            let Some(code) = Code::parse(code) else {
                self.refuse(span, format!("{code:?} is no code of this release"));
                continue;
            };
            let silence = Silence { code, reason: reason.to_owned(), span, used: false, is_error: false };
            self.by_line.entry(line).or_default().push(silence);
        }
    }

    fn refuse(&mut self, span: Span, message: impl Into<String>) {
        let diagnostic = Diagnostic::warning(Code::AllowsNothing, message).at(span, "allows nothing");
        self.unread.push(diagnostic.help(FORM));
    }

    /// Marks a warning that the definition allows.
    pub(crate) fn apply(&mut self, diagnostic: &mut Diagnostic) {
        let Some(span) = diagnostic.labels.first().map(|label| label.span) else { return };
        let last = self.lines.line(span.end.saturating_sub(1).max(span.start));
        let near = self.by_line.range_mut(self.lines.line(span.start)..=last).flat_map(|(_, silences)| silences);
        for silence in near.filter(|silence| silence.code == diagnostic.code) {
            match diagnostic.severity {
                Severity::Error => silence.is_error = true,
                Severity::Warning => {
                    silence.used = true;
                    diagnostic.allowed.get_or_insert_with(|| silence.reason.clone());
                }
            }
        }
    }

    /// Comments that allow nothing.
    pub(crate) fn idle(self) -> impl Iterator<Item = Diagnostic> {
        let silences = self.by_line.into_values().flatten();
        let idle = silences.filter(|silence| !silence.used).map(|Silence { code, span, is_error, .. }| {
            let message = match is_error {
                true => format!("{code} is an error here, which nothing allows"),
                false => format!("{code} is allowed here, and isn't found"),
            };
            let diagnostic = Diagnostic::warning(Code::AllowsNothing, message).at(span, "allows nothing");
            let help = match is_error {
                true => "mend what is wrong, and take the comment out",
                false => "take the code out, or put the comment at the end of the line that the warning points to",
            };
            diagnostic.help(help)
        });
        self.unread.into_iter().chain(idle)
    }
}

/// Whether a text has something like a code in it.
fn names_a_code(text: &str) -> bool {
    text.match_indices("FH").any(|(at, _)| {
        let digits = text.get(at + 2..at + 6);
        digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
    })
}
