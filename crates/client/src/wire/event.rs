//! Events of an operation.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{OperationState, Problem, words};

/// One event of an operation; a stream of them is replayable from any `sequence`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Counts up from 1 within the operation. The SSE `id`.
    pub sequence: u64,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// What happened, told apart by `event`.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What can happen to an operation, told apart by `event`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum EventKind {
    /// A process has acquired the operation.
    Taken {
        /// How often that has happened, this time included; above 1: after an interruption.
        times: u32,
        /// How many steps were done before.
        done: u32,
        /// How many steps there are.
        steps: u32,
    },
    /// A step begins.
    StepStarted {
        /// `create/database.main`.
        step: String,
        /// `create`, `update`, `run`, …
        verb: Verb,
        /// `database.main`.
        subject: String,
        /// Counts from 1.
        attempt: u32,
    },
    /// A step is tried again later.
    StepRetrying {
        /// `create/database.main`.
        step: String,
        /// Why it didn't work.
        reason: String,
        /// In how many milliseconds it is tried again; absent where it is only observed once more, or where that isn't known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_milliseconds: Option<u64>,
    },
    /// The operation waits for something; sent again whenever the reason changes.
    Waiting {
        /// `deployment.web`.
        subject: String,
        /// Why it isn't ready; absent once it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// For how long this has been the reason.
        milliseconds: u64,
        /// In how many milliseconds the failed request is sent again; absent where it is only polled.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_milliseconds: Option<u64>,
    },
    /// A step is done.
    StepDone {
        /// `create/database.main`.
        step: String,
        /// `create`, `update`, `run`, …
        verb: Verb,
        /// `database.main`.
        subject: String,
        /// For people: `ready after 3 probes`.
        note: Option<String>,
        /// From its first attempt on.
        milliseconds: u64,
    },
    /// A step failed.
    StepFailed {
        /// `create/database.main`.
        step: String,
        /// `database.main`.
        subject: String,
        /// The problem that the step failed with.
        problem: Problem,
    },
    /// Everything is switched over and responds. What is left is to see whether it stays so.
    Ready {
        /// Since the operation was asked for.
        milliseconds: u64,
    },
    /// The operation has ended; no event follows.
    Finished {
        /// The stack that it worked on.
        stack: Uuid,
        /// The operation that has ended.
        operation: Uuid,
        /// The revision that it made.
        revision: u64,
        /// Succeeded, failed or cancelled.
        state: OperationState,
        /// `{"routes": {"web": {"url": …}}}`.
        #[schema(value_type = BTreeMap<String, serde_json::Value>)]
        outputs: Json,
        /// How long it took.
        timings: Timings,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Problem>,
        /// What exists after a failure or a cancel: `["database.main"]`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        exists: Vec<String>,
        /// What was planned and not done.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        missing: Vec<String>,
    },
}

/// How long an operation took, in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Timings {
    /// From the request until everything was switched over and responded; null if it never came to that.
    #[serde(default)]
    pub ready: Option<u64>,
    /// Of each step that was done: `{"create/database.main": 61}`.
    #[serde(default)]
    pub steps: BTreeMap<String, u64>,
    /// From the request to the end.
    #[serde(default)]
    pub total: u64,
    /// Of what the command line did before: `check`, `build`, `plan`. The platform sends none.
    #[serde(flatten)]
    #[schema(ignore)]
    pub phases: BTreeMap<String, u64>,
}

words! {
    /// What a step does.
    Verb {
        /// Make a resource.
        Create "create",
        /// Change a resource in place.
        Update "update",
        /// Delete it and recreate it.
        Replace "replace",
        /// Adopt an unmanaged object.
        Adopt "adopt",
        /// Run a job.
        Run "run",
        /// Keep everybody from writing before a dump.
        Fence "fence",
        /// Undo a fence, since the operation ends before it has deleted anything.
        Lift "lift",
        /// Write a dump and prove that it restores.
        Dump "dump",
        /// Delete a resource.
        Delete "delete",
        /// See that everything is ready, or gone.
        Verify "verify",
    }
}
