//! What services of one machine run from.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An artifact's identity, the hash of its content: `sha256:` and 64 hexadecimal digits in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ArtifactHash(String);

/// A text that is no artifact's hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an artifact's hash: it is sha256: and 64 hexadecimal digits")]
pub struct NotAnArtifact(pub String);

impl ArtifactHash {
    /// The digits alone, which name the artifact's directory.
    pub fn digits(&self) -> &str {
        &self.0
    }
}

impl From<[u8; 32]> for ArtifactHash {
    fn from(digest: [u8; 32]) -> Self {
        Self(hex::encode(digest))
    }
}

impl FromStr for ArtifactHash {
    type Err = NotAnArtifact;

    fn from_str(text: &str) -> Result<Self, NotAnArtifact> {
        let digits = text.strip_prefix("sha256:").unwrap_or_default();
        if digits.len() == 64 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(digits.to_owned()))
        } else {
            Err(NotAnArtifact(text.to_owned()))
        }
    }
}

impl TryFrom<String> for ArtifactHash {
    type Error = NotAnArtifact;

    fn try_from(text: String) -> Result<Self, NotAnArtifact> {
        text.parse()
    }
}

impl From<ArtifactHash> for String {
    fn from(hash: ArtifactHash) -> Self {
        hash.to_string()
    }
}

impl fmt::Display for ArtifactHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}
