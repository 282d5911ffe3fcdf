//! What would change, and why: the diff between what is desired and what was observed, as a [`Plan`] that can be
//! stored, shown and applied. Pure: observations come in as values.

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

pub mod change;
mod conflict;
pub mod diff;
pub mod make;
pub mod observation;
pub mod plan;
pub mod preview;

pub use change::{Action, Change, FieldChange};
pub use conflict::Conflict;
pub use make::{Inputs, Previous, Recorded, make, remainder, subjects};
pub use observation::{Observation, Ownership};
pub use plan::{Plan, PlanError, Purpose};
pub use preview::Preview;
