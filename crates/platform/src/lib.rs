//! The platform: what everything that lets callers in calls, as the HTTP API does. One file for each part of its work. It knows of no
//! transport.
//!
//! ```text
//!  calls ──► Platform ──► planning   request → plan         reads the store, observes through the providers
//!                    ├──► applying   plan → queue           one transaction
//!                    ├──► reading    stacks, operations, logs
//!                    ├──► secrets    set, rotate, lend
//!                    ├──► targets    which there are, which is meant; added, checked, removed
//!                    └──► doctor     orphans, drift, environment
//!   executor ◄── queue               runs operations through the engine
//! ```

mod actor;
mod applying;
mod artifacts;
mod computing;
mod definition;
mod dependencies;
mod doctor;
mod events;
mod executor;
mod failures;
mod handles;
mod health;
mod hub;
mod images;
mod kept;
mod logs;
mod observing;
mod planning;
mod reading;
mod request;
mod restoring;
pub mod runtime;
mod sealed;
mod secrets;
mod settings;
mod subject;
mod target_changes;
mod targets;
pub mod view;
mod waits;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use freehold_problem::Problem;
use freehold_store::Store;
use tokio_util::sync::CancellationToken;

pub use freehold_engine::OperationId;
pub use freehold_graph::{SecretText, StackId, StackKind};

pub use actor::{Actor, Scope, Who};
pub use dependencies::Dependency;
pub use doctor::few_files;
pub use executor::Executor;
pub use hub::Hub;
pub use request::{
    Apply, Deploy, Destroy, LogQuery, PlanOptions, StackFilter, StackSelector, TargetRequest, TargetSetting,
};
pub(crate) use secrets::generate_text;
pub use targets::Targets;

/// What plans consist of.
pub mod plan {
    pub use freehold_graph::Effect;
    pub use freehold_plan::{Action, Change, Conflict, FieldChange, Plan, Purpose};
}

/// What a use case gives: what was asked for, or why there is none.
pub type Result<T, E = Problem> = std::result::Result<T, E>;

/// Everything that requests are answered with. Shared by all of them.
pub struct Platform {
    /// What the platform knows.
    pub store: Store,
    /// Where it deploys to.
    pub targets: Targets,
    /// About the installation.
    pub facts: Facts,
    /// Told when the platform is to stop: streams end, and nothing is begun any more.
    pub stopping: CancellationToken,
    /// Those who watch operations.
    pub hub: Hub,
    /// The idempotency keys of the requests that are being carried out.
    pub keys: Mutex<BTreeSet<String>>,
}

/// What is known about the installation and doesn't change while it runs.
pub struct Facts {
    /// Where this machine keeps everything; a platform in a cluster has no such place.
    pub data_directory: Option<PathBuf>,
    /// Its PostgreSQL server, for people.
    pub postgres: String,
    /// When it was started.
    pub started_at: DateTime<Utc>,
    /// The same, to measure from.
    pub started: Instant,
}

impl Platform {
    /// How long it has run.
    pub fn uptime(&self) -> Duration {
        self.facts.started.elapsed()
    }

    /// What runs here, for people.
    pub fn describe(&self) -> view::Installation {
        let local = self.targets.local();
        view::Installation {
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
