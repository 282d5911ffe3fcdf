//! What a definition can be refused for while it is read.

use crate::span::Span;

/// What kind of mistake it is. `check` has a code for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DecodeErrorKind {
    /// Not valid TOML.
    Syntax,
    /// A key that has no meaning there.
    UnknownKey,
    /// A key that has to be there.
    MissingKey,
    /// A value of another type.
    WrongType,
    /// A name that can't be one.
    BadName,
    /// Processor time, memory or a duration that can't be read.
    BadQuantity,
    /// None of the words that may stand there.
    UnknownWord,
    /// A `${…}` that can't be read.
    BadReference,
    /// A `${…}` of a kind, or to a field, that doesn't exist.
    UnknownReference,
    /// A path that leaves the folder, or that isn't one.
    BadPath,
    /// A figure that is too small or too great, a list that is empty.
    OutOfRange,
    /// A cron expression that can't be read.
    BadSchedule,
    /// The same entry twice in a list.
    ListedTwice,
    /// A text that can't be used there.
    BadText,
    /// A stage, a tier or the previews override a part that isn't defined.
    UnknownOverride,
    /// A file of manifests that isn't there or can't be read.
    BadManifest,
    /// A file of a program that isn't there, is no text, or is said in two ways.
    BadFile,
    /// The whole definition is larger than [`LARGEST`](super::LARGEST).
    TooLarge,
    /// The decoder contradicts itself. A rejection of Freehold.
    Internal,
}

/// One mistake in a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// What kind of mistake.
    pub kind: DecodeErrorKind,
    /// Where; always inside the source.
    pub span: Span,
    /// What is wrong, in one line.
    pub message: String,
    /// A few words for the place itself; may be empty.
    pub label: String,
    /// Another place that belongs to the story, and what to say about it.
    pub related: Option<(Span, String)>,
    /// What to write instead, if that can be said.
    pub help: Option<String>,
}

impl DecodeError {
    pub(crate) fn new(kind: DecodeErrorKind, span: Span, message: impl Into<String>) -> Self {
        Self { kind, span, message: message.into(), label: String::new(), related: None, help: None }
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
