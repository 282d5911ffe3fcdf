//! Events of operations and of commands, and lines of logs.

use std::collections::BTreeMap;

use freehold::wire;
use freehold_platform::view::{CommandEvent, Event, EventKind, Finished, LogLine, ProviderError, Verb, Voice};
use freehold_problem::Problem;

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
            Self::StepStarted { step, attempt } => wire::EventKind::StepStarted {
                verb: step.verb().into_wire(),
                subject: step.subject().to_string(),
                step: step.to_string(),
                attempt,
            },
            Self::StepRetrying { step, reason, retry_after_milliseconds } => {
                wire::EventKind::StepRetrying { step: step.to_string(), reason, retry_after_milliseconds }
            }
            Self::Waiting { subject, reason, milliseconds, retry_after_milliseconds } => {
                let subject = subject.to_string();
                wire::EventKind::Waiting { subject, reason, milliseconds, retry_after_milliseconds }
            }
            Self::StepDone { step, note, milliseconds } => wire::EventKind::StepDone {
                verb: step.verb().into_wire(),
                subject: step.subject().to_string(),
                step: step.to_string(),
                note,
                milliseconds,
            },
            Self::StepFailed { step, problem } => wire::EventKind::StepFailed {
                subject: step.subject().to_string(),
                step: step.to_string(),
                problem: problem.into_wire(),
            },
            Self::Ready { milliseconds } => wire::EventKind::Ready { milliseconds },
            Self::Finished(finished) => finished.into_wire(),
        }
    }
}

impl IntoWire for Verb {
    type Wire = wire::Verb;

    fn into_wire(self) -> wire::Verb {
        match self {
            Self::Create => wire::Verb::Create,
            Self::Update => wire::Verb::Update,
            Self::Replace => wire::Verb::Replace,
            Self::Adopt => wire::Verb::Adopt,
            Self::Run => wire::Verb::Run,
            Self::Fence => wire::Verb::Fence,
            Self::Lift => wire::Verb::Lift,
            Self::Dump => wire::Verb::Dump,
            Self::Delete => wire::Verb::Delete,
            Self::Verify => wire::Verb::Verify,
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
                steps: timings.steps.into_iter().map(|(step, took)| (step.to_string(), took)).collect(),
                phases: BTreeMap::new(),
            },
            failure: failure.into_wire(),
            exists: exists.iter().map(ToString::to_string).collect(),
            missing: missing.iter().map(ToString::to_string).collect(),
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

impl IntoWire for Result<CommandEvent, ProviderError> {
    type Wire = wire::CommandEvent;

    fn into_wire(self) -> wire::CommandEvent {
        match self {
            Ok(CommandEvent::Output(text)) => wire::CommandEvent::Output { text },
            Ok(CommandEvent::Ended { exit, reason }) => wire::CommandEvent::Ended { exit, reason },
            Err(error) => wire::CommandEvent::Failed { problem: Box::new(Problem::from(error).into_wire()) },
        }
    }
}
