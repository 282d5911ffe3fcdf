//! The provider and the private server against real PostgreSQL. One server is shared by all tests of this binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod databases;
mod dumps;
mod faults;
mod fence;
mod hostile;
mod isolation;
mod logins;
mod origin;
mod pace;
mod pressure;
mod server;
mod servers;
mod setting;
mod usage;
