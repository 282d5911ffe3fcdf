//! What no cluster can do, whichever it is, so that nothing of it is left for a plan to find.

use freehold_graph::expand::{ExpandError, kubernetes};
use freehold_problem::Code;

use crate::diagnostic::Diagnostic;
use crate::scope::Scope;

pub(super) fn check(scope: &mut Scope<'_>) {
    schedules(scope);
    prefixes(scope);
    variables(scope);
    same_objects(scope);
}

/// The longest prefix of a path, and the longest name of a variable, that an object of a cluster takes.
const LONGEST: (usize, usize) = (1024, 253);

/// Prefixes that a gateway takes as little as a browser sends them.
fn prefixes(scope: &mut Scope<'_>) {
    for (name, route) in &scope.app.routes {
        for prefix in route.paths.iter().map(|rule| &rule.prefix) {
            let Some(why) = unfit(&prefix.value) else { continue };
            let diagnostic =
                Diagnostic::error(Code::BadPath, format!("no request's path fits a prefix of route {name}"))
                    .at(prefix.span, why)
                    .help("write it as browsers send it: \"/caf%C3%A9\" for \"/café\", one slash between its parts");
            scope.report(diagnostic);
        }
    }
}

fn unfit(prefix: &str) -> Option<String> {
    if prefix.len() > LONGEST.0 {
        return Some(format!("it has {} characters, and {} are the most", prefix.len(), LONGEST.0));
    }
    let odd = |c: &char| !c.is_ascii_alphanumeric() && !"-/._~!$&'()*+,;=:@%".contains(*c);
    if let Some(odd) = prefix.chars().find(odd) {
        return Some(format!("{odd:?} stands encoded in the path of a request"));
    }
    let is_hex = |digits: &str| digits.len() == 2 && digits.chars().all(|c| c.is_ascii_hexdigit());
    let encoded: Vec<&str> = prefix.split('%').skip(1).map(|rest| rest.get(..2).unwrap_or(rest)).collect();
    if encoded.iter().any(|digits| !is_hex(digits)) {
        return Some("two hexadecimal digits follow a `%`".to_owned());
    }
    if encoded.iter().any(|digits| digits.eq_ignore_ascii_case("2f")) {
        return Some("an encoded slash is no slash to some, and one to others".to_owned());
    }
    prefix.contains("//").then(|| "two slashes in a row".to_owned())
}

/// Names of variables that no object takes as a key.
fn variables(scope: &mut Scope<'_>) {
    for program in scope.programs() {
        for (name, value) in program.env.iter().filter(|(name, _)| name.as_str().len() > LONGEST.1) {
            let length = name.as_str().len();
            let message = format!(
                "the name of a variable of {} {} has {length} characters, and {} are the most in a cluster",
                program.word, program.name, LONGEST.1
            );
            scope.report(Diagnostic::error(Code::BadName, message).at(value.span, "of this one").help("shorten it"));
        }
    }
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
        if let ExpandError::SameName { first, second, kind, namespace: _, name } = hindrance
            // Within one part it is told otherwise, for its containers then have the same name.
            && first != second
        {
            let message = format!("{first} and {second} would both be the {kind} {name} of a cluster");
            let mut diagnostic = Diagnostic::error(Code::SameObject, message);
            for (claimant, label) in [(second, "the second one"), (first, "the first one")] {
                let span = claimant.part.and_then(|(kind, name)| scope.app.span(kind, name.as_str()));
                if let Some(span) = span {
                    diagnostic = diagnostic.at(span, label);
                }
            }
            scope.report(diagnostic.help("rename one of them"));
        }
    }
}
