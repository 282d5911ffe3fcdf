//! What is found at a target.

use crate::error::ClusterError;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All is well.
    Ok,
    /// It works, with a drawback.
    Warning,
    /// It doesn't work.
    Error,
}

impl Level {
    /// `ok`, `warning`, `error`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Something that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What: `gateway`, `permissions`.
    pub subject: String,
    /// How bad it is.
    pub level: Level,
    /// What is so.
    pub message: String,
    /// What to do about it.
    pub fix: Option<String>,
}

impl Finding {
    pub(crate) fn ok(subject: &str, message: impl Into<String>) -> Self {
        Self { subject: subject.to_owned(), level: Level::Ok, message: message.into(), fix: None }
    }

    pub(crate) fn warning(subject: &str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Warning, fix: Some(fix.into()), ..Self::ok(subject, message) }
    }

    pub(crate) fn error(subject: &str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Error, fix: Some(fix.into()), ..Self::ok(subject, message) }
    }

    /// A question that got no good answer.
    pub(crate) fn of_error(subject: &str, error: &ClusterError) -> Self {
        Self { level: Level::Error, fix: error.help(), ..Self::ok(subject, error.to_string()) }
    }
}
