//! For tests: connections that break, dumps that are damaged.

use std::path::Path;
use std::sync::{Arc, Mutex};

/// For tests: fails one statement that changes something, as if the connection broke before it was sent or before its
/// answer came.
#[derive(Debug, Clone, Default)]
pub struct Fault(Arc<Mutex<FaultState>>);

#[derive(Debug, Default)]
struct FaultState {
    /// How many more statements succeed; `None`: all.
    left: Option<usize>,
    lose_answer: bool,
    corrupt_dumps: bool,
}

/// What happens to a statement.
#[derive(PartialEq, Eq)]
pub(crate) enum FaultAction {
    Succeeds,
    IsNotSent,
    IsNotAnswered,
}

impl Fault {
    /// The statement after the next `count` ones fails, once.
    pub fn arm(&self, count: usize, lose_answer: bool) {
        if let Ok(mut state) = self.0.lock() {
            state.left = Some(count);
            state.lose_answer = lose_answer;
        }
    }

    /// Ends it; whether it was still armed: there were fewer statements.
    pub fn disarm(&self) -> bool {
        self.0.lock().is_ok_and(|mut state| state.left.take().is_some())
    }

    /// From now on dumps are damaged after they were written.
    pub fn corrupt_dumps(&self) {
        if let Ok(mut state) = self.0.lock() {
            state.corrupt_dumps = true;
        }
    }

    pub(crate) fn next_action(&self) -> FaultAction {
        let Ok(mut state) = self.0.lock() else { return FaultAction::Succeeds };
        match state.left {
            None => FaultAction::Succeeds,
            Some(0) => {
                state.left = None;
                if state.lose_answer { FaultAction::IsNotAnswered } else { FaultAction::IsNotSent }
            }
            Some(left) => {
                state.left = Some(left - 1);
                FaultAction::Succeeds
            }
        }
    }

    /// Turns the bits of some bytes in the second half of a file.
    pub(crate) fn corrupt(&self, path: &Path) {
        if self.0.lock().is_ok_and(|state| state.corrupt_dumps)
            && let Ok(mut bytes) = std::fs::read(path)
        {
            let half = bytes.len() / 2;
            bytes.iter_mut().skip(half).take(64).for_each(|byte| *byte = !*byte);
            let _ = std::fs::write(path, bytes);
        }
    }
}
