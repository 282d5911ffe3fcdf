//! What people see: plans, progress, tables. Pure: from values to text with styles in it.

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

mod cluster;
pub(crate) mod diagnostics;
pub(crate) mod field;
pub(crate) mod outputs;
pub(crate) mod plan;
pub(crate) mod progress;
mod restart;
pub(crate) mod serving;
pub(crate) mod stack;
pub(crate) mod target;
mod waits;
