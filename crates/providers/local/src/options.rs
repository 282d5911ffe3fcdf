//! What the provider is made with.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use freehold_router::Router;

use crate::account::RunAs;
use crate::artifact::ArtifactStore;
use crate::cgroup::TASKS;
use crate::log::LogLimits;
use crate::port::PORTS;

/// Whoever has lived this long starts with a clean slate, unless it is said otherwise.
const STEADY: Duration = Duration::from_secs(60);

/// Where things are and how programs are run.
#[derive(Clone)]
pub struct LocalOptions {
    /// Freehold's data directory: all that programs must not see, but for what is theirs.
    pub data: PathBuf,
    /// The provider's own directory, in it.
    pub directory: PathBuf,
    /// Where logs are kept.
    pub logs: PathBuf,
    /// The router that routes and services are set in.
    pub router: Router,
    /// The artifacts that programs run from.
    pub artifacts: ArtifactStore,
    /// The program whose `internal supervise` supervises jobs ([`crate::supervise::main`]): Freehold itself.
    pub executable: PathBuf,
    /// The folders in which programs of the system are looked for: servers of caches, container engines.
    pub search: Vec<PathBuf>,
    /// The folders with sockets of the platform's own servers, which containers see where they are.
    pub sockets: Vec<PathBuf>,
    /// As whom programs run.
    pub run_as: RunAs,
    /// The ports that instances are given, on 127.0.0.1.
    pub ports: RangeInclusive<u16>,
    /// How many processes and threads a stack may have, where that can be enforced.
    pub tasks: u64,
    /// A replica that has lived this long starts with a clean slate.
    pub steady: Duration,
    /// How much is kept of the logs.
    pub log_limits: LogLimits,
}

/// Where programs of the system are, whatever `PATH` says.
const USUAL: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The folders of `PATH`, and the usual ones. A relative one would be somebody else's tomorrow.
fn search() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let stated: Vec<PathBuf> = std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect();
    stated.into_iter().chain(USUAL.map(PathBuf::from)).collect()
}

impl LocalOptions {
    /// The usual places below the data directory, `data/local` and `data/logs`; a user of its own for each stack if we are root.
    pub fn new(data: &Path, router: Router, artifacts: ArtifactStore, executable: PathBuf) -> Self {
        Self {
            data: data.to_owned(),
            directory: data.join("local"),
            logs: data.join("logs"),
            router,
            artifacts,
            executable,
            search: search(),
            sockets: Vec::new(),
            run_as: RunAs::detect(),
            ports: PORTS,
            tasks: TASKS,
            steady: STEADY,
            log_limits: LogLimits::default(),
        }
    }
}
