//! The names of resources and runs within their stack.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A resource's name within its stack: its type's word and its name in the definition, `database.main`.
/// Stable over revisions: it ties what is desired to what exists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceId(pub String);

impl ResourceId {
    /// `word.name`.
    pub fn new(word: &str, name: impl fmt::Display) -> Self {
        Self(format!("{word}.{name}"))
    }

    /// The part before the first dot: `database`.
    pub fn word(&self) -> &str {
        self.0.split_once('.').map_or(self.0.as_str(), |(word, _)| word)
    }

    /// The part behind the first dot: `main`.
    pub fn name(&self) -> &str {
        self.0.split_once('.').map_or("", |(_, name)| name)
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
