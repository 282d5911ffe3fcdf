//! What a machine runs, and what an image was made for.

use std::fmt;
use std::str::FromStr;

/// An operating system and a processor architecture, in Go's words, as a node says them in `status.nodeInfo`. Variants (`v7`,
/// `v8`) are left out: nodes don't tell theirs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// Operating system, in Go's words: `linux`.
    pub os: String,
    /// Processor, in Go's words: `amd64`, `arm64`.
    pub architecture: String,
}

impl Platform {
    /// The platform of these two.
    pub fn new(os: impl Into<String>, architecture: impl Into<String>) -> Self {
        Self { os: os.into(), architecture: architecture.into() }
    }

    /// Whether something can run there at all: build tools list their attestations as `unknown/unknown`.
    pub(crate) fn is_known(&self) -> bool {
        ![&self.os, &self.architecture].into_iter().any(|word| word.is_empty() || word == "unknown")
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

impl FromStr for Platform {
    type Err = String;

    /// Reads `linux/amd64`. The error says in words what is wrong.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((os, architecture)) if !os.is_empty() && !architecture.is_empty() && !architecture.contains('/') => {
                Ok(Self::new(os, architecture))
            }
            _ => Err(format!("{text:?} is no platform: one looks like linux/amd64")),
        }
    }
}
