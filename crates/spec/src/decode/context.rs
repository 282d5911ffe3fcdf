//! Where the reader is, and what it has found wrong so far.

use std::collections::BTreeSet;
use std::ops::Range;

use super::error::{DecodeError, DecodeErrorKind};
use crate::span::Span;

/// The state of one run of the decoder.
pub(crate) struct Context<'s> {
    source: &'s str,
    /// While a default is read: the place of the table that it is a default of.
    fixed: Option<Span>,
    path: Vec<String>,
    errors: Vec<DecodeError>,
    left_out: BTreeSet<String>,
}

impl<'s> Context<'s> {
    pub(crate) fn new(source: &'s str) -> Self {
        Self { source, fixed: None, path: Vec::new(), errors: Vec::new(), left_out: BTreeSet::new() }
    }

    /// A place in the source.
    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        self.fixed.unwrap_or_else(|| inside(self.source, range))
    }

    /// The place of a part of a text: `range` counts in the text as it was decoded. Where that differs from what stands in
    /// the source (it has escapes), the place is the whole value.
    pub(crate) fn span_in_text(&self, value: Range<usize>, text: &str, range: Range<usize>) -> Span {
        let written = self.source.get(value.clone()).and_then(|written| written.find(text));
        match written {
            Some(offset) if self.fixed.is_none() && !text.is_empty() => {
                let start = value.start + offset;
                inside(self.source, start + range.start..start + range.end)
            }
            _ => self.span(value),
        }
    }

    pub(crate) fn report(&mut self, error: DecodeError) {
        self.errors.push(error);
    }

    /// Reports, with the path of the value in front: "`service.web.port` should be …".
    pub(crate) fn report_here(&mut self, kind: DecodeErrorKind, span: Span, what: impl AsRef<str>) {
        let message = format!("`{}` {}", self.path(), what.as_ref());
        self.report(DecodeError::new(kind, span, message));
    }

    /// Where the reader is: `service.web.port`.
    pub(crate) fn path(&self) -> String {
        self.path.join(".")
    }

    /// Reads something below a key.
    pub(crate) fn below<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(key.to_owned());
        let value = read(self);
        self.path.pop();
        value
    }

    /// Reads something that isn't written, as if all of it stood at `span`.
    pub(crate) fn unwritten<T>(&mut self, span: Span, read: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.fixed.replace(span);
        let value = read(self);
        self.fixed = outer;
        value
    }

    /// What is written below a key is wrong, and the app goes on without it.
    pub(crate) fn leave_out(&mut self, key: &str) {
        let path = self.path();
        self.left_out.insert(if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") });
    }

    /// The mistakes, and the paths of what was left out because of them.
    pub(crate) fn finish(self) -> (Vec<DecodeError>, BTreeSet<String>) {
        (self.errors, self.left_out)
    }
}

/// The range, moved into the source and to the boundaries of characters.
pub(crate) fn inside(source: &str, range: Range<usize>) -> Span {
    let start = source.floor_char_boundary(range.start);
    let end = source.ceil_char_boundary(range.end.max(start).min(source.len()));
    Span { start, end }
}
