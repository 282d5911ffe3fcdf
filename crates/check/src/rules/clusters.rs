//! What no cluster can do, whichever it is, so that nothing of it is left for a plan to find.

use freehold_graph::expand::{ExpandError, kubernetes};
use freehold_spec::{App, Span};

use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::scope::Scope;

pub(super) fn check(scope: &mut Scope<'_>) {
    schedules(scope);
    same_objects(scope);
}

/// Schedules that Kubernetes has no words for.
fn schedules(scope: &mut Scope<'_>) {
    for schedule in scope.app.jobs.values().filter_map(|job| job.schedule.as_ref()) {
        if kubernetes::cron(schedule).is_some() {
            continue;
        }
        let message = format!("a cluster would read {:?} differently", schedule.value);
        let diagnostic = Diagnostic::error(Code::ScheduleDiffers, message)
            .at(schedule.span, "both days are restricted, one of them with `*`")
            .note("such a day has to fit both fields; Kubernetes would take one that fits either of them")
            .help("leave one of the two fields `*`, or write figures (`1-31/2` for `*/2`) if either may fit");
        scope.report(diagnostic);
    }
}

/// Objects that would have one name, found by expanding the app.
fn same_objects(scope: &mut Scope<'_>) {
    if !scope.knows_all() {
        return;
    }
    for hindrance in kubernetes::hindrances(scope.app) {
        // The other rules say all else, and say it better.
        if let ExpandError::SameName { first, second, object } = hindrance
            && let Some(diagnostic) = same_object(scope.app, &first, &second, &object)
        {
            scope.report(diagnostic);
        }
    }
}

/// Two parts of the app; within one it is told otherwise, for its containers then have the same name.
fn same_object(app: &App, first: &str, second: &str, object: &str) -> Option<Diagnostic> {
    if first == second {
        return None;
    }
    let kind = object.split('/').next().unwrap_or_default();
    let name = object.rsplit('/').next().unwrap_or_default();
    let message = format!("{first} and {second} would both be the {kind} {name} of a cluster");
    let mut diagnostic = Diagnostic::error(Code::SameObject, message);
    for (place, label) in [(second, "the second one"), (first, "the first one")] {
        if let Some(span) = span(app, place) {
            diagnostic = diagnostic.at(span, label);
        }
    }
    Some(diagnostic.help("rename one of them"))
}

fn span(app: &App, place: &str) -> Option<Span> {
    match place.split_once('.')? {
        ("service", name) => app.services.get(name).map(|service| service.span),
        ("job", name) => app.jobs.get(name).map(|job| job.span),
        ("route", name) => app.routes.get(name).map(|route| route.span),
        ("database", name) => app.databases.get(name).map(|database| database.span),
        _ => None,
    }
}
