//! The testbeds do what other tests rely on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod control_plane;
mod node;
mod registry;
