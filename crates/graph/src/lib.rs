//! The graph of what a stack consists of: resources with canonical bodies, the references between them, and the
//! descriptors that say what their fields mean. Made from an app and a request by [`expand`]. Pure.

pub mod descriptor;
pub mod expand;
pub mod resource;
pub mod secret;
pub mod stack;
pub mod value;

pub use descriptor::{Descriptor, Effect};
pub use expand::{Graph, Request, Target};
pub use resource::{ProviderName, Resource, ResourceId, ResourceType, Run};
pub use secret::{Digest, SecretRef, SecretText};
pub use stack::{StackId, StackKey, StackKind};
pub use value::Value;
