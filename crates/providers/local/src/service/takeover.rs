//! How a version takes over, and how the one before it takes over again.

use std::sync::Arc;

use tokio::time::Instant;

use super::ServiceLoop;
use super::settling::{PreviousVersion, Settling};
use super::state::FailedVersion;
use crate::launch::Launch;
use crate::slot::{ReplicaFailure, Slot};

impl ServiceLoop {
    /// What serves now, to be kept at hand while another version settles.
    pub(super) fn former(&self) -> Option<PreviousVersion> {
        let (record, launch) = (self.record.clone()?, self.launch.clone()?);
        Some(PreviousVersion { record, launch, generation: self.generation, slots: Vec::new() })
    }

    /// A version has taken over from `former`, whose replicas `old` are.
    pub(super) fn begin_settling(&mut self, launch: &Launch, former: Option<PreviousVersion>, old: Vec<Slot>) {
        let body = &launch.body;
        if body.settle.is_zero() {
            return self.retire(old, body.drain, body.stop_timeout);
        }
        let former = former.map(|former| PreviousVersion { slots: old, ..former });
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
    pub(super) async fn fell(&mut self, failure: Option<ReplicaFailure>) {
        let Some(settling) = self.settling.take() else { return };
        let taken_back = settling.former.is_some();
        if let Some(former) = settling.former {
            self.take_back(former).await;
        }
        if let Some(failure) = failure {
            tracing::warn!(service = %self.id, stack = %self.stack, taken_back, ?failure, "a new version failed while it was settling");
            self.fallen = Some(FailedVersion { failure, taken_back });
        }
    }

    async fn take_back(&mut self, former: PreviousVersion) {
        let PreviousVersion { record, launch, generation, slots } = former;
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
