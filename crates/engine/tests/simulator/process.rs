//! The model of one process at work on an operation: what the asynchronous shell does, one move at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use freehold_engine::testing::Sent;
use freehold_engine::{
    CallId, End, Input, InputKind, Limits, OperationId, OperationState, Record, Reply, Request, decide,
};
use freehold_graph::{ProviderName, ResourceId};
use freehold_plan::Plan;

use super::store::{Batch, LEASE};

/// A call that is out.
pub(crate) struct Flight {
    pub(crate) call: CallId,
    pub(crate) provider: ProviderName,
    pub(crate) deadline: u64,
    pub(crate) request: Request,
    /// For effects: the call has left the process.
    pub(crate) sent: Option<Sent>,
    pub(crate) stage: Stage,
}

pub(crate) enum Stage {
    /// On its way there.
    Out,
    /// On its way back.
    Back(Reply),
    /// It never returns; whether it has happened.
    Lost(bool),
}

/// Records that are being written.
pub(crate) struct Writing {
    pub(crate) batch: Batch,
    /// It was tried, and the store didn't answer.
    pub(crate) tried: bool,
}

pub(crate) struct Process {
    pub(crate) number: u64,
    pub(crate) operation: OperationId,
    pub(crate) plan: Arc<Plan>,
    state: Option<OperationState>,
    origin: u64,
    pub(crate) fence: i64,
    pub(crate) renew_at: u64,
    pub(crate) hold_until: u64,
    pub(crate) expires: u64,
    pub(crate) lapsed: bool,
    pub(crate) paused_until: u64,
    pub(crate) queue: Vec<Record>,
    pub(crate) writing: Option<Writing>,
    pub(crate) known: usize,
    pub(crate) flights: Vec<Flight>,
    /// What was looked at since it was acted on last.
    pub(crate) looked: BTreeSet<ResourceId>,
    pub(crate) end: Option<End>,
}

/// What the simulator has to do for the process.
pub(crate) enum Demand {
    Send(CallId, ProviderName, u64, Request),
}

impl Process {
    pub(crate) fn new(number: u64, operation: OperationId, plan: &Arc<Plan>, fence: i64, now: u64) -> Self {
        let providers = crate::shell::PROVIDERS.into_iter().map(|name| (name, 3)).collect();
        let limits = Limits { calls: 4, providers };
        let state = OperationState::new(operation, Arc::clone(plan), limits);
        let mut process = Self {
            number,
            operation,
            plan: Arc::clone(plan),
            state: Some(state),
            origin: now,
            fence,
            renew_at: 0,
            hold_until: 0,
            expires: 0,
            lapsed: false,
            paused_until: 0,
            queue: Vec::new(),
            writing: None,
            known: 0,
            flights: Vec::new(),
            looked: BTreeSet::new(),
            end: None,
        };
        process.extend(now);
        process
    }

    pub(crate) fn extend(&mut self, now: u64) {
        self.renew_at = now + LEASE / 3;
        self.hold_until = now + LEASE / 3 * 2;
        self.expires = now + LEASE;
    }

    /// Takes the journal in.
    pub(crate) fn load(&mut self, journal: &[Record]) -> Result<(), String> {
        self.known = journal.len();
        let state = self.state.as_mut().unwrap();
        journal.iter().try_for_each(|record| state.fold(record)).map_err(|error| error.to_string())
    }

    /// Decides what follows from an event; returns the calls to send.
    pub(crate) fn feed(&mut self, now: u64, what: InputKind) -> Vec<Demand> {
        let at = Duration::from_millis(now - self.origin);
        let (state, actions) = decide(self.state.take().unwrap(), Input { at, what });
        self.state = Some(state);
        let mut demands = Vec::new();
        for action in actions {
            match action {
                freehold_engine::Action::Append(records) => self.queue.extend(records),
                freehold_engine::Action::Call { call, provider, deadline, request } => {
                    let deadline = self.origin + u64::try_from(deadline.as_millis()).unwrap();
                    demands.push(Demand::Send(call, provider, deadline, request));
                }
                freehold_engine::Action::End(end) => self.end = Some(end),
            }
        }
        demands
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.state.as_ref().unwrap().is_settled()
    }

    /// When it does something even if nothing happens until then.
    pub(crate) fn next_wake(&self) -> Option<u64> {
        let wake = self.state.as_ref().unwrap().next_wake()?;
        // Rounded up, as timers are.
        Some(self.origin + u64::try_from(wake.as_micros().div_ceil(1000)).unwrap())
    }
}
