//! The graph of what a stack consists of: resources with canonical bodies, the references between them, and the
//! kinds that say what they are like. Made from an app and a request by [`expand`]. Pure.

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

pub mod artifact;
pub mod cache;
pub mod command;
pub mod delivered;
pub mod display;
pub mod expand;
pub mod extension;
pub mod graph;
pub mod image;
pub mod kind;
mod part;
mod provider_name;
pub mod request;
pub mod resource;
mod resource_id;
pub mod secret;
pub mod stack;
pub mod target;
pub mod value;

pub use artifact::ArtifactHash;
pub use delivered::AllowedKind;
pub use graph::Graph;
pub use kind::{Effect, ResourceKind, Row};
pub use part::{credentials, writes_log};
pub use provider_name::ProviderName;
pub use request::Request;
pub use resource::{Due, Resource, Run};
pub use resource_id::ResourceId;
pub use secret::{Digest, SecretRef, SecretText};
pub use stack::{StackId, StackKey, StackKind};
pub use target::Target;
pub use value::Value;
