//! When jobs run, and in which order.

use std::collections::{BTreeMap, BTreeSet};

use freehold_problem::Code;
use freehold_spec::app::{Job, When, texts};
use freehold_spec::part::output::Secrecy;
use freehold_spec::{JobOrder, Name, PartKind, Span};

use crate::diagnostic::Diagnostic;
use crate::scope::{Scope, listed, suggestion};

pub(super) fn check(scope: &mut Scope<'_>) {
    contradictions(scope);
    after(scope);
    match JobOrder::of(&scope.app.jobs) {
        Ok(order) => meetings(scope, &order),
        Err(circle) => report_circle(scope, &circle),
    }
}

/// `when` and `schedule` that don't go together.
fn contradictions(scope: &mut Scope<'_>) {
    for (name, job) in &scope.app.jobs {
        let known = ["when", "schedule"].iter().all(|key| scope.knows(&format!("job.{name}.{key}")));
        let Some(when) = job.when.as_ref().filter(|_| known) else { continue };
        let diagnostic = match (&job.schedule, when.value) {
            (None, When::Schedule) => {
                let message = format!("job {name} runs on a schedule and has none");
                let diagnostic = Diagnostic::error(Code::WhenContradicts, message).at(when.span, "on which schedule?");
                diagnostic.help("add a `schedule`, such as \"0 6 * * *\"")
            }
            (Some(schedule), word @ (When::Revision | When::Once | When::Demand)) => {
                let message = format!("job {name} has a schedule, and does not run on it");
                let diagnostic = Diagnostic::error(Code::WhenContradicts, message)
                    .at(when.span, format!("says \"{}\"", word.as_str()))
                    .at(schedule.span, "says when as well");
                diagnostic.help("leave one of the two out")
            }
            (None, When::Revision | When::Once | When::Demand) | (Some(_), When::Schedule) => continue,
        };
        scope.report(diagnostic);
    }
}

/// `after` that names no job of the same deploy, or stands in none.
fn after(scope: &mut Scope<'_>) {
    let jobs = &scope.app.jobs;
    let told = |job: &Job| match job.runs() {
        When::Schedule => "runs on a schedule",
        When::Demand => "runs on demand",
        When::Revision | When::Once => "runs in deploys",
    };
    for (name, job) in jobs {
        if let Some(first) = job.after.first().filter(|_| !job.runs().is_deployed()) {
            let message = format!("job {name} {}, so it is after no other job", told(job));
            let diagnostic =
                Diagnostic::error(Code::NotInDeploy, message).at(first.span, "orders the jobs of a deploy");
            scope.report(diagnostic.help("leave `after` out, or let a deploy run the job"));
            continue;
        }
        for earlier in &job.after {
            let Some(other) = jobs.get(&earlier.value) else {
                if scope.knows(&format!("job.{}", earlier.value)) {
                    let near = if scope.is_full() { None } else { suggestion(earlier.as_str(), jobs.keys()) };
                    let help = near.unwrap_or_else(|| format!("the app's jobs are {}", listed(jobs)));
                    let message = format!("job {name} is after the job {}, which isn't defined", earlier.value);
                    scope.report(Diagnostic::error(Code::Dangling, message).at(earlier.span, "no such job").help(help));
                }
                continue;
            };
            if !other.runs().is_deployed() {
                let message = format!("job {name} is after {}, which no deploy runs", earlier.value);
                let label = format!("{} {}", earlier.value, told(other));
                let diagnostic = Diagnostic::error(Code::NotInDeploy, message).at(earlier.span, label);
                scope.report(diagnostic.help("leave it out of `after`, or let each deploy run it"));
            }
        }
    }
}

fn report_circle(scope: &mut Scope<'_>, circle: &[&Name]) {
    let Some(first) = circle.first() else { return };
    let next = circle.get(1).unwrap_or(first);
    let span = scope.app.jobs.get(*first).and_then(|job| job.after.iter().find(|earlier| earlier.value == **next));
    let words: Vec<String> = circle.iter().chain([first]).map(|name| format!("job.{name}")).collect();
    let diagnostic = Diagnostic::error(Code::Cycle, "these jobs wait for each other, so none of them would ever run")
        .at(span.map_or(Span::default(), |earlier| earlier.span), "this closes the circle")
        .note(words.join(" is after "))
        .help("leave one of them out of `after`");
    scope.report(diagnostic);
}

/// Jobs that may run at once and write to the same database.
fn meetings(scope: &mut Scope<'_>, order: &JobOrder<'_>) {
    let app = scope.app;
    // By database, in an order in which each job comes behind those that it waits for.
    let mut writers: BTreeMap<&Name, Vec<(&Name, Span)>> = BTreeMap::new();
    for name in order.names() {
        let Some(job) = app.jobs.get(*name) else { continue };
        let mut seen = BTreeSet::new();
        for reference in texts(&job.env, &job.files).flat_map(|template| template.references()) {
            let Some((database, output)) = reference.value.output() else { continue };
            let writes = output.part() == PartKind::Database && output.row().secrecy != Secrecy::Public;
            if writes && app.databases.contains_key(database) && seen.insert(database) {
                writers.entry(database).or_default().push((*name, reference.span));
            }
        }
    }
    for (database, jobs) in writers {
        // They are all in order if each is before the next.
        let pairs = jobs.iter().zip(jobs.iter().skip(1));
        let mut meeting = pairs.filter(|((one, _), (other, _))| order.may_meet(one, other));
        let Some(((one, first), (other, second))) = meeting.next() else { continue };
        let message = format!("jobs {one} and {other} run at the same time, and both write to the database {database}");
        let diagnostic = Diagnostic::warning(Code::JobsMeet, message)
            .at(*second, format!("{other} writes here"))
            .at(*first, format!("{one} writes here"))
            .help(format!("say which comes first: `after = [\"{one}\"]` in `[job.{other}]`"));
        scope.report(diagnostic);
    }
}
