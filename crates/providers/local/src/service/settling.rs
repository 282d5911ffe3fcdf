//! Whether a new version stays what it was when it took over.
//!
//! ```text
//!   exchange in the router ─► settling ──── `settle` is over ────► old: drained, stopped
//!                                └── one of the new falls ──► old: on record, in the router again ─► new: ended
//! ```
//!
//! The old replicas run on meanwhile, without requests. A Freehold that is killed meanwhile has them no longer: whoever starts next
//! ends what isn't of the version on record. Then the new version stays, for better or worse.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use super::state::ServiceRecord;
use crate::launch::Launch;
use crate::slot::{ReplicaFailure, Slot, Status};

/// A version that has just taken over.
pub(super) struct Settling {
    pub(super) until: Instant,
    pub(super) former: Option<PreviousVersion>,
}

/// The version before it.
pub(super) struct PreviousVersion {
    pub(super) record: ServiceRecord,
    pub(super) launch: Arc<Launch>,
    pub(super) generation: u64,
    /// None, where it had to stop before the new one could start.
    pub(super) slots: Vec<Slot>,
}

impl Settling {
    pub(super) fn until(&self) -> Instant {
        self.until
    }
}

/// Waits until the present version has settled, or one of its replicas has fallen. For ever where nothing settles.
pub(super) async fn outcome(settling: Option<&Settling>, slots: &[Slot]) -> Result<(), Option<ReplicaFailure>> {
    let Some(settling) = settling else { return std::future::pending().await };
    let mut falls: Vec<_> = slots.iter().map(|slot| Box::pin(fall(slot.status.clone()))).collect();
    let first = async {
        match falls.is_empty() {
            true => std::future::pending().await,
            false => futures::future::select_all(falls.iter_mut()).await.0,
        }
    };
    match tokio::time::timeout_at(settling.until, first).await {
        Err(_elapsed) => Ok(()),
        Ok(failure) => Err(failure),
    }
}

async fn fall(mut status: watch::Receiver<Status>) -> Option<ReplicaFailure> {
    let fallen = status.wait_for(|status| status.failures > 0).await.map(|status| status.failure.clone());
    match fallen {
        Ok(failure) => failure,
        // It was ordered to stop.
        Err(_closed) => std::future::pending().await,
    }
}
