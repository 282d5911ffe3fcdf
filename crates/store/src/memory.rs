//! What a process remembers of the journals that it writes: how long each was when the store last said so, and which
//! appends weren't answered. Nothing in here outlives the process, and nothing has to.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use freehold_engine::{Fence, OperationId};
use uuid::Uuid;

/// What is remembered of all operations.
#[derive(Default)]
pub(crate) struct Memory {
    operations: Mutex<HashMap<OperationId, Remembered>>,
}

#[derive(Default)]
struct Remembered {
    /// Under which fence, and how many records.
    length: Option<(Fence, i64)>,
    doubtful: Vec<Doubtful>,
}

/// An append that wasn't answered.
struct Doubtful {
    batch: Uuid,
    fence: Fence,
    records: Vec<String>,
}

impl Memory {
    /// How many records the journal certainly had under this fence.
    pub(crate) fn length(&self, operation: OperationId, fence: Fence) -> i64 {
        let length = self.operations().get(&operation).and_then(|remembered| remembered.length);
        length.filter(|(under, _)| *under == fence).map_or(0, |(_, length)| length)
    }

    /// The id for an append: that of an unanswered one with the same content, else a new one.
    pub(crate) fn batch(&self, operation: OperationId, fence: Fence, records: &[String]) -> Uuid {
        let operations = self.operations();
        let doubtful = operations.get(&operation).map_or(&[][..], |remembered| &remembered.doubtful);
        let same = doubtful.iter().find(|doubtful| doubtful.fence == fence && doubtful.records == records);
        same.map_or_else(Uuid::now_v7, |same| same.batch)
    }

    /// An append wasn't answered.
    pub(crate) fn doubt(&self, operation: OperationId, fence: Fence, batch: Uuid, records: Vec<String>) {
        let mut operations = self.operations();
        let doubtful = &mut operations.entry(operation).or_default().doubtful;
        doubtful.retain(|other| other.batch != batch);
        doubtful.push(Doubtful { batch, fence, records });
    }

    /// An append is there. `length` is the journal's behind it, where the store said so.
    pub(crate) fn settle(&self, operation: OperationId, fence: Fence, batch: Uuid, length: Option<i64>) {
        let mut operations = self.operations();
        let remembered = operations.entry(operation).or_default();
        remembered.doubtful.retain(|doubtful| doubtful.batch != batch);
        let known = remembered.length.filter(|(under, _)| *under == fence).map_or(0, |(_, length)| length);
        remembered.length = Some((fence, length.unwrap_or(0).max(known)));
    }

    /// Somebody has looked at the journal, or it has ended: there are no doubts, and what was believed doesn't matter.
    pub(crate) fn forget(&self, operation: OperationId) {
        self.operations().remove(&operation);
    }

    /// Every change is a single step of a map or list: a panic elsewhere leaves nothing half changed.
    fn operations(&self) -> MutexGuard<'_, HashMap<OperationId, Remembered>> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
