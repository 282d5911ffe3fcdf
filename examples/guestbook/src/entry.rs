//! An entry in the guestbook, and what may become one.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest name of an author, in characters. The table says the same.
pub const AUTHOR_LIMIT: usize = 60;
/// The longest message, in characters. The table says the same.
pub const MESSAGE_LIMIT: usize = 1000;
/// The longest `Idempotency-Key`, in characters. The table says the same.
pub const KEY_LIMIT: usize = 200;

/// An entry as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Ascends in the order in which entries became visible.
    pub id: i64,
    pub author: String,
    pub message: String,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// Whether the session that asks wrote it. Event streams, which all see the same, leave it out.
    #[serde(skip)]
    pub own: bool,
}

/// What somebody wants to write.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    pub author: String,
    pub message: String,
}

/// Why a draft is not accepted.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DraftError {
    #[error("{0} is empty")]
    Empty(&'static str),
    #[error("{0} is longer than {1} characters")]
    TooLong(&'static str, usize),
    #[error("{0} contains a character that can't be stored")]
    Unstorable(&'static str),
}

impl Draft {
    /// The draft without white space around it, if it can be stored.
    pub fn checked(self) -> Result<Self, DraftError> {
        let check = |field, text: &str, limit| {
            let text = text.trim();
            match text {
                "" => Err(DraftError::Empty(field)),
                // PostgreSQL stores every character but this one.
                _ if text.contains('\0') => Err(DraftError::Unstorable(field)),
                _ if text.chars().count() > limit => Err(DraftError::TooLong(field, limit)),
                _ => Ok(text.to_owned()),
            }
        };
        Ok(Self {
            author: check("author", &self.author, AUTHOR_LIMIT)?,
            message: check("message", &self.message, MESSAGE_LIMIT)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(author: &str, message: &str) -> Result<(String, String), DraftError> {
        Draft { author: author.to_owned(), message: message.to_owned() }.checked().map(|d| (d.author, d.message))
    }

    #[test]
    fn white_space_around_a_draft_is_dropped() {
        assert_eq!(check(" Ada ", "\nhello\n"), Ok(("Ada".to_owned(), "hello".to_owned())));
    }

    #[test]
    fn what_the_table_would_refuse_is_refused_before() {
        assert_eq!(check("Ada", "  "), Err(DraftError::Empty("message")));
        assert_eq!(check(&"ä".repeat(61), "x"), Err(DraftError::TooLong("author", 60)));
        assert!(check(&"ä".repeat(60), "x").is_ok());
        assert_eq!(check("Ada", "a\0b"), Err(DraftError::Unstorable("message")));
    }
}
