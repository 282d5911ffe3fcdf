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

use super::{Keeper, ServiceRecord};
use crate::launch::Launch;
use crate::slot::{Slot, Status, Trouble};

/// A version that has just taken over.
pub(super) struct Settling {
    until: Instant,
    former: Option<Former>,
}

/// The version before it.
pub(super) struct Former {
    record: ServiceRecord,
    launch: Arc<Launch>,
    generation: u64,
    /// None, where it had to stop before the new one could start.
    slots: Vec<Slot>,
}

impl Settling {
    pub(super) fn until(&self) -> Instant {
        self.until
    }
}

/// A version that fell while it was settling.
#[derive(Debug, Clone)]
pub(crate) struct Fallen {
    pub(crate) trouble: Trouble,
    /// The version before it has taken over again.
    pub(crate) taken_back: bool,
}

/// Waits until the present version has settled, or one of its replicas has fallen. For ever where nothing settles.
pub(super) async fn outcome(settling: Option<&Settling>, slots: &[Slot]) -> Result<(), Option<Trouble>> {
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
        Ok(trouble) => Err(trouble),
    }
}

async fn fall(mut status: watch::Receiver<Status>) -> Option<Trouble> {
    let fallen = status.wait_for(|status| status.troubles > 0).await.map(|status| status.trouble.clone());
    match fallen {
        Ok(trouble) => trouble,
        // It was ordered to stop.
        Err(_closed) => std::future::pending().await,
    }
}

impl Keeper {
    /// What serves now, to be kept at hand while another version settles.
    pub(super) fn former(&self) -> Option<Former> {
        let (record, launch) = (self.record.clone()?, self.launch.clone()?);
        Some(Former { record, launch, generation: self.generation, slots: Vec::new() })
    }

    /// A version has taken over from `former`, whose replicas `old` are.
    pub(super) fn begin_settling(&mut self, launch: &Launch, former: Option<Former>, old: Vec<Slot>) {
        let body = &launch.body;
        if body.settle.is_zero() {
            return self.retire(old, body.drain, body.stop_timeout);
        }
        let former = former.map(|former| Former { slots: old, ..former });
        self.settling = Some(Settling { until: Instant::now() + body.settle, former });
    }

    /// The version is what counts from now on, however it does. Gives the replicas of the one before it.
    pub(super) fn end_settling(&mut self) -> Vec<Slot> {
        self.settling.take().and_then(|settling| settling.former).map(|former| former.slots).unwrap_or_default()
    }

    /// It has done well.
    pub(super) fn settled(&mut self) {
        let old = self.end_settling();
        if let Some(body) = self.launch.as_ref().map(|launch| launch.body.clone()) {
            self.retire(old, body.drain, body.stop_timeout);
        }
    }

    /// One of its replicas has fallen: the version before it takes over again, if there was one.
    pub(super) async fn fell(&mut self, trouble: Option<Trouble>) {
        let Some(settling) = self.settling.take() else { return };
        let taken_back = settling.former.is_some();
        if let Some(former) = settling.former {
            self.take_back(former).await;
        }
        if let Some(trouble) = trouble {
            tracing::warn!(service = %self.id, stack = %self.stack, taken_back, ?trouble, "a new version fell while it was settling");
            self.fallen = Some(Fallen { trouble, taken_back });
        }
    }

    async fn take_back(&mut self, former: Former) {
        let Former { record, launch, generation, slots } = former;
        // It serves again in any case: that a start after this would not find it on record is the lesser evil.
        if let Err(error) = self.write(&record).await {
            tracing::error!(service = %self.id, %error, "the version that was taken back could not be put on record");
        }
        if let Err(error) = self.listen(&launch).await {
            tracing::error!(service = %self.id, %error, "the version that was taken back has no address");
        }
        let fallen = std::mem::replace(&mut self.slots, slots);
        (self.record, self.launch, self.generation) = (Some(record), Some(Arc::clone(&launch)), generation);
        if self.slots.is_empty() {
            let all: Vec<u32> = (1..=launch.body.replicas).collect();
            self.slots = self.begin(&launch, generation, &all);
        }
        self.roster.serve(generation);
        self.retire(fallen, launch.body.drain, launch.body.stop_timeout);
    }
}
