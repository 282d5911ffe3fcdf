//! The model of the store: journals, one lease, the table of resources. Answers get lost, some writes land late, and a crash of
//! the store takes those records with it that announce nothing.

use std::collections::{BTreeMap, BTreeSet};

use freehold_engine::testing::remember;
use freehold_engine::{OperationId, Record};
use freehold_graph::ResourceId;
use freehold_plan::Recorded;

/// How long a lease lives, in milliseconds.
pub(crate) const LEASE: u64 = 15_000;

/// Records that go together, told apart from others of the same content by a number.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) number: u64,
    pub(crate) records: Vec<Record>,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    journals: BTreeMap<OperationId, Vec<Record>>,
    pub(crate) resources: BTreeMap<ResourceId, Recorded>,
    pub(crate) fence: i64,
    pub(crate) expires: u64,
    pub(crate) down_until: u64,
    /// Whether it may lose what it didn't have to write to the disk.
    pub(crate) forgets: bool,
    landed: BTreeSet<u64>,
    /// Writes whose connection was lost, which the server carries out later all the same.
    late: Vec<(OperationId, i64, usize, Batch)>,
    /// What is on the disk: the length of the last journal, and the table of resources.
    disk: (usize, BTreeMap<ResourceId, Recorded>),
}

impl Store {
    pub(crate) fn is_up(&self, now: u64) -> bool {
        now >= self.down_until
    }

    pub(crate) fn journal(&self, operation: OperationId) -> &[Record] {
        self.journals.get(&operation).map_or(&[], Vec::as_slice)
    }

    /// False if the lease is another's, or if records are missing that this process knows to have written.
    pub(crate) fn commit(&mut self, operation: OperationId, fence: i64, known: usize, batch: &Batch) -> bool {
        let journal = self.journals.entry(operation).or_default();
        if fence != self.fence || journal.len() < known {
            return false;
        }
        if !self.landed.insert(batch.number) {
            return true;
        }
        for record in &batch.records {
            remember(&mut self.resources, record);
        }
        journal.extend_from_slice(&batch.records);
        let waits = |record: &Record| matches!(record, Record::StepStarted { .. } | Record::Finished { .. });
        if self.forgets && batch.records.iter().any(waits) {
            self.disk = (journal.len(), self.resources.clone());
        }
        true
    }

    pub(crate) fn commit_later(&mut self, operation: OperationId, fence: i64, known: usize, batch: &Batch) {
        self.late.push((operation, fence, known, batch.clone()));
    }

    pub(crate) fn land_late(&mut self) {
        if let Some((operation, fence, known, batch)) = self.late.pop() {
            self.commit(operation, fence, known, &batch);
        }
    }

    /// An operation begins: all that is there is on the disk.
    pub(crate) fn begin(&mut self) {
        if self.forgets {
            self.disk = (0, self.resources.clone());
        }
    }

    /// The store itself is killed, and starts again.
    pub(crate) fn crash(&mut self, operation: OperationId) {
        self.late.clear();
        if self.forgets {
            self.journals.entry(operation).or_default().truncate(self.disk.0);
            self.resources = self.disk.1.clone();
        }
    }

    /// A lease for whoever asks, if nobody has it.
    pub(crate) fn acquire(&mut self, now: u64) -> Option<i64> {
        if now < self.expires || !self.is_up(now) {
            return None;
        }
        self.fence += 1;
        self.expires = now + LEASE;
        Some(self.fence)
    }

    pub(crate) fn renew(&mut self, now: u64, fence: i64) -> bool {
        if fence == self.fence {
            self.expires = now + LEASE;
        }
        fence == self.fence
    }

    pub(crate) fn release(&mut self, now: u64, fence: i64) {
        if fence == self.fence {
            self.expires = now;
        }
    }
}
