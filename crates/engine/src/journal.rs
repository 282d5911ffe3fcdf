//! What the engine writes down, and under which lease.
//!
//! The journal of an operation is append-only; its records carry a version ([`RECORD_VERSION`]). A record is written
//! before the effect that it announces. What isn't in here: the plan (stored with the operation, never changed) and
//! secrets (never).

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use freehold_graph::{Resource, ResourceId};
use freehold_problem::Problem;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::step::StepId;

/// The version of the records that this program writes. It reads all versions up to this one.
pub const RECORD_VERSION: u16 = 3;

/// An operation's identity (UUID v7: sorts by time).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperationId(pub Uuid);

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One entry of an operation's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub enum Record {
    /// A process has acquired the operation, for the first time or after another one lost it.
    #[serde(rename = "taken")]
    Acquired {
        /// How often that has happened, this time included.
        times: u32,
    },
    /// A step's effect may happen from now on.
    StepStarted {
        /// The step that starts.
        step: StepId,
        /// How often it was started, this time included.
        attempt: u32,
        /// What may exist from now on, for creating steps.
        state: StateChange,
    },
    /// A step's effect has happened.
    StepDone {
        /// The step that is done.
        step: StepId,
        /// What the world is like now.
        state: StateChange,
        /// What to tell people.
        note: Option<String>,
    },
    /// A step didn't happen, and won't in this operation.
    StepFailed {
        /// The step that failed.
        step: StepId,
        /// The problem that people are shown.
        failure: Problem,
    },
    /// A step was sent and not answered.
    StepUnknown {
        /// The step whose outcome is unknown.
        step: StepId,
        /// What was sent to whom.
        message: String,
        /// In how many milliseconds it is tried again; none where it is not, and of records that releases before this field have written.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_milliseconds: Option<u64>,
    },
    /// Everything is switched and answers. What is left is to see whether it stays so. Since version 2.
    Ready,
    /// What is waited for, and why; or that it isn't waited for any more. Says nothing about any step. Since version 3.
    Waiting {
        /// The resource that isn't ready, or that a call is about.
        subject: ResourceId,
        /// Why it isn't as it should be yet; none once it is.
        reason: Option<String>,
        /// For how long it has been so for this reason, in milliseconds.
        milliseconds: u64,
        /// In how many milliseconds a call that failed is made again; none where it is only looked at until it is so. Of records that
        /// releases before this field have written, none too.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_milliseconds: Option<u64>,
    },
    /// Somebody asked to stop.
    CancelRequested,
    /// Nothing more will happen.
    Finished {
        /// How it ended.
        outcome: Outcome,
    },
}

/// What a record says about the stack's resources. The store keeps the table of resources by it, in the same transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateChange {
    /// No resource changes with this record.
    None,
    /// The resource may exist from now on (a creation or change has begun).
    Pending(Box<Resource>),
    /// The resource exists and is like this.
    Applied {
        /// Its body as it was applied, with references in place of secrets.
        resource: Box<Resource>,
        /// The object's identity.
        object: Option<String>,
    },
    /// The resource is gone.
    Gone(ResourceId),
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Everything is done and verified.
    Succeeded,
    /// Something failed; the journal says what.
    Failed,
    /// Somebody asked to stop, and it did.
    Cancelled,
}

/// A fencing token: grows with each lease of the same stack. A write under an older one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub i64);

/// Why a record wasn't written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JournalError {
    /// Somebody else holds the lease now: stop, do nothing more.
    #[error("another process has taken over this operation")]
    Fenced,
    /// The store doesn't answer. The record may or may not be there.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// This program can't read what is there, a newer release can; or the store refuses a statement. Trying again here doesn't help; nothing
    /// may be guessed.
    #[error("the journal can't be read: {0}")]
    Unreadable(String),
    /// A record of a version that this program reads isn't one: no release can go on from it.
    #[error("the journal is damaged: {0}")]
    Damaged(String),
}

/// Where records are kept.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Appends records, all or none, together with the state changes that they carry.
    ///
    /// After [`JournalError::Unavailable`] the engine appends the same records again, until it gets another answer. The journal
    /// takes that for the same append: the records are in it once, even if the first attempt arrives late.
    async fn append(&self, operation: OperationId, fence: Fence, records: &[Record]) -> Result<(), JournalError>;

    /// All records of an operation, oldest first.
    async fn load(&self, operation: OperationId) -> Result<Vec<Record>, JournalError>;
}

/// The right to work on an operation's stack, for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The token for writes.
    pub fence: Fence,
    /// How much of it was left when it was granted or renewed, by the store's clock. Count from before the request was sent.
    pub remaining: Duration,
}

/// Where leases are granted.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes the lease of the operation's stack; `None` while another process holds it.
    async fn acquire(&self, operation: OperationId) -> Result<Option<Lease>, JournalError>;

    /// Extends a lease that this process holds.
    async fn renew(&self, operation: OperationId, fence: Fence) -> Result<Lease, JournalError>;

    /// Gives it back.
    async fn release(&self, operation: OperationId, fence: Fence) -> Result<(), JournalError>;
}
