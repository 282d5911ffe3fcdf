//! Names of container images, as people write them and as registries know them.

mod digest;
mod reference;

pub use digest::Digest;
pub use reference::{ImageReference, ReferenceError};
