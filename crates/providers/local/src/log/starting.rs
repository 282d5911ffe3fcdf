//! Which instances are being started.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The instances that are being started: each has a log, and nothing else by which it could be told from one that has ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Starting(Arc<Mutex<BTreeSet<String>>>);

/// One of them, until this is dropped.
pub(crate) struct Start {
    all: Starting,
    instance: String,
}

impl Starting {
    /// From before its log is begun until its record is written.
    pub(crate) fn begin(&self, instance: &str) -> Start {
        self.lock().insert(instance.to_owned());
        Start { all: self.clone(), instance: instance.to_owned() }
    }

    pub(super) fn has(&self, instance: &str) -> bool {
        self.lock().contains(instance)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        self.all.lock().remove(&self.instance);
    }
}
