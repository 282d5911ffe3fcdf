//! Jobs on a schedule (cron, UTC).
//!
//! One run at a time for each job. A time that comes while the last run is still going on, or while Freehold isn't running, is made up
//! for once, by the latest of those that were missed and only if it is less than an hour ago ([`LATEST_START`]): a laptop that
//! was asleep at six does its morning work at half past, and not last week's seven times. A failed run, or one that nobody knows the
//! end of, is not repeated; the next time comes.
//!
//! A run is kept like a revision's ([`crate::run`]), under the time that it was due, so it survives Freehold and never runs twice.
//!
//! A time in the future is no time at which anything has run: the clock was ahead once. Such runs are put aside, and the log says so;
//! else nothing would run until that time has come.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use freehold_engine::{Context, Lookup, Performed, ProviderError, Readiness};
use freehold_graph::{Resource, ResourceId, StackId, Value};
use freehold_plan::Observation;
use freehold_plan::observation::Ownership;
use freehold_problem::Code;
use freehold_spec::Schedule;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::directory::{self, Directory, Durability};
use crate::failure;
use crate::launch::seconds;
use crate::log::Log;
use crate::machine::Machine;
use crate::process::out_of_memory;
use crate::run::RunOnce;
use crate::supervise::{End, ExitReport, STARTED, STATUS};

/// How long after its time a run may still begin, in seconds.
const LATEST_START: i64 = 3600;
/// How many runs are kept.
const KEPT: usize = 10;
/// How far clocks are set back in the ordinary course of things, in seconds. A time further ahead was never reached.
const AHEAD: i64 = 120;
/// What the names of runs begin with whose times were never reached.
const ASIDE: &str = "ahead-";
/// The longest sleep: the clock may be set meanwhile, or the machine suspended.
const NAP: Duration = Duration::from_secs(30);
/// How long a run may take to end that a deletion has ended: longer than its supervisor leaves it.
const ENDING: Duration = Duration::from_secs(15);
/// The time for a run beside its own limit.
const SLACK: Duration = Duration::from_secs(60);

/// One run of a scheduled job.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ScheduledRun {
    /// When it was due, in seconds since 1970.
    due: i64,
    /// How it ended, in words for people: `exit code 3`.
    how: String,
    /// It has ended, and well.
    succeeded: bool,
    /// It is still going on.
    running: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ScheduleRecord {
    pub(crate) object: String,
    pub(crate) resource: Resource,
    pub(crate) desired: Value,
    /// Nothing that was due before counts as missed. Seconds since 1970.
    pub(crate) since: i64,
    /// When it was deployed last. How runs ended before says nothing of this version. Seconds since 1970.
    #[serde(default)]
    pub(crate) applied: i64,
}

type Tasks = BTreeMap<(StackId, ResourceId), AbortOnDropHandle<()>>;

/// The schedules of all stacks.
pub(crate) struct Schedules {
    machine: Machine,
    tasks: Mutex<Tasks>,
}

/// When a job is due.
trait Calendar: Send + Sync {
    fn next_after(&self, seconds: i64) -> Option<i64>;
}

impl Calendar for Schedule {
    fn next_after(&self, seconds: i64) -> Option<i64> {
        Schedule::next_after(self, seconds)
    }
}

/// What to do about a schedule now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Run for this time.
    Run(i64),
    /// Nothing before this time.
    Wait(i64),
    Never,
}

/// What to do at `now`, if everything up to `done` is settled.
fn next(calendar: &dyn Calendar, done: i64, now: i64) -> Next {
    let mut due = calendar.next_after(done.max(now - LATEST_START));
    loop {
        let Some(this) = due else { return Next::Never };
        if this > now {
            return Next::Wait(this);
        }
        match calendar.next_after(this) {
            Some(later) if later <= now => due = Some(later),
            _ => return Next::Run(this),
        }
    }
}

impl Schedules {
    pub(crate) fn new(machine: Machine) -> Self {
        Self { machine, tasks: Mutex::default() }
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, stack: StackId, id: &ResourceId) -> PathBuf {
        self.machine.directory.schedule_record(stack, id.name())
    }

    fn record(&self, stack: StackId, id: &ResourceId) -> Result<Option<ScheduleRecord>, ProviderError> {
        let path = self.path(stack, id);
        directory::read_json(&path).map_err(|error| failure::file("read", &path, &error))
    }

    pub(crate) async fn apply(
        &self,
        context: &Context,
        resource: &Resource,
        desired: &Value,
    ) -> Result<Performed, ProviderError> {
        let former = self.record(context.stack, &resource.id)?;
        let now = chrono::Utc::now().timestamp();
        let record = ScheduleRecord {
            object: former.as_ref().map_or_else(|| Uuid::new_v4().to_string(), |former| former.object.clone()),
            // At another time of day now, an earlier time was never missed.
            since: former
                .filter(|former| former.resource.body.get("schedule") == resource.body.get("schedule"))
                .map_or(now, |former| former.since.min(now)),
            resource: resource.clone(),
            desired: desired.clone(),
            applied: now,
        };
        let object = record.object.clone();
        self.begin(context.clone(), record)?;
        Ok(Performed { object: Some(object), note: None, ..Performed::default() })
    }

    /// Writes the record and begins to keep to it.
    fn begin(&self, context: Context, record: ScheduleRecord) -> Result<(), ProviderError> {
        let text = record.resource.body.get("schedule").and_then(Value::as_text).unwrap_or_default();
        let schedule = Schedule::parse(text).map_err(|error| {
            ProviderError::rejected(Code::StepFailed, format!("{}: {text:?}: {error}", record.resource.id))
        })?;
        let (stack, id) = (context.stack, record.resource.id.clone());
        let path = self.path(stack, &id);
        directory::write_json(&path, &record, Durability::Power)
            .map_err(|error| failure::file("write", &path, &error))?;
        let schedule_loop = ScheduleLoop { machine: self.machine.clone(), context, record };
        let task = AbortOnDropHandle::new(tokio::spawn(async move { schedule_loop.run(&schedule).await }));
        self.tasks().insert((stack, id), task);
        Ok(())
    }

    /// As after a start of Freehold: by the record, or by what the store remembers if that was lost.
    pub(crate) fn restore(
        &self,
        context: Context,
        resource: &Resource,
        desired: &Value,
        object: &str,
    ) -> Result<(), ProviderError> {
        let record = self.record(context.stack, &resource.id)?.unwrap_or_else(|| ScheduleRecord {
            object: object.to_owned(),
            resource: resource.clone(),
            desired: desired.clone(),
            since: chrono::Utc::now().timestamp(),
            applied: chrono::Utc::now().timestamp(),
        });
        self.begin(context, record)
    }

    pub(crate) fn observe(&self, stack: StackId, lookup: &Lookup) -> Result<Option<Observation>, ProviderError> {
        let kept = self.tasks().contains_key(&(stack, lookup.id.clone()));
        let Some(record) = self.record(stack, &lookup.id)? else { return Ok(None) };
        if !kept && !self.machine.is_restored() {
            return Err(ProviderError::retryable(
                Code::NotNow,
                format!("{} is still owned by a previous Freehold process", lookup.id),
            ));
        }
        let observation = Observation {
            object: record.object,
            ownership: Ownership::Ours,
            body: record.desired,
            foreign_fields: Vec::new(),
        };
        Ok(kept.then_some(observation))
    }

    pub(crate) fn readiness(&self, stack: StackId, lookup: &Lookup) -> Result<Readiness, ProviderError> {
        let kept = self.tasks().get(&(stack, lookup.id.clone())).is_some_and(|task| !task.is_finished());
        Ok(if kept { Readiness::Ready } else { Readiness::failed("the scheduler is not running") })
    }

    pub(crate) async fn delete(
        &self,
        context: &Context,
        lookup: &Lookup,
        object: Option<&str>,
    ) -> Result<Performed, ProviderError> {
        self.check_identity(context.stack, &lookup.id, object)?;
        self.tasks().remove(&(context.stack, lookup.id.clone()));
        // A run that is going on is ended: its supervisor ends the job. Until it has, its lock and its records stay.
        let limit = context.deadline.min(Instant::now() + ENDING);
        crate::run::end_runs_of(&self.machine, context.stack, &lookup.id, limit).await?;
        let runs = self.machine.directory.runs(context.stack, &lookup.id.0);
        let files = self.machine.directory.files(context.stack, &lookup.id.0);
        for path in [runs, files, self.path(context.stack, &lookup.id)] {
            directory::remove(&path).map_err(|error| failure::file("remove", &path, &error))?;
        }
        Ok(Performed::default())
    }

    /// Begins no more runs and ends the one that is going on, until [`Schedules::restore`].
    pub(crate) async fn fence(
        &self,
        context: &Context,
        id: &ResourceId,
        object: Option<&str>,
    ) -> Result<(), ProviderError> {
        self.check_identity(context.stack, id, object)?;
        let asleep = AbortOnDropHandle::new(tokio::spawn(std::future::pending::<()>()));
        self.tasks().insert((context.stack, id.clone()), asleep);
        crate::run::end_runs_of(&self.machine, context.stack, id, context.deadline).await
    }

    fn check_identity(&self, stack: StackId, id: &ResourceId, object: Option<&str>) -> Result<(), ProviderError> {
        match (self.record(stack, id)?, object) {
            (Some(record), Some(object)) if record.object != object => {
                Err(ProviderError::rejected(Code::ChangedExternally, format!("{id} is not the one that was deployed")))
            }
            _ => Ok(()),
        }
    }

    /// Stops keeping to a stack's schedules.
    pub(crate) fn forget(&self, stack: StackId) {
        self.tasks().retain(|(owner, _), _| *owner != stack);
    }

    /// Stops keeping to all of them; runs that are going on go on.
    pub(crate) fn stop(&self) {
        self.tasks().clear();
    }

    /// How the last run of a schedule failed, as a message; `None` if it succeeded, or if there was none since it
    /// was deployed.
    pub(crate) async fn last_failure(&self, stack: StackId, id: &ResourceId) -> Result<Option<String>, ProviderError> {
        let Some(record) = self.record(stack, id)? else { return Ok(None) };
        let (directory, id) = (self.machine.directory.clone(), id.clone());
        let reading = tokio::task::spawn_blocking(move || history(&directory, stack, &id));
        let mut runs = reading.await.map_err(|_| failure::stopped("looking at the runs of a schedule"))??;
        runs.retain(|run| run.due >= record.applied && !run.running);
        Ok(last_failure(&runs))
    }
}

fn history(directory: &Directory, stack: StackId, id: &ResourceId) -> Result<Vec<ScheduledRun>, ProviderError> {
    let folder = directory.runs(stack, &id.0);
    let unreadable = |error: std::io::Error| failure::file("read", &folder, &error);
    let mut runs = Vec::new();
    for path in directory::entries(&folder).map_err(unreadable)? {
        let Some(due) = due_of(&path) else { continue };
        let running = crate::run::is_supervised(&path).map_err(unreadable)?;
        let end =
            directory::read_json::<ExitReport>(&path.join(STATUS)).map_err(unreadable)?.map(|outcome| outcome.end);
        let how = match &end {
            Some(End::Exited(code)) => format!("exit code {code}"),
            Some(End::Signalled(signal)) => format!("signal {signal}"),
            Some(End::TimedOut) => "it took longer than it may".to_owned(),
            Some(End::OutOfMemory(limit)) => out_of_memory(*limit),
            Some(End::Cancelled) => "ended on request".to_owned(),
            Some(End::NotStarted(message)) => format!("not started: {message}"),
            None => "its outcome is unknown".to_owned(),
        };
        let succeeded = matches!(end, Some(End::Exited(0) | End::Cancelled));
        runs.push(ScheduledRun { due, how, succeeded, running: running && end.is_none() });
    }
    Ok(runs)
}

/// How the last of these runs failed, and how many failed before it.
fn last_failure(runs: &[ScheduledRun]) -> Option<String> {
    let last = runs.last().filter(|run| !run.succeeded)?;
    let failed = runs.iter().rev().take_while(|run| !run.succeeded).count();
    let before = match failed - 1 {
        0 => String::new(),
        1 => ", and the one before failed, too".to_owned(),
        number => format!(", and the {number} before failed, too"),
    };
    Some(format!("{} in the run of {}{before}", last.how, clock(last.due)))
}

/// A time as people read it.
fn clock(seconds: i64) -> String {
    let time = chrono::DateTime::from_timestamp(seconds, 0);
    time.map_or_else(|| seconds.to_string(), |time| time.format("%Y-%m-%d %H:%M UTC").to_string())
}

fn due_of(path: &std::path::Path) -> Option<i64> {
    path.file_name()?.to_str()?.parse().ok()
}

/// Keeps to one schedule.
struct ScheduleLoop {
    machine: Machine,
    context: Context,
    record: ScheduleRecord,
}

impl ScheduleLoop {
    async fn run(self, calendar: &dyn Calendar) {
        let folder = self.machine.directory.runs(self.context.stack, &self.record.resource.id.0);
        let mut done = self.settled(&folder).await;
        loop {
            let now = chrono::Utc::now().timestamp();
            if done > now + AHEAD {
                // The clock has been set back.
                done = self.settled(&folder).await;
            }
            match next(calendar, done, now) {
                Next::Never => std::future::pending().await,
                Next::Wait(due) => {
                    let left = u64::try_from(due - chrono::Utc::now().timestamp()).unwrap_or_default();
                    // Half a second more rather than waking up just before it.
                    tokio::time::sleep(NAP.min(Duration::from_secs(left) + Duration::from_millis(500))).await;
                }
                Next::Run(due) => {
                    if self.once(&folder, due).await {
                        done = due;
                    } else {
                        tokio::time::sleep(Duration::from_secs(10)).await;
                    }
                }
            }
        }
    }

    /// Up to when everything is settled: by the last run, which may be going on still.
    async fn settled(&self, folder: &std::path::Path) -> i64 {
        loop {
            let now = chrono::Utc::now().timestamp();
            let since = self.record.since.min(now);
            let runs = directory::entries(folder).unwrap_or_default();
            let Some(last) = runs.iter().filter_map(|path| due_of(path)).max().filter(|last| *last > since) else {
                return since;
            };
            let run = folder.join(last.to_string());
            let reached = last <= now + AHEAD;
            if reached || run.join(STARTED).exists() {
                // This waits for its end, and says what is known already otherwise.
                self.once(folder, last).await;
            }
            if reached {
                return last;
            }
            let text = format!("the clock was ahead once: what ran for {} doesn't count", clock(last));
            tracing::warn!(stack = %self.context.stack, schedule = %self.record.resource.id, "{text}");
            let logs = self.machine.directory.logs_of(self.context.stack, &self.record.resource.id.0);
            Log::begin(&logs, "clock").event(&text);
            if let Err(error) = std::fs::rename(&run, folder.join(format!("{ASIDE}{last}"))) {
                tracing::warn!(run = %run.display(), %error, "a run could not be put aside");
                return now;
            }
        }
    }

    /// Runs for one time, and says whether that is settled.
    async fn once(&self, folder: &std::path::Path, due: i64) -> bool {
        let (id, body) = (&self.record.resource.id, &self.record.resource.body);
        let mut context = self.context.clone();
        context.deadline = Instant::now() + seconds(body, "timeout_seconds", 600) + SLACK;
        let run = RunOnce {
            machine: &self.machine,
            context: &context,
            id,
            body,
            name: due.to_string(),
            folder: folder.join(due.to_string()),
            safe: false,
        };
        let settled = match run.outcome().await {
            Ok(outcome) => {
                tracing::info!(stack = %context.stack, schedule = %id, due, end = ?outcome.end, "a scheduled job has run");
                true
            }
            Err(error) => {
                tracing::warn!(stack = %context.stack, schedule = %id, due, %error, "a scheduled job did not run to its end");
                matches!(error, ProviderError::Rejected(_))
            }
        };
        self.prune(folder);
        settled
    }

    fn prune(&self, folder: &std::path::Path) {
        let mut runs = directory::entries(folder).unwrap_or_default();
        // Those that were put aside go first.
        runs.sort_by_key(|path| due_of(path));
        for path in runs.iter().take(runs.len().saturating_sub(KEPT)) {
            if let Err(error) = directory::remove(path) {
                tracing::warn!(run = %path.display(), %error, "an old run could not be removed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Every(i64);

    impl Calendar for Every {
        fn next_after(&self, seconds: i64) -> Option<i64> {
            Some((seconds.div_euclid(self.0) + 1) * self.0)
        }
    }

    #[test]
    fn a_time_that_has_come_is_run_for_once() {
        assert_eq!(next(&Every(600), 6_000, 6_100), Next::Wait(6_600));
        assert_eq!(next(&Every(600), 6_000, 6_600), Next::Run(6_600));
        assert_eq!(next(&Every(600), 6_600, 6_601), Next::Wait(7_200));
    }

    #[test]
    fn a_job_that_fails_is_told_of_until_it_succeeds() {
        let run = |due: i64, code: i32| ScheduledRun {
            due,
            how: format!("exit code {code}"),
            succeeded: code == 0,
            running: false,
        };
        assert_eq!(last_failure(&[]), None);
        assert_eq!(last_failure(&[run(60, 3), run(120, 0)]), None);
        let once = last_failure(&[run(0, 0), run(60, 3)]).unwrap();
        assert_eq!(once, "exit code 3 in the run of 1970-01-01 00:01 UTC");
        let often = last_failure(&[run(0, 0), run(60, 3), run(120, 4), run(180, 3)]).unwrap();
        assert_eq!(often, "exit code 3 in the run of 1970-01-01 00:03 UTC, and the 2 before failed, too");
    }

    #[test]
    fn of_several_missed_times_only_the_latest_is_made_up_for() {
        assert_eq!(next(&Every(600), 6_000, 9_000), Next::Run(9_000));
    }

    #[test]
    fn what_was_missed_more_than_an_hour_ago_is_not_made_up_for() {
        assert_eq!(next(&Every(86_400), 0, 86_400 + LATEST_START + 1), Next::Wait(2 * 86_400));
        assert_eq!(next(&Every(86_400), 0, 86_400 + LATEST_START - 1), Next::Run(86_400));
    }
}
