//! Versions of the language in which definitions are written.

/// A version of the language of `freehold.toml`. A definition that is kept is decoded anew by every later release, for a rollback as for a
/// redeploy, so it keeps its language, and each language keeps its decoder. What is only added needs no new version: a source that was
/// valid stays valid and means the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// The first one: tiers and stages have figures of their own (`replicas`, `connections`, a tier's `cpu`, `memory` and `pods`), and
    /// what a stage says is not its tenants'.
    V1,
    /// Stages, tiers and previews override any value of the definition by its key, and tenants belong to a stage.
    V2,
    /// A route has `hosts`, several of them, where it had one `host`.
    V3,
    /// What a database's server is like stands in its table `server`; `storage` was the database's own.
    V4,
}

impl Language {
    /// In which a definition is written that says nothing of it.
    pub const NEWEST: Self = Self::V4;

    /// As it is kept.
    pub const fn number(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
            Self::V3 => 3,
            Self::V4 => 4,
        }
    }

    /// The language of a number; `None` for one of a newer release.
    pub const fn of_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::V1),
            2 => Some(Self::V2),
            3 => Some(Self::V3),
            4 => Some(Self::V4),
            _ => None,
        }
    }
}
