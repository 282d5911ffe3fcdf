//! Stacks and their resources.

use freehold::wire;
use freehold_platform::view::{ResourceState, ResourceView, Serving, StackHealth, StackView};

use super::IntoWire;

impl IntoWire for StackView {
    type Wire = wire::Stack;

    fn into_wire(self) -> wire::Stack {
        let Self {
            id,
            key,
            health,
            generation,
            revision,
            tier,
            stage,
            artifacts,
            outputs,
            created_at,
            updated_at,
            operation,
            failed,
            waits,
            resources,
            serving,
            not_enforced,
            unreadable,
        } = self;
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
            stage,
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
            unreadable: unreadable.map(|unreadable| Box::new(unreadable.into_wire())),
        }
    }
}

impl IntoWire for StackHealth {
    type Wire = wire::StackState;

    fn into_wire(self) -> wire::StackState {
        match self {
            Self::New => wire::StackState::New,
            Self::Deploying => wire::StackState::Deploying,
            Self::Ready => wire::StackState::Ready,
            Self::Degraded => wire::StackState::Degraded,
            Self::Unknown => wire::StackState::Unknown,
            Self::Failed => wire::StackState::Failed,
            Self::Destroying => wire::StackState::Destroying,
        }
    }
}

impl IntoWire for ResourceView {
    type Wire = wire::ResourceStatus;

    fn into_wire(self) -> wire::ResourceStatus {
        let Self { id, kind, identity, state, reason, code, lines, cause } = self;
        wire::ResourceStatus {
            id: id.to_string(),
            kind,
            identity,
            state: state.into_wire(),
            reason,
            code,
            lines,
            cause,
        }
    }
}

impl IntoWire for ResourceState {
    type Wire = wire::ResourceState;

    fn into_wire(self) -> wire::ResourceState {
        match self {
            Self::Ready => wire::ResourceState::Ready,
            Self::Waiting => wire::ResourceState::Waiting,
            Self::Failed => wire::ResourceState::Failed,
            Self::Unknown => wire::ResourceState::Unknown,
        }
    }
}

impl IntoWire for Serving {
    type Wire = wire::Serving;

    fn into_wire(self) -> wire::Serving {
        let Self { service, verified, newer } = self;
        wire::Serving { service, verified, newer }
    }
}
