//! Stacks and their resources.

use freehold::wire;
use freehold_platform::view::{ResourceState, ResourceView, Serving, StackHealth, StackView};

use super::IntoWire;

impl IntoWire for StackView {
    type Wire = wire::Stack;

    fn into_wire(self) -> wire::Stack {
        let Self { id, key, health, generation, revision, tier, artifacts, outputs, created_at, updated_at, .. } = self;
        let Self { operation, failed, waits, resources, serving, not_enforced, .. } = self;
        wire::Stack {
            id: id.0,
            target: key.target.to_string(),
            app: key.app.to_string(),
            kind: key.kind,
            name: key.name.to_string(),
            state: health.into_wire(),
            generation,
            revision,
            tier,
            artifacts,
            outputs: wire::nested(&outputs),
            created_at,
            updated_at,
            operation: operation.map(|operation| operation.0),
            failed: failed.map(|failed| Box::new(failed.into_wire())),
            waits: waits.into_wire(),
            resources: resources.into_wire(),
            serving: serving.into_wire(),
            not_enforced: not_enforced.into_iter().map(str::to_owned).collect(),
        }
    }
}

impl IntoWire for StackHealth {
    type Wire = String;

    fn into_wire(self) -> String {
        match self {
            Self::New => "new",
            Self::Deploying => "deploying",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
            Self::Destroying => "destroying",
            Self::Suspended => "suspended",
        }
        .to_owned()
    }
}

impl IntoWire for ResourceView {
    type Wire = wire::ResourceStatus;

    fn into_wire(self) -> wire::ResourceStatus {
        let Self { id, kind, identity, state, reason } = self;
        wire::ResourceStatus {
            id: id.to_string(),
            kind: kind.written().to_owned(),
            identity,
            state: state.into_wire(),
            reason,
        }
    }
}

impl IntoWire for ResourceState {
    type Wire = String;

    fn into_wire(self) -> String {
        match self {
            Self::Ready => "ready",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
        .to_owned()
    }
}

impl IntoWire for Serving {
    type Wire = wire::Serving;

    fn into_wire(self) -> wire::Serving {
        let Self { service, verified, newer } = self;
        wire::Serving { service, verified, newer }
    }
}
