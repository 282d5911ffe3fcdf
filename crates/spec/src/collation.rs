//! Collations of databases.

use std::fmt;

/// How a database's texts are sorted, compared and changed in case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collation {
    /// By the C library, as a locale of this name: `C`, `en_US.UTF-8`.
    Libc(String),
    /// By ICU, as a language of this tag (BCP 47): `de-AT`, `und-u-ks-level2`.
    Icu(String),
}

impl fmt::Display for Collation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Libc(locale) => f.write_str(locale),
            Self::Icu(tag) => write!(f, "icu:{tag}"),
        }
    }
}
