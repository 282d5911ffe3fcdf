//! For tests: a fake outside world, a fake store that fences, and a provider that makes any other one fail anywhere.
//!
//! The world ([`World`]) is synchronous and knows no time, so that the simulator can drive it call by call; [`FakeProvider`]
//! puts a [`crate::Provider`] in front of it, and [`Faulty`] puts faults in front of that one, or of a real one.

mod faults;
mod provider;
mod store;
mod world;

pub use faults::{Fault, Faults, Faulty};
pub use provider::FakeProvider;
pub use store::{FakeStore, NoSecrets, remember};
pub use world::{Effect, JobEnd, Object, Sent, World};
