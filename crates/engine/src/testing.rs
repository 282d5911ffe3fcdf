//! For tests: a fake outside world with providers that can be made to fail anywhere, and a fake store that fences.
//!
//! The world ([`World`]) is synchronous and knows no time, so that the simulator can drive it call by call; [`FakeProvider`]
//! puts a [`crate::Provider`] in front of it.

mod provider;
mod store;
mod world;

pub use provider::{FakeProvider, Fault, Faults};
pub use store::{FakeStore, NoSecrets, Recorder, remember};
pub use world::{Effect, JobEnd, Object, Sent, World};
