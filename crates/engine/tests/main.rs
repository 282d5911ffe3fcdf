//! The engine against a fake world.

// What tests may do anyway, for what they share.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod fixture;
mod matrix;
mod scope;
mod shell;
mod simulator;
mod state;
mod steps;
mod verification;
mod waiting;
