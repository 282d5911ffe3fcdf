//! Following an operation: its events as progress, through interruptions on either side.
//!
//! The platform owns the operation. Whoever follows it may go away and come back; when the platform goes away, it carries on
//! once it is started again, and so does this. Ctrl-C asks for a clean stop, a second one leaves the platform at work.

use std::time::{Duration, Instant};

use chrono::Utc;
use freehold::wire::{Event, EventKind, Operation, OperationState, Problem, StackState, Timings};
use freehold::{ClientError, EventStream};
use freehold_problem::Code;
use serde_json::Value as Json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use uuid::Uuid;

use crate::layout::{hanging, short_id};
use crate::platform::Platform;
use crate::report::{CommandError, CommandResult};
use crate::terminal::Terminal;
use crate::view::progress::Progress;
use crate::view::{outputs, serving};

/// How long without a word before those who see no drawing are told what is under way.
const SILENCE: Duration = Duration::from_secs(10);
/// When nothing more came for so long, what was there before has been read.
const CAUGHT_UP: Duration = Duration::from_millis(150);

/// How an operation ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finished {
    /// The stack's UUID.
    pub stack: Uuid,
    /// The revision that it made.
    pub revision: u64,
    /// `succeeded`, `failed`, `cancelled`.
    pub state: OperationState,
    /// URLs and the like.
    pub outputs: Json,
    /// Milliseconds by phase and step.
    pub timings: Timings,
    failure: Option<Problem>,
    exists: Vec<String>,
    missing: Vec<String>,
}

/// How the following ended.
pub(crate) enum Ended {
    /// With the operation.
    Finished(Box<Finished>),
    /// Before it: the user left it to the platform.
    Detached,
}

/// Follows one operation.
pub(crate) struct Follower {
    terminal: Terminal,
    progress: Progress,
    /// Phases before the operation, for the timings that machines get.
    phases: Vec<(&'static str, u64)>,
    quiet: bool,
    begun: Instant,
    spoken: Instant,
    drawn: usize,
    /// The platform has gone away: nobody knows what is under way.
    away: bool,
    interrupts: u8,
}

impl Follower {
    /// With this progress.
    pub(crate) fn new(terminal: Terminal, progress: Progress) -> Self {
        let now = Instant::now();
        Self {
            terminal,
            progress,
            phases: Vec::new(),
            quiet: false,
            begun: now,
            spoken: now,
            drawn: 0,
            away: false,
            interrupts: 0,
        }
    }

    /// With what was done before the operation, and how long it took.
    pub(crate) fn after(mut self, phases: &[(&'static str, u64)]) -> Self {
        self.phases = phases.to_vec();
        self
    }

    /// Without a word: one of many operations that are followed at once. Ctrl-C is the caller's.
    pub(crate) fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Follows an operation that was begun just now.
    pub(crate) async fn follow(&mut self, platform: &mut Platform, operation: Uuid) -> CommandResult<Ended> {
        self.events(platform, operation, 0).await
    }

    /// Follows an operation that was under way before: tells first where it stands.
    pub(crate) async fn attach(&mut self, platform: &mut Platform, operation: Uuid) -> CommandResult<Ended> {
        if self.terminal.json {
            return self.events(platform, operation, 0).await;
        }
        let facts = platform.client.operation(operation).await?;
        let mut stream = platform.client.events(operation, 0).await?;
        let attached = Utc::now();
        let mut past = Vec::new();
        let mut last = None;
        while let Ok(Ok(Some(event))) = tokio::time::timeout(CAUGHT_UP, stream.next()).await {
            if event.at > attached || matches!(event.kind, EventKind::Finished { .. }) {
                last = Some(event);
                break;
            }
            past.push(event);
        }
        let lines = self.progress.replay(&facts, &past, attached);
        self.show(&lines);
        let after = last.as_ref().or(past.last()).map_or(0, |event| event.sequence);
        match last.and_then(|event| self.take(&event)) {
            Some(finished) => Ok(Ended::Finished(finished)),
            None => self.events(platform, operation, after).await,
        }
    }

    /// Reads events until the operation has finished.
    async fn events(&mut self, platform: &mut Platform, operation: Uuid, mut after: u64) -> CommandResult<Ended> {
        let mut interrupt = self.interrupt()?;
        loop {
            match platform.client.events(operation, after).await {
                Ok(stream) => {
                    let ended = self.stream(platform, operation, stream, &mut after, &mut interrupt).await?;
                    if let Some(ended) = ended {
                        return Ok(ended);
                    }
                }
                Err(ClientError::Problem(problem)) if problem.status != 503 => return Err((*problem).into()),
                Err(_) => {}
            }
            if let Some(ended) = self.lost(platform, operation, &mut interrupt).await? {
                return Ok(ended);
            }
        }
    }

    /// Reads one stream to its end; `None` if it broke before the operation had finished.
    async fn stream(
        &mut self,
        platform: &Platform,
        operation: Uuid,
        mut stream: EventStream,
        after: &mut u64,
        interrupt: &mut Option<Signal>,
    ) -> CommandResult<Option<Ended>> {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                event = stream.next() => match event {
                    Ok(Some(event)) if event.sequence > *after => {
                        *after = event.sequence;
                        if let Some(finished) = self.take(&event) {
                            return Ok(Some(Ended::Finished(finished)));
                        }
                    }
                    Ok(Some(_)) => {}
                    Err(ClientError::Answer(reason)) => return Err(ClientError::Answer(reason).into()),
                    Ok(None) | Err(_) => return Ok(None),
                },
                () = pressed(interrupt) => {
                    if self.interrupted(platform, operation).await {
                        return Ok(Some(Ended::Detached));
                    }
                }
                _ = ticks.tick() => self.tick(),
            }
        }
    }

    /// Takes in an event; gives the end if it is that.
    fn take(&mut self, event: &Event) -> Option<Box<Finished>> {
        if self.terminal.json && !self.quiet {
            self.print(event);
        }
        if let EventKind::Taken { times, done, steps } = &event.kind
            && *times > 1
            && !self.quiet
        {
            let at = (done + 1).min(*steps);
            self.show(&[format!("The platform has resumed the operation at step {at} of {steps}.")]);
        }
        let lines = self.progress.event(&event.kind, self.begun.elapsed());
        self.show(&lines);
        let EventKind::Finished { stack, revision, state, outputs, timings, failure, exists, missing, .. } =
            &event.kind
        else {
            return None;
        };
        Some(Box::new(Finished {
            stack: *stack,
            revision: *revision,
            state: state.clone(),
            outputs: outputs.clone(),
            timings: timings.clone(),
            failure: failure.clone(),
            exists: exists.clone(),
            missing: missing.clone(),
        }))
    }

    /// An event for machines; the last one also tells how long the phases before it took.
    fn print(&self, event: &Event) {
        let mut event = event.clone();
        if let EventKind::Finished { timings, .. } = &mut event.kind {
            for (phase, milliseconds) in &self.phases {
                timings.phases.entry((*phase).to_owned()).or_insert(*milliseconds);
            }
        }
        self.terminal.print_json(&event);
    }

    /// The stream has ended early. Waits for the platform, unless the operation is over.
    async fn lost(
        &mut self,
        platform: &mut Platform,
        operation: Uuid,
        interrupt: &mut Option<Signal>,
    ) -> CommandResult<Option<Ended>> {
        if let Ok(facts) = platform.client.operation(operation).await {
            if facts.is_finished() {
                return Ok(Some(Ended::Finished(Box::new(Finished::of(facts)))));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            return Ok(None);
        }
        self.away = true;
        let text = "The platform has gone away. The operation carries on once it runs again (`freehold up`); \
                    waiting for that for a minute, or for 10 s if it was stopped.";
        self.show(&[hanging(text, 0, 0)]);
        let answer = tokio::select! {
            () = pressed(interrupt) => None,
            answer = platform.reconnect() => Some(answer),
        };
        self.away = false;
        match answer {
            None => Ok(Some(Ended::Detached)),
            Some(answer) => match answer {
                Ok(()) => Ok(None),
                Err(failure) => Err(failure.fact(format!(
                    "operation {} is not lost: it continues as soon as the platform runs",
                    short_id(operation)
                ))),
            },
        }
    }

    /// Ctrl-C: true if that was the second one.
    async fn interrupted(&mut self, platform: &Platform, operation: Uuid) -> bool {
        self.interrupts += 1;
        if self.interrupts > 1 {
            let text = format!("Detached: operation {} continues in the background.", short_id(operation));
            self.show(&[hanging(&text, 0, 0)]);
            return true;
        }
        let text = "Stopping: a job or dump that runs is ended, other steps are finished, and none is begun. Ctrl-C again leaves it \
             to the platform.";
        self.show(&[hanging(text, 0, 0)]);
        if let Err(error) = platform.client.cancel(operation).await {
            self.show(&[format!("It can't be stopped: {error}")]);
        }
        false
    }

    fn interrupt(&self) -> CommandResult<Option<Signal>> {
        if self.quiet {
            return Ok(None);
        }
        let signal = signal(SignalKind::interrupt());
        signal.map(Some).map_err(|error| CommandError::new(Code::Internal, format!("can't listen for Ctrl-C: {error}")))
    }

    fn tick(&mut self) {
        if self.quiet || self.terminal.json {
        } else if self.terminal.is_watched() {
            self.show(&[]);
        } else if self.spoken.elapsed() > SILENCE
            && let Some(line) = self.progress.still(self.begun.elapsed())
        {
            self.show(&[line]);
        }
    }

    /// Prints lines that stay, and below them what is drawn over again.
    fn show(&mut self, lines: &[String]) {
        if self.quiet || self.terminal.json {
            return;
        }
        if !lines.is_empty() {
            self.spoken = Instant::now();
        }
        if !self.terminal.is_watched() {
            lines.iter().for_each(|line| self.terminal.tell(line));
            return;
        }
        let live = if self.away { Vec::new() } else { self.progress.live(self.begun.elapsed()) };
        self.terminal.redraw(self.drawn, &lines.iter().chain(&live).collect::<Vec<_>>());
        self.drawn = live.len();
    }
}

/// Waits for Ctrl-C; for ever where it isn't listened for.
async fn pressed(interrupt: &mut Option<Signal>) {
    match interrupt {
        Some(interrupt) => {
            interrupt.recv().await;
        }
        None => std::future::pending().await,
    }
}

impl Finished {
    fn of(facts: Operation) -> Self {
        Self {
            stack: facts.stack,
            revision: facts.revision,
            state: facts.state,
            outputs: facts.outputs,
            timings: Timings::default(),
            failure: facts.failure,
            exists: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// Whether all was done.
    pub(crate) fn succeeded(&self) -> bool {
        self.state == OperationState::Succeeded
    }

    /// Milliseconds until everything was ready.
    pub(crate) fn ready(&self) -> Option<u64> {
        self.timings.ready.or(Some(self.timings.total).filter(|total| *total > 0))
    }

    /// Milliseconds from then until everything had settled, where anything had to.
    pub(crate) fn settled(&self) -> Option<u64> {
        self.timings.total.checked_sub(self.ready()?).filter(|time| *time > 0)
    }

    /// Why a deploy did not succeed, what exists, and what still works.
    pub(crate) async fn failure(self, platform: &Platform, again: &str) -> Box<CommandError> {
        let stack = self.stack;
        let failure = self.stopped(again);
        let Ok(stack) = platform.client.stack(stack).await else { return failure };
        match stack.revision {
            Some(revision) if stack.state != StackState::Destroying => match serving::told(&stack, revision) {
                Some(standing) => failure.standing(standing),
                None => failure,
            },
            _ => failure,
        }
    }

    /// Why it did not succeed, and what exists.
    pub(crate) fn stopped(self, again: &str) -> Box<CommandError> {
        let cancelled = self.state == OperationState::Cancelled;
        let mut failure = match self.failure {
            Some(problem) => Box::<CommandError>::from(problem),
            None if cancelled => CommandError::new(Code::Cancelled, "stopped as asked: not everything was done"),
            None => CommandError::new(Code::StepFailed, format!("the operation ended as {}", self.state)),
        };
        // The request was good enough to begin with.
        failure.outcome = crate::report::ExitStatus::Failed;
        failure.told = true;
        for fact in outputs::left(&self.exists, &self.missing) {
            failure = failure.standing(fact);
        }
        if failure.problem.help.is_none() {
            failure = failure.help(format!("continue with {again}"));
        }
        failure
    }
}
