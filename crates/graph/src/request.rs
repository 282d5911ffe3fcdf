//! The request: which stack, with what.

use std::collections::BTreeMap;

use freehold_spec::{Environment, Name, PRODUCTION};
use serde::{Deserialize, Serialize};

use crate::stack::{StackId, StackKey, StackKind};

/// The request, with everything that sticks from earlier deploys already filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The stack's name, unique on its target.
    pub key: StackKey,
    /// The stack's UUID, which outlives a change of its tier or its definition.
    pub id: StackId,
    /// The tier, for tenants.
    pub tier: Option<Name>,
    /// The stage that a tenant belongs to; `None`: production.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Name>,
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
    /// The number of the revision that is meant, where the definition asks for it; else 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub revision: u64,
    /// In a cluster: the ports at which services were reached before this revision, where it gives them another. Their Services keep
    /// these until the next one, for routes and programs change after them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub former_ports: BTreeMap<Name, u16>,
}

impl Request {
    /// The name of the stage whose values hold for it; `None` for previews.
    pub fn stage_name(&self) -> Option<&str> {
        match self.key.kind {
            StackKind::Stage => Some(self.key.name.as_str()),
            StackKind::Tenant => Some(self.stage.as_ref().map_or(PRODUCTION, Name::as_str)),
            StackKind::Preview => None,
        }
    }

    /// The environment in which the definition holds for it.
    pub fn environment(&self) -> Environment {
        match (self.key.kind, self.stage_name()) {
            (StackKind::Stage, Some(stage)) => Environment::Stage(stage.to_owned()),
            (StackKind::Tenant, Some(stage)) => {
                Environment::Tenant { stage: stage.to_owned(), tier: self.tier.as_ref().map(Name::to_string) }
            }
            (StackKind::Preview, _) | (_, None) => Environment::Preview,
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
