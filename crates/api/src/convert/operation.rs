//! Operations and revisions.

use freehold::wire;
use freehold_platform::plan::Purpose;
use freehold_platform::view::{OperationState, OperationView, RevisionView, Wait};

use super::IntoWire;

impl IntoWire for Purpose {
    type Wire = wire::Purpose;

    fn into_wire(self) -> wire::Purpose {
        match self {
            Self::Deploy => wire::Purpose::Deploy,
            Self::Rollback { to } => wire::Purpose::Rollback { to },
            Self::Destroy { .. } => wire::Purpose::Destroy,
        }
    }
}

impl IntoWire for OperationState {
    type Wire = wire::OperationState;

    fn into_wire(self) -> wire::OperationState {
        match self {
            Self::Queued => wire::OperationState::Queued,
            Self::Running => wire::OperationState::Running,
            Self::Succeeded => wire::OperationState::Succeeded,
            Self::Failed => wire::OperationState::Failed,
            Self::Cancelled => wire::OperationState::Cancelled,
        }
    }
}

impl IntoWire for OperationView {
    type Wire = wire::Operation;

    fn into_wire(self) -> wire::Operation {
        let Self { id, stack, key, purpose, state, revision, taken, created_at, finished_at, failure, outputs, waits } =
            self;
        wire::Operation {
            id: id.0,
            stack: stack.0,
            key,
            purpose: purpose.into_wire(),
            state: state.into_wire(),
            revision,
            taken,
            created_at,
            finished_at,
            failure: failure.into_wire(),
            outputs: wire::nested(&outputs),
            waits: waits.into_wire(),
        }
    }
}

impl IntoWire for Wait {
    type Wire = wire::Wait;

    fn into_wire(self) -> wire::Wait {
        let Self { subject, reason, since } = self;
        wire::Wait { subject: subject.to_string(), reason, since }
    }
}

impl IntoWire for RevisionView {
    type Wire = wire::Revision;

    fn into_wire(self) -> wire::Revision {
        let Self {
            number,
            created_at,
            verified,
            current,
            purpose,
            state,
            tier,
            stage,
            artifacts,
            definition,
            operation,
            failure,
        } = self;
        wire::Revision {
            number,
            created_at,
            verified,
            current,
            purpose: purpose.into_wire(),
            state: state.map_or(wire::OperationState::Unknown, IntoWire::into_wire),
            tier,
            stage,
            artifacts,
            definition,
            operation: operation.0,
            failure: failure.into_wire(),
        }
    }
}
