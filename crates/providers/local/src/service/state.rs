//! What is known of a service: on record, and at the moment.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use freehold_graph::{Resource, Value};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::slot::{ReplicaFailure, Status};

/// What is kept of a service while it exists.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ServiceRecord {
    /// Made when the service is created, and never used again.
    pub(crate) object: String,
    pub(crate) resource: Resource,
    /// The body in comparable form.
    pub(crate) desired: Value,
}

/// What is known of a service at the moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServiceState {
    /// The instances of a former Freehold have been taken over or ended.
    pub(crate) recovered: bool,
    pub(crate) record: Option<ServiceRecord>,
    pub(crate) replicas: Vec<watch::Receiver<Status>>,
    /// How long a replica has to be ready before it is relied on.
    pub(crate) settle: Duration,
    /// How long it has to be ready until its earlier failures don't count any more.
    pub(crate) steady: Duration,
    /// Until when the present version settles.
    pub(crate) settling: Option<Instant>,
    /// What the last version that was applied fell by while it was settling.
    pub(crate) fallen: Option<FailedVersion>,
    /// A command is being carried out.
    pub(crate) busy: bool,
    /// It was stopped on purpose, and is there nevertheless.
    pub(crate) fenced: bool,
}

impl ServiceState {
    /// Whether there is such a service, or one is being made.
    pub(crate) fn exists(&self) -> bool {
        self.record.is_some() || !self.replicas.is_empty()
    }
}

pub(crate) type View = Arc<Mutex<ServiceState>>;

/// A version that fell while it was settling.
#[derive(Debug, Clone)]
pub(crate) struct FailedVersion {
    pub(crate) failure: ReplicaFailure,
    /// The version before it has taken over again.
    pub(crate) taken_back: bool,
}

pub(super) fn lock(view: &View) -> MutexGuard<'_, ServiceState> {
    view.lock().unwrap_or_else(PoisonError::into_inner)
}
