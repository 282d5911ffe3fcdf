//! The request: which stack, with what.

use std::collections::BTreeMap;

use freehold_spec::Name;
use serde::{Deserialize, Serialize};

use crate::stack::{StackId, StackKey};

/// The request, with everything that sticks from earlier deploys already filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The stack's name, unique on its target.
    pub key: StackKey,
    /// The stack's UUID, which outlives a change of its tier or its definition.
    pub id: StackId,
    /// The tier, for tenants.
    pub tier: Option<Name>,
    /// Which artifact each service runs from, by service: on this machine `sha256:…`, in a cluster an image with its digest,
    /// `registry.example.org/acme/web@sha256:…`.
    #[serde(default)]
    pub artifacts: BTreeMap<Name, String>,
    /// In a cluster: the image with its digest of each sidecar and init container, by service and container.
    #[serde(default)]
    pub containers: BTreeMap<Name, BTreeMap<Name, String>>,
    /// How often each derived credential was rotated, by purpose.
    #[serde(default)]
    pub rotations: BTreeMap<String, u32>,
}
