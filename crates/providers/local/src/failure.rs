//! How this provider's failures are told: the codes, and what a failed file operation means.

use std::io;
use std::path::Path;

use freehold_engine::ProviderError;

use crate::shortage::{self, is_shortage};

pub(crate) const TOO_LONG: &str = "FH0114";
pub(crate) const DIRECTORY_UNUSABLE: &str = "FH0505";
pub(crate) const PORT_TAKEN: &str = "FH0509";
pub(crate) const DISK_FULL: &str = "FH0512";
pub(crate) const JOB_FAILED: &str = "FH0701";
pub(crate) const CANCELLED: &str = "FH0903";
pub(crate) const EXITED_AT_ONCE: &str = "FH0702";
pub(crate) const NEVER_READY: &str = "FH0703";
pub(crate) const COMMAND_NOT_FOUND: &str = "FH0704";
pub(crate) const OUTCOME_UNKNOWN: &str = "FH0705";
pub(crate) const CRASH_LOOP: &str = "FH0706";
pub(crate) const FELL: &str = "FH0707";
pub(crate) const NOT_OURS: &str = "FH0801";
pub(crate) const CHANGED_BEHIND_OUR_BACK: &str = "FH0804";
pub(crate) const STEP_FAILED: &str = "FH0906";

/// A file operation that failed: `doing` is what was attempted, "write".
pub(crate) fn file(doing: &str, path: &Path, error: &io::Error) -> ProviderError {
    if is_disk_full(error) {
        return refusal(
            DISK_FULL,
            format!("the disk is full: can't {doing} {}", path.display()),
            "free some space, then deploy again",
        );
    }
    if is_shortage(error) {
        // Ours, and it passes.
        return ProviderError::retryable(format!("can't {doing} {} now: {}", path.display(), shortage::words(error)));
    }
    ProviderError::rejected(DIRECTORY_UNUSABLE, format!("can't {doing} {}: {error}", path.display()))
}

/// Whether there is no room left, or none that this user may use.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A rejection with a way on.
pub(crate) fn refusal(code: &'static str, message: impl Into<String>, help: impl Into<String>) -> ProviderError {
    ProviderError::Rejected { code, message: message.into(), detail: Vec::new(), help: Some(help.into()) }
}

/// A fault of Freehold's own: a task that ended before it answered.
pub(crate) fn stopped(what: &str) -> ProviderError {
    ProviderError::Unknown { message: format!("{what} stopped before it answered") }
}

/// Processes that are still there after they were ended, or of which it can't be told.
pub(crate) fn still_running(whose: &str) -> ProviderError {
    ProviderError::retryable(format!("it is not certain that all processes of {whose} have ended"))
}
