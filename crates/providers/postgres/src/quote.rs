//! The only way for names and texts into SQL where parameters aren't possible.
//!
//! Statements are built with `format!` from literals of this crate, [`Identifier`]s, [`Literal`]s and numbers, and from
//! nothing else. Sessions run with `standard_conforming_strings = on`, which `crate::session` sets.

use std::fmt;

use freehold_graph::expand::names::POSTGRES_LIMIT;
use thiserror::Error;

/// Why a text can't be the name of an object.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotIdentifier {
    /// The text is empty.
    #[error("a name in the database can't be empty")]
    Empty,
    /// PostgreSQL would cut it, and it would be the name of something else.
    #[error("{0:?} has more than {POSTGRES_LIMIT} bytes, the longest name that PostgreSQL has")]
    TooLong(String),
    /// A zero character ends texts in the protocol.
    #[error("{0:?} contains a zero character")]
    Zero(String),
}

/// The name of a role, database or another object. Displays as a quoted identifier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identifier(String);

impl Identifier {
    /// Takes any name that PostgreSQL could have stored as it stands.
    ///
    /// # Errors
    /// [`NotIdentifier`].
    pub fn new(name: impl Into<String>) -> Result<Self, NotIdentifier> {
        let name = name.into();
        match name.len() {
            0 => Err(NotIdentifier::Empty),
            _ if name.contains('\0') => Err(NotIdentifier::Zero(name)),
            length if length > POSTGRES_LIMIT => Err(NotIdentifier::TooLong(name)),
            _ => Ok(Self(name)),
        }
    }

    /// The name as it is stored, without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

/// A text constant. Displays quoted; with a backslash in it, in the form that means the same whatever the settings.
#[derive(Clone, Copy)]
pub struct Literal<'a>(pub &'a str);

impl fmt::Display for Literal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A zero character can't occur in any text of PostgreSQL; without it the statement is at least a whole one.
        let text = self.0.replace('\0', "").replace('\'', "''");
        if text.contains('\\') {
            // The space keeps `E` apart from what stands before.
            write!(f, " E'{}'", text.replace('\\', "\\\\"))
        } else {
            write!(f, "'{text}'")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_in_identifiers_are_doubled() {
        let quoted = |name: &str| Identifier::new(name).map(|name| name.to_string());
        assert_eq!(quoted("acme__guestbook").as_deref(), Ok("\"acme__guestbook\""));
        assert_eq!(quoted("a\"; DROP DATABASE x; --").as_deref(), Ok("\"a\"\"; DROP DATABASE x; --\""));
        assert_eq!(quoted("größe 'x' \\ 表").as_deref(), Ok("\"größe 'x' \\ 表\""));
    }

    #[test]
    fn names_that_postgresql_would_store_differently_are_refused() {
        assert_eq!(Identifier::new(""), Err(NotIdentifier::Empty));
        assert_eq!(Identifier::new("a\0b"), Err(NotIdentifier::Zero("a\0b".to_owned())));
        assert!(Identifier::new("x".repeat(63)).is_ok());
        // 32 letters of two bytes each.
        assert!(matches!(Identifier::new("ü".repeat(32)), Err(NotIdentifier::TooLong(_))));
    }

    #[test]
    fn literals_end_where_they_should() {
        assert_eq!(Literal("it's").to_string(), "'it''s'");
        assert_eq!(Literal("a\\'; DROP ROLE x; --").to_string(), " E'a\\\\''; DROP ROLE x; --'");
        assert_eq!(Literal("a\0b").to_string(), "'ab'");
    }
}
