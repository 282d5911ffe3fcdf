//! An operation's progress: from its events to lines. What is done stays; what is under way is drawn over again where
//! a person watches, and only told once where nobody does.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use freehold::wire::{Event, EventKind, Operation, Purpose, Verb};
use freehold_graph::kind::{Fence, Program};

use super::cluster;
use super::waits::Waits;
use crate::layout::{DIM, GREEN, RED, YELLOW, ago, columns, count, hanging, pad, paint, seconds, short_id, shorten};

/// The first part of a job's id.
const JOB: &str = "job";
/// How wide a place in the grid of what is done is.
const PLACE: usize = 25;
/// How many of the things that are waited for are drawn.
const WAITS: usize = 4;
const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// A step under way.
#[derive(Debug, Clone)]
struct Running {
    label: String,
    since: Duration,
    retrying: Option<String>,
    /// The last reason for another attempt that was told.
    told: Option<String>,
    folds: bool,
}

/// What is known of an operation's progress.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Somebody watches: what is done is put side by side.
    watched: bool,
    width: usize,
    destroys: bool,
    /// How many subjects have the same word: the only database needs no name.
    subjects: BTreeMap<String, usize>,
    running: BTreeMap<String, Running>,
    waits: Waits,
    row: String,
    row_width: usize,
    done: u32,
    steps: u32,
    /// What people hardly think of, told in one line: how many there are to come, and what is done.
    plumbing: Plumbing,
}

/// The many small objects of a cluster.
#[derive(Debug, Default)]
struct Plumbing {
    expected: usize,
    done: usize,
    since: Option<Duration>,
    last: Duration,
}

impl Progress {
    /// Of an operation on these subjects (`database.main`).
    pub(crate) fn new<'a>(watched: bool, width: usize, subjects: impl Iterator<Item = &'a str>) -> Self {
        let mut progress = Self { watched, width, ..Self::default() };
        for subject in subjects {
            let word = subject.split_once('.').map_or(subject, |(word, _)| word);
            *progress.subjects.entry(word.to_owned()).or_default() += 1;
        }
        progress
    }

    /// With the many small objects of a cluster in one line: how many of them there are to come.
    pub(crate) fn folding<'a>(mut self, changed: impl Iterator<Item = &'a str>) -> Self {
        let words = changed.map(|subject| subject.split('.').next().unwrap_or_default());
        self.plumbing.expected = words.filter(|word| cluster::is_plumbing(word)).count();
        self
    }

    /// Whether a step's subject is told together with its like.
    fn folds(&self, subject: &str) -> bool {
        self.plumbing.expected > 1 && cluster::is_plumbing(subject.split('.').next().unwrap_or_default())
    }

    /// One of them is done; the line when it was the last.
    fn plumbed(&mut self, since: Duration, now: Duration) -> Vec<String> {
        let plumbing = &mut self.plumbing;
        plumbing.since = Some(plumbing.since.map_or(since, |first| first.min(since)));
        plumbing.done += 1;
        plumbing.last = now;
        if plumbing.done < plumbing.expected { Vec::new() } else { self.plumbing_line() }
    }

    fn plumbing_line(&mut self) -> Vec<String> {
        let plumbing = std::mem::take(&mut self.plumbing);
        let took = plumbing.last.saturating_sub(plumbing.since.unwrap_or_default());
        self.plumbing.expected = plumbing.expected.saturating_sub(plumbing.done);
        if plumbing.done == 0 {
            return Vec::new();
        }
        let verb = if self.destroys { " deleted" } else { "" };
        let text = format!("{}{verb}", count(plumbing.done, "object"));
        let took = seconds(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        match self.watched {
            true => self.place(&format!("{} {took}", pad(&text, 10))),
            false => vec![format!("  {} {} {took}", paint(GREEN, "✓"), pad(&text, 18))],
        }
    }

    /// Of a destruction.
    pub(crate) fn destroying(mut self) -> Self {
        self.destroys = true;
        self
    }

    /// Takes in an event; `now` is the time since the beginning. Gives the lines that stay.
    pub(crate) fn event(&mut self, event: &EventKind, now: Duration) -> Vec<String> {
        match event {
            EventKind::Taken { done, steps, .. } => {
                (self.done, self.steps) = (*done, *steps);
                self.waits.clear();
                Vec::new()
            }
            EventKind::Waiting { subject, reason, milliseconds, retry_after_milliseconds } => {
                let Some(reason) = reason else {
                    self.waits.end(subject);
                    return Vec::new();
                };
                let retry = retry_after_milliseconds.map(Duration::from_millis);
                self.waits.begin(subject, reason, Duration::from_millis(*milliseconds), retry, now);
                let told = self.waits.told(subject, now).filter(|_| !self.watched);
                told.map(|text| format!("  {} {}", paint(YELLOW, "…"), hanging(&text, 4, 4))).into_iter().collect()
            }
            EventKind::StepStarted { step, verb, subject, .. } => {
                let label = self.label(verb, subject);
                let before = self.running.remove(step);
                let since = before.as_ref().map_or(now, |running| running.since);
                let told = before.and_then(|running| running.told);
                let folds = self.folds(subject);
                self.running.insert(step.clone(), Running { label, since, retrying: None, told, folds });
                Vec::new()
            }
            EventKind::StepRetrying { step, reason, retry_after_milliseconds } => {
                let Some(running) = self.running.get_mut(step) else { return Vec::new() };
                // Once for each reason; for how long it has been so, the waits tell.
                let is_known = running.told.replace(reason.clone()).is_some_and(|before| before == *reason);
                let text = match retry_after_milliseconds {
                    Some(after) => format!("{reason}; again in {}", seconds(*after)),
                    None => reason.clone(),
                };
                running.retrying = Some(text.clone());
                let line = format!("  {} {}: {}", paint(YELLOW, "↻"), running.label, hanging(&text, 30, 4));
                if self.watched || is_known { Vec::new() } else { vec![line] }
            }
            EventKind::StepDone { step, verb, subject, note, milliseconds } => {
                let running = self.running.remove(step);
                self.waits.end(subject);
                self.done += 1;
                if note.is_none() && self.folds(subject) {
                    let begun = now.saturating_sub(Duration::from_millis(*milliseconds));
                    return self.plumbed(running.map_or(begun, |running| running.since), now);
                }
                self.done_line(verb, subject, note.as_deref(), *milliseconds)
            }
            EventKind::StepFailed { step, subject, .. } => {
                let running = self.running.remove(step);
                self.waits.end(subject);
                let label =
                    running.map_or_else(|| self.label(&Verb::Other(String::new()), subject), |running| running.label);
                let mut lines = self.flush();
                lines.push(format!("  {} {label}", paint(RED, "✗")));
                lines
            }
            EventKind::Ready { milliseconds } => {
                let mut lines = self.plumbing_line();
                lines.extend(self.flush());
                let text = format!("ready after {}; watching whether it stays so", seconds(*milliseconds));
                lines.push(format!("  {} {}", paint(GREEN, "✓"), hanging(&text, 4, 4)));
                lines
            }
            EventKind::Finished { .. } => {
                let mut lines = self.plumbing_line();
                lines.extend(self.flush());
                lines
            }
        }
    }

    /// The lines to draw over again: the row that isn't full yet, and what is under way.
    pub(crate) fn live(&self, now: Duration) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.row.is_empty() {
            lines.push(self.row.trim_end().to_owned());
        }
        if !self.running.is_empty() {
            let frame = usize::try_from(now.as_millis() / 100).unwrap_or(0) % SPINNER.len();
            let parts = self.under_way(now);
            let count = if self.steps > 0 { format!("{} of {}  ", self.done, self.steps) } else { String::new() };
            let text = shorten(&format!("{count}{}", parts.join(" · ")), self.width.saturating_sub(4));
            let spinner = SPINNER.get(frame).copied().unwrap_or('·');
            lines.push(format!("  {} {}", paint(YELLOW, spinner), paint(DIM, text)));
            let waits = self.waits.all(now).into_iter().take(WAITS);
            lines.extend(waits.map(|wait| format!("    {}", paint(DIM, shorten(&wait, self.width.saturating_sub(4))))));
        }
        lines
    }

    /// What is under way, for those who see no drawing: once in a while, so that nobody thinks it hangs.
    pub(crate) fn still(&self, now: Duration) -> Option<String> {
        let mut parts = self.under_way(now);
        parts.extend(self.waits.all(now));
        (!parts.is_empty()).then(|| format!("  {} {}", paint(DIM, "…"), hanging(&parts.join(" · "), 4, 4)))
    }

    /// What is under way, the many small objects as a number.
    fn under_way(&self, now: Duration) -> Vec<String> {
        let folds = |running: &&Running| running.folds && running.retrying.is_none();
        let mut parts: Vec<String> =
            self.running.values().filter(|running| !folds(running)).map(|running| under_way(running, now)).collect();
        match self.running.values().filter(folds).count() {
            0 => {}
            number => parts.insert(0, count(number, "object")),
        }
        parts
    }

    /// What happened before anybody looked: where the operation stands, and what is done.
    pub(crate) fn replay(&mut self, operation: &Operation, events: &[Event], now: DateTime<Utc>) -> Vec<String> {
        let taken = events.iter().rposition(|event| matches!(event.kind, EventKind::Taken { .. }));
        let standing = match taken.and_then(|at| events.get(at)).map(|event| &event.kind) {
            Some(EventKind::Taken { times, done, steps }) if *times > 1 => {
                let before = taken.and_then(|at| events.get(at.saturating_sub(1))).map_or(now, |event| event.at);
                let past = ago((now - before).num_seconds());
                let at = (done + 1).min(*steps);
                format!("(the server was interrupted {past} ago at step {at} of {steps} and has resumed it)")
            }
            _ => format!("(it was begun {} ago)", ago((now - operation.created_at).num_seconds())),
        };
        let id = short_id(operation.id);
        let revision = match operation.purpose {
            Purpose::Destroy => format!("the destruction of {}", operation.key),
            Purpose::Deploy | Purpose::Rollback { .. } | Purpose::Other(_) => {
                format!("revision {}", operation.revision)
            }
        };
        let mut lines = vec![hanging(&format!("Following operation {id} of {revision} {standing}"), 0, 0)];
        let (mut before, mut meanwhile) = (Vec::new(), Vec::new());
        // As it is now: the events that are gone through below count these objects down.
        let together = self.plumbing.expected > 1;
        for (at, event) in events.iter().enumerate() {
            if let EventKind::StepDone { verb, subject, .. } = &event.kind {
                let earlier = taken.is_some_and(|taken| at < taken);
                let list = if earlier { &mut before } else { &mut meanwhile };
                let plumbing = cluster::is_plumbing(subject.split('.').next().unwrap_or_default());
                let label = if together && plumbing { "objects".to_owned() } else { self.label(verb, subject) };
                if label != "objects" || !list.contains(&label) {
                    list.push(label);
                }
            }
            self.event(&event.kind, Duration::ZERO);
            if let EventKind::Waiting { subject, reason: Some(reason), milliseconds, .. } = &event.kind {
                let age = (now - event.at).to_std().unwrap_or_default() + Duration::from_millis(*milliseconds);
                self.waits.begin(subject, reason, age, None, Duration::ZERO);
            }
        }
        (self.row, self.row_width) = (String::new(), 0);
        let resumed = !before.is_empty();
        let lists = [(before, "done before"), (meanwhile, if resumed { "finished meanwhile" } else { "done before" })];
        for (labels, words) in lists.iter().filter(|(labels, _)| !labels.is_empty()) {
            let text = hanging(&format!("{}: {words}", labels.join(", ")), 4, 4);
            lines.push(format!("  {} {text}", paint(GREEN, "✓")));
        }
        let waits = self.waits.all(Duration::ZERO).into_iter().filter(|_| !self.watched);
        lines.extend(waits.map(|wait| format!("  {} {}", paint(YELLOW, "…"), hanging(&wait, 4, 4))));
        lines
    }

    fn done_line(&mut self, verb: &Verb, subject: &str, note: Option<&str>, milliseconds: u64) -> Vec<String> {
        if *verb == Verb::Verify {
            let mut lines = self.flush();
            let text = match (self.destroys, note) {
                (true, Some(note)) => format!("all gone: {note}"),
                (true, None) => "all gone".to_owned(),
                // That it is ready is the next thing that is said.
                (false, _) => return lines,
            };
            lines.push(format!("  {} {}", paint(GREEN, "✓"), hanging(&text, 4, 4)));
            return lines;
        }
        let label = self.label(verb, subject);
        if *verb == Verb::Dump {
            let mut lines = self.flush();
            let text = format!("{label}: {}", note.unwrap_or("written"));
            lines.push(format!("  {} {}", paint(GREEN, "✓"), hanging(&text, 4, 4)));
            return lines;
        }
        let note = note.map(|note| format!(", {note}")).unwrap_or_default();
        if !self.watched {
            let text = hanging(&format!("{}{note}", seconds(milliseconds)), 24, 24);
            return vec![format!("  {} {} {text}", paint(GREEN, "✓"), pad(&label, 18))];
        }
        self.place(&format!("{} {}{note}", pad(&label, 10), seconds(milliseconds)))
    }

    /// Puts a text into the grid; gives the row when it is full.
    fn place(&mut self, text: &str) -> Vec<String> {
        let text = shorten(text, self.width.saturating_sub(5));
        let width = (columns(&text) + 3).next_multiple_of(PLACE);
        let mut lines = Vec::new();
        if self.row_width > 0 && self.row_width + columns(&text) + 4 > self.width {
            lines = self.flush();
        }
        if self.row.is_empty() {
            self.row.push_str("  ");
            self.row_width = 2;
        }
        self.row.push_str(&format!("{} {}", paint(GREEN, "✓"), pad(&text, width - 2)));
        self.row_width += width;
        lines
    }

    fn flush(&mut self) -> Vec<String> {
        self.row_width = 0;
        let row = std::mem::take(&mut self.row);
        if row.is_empty() { Vec::new() } else { vec![row.trim_end().to_owned()] }
    }

    /// What a step is called: `database`, `migrate`, `secret session-key`.
    fn label(&self, verb: &Verb, subject: &str) -> String {
        let (word, name) = subject.split_once('.').unwrap_or((subject, ""));
        let name = name.split('@').next().unwrap_or_default();
        let row = cluster::row(word);
        // A cluster's Service has the word of a service of one machine, and isn't the program: another kind runs that.
        let runs_services = |word: &str, in_cluster: bool| {
            let row = cluster::row(word);
            row.is_some_and(|row| row.program == Program::Service && row.api.is_some() == in_cluster)
        };
        let address = runs_services(word, false) && self.subjects.keys().any(|other| runs_services(other, true));
        let program = word == JOB || (row.is_some_and(|row| row.program.is_some()) && !address);
        let label = match self.subjects.get(word) {
            _ if program => name.to_owned(),
            Some(1) if !address => cluster::short(word).to_owned(),
            None if !address && name == "main" && row.is_some_and(|row| row.api.is_none()) => {
                cluster::short(word).to_owned()
            }
            Some(_) | None => format!("{} {name}", cluster::short(word)),
        };
        let logins = row.is_some_and(|row| row.fence == Fence::Logins);
        match verb {
            Verb::Verify => "verify".to_owned(),
            Verb::Dump => format!("dump of {word} {name}"),
            Verb::Fence if logins => "logins shut".to_owned(),
            Verb::Fence => format!("{label} stopped"),
            Verb::Lift if logins => "logins opened".to_owned(),
            Verb::Lift => format!("{label} started again"),
            Verb::Delete if !self.destroys => format!("{label} deleted"),
            Verb::Delete | Verb::Create | Verb::Update | Verb::Replace | Verb::Adopt | Verb::Run | Verb::Other(_) => {
                label
            }
        }
    }
}

fn under_way(running: &Running, now: Duration) -> String {
    let since = now.saturating_sub(running.since).as_secs();
    match (&running.retrying, since) {
        (Some(reason), _) => format!("{}: {reason}", running.label),
        (None, 0) => running.label.clone(),
        (None, since) => format!("{} {since} s", running.label),
    }
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
