//! Records as the journal keeps them.

use freehold_engine::{Record, StateChange};

/// A record as the journal keeps it: without its [`StateChange`].
pub(crate) fn without_state(record: &Record) -> Record {
    let state = StateChange::None;
    match record {
        Record::StepStarted { step, attempt, state: _ } => {
            Record::StepStarted { step: step.clone(), attempt: *attempt, state }
        }
        Record::StepDone { step, state: _, note } => Record::StepDone { step: step.clone(), state, note: note.clone() },
        Record::Acquired { .. }
        | Record::StepFailed { .. }
        | Record::StepUnknown { .. }
        | Record::Ready
        | Record::Waiting { .. }
        | Record::CancelRequested
        | Record::Finished { .. } => record.clone(),
    }
}
