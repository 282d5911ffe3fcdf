//! The lines that a diagnostic is about, without what stands far from the place on a long one.
//!
//! A line may be as long as the whole source, and a diagnostic for each of its words would show it each time.

use std::ops::Range;

use codespan_reporting::files::{Error, Files};
use freehold_spec::Span;

use super::lines::Lines;
use crate::diagnostic::Diagnostic;

/// What is still shown whole, in bytes.
const LONG: usize = 400;
/// What is shown before and behind a place on a line that is longer.
const BEFORE: usize = 60;
const BEHIND: usize = 120;
/// How many lines of one diagnostic are shown.
const MOST_LINES: usize = 50;

/// A few lines of a source, some of them cut.
pub(super) struct Excerpt<'s> {
    name: &'s str,
    text: String,
    rows: Vec<Row>,
}

struct Row {
    /// Where it is in the excerpt.
    start: usize,
    /// The line's number, from 1.
    number: usize,
    /// The part of the source that is shown.
    shown: Range<usize>,
    /// In characters, what was cut in front of it.
    cut: usize,
    /// In bytes, the sign for that.
    sign: usize,
}

const SIGN: &str = "…";

impl<'s> Excerpt<'s> {
    /// The excerpt for a diagnostic; `None` if all of its lines are short.
    pub(super) fn of(
        diagnostic: &Diagnostic,
        name: &'s str,
        source: &str,
        lines: &Lines<'_>,
    ) -> Option<(Excerpt<'s>, Diagnostic)> {
        let touched = |span: Span| [lines.line(span.start), lines.line(span.end)];
        let long = |line: usize| lines.range(line).len() > LONG;
        if !diagnostic.labels.iter().flat_map(|label| touched(label.span)).any(long) {
            return None;
        }
        let mut excerpt = Excerpt { name, text: String::new(), rows: Vec::new() };
        let mut wanted: Vec<(usize, Span)> =
            diagnostic.labels.iter().map(|label| (lines.line(label.span.start), label.span)).collect();
        // The first label of a line is the one that is in sight.
        wanted.sort_by_key(|(line, _)| *line);
        wanted.dedup_by_key(|(line, _)| *line);
        for (line, span) in wanted.into_iter().take(MOST_LINES) {
            excerpt.add(line, span, source, lines);
        }
        let mut shown = diagnostic.clone();
        shown.labels.retain_mut(|label| match excerpt.place(label.span) {
            Some(place) => {
                label.span = place;
                true
            }
            None => false,
        });
        Some((excerpt, shown))
    }

    fn add(&mut self, line: usize, span: Span, source: &str, lines: &Lines<'_>) {
        let whole = lines.range(line);
        let shown = if whole.len() > LONG {
            let start = source.floor_char_boundary(span.start.saturating_sub(BEFORE).max(whole.start));
            let end = source.ceil_char_boundary((span.start + BEHIND).min(whole.end));
            start..end
        } else {
            whole.clone()
        };
        if self.rows.last().is_some_and(|last| last.number + 1 < line + 1) {
            // Something between them, so that they are not shown as neighbours.
            for _ in 0..3 {
                self.rows.push(Row { start: self.text.len(), number: line, shown: 0..0, cut: 0, sign: 0 });
                self.text.push('\n');
            }
        }
        let before = source.get(whole.start..shown.start).unwrap_or_default();
        let sign = if before.is_empty() { 0 } else { SIGN.len() };
        let cut = before.chars().count().saturating_sub(usize::from(sign > 0));
        self.rows.push(Row { start: self.text.len(), number: line + 1, shown: shown.clone(), cut, sign });
        if sign > 0 {
            self.text.push_str(SIGN);
        }
        self.text.push_str(source.get(shown.clone()).unwrap_or_default());
        if shown.end < whole.end {
            self.text.push_str(SIGN);
        }
        self.text.push('\n');
    }

    /// Where a place of the source is in the excerpt; `None` if it is not in sight.
    fn place(&self, span: Span) -> Option<Span> {
        let row = self.rows.iter().find(|row| row.shown.start <= span.start && span.start <= row.shown.end)?;
        let at = |offset: usize| row.start + row.sign + (offset.min(row.shown.end) - row.shown.start);
        Some(Span { start: at(span.start), end: at(span.end.max(span.start)) })
    }

    fn row(&self, index: usize) -> Result<&Row, Error> {
        self.rows.get(index).ok_or(Error::LineTooLarge { given: index, max: self.rows.len() })
    }
}

impl<'a> Files<'a> for Excerpt<'_> {
    type FileId = ();
    type Name = &'a str;
    type Source = &'a str;

    fn name(&'a self, (): ()) -> Result<&'a str, Error> {
        Ok(self.name)
    }

    fn source(&'a self, (): ()) -> Result<&'a str, Error> {
        Ok(&self.text)
    }

    fn line_index(&'a self, (): (), byte: usize) -> Result<usize, Error> {
        Ok(self.rows.partition_point(|row| row.start <= byte).saturating_sub(1))
    }

    fn line_number(&'a self, (): (), line: usize) -> Result<usize, Error> {
        self.row(line).map(|row| row.number)
    }

    fn column_number(&'a self, (): (), line: usize, byte: usize) -> Result<usize, Error> {
        let row = self.row(line)?;
        let before = self.text.get(row.start..byte).unwrap_or_default();
        Ok(row.cut + before.chars().count() + 1)
    }

    fn line_range(&'a self, (): (), line: usize) -> Result<Range<usize>, Error> {
        let start = self.row(line)?.start;
        Ok(start..self.rows.get(line + 1).map_or(self.text.len(), |next| next.start))
    }
}
