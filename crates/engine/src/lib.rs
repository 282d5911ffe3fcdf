//! The engine: carries out plans so that they survive a crash at any instruction.
//!
//! It is in two halves. [`decide()`] is pure: from an operation's state and an event to actions. The shell around it
//! carries out the actions and feeds back what happened. Providers do the work in the outside world behind
//! [`Provider`]; what is written down goes through [`Journal`].

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

pub mod assess;
pub mod backoff;
pub mod capability;
mod context;
pub mod decide;
pub mod failure;
pub mod journal;
pub mod newest;
pub mod operation;
mod owned_object;
pub mod provider;
mod provider_error;
mod secrets;
pub mod shell;
pub mod step;
pub mod step_id;
#[cfg(feature = "testing")]
pub mod testing;
mod text;

pub use capability::Capabilities;
pub use decide::{Action, End, Input, InputKind, Reply, Request, decide};
pub use journal::{Fence, Journal, JournalError, Lease, Leases, OperationId, Outcome, Record, StateChange};
pub use operation::{CallId, Contradiction, Limits, OperationState, Status};
pub use provider::{
    CallWaits, Changed, Context, Deletion, Lookup, OwnedObject, Performed, Provider, ProviderError, Readiness,
    ReadinessFailure, Revealed, Secrets, Serving, Task,
};
pub use shell::{Dependencies, Ended, RunError, run};
pub use step::{Step, StepId, Verb, steps};
pub use text::Utf8Pieces;
pub use tokio_util::sync::CancellationToken;
