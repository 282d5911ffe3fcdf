//! How many descriptors Freehold may have open, and how many those that it starts.
//!
//! Freehold needs some for each service and each connection, far more than the soft limit of 1,024 that is usual; the hard limit is
//! what the machine's owner allows. Programs get the former soft limit back: some break where it is high.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// With fewer, connections and services soon compete for them.
const ENOUGH: u64 = 4096;

static FORMER: OnceLock<Option<u64>> = OnceLock::new();

/// Raises this process's limit as far as it may. Returns the limit now; `None` if there is none.
pub fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    FORMER.get_or_init(|| limit.current);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of descriptors can't be raised");
            limit.current
        }
    }
}

/// The limit now; `None` if there is none.
pub(crate) fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// The limit now, if it is low for a machine that serves many.
pub fn low() -> Option<u64> {
    limit().filter(|limit| *limit < ENOUGH)
}

/// The soft limit that this process was started with.
pub(crate) fn former() -> Option<u64> {
    *FORMER.get_or_init(|| getrlimit(Resource::Nofile).current)
}

/// That a limit of descriptors is low, for people.
pub fn few(limit: u64) -> String {
    format!(
        "Freehold may open no more than {limit} files: each service takes one, each connection through the router two, and 256 are kept"
    )
}
