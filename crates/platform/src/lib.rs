//! The platform: what everything that lets callers in calls, as the HTTP API does. One file for each part of its work. It knows of no
//! transport.
//!
//! ```text
//!  calls ──► Plans       request → plan      reads the store, asks the target's providers; changes nothing
//!       ├──► Operations  plan → queue        one transaction; events, requests to stop
//!       ├──► Stacks      what there is, how it is, what it was
//!       ├──► Secrets · Logs · Artifacts · Targets · Doctor
//!   Executor ◄── queue                       runs operations through the engine
//!
//!   Records   the store as an actor may see it: every part reads through it
//!   TargetRuntime   a target's providers and capabilities; made by a TargetFactory, which alone knows which ones
//! ```

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

mod actor;
mod artifacts;
mod commands;
mod computing;
mod definition;
mod dependencies;
mod doctor;
mod events;
mod executor;
mod factory;
mod generate;
mod handles;
mod health;
mod hub;
mod images;
mod logs;
mod names;
mod observe;
mod operations;
mod plan_target;
mod plans;
mod records;
mod refused;
mod replayed;
mod request;
mod restore;
mod result;
pub mod runtime;
mod secret_provider;
mod secrets;
mod settings;
mod stacks;
mod target_changes;
mod targets;
mod values;
pub mod view;
mod waits;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use freehold_graph::Target;
use freehold_store::Store;
use tokio_util::sync::CancellationToken;

pub use freehold_engine::OperationId;
pub use freehold_graph::{SecretText, StackId, StackKind};

pub use actor::{Actor, Scope, Who};
pub use artifacts::Artifacts;
pub use commands::Commands;
pub use dependencies::Dependency;
pub use doctor::Doctor;
pub use executor::Executor;
pub use factory::{Connected, ConnectedCluster, TargetChange, TargetFactory};
pub use logs::Logs;
pub use operations::Operations;
pub use plans::Plans;
pub use request::{
    Apply, Command, Deploy, Destroy, LogQuery, PlanOptions, StackFilter, StackSelector, TargetRequest, TargetSetting,
};
pub use result::Result;
pub use secrets::Secrets;
pub use settings::{Settings, TargetSettings};
pub use stacks::Stacks;
pub use targets::Targets;

use hub::Hub;
use plan_target::PlanTargets;
use records::Records;

/// What plans consist of.
pub mod plan {
    pub use freehold_graph::Effect;
    pub use freehold_plan::{Action, Change, Conflict, FieldChange, Plan, Purpose};
}

/// Everything that callers can ask for, in parts that each own what they need. Ways in hold one of these, and so do tests.
pub struct Platform {
    /// Requests become plans.
    pub plans: Arc<Plans>,
    /// Plans become operations; operations are watched and cancelled.
    pub operations: Operations,
    /// Which stacks there are, what they are like, and what they were.
    pub stacks: Arc<Stacks>,
    /// Secrets are set and rotated, credentials lent.
    pub secrets: Secrets,
    /// Where stacks can be deployed to.
    pub targets: Arc<Targets>,
    /// What services of this machine run from.
    pub artifacts: Arc<Artifacts>,
    /// What services and jobs print.
    pub logs: Logs,
    /// Commands are run in the environments of stacks.
    pub commands: Commands,
    /// What is wrong.
    pub doctor: Doctor,
    /// About the installation.
    pub facts: Facts,
    /// Told when the platform is to stop: streams end, and nothing is begun any more.
    pub stopping: CancellationToken,
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
    /// On a store, with these targets.
    pub fn new(store: &Store, targets: Targets, facts: Facts, stopping: CancellationToken) -> Self {
        let records = Records { store: store.clone() };
        let targets = Arc::new(targets);
        let artifacts = Arc::new(Artifacts { store: store.clone(), targets: Arc::clone(&targets) });
        let subjects =
            PlanTargets { records: records.clone(), targets: Arc::clone(&targets), artifacts: Arc::clone(&artifacts) };
        let plans = Arc::new(Plans { records: records.clone(), targets: Arc::clone(&targets), subjects });
        let stacks = Arc::new(Stacks { records: records.clone(), targets: Arc::clone(&targets) });
        Self {
            operations: Operations {
                records: records.clone(),
                targets: Arc::clone(&targets),
                plans: Arc::clone(&plans),
                hub: Hub::new(store),
                keys: Mutex::default(),
                stopping: stopping.clone(),
            },
            secrets: Secrets { records: records.clone(), targets: Arc::clone(&targets) },
            logs: Logs { records: records.clone(), targets: Arc::clone(&targets), stopping: stopping.clone() },
            commands: Commands {
                records: records.clone(),
                targets: Arc::clone(&targets),
                stopping: stopping.clone(),
                seats: commands::Seats::default(),
            },
            doctor: Doctor {
                records,
                targets: Arc::clone(&targets),
                plans: Arc::clone(&plans),
                stacks: Arc::clone(&stacks),
            },
            plans,
            stacks,
            targets,
            artifacts,
            facts,
            stopping,
        }
    }

    /// How long it has run.
    pub fn uptime(&self) -> Duration {
        self.facts.started.elapsed()
    }

    /// Whether it is being stopped: nothing new is begun any more.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// What runs here, for people.
    pub fn describe(&self) -> view::Installation {
        let local = self.targets.local();
        view::Installation {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            data_directory: self.facts.data_directory.iter().map(|path| path.display().to_string()).collect(),
            router_port: local.map_or(0, |local| match &local.target {
                Target::Local(machine) => machine.router_port,
                Target::Kubernetes(_) => 0,
            }),
            domain: local.map_or_else(String::new, |local| local.target.domain().to_owned()),
            postgres: self.facts.postgres.clone(),
            started_at: self.facts.started_at,
        }
    }
}
