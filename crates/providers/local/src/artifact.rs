//! Artifacts: the files that services run from, by content.
//!
//! An artifact's hash is the SHA-256 of its canonical listing: one line for each file and symbolic link, sorted by path.
//!
//! ```text
//! file <size> <SHA-256 of the content> <path>
//! exec <size> <SHA-256 of the content> <path>          a file that may be executed
//! link <length> <SHA-256 of the target> <path>         a link to a relative path inside, or to a program or library of the system
//! ```
//!
//! Empty folders, times and owners don't count. It travels as a tar stream ([`pack()`] makes one) and is kept unpacked and read-only
//! ([`ArtifactStore`]).

mod listing;
mod pack;
mod share;
mod source;
mod store;

pub use pack::{Packed, pack};
pub(crate) use share::share;
pub use store::{ArtifactStore, Hidden};

use std::io;
use std::path::PathBuf;

use freehold_graph::ArtifactHash;
use freehold_problem::Code;

/// Why an artifact couldn't be made or taken in.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// A file couldn't be read or written.
    #[error("can't {doing} {}: {source}", path.display())]
    File {
        /// What was being done: `read`, `write`.
        doing: &'static str,
        /// The file or folder on disk.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An entry of the definition that isn't there, or not a file or folder.
    #[error("{entry} is not there: build it first, or correct the definition")]
    Missing {
        /// As it stands in the definition.
        entry: String,
    },
    /// Two entries would have the same name in the artifact.
    #[error("two entries would both be called {name} in the artifact")]
    SameName {
        /// The name, as it would be in the artifact.
        name: String,
    },
    /// Something that an artifact can't contain.
    #[error("{path} can't be part of an artifact: {reason}")]
    Unfit {
        /// The path in the artifact.
        path: String,
        /// What is wrong with the entry.
        reason: String,
        /// What to do instead, where there is more to say than to leave it out.
        help: Option<String>,
    },
    /// The stream isn't a tar stream, or ended early.
    #[error("the artifact's stream can't be read: {0}")]
    Stream(String),
    /// The content isn't what was announced.
    #[error("the artifact's content is {found}, not {expected} as announced")]
    OtherContent {
        /// The hash that the request announced.
        expected: ArtifactHash,
        /// The hash of what was received.
        found: ArtifactHash,
    },
}

impl ArtifactError {
    /// The diagnostic's code: `FH0512` if the disk is full, `FH0615` for what an artifact can't contain, else `FH0505` for files and
    /// `FH0906` for what was sent.
    pub fn code(&self) -> Code {
        match self {
            Self::Unfit { .. } => Code::ArtifactUnfit,
            Self::File { source, .. } if crate::failure::is_disk_full(source) => Code::DiskFull,
            Self::File { .. } => Code::DataNotWritable,
            _ => Code::StepFailed,
        }
    }

    /// What to do, where there is more to say than that.
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::Unfit { help, .. } => help.as_deref(),
            Self::File { .. }
            | Self::Missing { .. }
            | Self::SameName { .. }
            | Self::Stream(_)
            | Self::OtherContent { .. } => None,
        }
    }

    fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { doing, path, source }
    }

    fn unfit(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unfit { path: path.into(), reason: reason.into(), help: None }
    }
}
