//! Where the reader is, and what it has found wrong so far.

use std::collections::BTreeSet;
use std::ops::Range;

use super::error::{DecodeError, DecodeErrorKind};
use crate::files::Files;
use crate::span::Span;

/// How many mistakes are kept; the others are counted.
const MOST: usize = 1000;
/// From how many mistakes on nothing costly is done for another one. More than are shown.
const CROWDED: usize = 200;
/// What is shown of a key that is longer, in bytes: nothing that may stand anywhere is.
const LONGEST_KEY: usize = 200;

/// The state of one run of the decoder.
pub(crate) struct Context<'s> {
    source: &'s str,
    /// The files of the app's folder that are at hand.
    files: &'s Files,
    /// The paths that were asked for.
    named: BTreeSet<String>,
    /// While a default is read: the place of the table that it is a default of.
    fixed: Option<Span>,
    path: Vec<String>,
    errors: Vec<DecodeError>,
    untold: usize,
    left_out: BTreeSet<String>,
}

impl<'s> Context<'s> {
    pub(crate) fn new(source: &'s str, files: &'s Files) -> Self {
        let (named, left_out) = Default::default();
        Self { source, files, named, fixed: None, path: Vec::new(), errors: Vec::new(), untold: 0, left_out }
    }

    /// A file of the app's folder, if it is at hand.
    pub(crate) fn file(&mut self, path: &str) -> Option<&'s str> {
        self.named.insert(path.to_owned());
        self.files.get(path).map(String::as_str)
    }

    /// A place in the source.
    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        self.fixed.unwrap_or_else(|| inside(self.source, range))
    }

    /// The places of parts of a text: their ranges count in the text as it was decoded. Where that differs from what stands in the
    /// source (it has escapes), the place is the whole value.
    pub(crate) fn places_in_text(&self, value: Range<usize>, text: &str) -> impl Fn(Range<usize>) -> Span + use<'s> {
        let written = self.source.get(value.clone()).and_then(|written| written.find(text));
        let start = written.filter(|_| self.fixed.is_none() && !text.is_empty()).map(|offset| value.start + offset);
        let (source, whole) = (self.source, self.span(value));
        move |range| start.map_or(whole, |start| inside(source, start + range.start..start + range.end))
    }

    /// Whether so many mistakes were found that another one needs no help that is costly to find.
    pub(crate) fn is_crowded(&self) -> bool {
        self.errors.len() >= CROWDED
    }

    pub(crate) fn report(&mut self, error: DecodeError) {
        match self.errors.len() < MOST {
            true => self.errors.push(error),
            false => self.untold += 1,
        }
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
        let shown = key.get(..key.floor_char_boundary(LONGEST_KEY)).unwrap_or_default();
        self.path.push(if shown.len() == key.len() { key.to_owned() } else { format!("{shown}…") });
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

    /// The mistakes, how many more there were, the paths of what was left out because of them, and those of the files that were named.
    pub(crate) fn finish(self) -> (Vec<DecodeError>, usize, BTreeSet<String>, BTreeSet<String>) {
        (self.errors, self.untold, self.left_out, self.named)
    }
}

/// The range, moved into the source and to the boundaries of characters.
pub(crate) fn inside(source: &str, range: Range<usize>) -> Span {
    let start = source.floor_char_boundary(range.start);
    let end = source.ceil_char_boundary(range.end.max(start).min(source.len()));
    Span { start, end }
}
