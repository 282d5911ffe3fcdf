//! What an operation tells those who watch it. The command line, event streams and the dashboard show these, and nothing
//! else; what has to survive is in the journal.

use freehold_graph::ResourceId;
use serde::{Deserialize, Serialize};

use crate::journal::{OperationId, Outcome};
use crate::step::{StepId, Verb};
use freehold_problem::Problem;

/// Something that happened in an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Progress {
    /// A process took the operation up.
    Taken {
        /// How often that has happened, this time included: 1 unless it was interrupted.
        times: u32,
        /// How many steps there are.
        steps: usize,
        /// How many of them were done before.
        done: usize,
    },
    /// A step's effect begins (or for a verification: the looking).
    Started {
        /// The step.
        step: StepId,
        /// What it does.
        verb: Verb,
        /// To what.
        subject: ResourceId,
        /// How often it was started, this time included.
        attempt: u32,
    },
    /// It didn't work and will be tried again.
    Retrying {
        /// The step.
        step: StepId,
        /// To what.
        subject: ResourceId,
        /// Why it didn't work.
        reason: String,
        /// In how many milliseconds it is tried again.
        after_ms: u64,
    },
    /// A verification waits for something to get ready.
    Waiting {
        /// For what.
        subject: ResourceId,
        /// Why it isn't ready.
        reason: String,
    },
    /// Everything is switched and answers; what is left is to see whether it stays so.
    Ready {
        /// How long it took in this process, in milliseconds.
        millis: u64,
    },
    /// A step is done.
    Done {
        /// The step.
        step: StepId,
        /// What it did.
        verb: Verb,
        /// To what.
        subject: ResourceId,
        /// How long it took in this process, in milliseconds.
        millis: u64,
        /// What to tell people.
        note: Option<String>,
    },
    /// A step failed.
    Failed {
        /// The step.
        step: StepId,
        /// What it did.
        verb: Verb,
        /// To what.
        subject: ResourceId,
        /// How long it took in this process, in milliseconds.
        millis: u64,
        /// Why.
        failure: Problem,
    },
    /// Nothing new is begun from now on, because somebody asked to stop.
    Cancelling,
    /// The store could not be reached in time; nothing is done until it can be.
    StoreLost,
    /// The store can be reached again.
    StoreBack,
    /// Nothing more will happen.
    Finished {
        /// How it ended.
        outcome: Outcome,
        /// How long it took in this process, in milliseconds.
        millis: u64,
    },
}

/// Those who watch.
pub trait Events: Send + Sync {
    /// Tells them. Must not block; what can't be delivered is dropped.
    fn emit(&self, operation: OperationId, progress: Progress);
}
