//! Events of operations, and lines of logs.

use std::collections::BTreeMap;

use freehold::wire;
use freehold_platform::view::{Event, EventKind, Finished, LogLine, Voice};

use super::IntoWire;

impl IntoWire for Event {
    type Wire = wire::Event;

    fn into_wire(self) -> wire::Event {
        let Self { sequence, at, kind } = self;
        wire::Event { sequence, at, kind: kind.into_wire() }
    }
}

impl IntoWire for EventKind {
    type Wire = wire::EventKind;

    fn into_wire(self) -> wire::EventKind {
        match self {
            Self::Taken { times, done, steps } => wire::EventKind::Taken { times, done, steps },
            Self::StepStarted { step, verb, subject, attempt } => {
                wire::EventKind::StepStarted { step, verb: verb.as_str().into(), subject, attempt }
            }
            Self::StepRetrying { step, reason, after_milliseconds } => {
                wire::EventKind::StepRetrying { step, reason, after_milliseconds }
            }
            Self::Waiting { subject, reason, milliseconds, retry_after_milliseconds } => {
                wire::EventKind::Waiting { subject, reason, milliseconds, retry_after_milliseconds }
            }
            Self::StepDone { step, verb, subject, note, milliseconds } => {
                wire::EventKind::StepDone { step, verb: verb.as_str().into(), subject, note, milliseconds }
            }
            Self::StepFailed { step, subject, problem } => {
                wire::EventKind::StepFailed { step, subject, problem: problem.into_wire() }
            }
            Self::Ready { milliseconds } => wire::EventKind::Ready { milliseconds },
            Self::Finished(finished) => finished.into_wire(),
        }
    }
}

impl IntoWire for Finished {
    type Wire = wire::EventKind;

    fn into_wire(self) -> wire::EventKind {
        let Self { stack, operation, revision, state, outputs, timings, failure, exists, missing } = self;
        wire::EventKind::Finished {
            stack: stack.0,
            operation: operation.0,
            revision,
            state: state.into_wire(),
            outputs: wire::nested(&outputs),
            timings: wire::Timings {
                total: timings.total,
                ready: timings.ready,
                steps: timings.steps,
                phases: BTreeMap::new(),
            },
            failure: failure.into_wire(),
            exists,
            missing,
        }
    }
}

impl IntoWire for LogLine {
    type Wire = wire::LogLine;

    fn into_wire(self) -> wire::LogLine {
        let Self { source, voice, text } = self;
        let by = match voice {
            Voice::Program => wire::Voice::Program,
            Voice::Freehold => wire::Voice::Freehold,
        };
        wire::LogLine { source, by, line: text }
    }
}
