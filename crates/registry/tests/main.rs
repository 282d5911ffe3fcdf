//! Images looked up in a real registry, and in servers that behave as no registry should.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod access;
mod misbehaving;
mod resolving;
mod setting;
mod words;
