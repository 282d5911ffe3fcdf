//! The platform: what the HTTP API calls. One file for each part of its work.
//!
//! ```text
//!   http ──► Platform ──► planning   request → plan         reads the store, observes through the providers
//!                    ├──► applying   plan → queue           one transaction
//!                    ├──► reading    stacks, operations, logs
//!                    ├──► secrets    set, rotate, lend
//!                    ├──► targets    which there are, which is meant; added, checked, removed
//!                    └──► doctor     orphans, drift, environment
//!   executor ◄── queue               runs operations through the engine
//! ```

mod applying;
mod artifacts;
mod computing;
mod definition;
mod doctor;
mod events;
mod failures;
mod handles;
mod health;
mod images;
mod logs;
mod observing;
mod planning;
mod reading;
mod restoring;
pub(crate) mod runtime;
mod secrets;
mod settings;
mod subject;
mod target_changes;
pub(crate) mod targets;
mod waits;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use freehold::wire;
use freehold_store::Store;
use tokio_util::sync::CancellationToken;

pub(crate) use doctor::few_files;
pub(crate) use secrets::generate_text;
pub(crate) use targets::Targets;

/// Who is named in the audit log where the embedded platform's one token was used.
pub(crate) const OPERATOR: &str = "operator";

/// Everything that requests are answered with. Shared by all of them.
pub(crate) struct Platform {
    pub(crate) store: Store,
    pub(crate) targets: Targets,
    pub(crate) facts: Facts,
    /// Told when the platform is to stop: streams end, and nothing is begun any more.
    pub(crate) stopping: CancellationToken,
    /// The idempotency keys of the requests that are being carried out.
    pub(crate) keys: Mutex<BTreeSet<String>>,
}

/// What is known about the installation and doesn't change while it runs.
pub(crate) struct Facts {
    pub(crate) token: String,
    /// Where this machine keeps everything; a platform in a cluster has no such place.
    pub(crate) data_directory: Option<PathBuf>,
    pub(crate) postgres: String,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) started: Instant,
    /// The API answers to the names of the loopback only.
    pub(crate) loopback_only: bool,
}

impl Platform {
    /// What callers have to show.
    pub(crate) fn token(&self) -> &str {
        &self.facts.token
    }

    /// Whether the API answers to the names of the loopback only.
    pub(crate) fn loopback_only(&self) -> bool {
        self.facts.loopback_only
    }

    /// How long it has run.
    pub(crate) fn uptime(&self) -> Duration {
        self.facts.started.elapsed()
    }

    /// Whether the store answers.
    pub(crate) async fn ping_store(&self) -> bool {
        self.store.ping().await.is_ok()
    }

    /// What runs here, for people.
    pub(crate) fn describe(&self) -> wire::Platform {
        let local = self.targets.local();
        wire::Platform {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            data_directory: self.facts.data_directory.iter().map(|path| path.display().to_string()).collect(),
            router_port: local.and_then(|local| local.local.as_ref()).map_or(0, |local| local.router_port),
            domain: local.map_or_else(String::new, |local| local.target.domain().to_owned()),
            postgres: self.facts.postgres.clone(),
            started_at: self.facts.started_at,
        }
    }
}
