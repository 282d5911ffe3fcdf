//! Reads a definition, and reports everything that is wrong with it at once, each mistake with its place.
//!
//! ```text
//! source ── document ──► spanned tree ── part/*.rs ──► App
//!                                     │  one description: keys, kinds, defaults, documentation
//!                                     └──────────► JSON Schema
//! ```
//!
//! A `ValueKind` is a way to read one value; the parts put them together. A reader never stops at a mistake:
//! it reports it and goes on, so that one run shows them all.

pub(crate) mod context;
pub(crate) mod database;
pub(crate) mod error;
pub(crate) mod kind;
pub(crate) mod layer;
pub(crate) mod network;
pub(crate) mod number;
pub(crate) mod path;
pub(crate) mod reference;
pub(crate) mod schema;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod way;

pub use error::{DecodeError, DecodeErrorKind};
pub use schema::schema;

use std::collections::BTreeSet;

use crate::files::Files;
use crate::part::App;
use crate::span::Span;

/// The largest definition that is read, in bytes. The work that one makes grows faster than it does, and a platform reads those of many.
pub const LARGEST: usize = 256 << 10;

/// The same of all files together that one names.
pub const LARGEST_FILES: usize = 256 << 10;

/// What could be read of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The app, as far as it could be read; `None` if it has no name or the file's syntax is broken.
    pub app: Option<App>,
    /// Every mistake, in the order of the source.
    pub errors: Vec<DecodeError>,
    /// How many mistakes there are beside these.
    pub untold: usize,
    /// Paths of what is wrong and therefore not in the app, or there with its default: `service.web`, `service.web.port`.
    pub left_out: BTreeSet<String>,
    /// Paths of the files that the definition names, relative to its folder, whether they were at hand or not.
    pub files: BTreeSet<String>,
}

/// What is larger than anything that is read.
pub(crate) fn too_large(source: &str, files: &Files) -> Option<DecodeError> {
    let error = |message: String| DecodeError::new(DecodeErrorKind::TooLarge, Span::default(), message);
    if source.len() > LARGEST {
        let message = format!("the definition has {} bytes; {LARGEST} are the most", source.len());
        return Some(error(message).help("split the app, or keep what isn't Freehold's in files of its own"));
    }
    let bytes = files.iter().map(|(path, text)| path.len().saturating_add(text.len())).fold(0, usize::saturating_add);
    (bytes > LARGEST_FILES).then(|| {
        let message =
            format!("the files that the definition names have {bytes} bytes together; {LARGEST_FILES} are the most");
        error(message).help("split the app, or let the images bring what is large")
    })
}

pub(crate) fn syntax_errors(source: &str, errors: &[toml::de::Error]) -> Vec<DecodeError> {
    let errors = errors.iter().map(|error| {
        let span = context::inside(source, error.span().unwrap_or(source.len()..source.len()));
        DecodeError::new(DecodeErrorKind::Syntax, span, format!("this isn't valid TOML: {}", error.message()))
    });
    let mut errors: Vec<_> = errors.collect();
    // A slip makes the rest of its line unreadable too: the first complaint is the one to look at.
    errors.sort_by_key(|error| error.span);
    let lines = Lines::new(source);
    errors.dedup_by_key(|error| lines.of(error.span));
    errors
}

/// The mistakes that stand by themselves, not those that come from a line that could not be read.
pub(crate) fn believable(source: &str, syntax: &[DecodeError], errors: Vec<DecodeError>) -> Vec<DecodeError> {
    let lines = Lines::new(source);
    let broken: BTreeSet<usize> = syntax.iter().map(|error| lines.of(error.span)).collect();
    let mut errors = errors;
    errors.retain(|error| {
        // A value that couldn't be read is replaced by an empty one, at no place.
        let invented = error.span.start == error.span.end;
        !invented && error.kind != DecodeErrorKind::MissingKey && !broken.contains(&lines.of(error.span))
    });
    errors
}

/// Where the lines of a source begin.
pub(crate) struct Lines(Vec<usize>);

impl Lines {
    pub(crate) fn new(source: &str) -> Self {
        Self(source.match_indices('\n').map(|(at, _)| at + 1).collect())
    }

    /// The line on which a place begins, from 0.
    pub(crate) fn of(&self, span: Span) -> usize {
        self.0.partition_point(|start| *start <= span.start)
    }
}
