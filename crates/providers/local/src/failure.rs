//! How this provider's failures are told: the codes, and what a failed file operation means.

use std::io;
use std::path::Path;

use freehold_engine::ProviderError;
use freehold_graph::ResourceKind;
use freehold_problem::{Code, Problem};

use crate::exhaustion::{self, is_exhaustion};

/// A file operation that failed: `doing` is what was attempted, "write".
pub(crate) fn file(doing: &str, path: &Path, error: &io::Error) -> ProviderError {
    if is_disk_full(error) {
        return refusal(
            Code::DiskFull,
            format!("the disk is full: can't {doing} {}", path.display()),
            "free some space, then deploy again",
        );
    }
    if is_exhaustion(error) {
        // Ours, and it passes.
        return ProviderError::retryable(
            Code::NotNow,
            format!("can't {doing} {} now: {}", path.display(), exhaustion::words(error)),
        );
    }
    ProviderError::rejected(Code::DataNotWritable, format!("can't {doing} {}: {error}", path.display()))
}

/// Whether there is no room left, or none that this user may use.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A rejection with a way on.
pub(crate) fn refusal(code: Code, message: impl Into<String>, help: impl Into<String>) -> ProviderError {
    ProviderError::from(Problem::new(code, message).help(help))
}

/// A fault of Freehold's own: a task that ended before it answered.
pub(crate) fn stopped(what: &str) -> ProviderError {
    ProviderError::unknown(Code::NotNow, format!("{what} stopped before it answered"))
}

/// Processes that are still there after they were ended, or of which it can't be told.
pub(crate) fn still_running(whose: &str) -> ProviderError {
    ProviderError::retryable(Code::NotNow, format!("it is not certain that all processes of {whose} have ended"))
}

/// A kind of resources of another provider.
pub(crate) fn not_served(kind: ResourceKind) -> ProviderError {
    ProviderError::rejected(Code::StepFailed, format!("provider local does not serve {}", kind.word()))
}

/// Something that no container of a stack is given.
pub(crate) fn not_for_containers(why: &str) -> ProviderError {
    refusal(
        Code::NotForContainers,
        why,
        "put what has several lines into `files`; or give the service a `build`, so that it runs as a process",
    )
}
