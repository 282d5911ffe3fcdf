//! Whether a service's replicas got ready, and what people are told if not.

use std::time::Duration;

use freehold_engine::{ProviderError, Readiness, ReadinessFailure};
use freehold_graph::{ResourceId, StackKey};
use freehold_problem::{Code, Problem};
use tokio::time::Instant;

use crate::log::Log;
use crate::service::state::{FailedVersion, ServiceState};
use crate::slot::{CRASH_LOOP, Phase, ReplicaFailure, Slot, Status};

/// What is about to settle is asked for again after this.
const SHORTLY: Duration = Duration::from_millis(20);
/// How many lines of a log are shown with a failure.
pub(crate) const SHOWN_LINES: usize = 10;

/// Waits until all are ready; says how often the slowest was looked at. Fails with the first failure of any. At the deadline it fails
/// with what we lacked ourselves to start one, which is no failure of the service's, or with `None`.
pub(crate) async fn await_ready(slots: &[Slot], deadline: Instant) -> Result<u32, Option<ReplicaFailure>> {
    let each = slots.iter().map(|slot| {
        let mut status = slot.status.clone();
        async move {
            let decided = status.wait_for(|status| status.phase == Phase::Ready || status.failures > 0).await;
            match decided {
                Ok(status) if status.phase == Phase::Ready => Ok(status.looks),
                Ok(status) => Err(status.failure.clone()),
                Err(_closed) => Err(None),
            }
        }
    });
    match tokio::time::timeout_at(deadline, futures::future::try_join_all(each)).await {
        Ok(looks) => looks.map(|looks| looks.into_iter().max().unwrap_or_default()),
        Err(_elapsed) => Err(slots.iter().find_map(|slot| match &slot.status.borrow().failure {
            Some(ReplicaFailure::NotStarted(error)) => Some(ReplicaFailure::NotStarted(error.clone())),
            Some(
                ReplicaFailure::Exited { .. }
                | ReplicaFailure::NeverReady { .. }
                | ReplicaFailure::NotLive { .. }
                | ReplicaFailure::Interrupted,
            )
            | None => None,
        })),
    }
}

/// The failure of a step that started replicas. `still` says what works all the same.
pub(crate) async fn refusal(
    key: &StackKey,
    id: &ResourceId,
    failure: Option<ReplicaFailure>,
    still: Option<&str>,
) -> ProviderError {
    let name = id.name();
    let still = still.map(|still| format!("; {still}")).unwrap_or_default();
    let help = format!("fix it and deploy again; its log: `freehold logs {} --{} {name}`", key.option(), id.word());
    let (code, message, log) = match failure {
        Some(ReplicaFailure::NotStarted(error)) => return error,
        Some(ReplicaFailure::Interrupted) => {
            return ProviderError::retryable(
                Code::NotNow,
                format!("{name} was superseded: a newer change of it is being applied{still}"),
            );
        }
        Some(ReplicaFailure::Exited { exit, after, log, .. }) => {
            let message = format!("{name} exited before it was ready: {exit} after {}", seconds(after));
            (Code::ExitedAtOnce, message, Some(log))
        }
        Some(ReplicaFailure::NeverReady { after, seen, log }) => {
            (Code::NeverReady, format!("{name} was not ready within {}: {seen}", seconds(after)), Some(log))
        }
        Some(ReplicaFailure::NotLive { seen, log }) => {
            (Code::NeverReady, format!("{name} was ready and then no longer alive: {seen}"), Some(log))
        }
        None => (Code::NeverReady, format!("{name} was not ready at the step's deadline"), None),
    };
    let detail = match log {
        Some(log) => log.last(SHOWN_LINES).await,
        None => Vec::new(),
    };
    ProviderError::from(Problem::new(code, message + &still).lines(detail).help(help))
}

/// How a running service is, before anybody reads its log.
enum VersionState<'a> {
    Fell(&'a FailedVersion),
    Looping(Box<Status>),
    As(Readiness),
}

/// How a running service is, with the end of its log where it doesn't do what it is for.
pub(crate) async fn readiness(id: &ResourceId, seen: &ServiceState) -> Readiness {
    match standing(seen) {
        VersionState::Fell(fallen) => Readiness::Failed(fell(id, fallen).await),
        VersionState::Looping(status) => Readiness::Failed(crash_loop(id, &status).await),
        VersionState::As(readiness) => readiness,
    }
}

fn standing(seen: &ServiceState) -> VersionState<'_> {
    let now = Instant::now();
    let all: Vec<Status> = seen.replicas.iter().map(|replica| replica.borrow().clone()).collect();
    let ready_for = |status: &Status| status.ready_since.map(|since| now.saturating_duration_since(since));
    let steady = |status: &Status| ready_for(status).is_some_and(|time| time >= seen.steady);
    if let Some(fallen) = seen.fallen.as_ref().filter(|fallen| fallen.taken_back || !all.iter().all(steady)) {
        return VersionState::Fell(fallen);
    }
    // Between two crashes it is ready for a moment, and no better for it.
    if let Some(status) = all.iter().find(|status| status.failures >= CRASH_LOOP && !steady(status)) {
        return VersionState::Looping(Box::new(status.clone()));
    }
    let ready = all.iter().filter(|status| status.phase == Phase::Ready).count();
    if ready == all.len() {
        let open = all.iter().map(|status| seen.settle.saturating_sub(ready_for(status).unwrap_or_default()));
        let version = seen.settling.map(|until| until.saturating_duration_since(now).max(SHORTLY));
        let remaining = open.chain(version).max().unwrap_or_default();
        let settled = remaining.is_zero();
        return VersionState::As(if settled { Readiness::Ready } else { Readiness::Settling { remaining } });
    }
    let reason = all.iter().find_map(|status| match (&status.phase, &status.failure) {
        (Phase::Unready(seen), _) => Some(seen.clone()),
        (Phase::Ready, _) => None,
        (_, Some(failure)) => Some(told(failure).0),
        _ => None,
    });
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    VersionState::As(Readiness::Waiting(format!("{ready} of {} ready{reason}", all.len())))
}

async fn fell(id: &ResourceId, fallen: &FailedVersion) -> ReadinessFailure {
    let name = id.name();
    let after = match fallen.taken_back {
        true => "the previous version serves again",
        false => "Freehold keeps restarting it",
    };
    let (what, log) = told(&fallen.failure);
    failed(Code::FailedWhileSettling, format!("{name} was ready, but then {what}; {after}"), log).await
}

/// With the end of a log.
async fn failed(code: Code, message: String, log: Option<&Log>) -> ReadinessFailure {
    let lines = match log {
        Some(log) => log.last(SHOWN_LINES).await,
        None => Vec::new(),
    };
    ReadinessFailure { code: Some(code), message, lines }
}

async fn crash_loop(id: &ResourceId, status: &Status) -> ReadinessFailure {
    let (what, log) = status.failure.as_ref().map_or((String::new(), None), told);
    let name = id.name();
    failed(Code::CrashLoop, format!("{name} keeps failing, {} times so far: {what}", status.failures), log).await
}

fn told(failure: &ReplicaFailure) -> (String, Option<&Log>) {
    match failure {
        ReplicaFailure::NotStarted(error) => (error.to_string(), None),
        ReplicaFailure::Exited { exit, after, ready: true, log } => {
            (format!("it exited with {exit} after {}", seconds(*after)), Some(log))
        }
        ReplicaFailure::Exited { exit, after, ready: false, log } => {
            (format!("it exited with {exit} before it was ready, after {}", seconds(*after)), Some(log))
        }
        ReplicaFailure::NeverReady { after, seen, log } => {
            (format!("it was not ready within {}: {seen}", seconds(*after)), Some(log))
        }
        ReplicaFailure::NotLive { seen, log } => (format!("it was no longer alive: {seen}"), Some(log)),
        ReplicaFailure::Interrupted => ("its start was interrupted".to_owned(), None),
    }
}

/// `0.4 s`.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
