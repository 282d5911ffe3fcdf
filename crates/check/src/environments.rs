//! A definition in all its environments: what is wrong in any of them, told once, with those in which it is.

use std::collections::{BTreeMap, BTreeSet};

use freehold_problem::Code;
use freehold_spec::{Document, Environment, Reading};

use crate::diagnostic::Diagnostic;
use crate::found::Found;
use crate::scope::Scope;
use crate::{decoding, rules};

/// What is told only if it is so in every environment: a part is defined for all of them, and used where it is needed.
const EVERYWHERE: [Code; 2] = [Code::UnusedDatabase, Code::UnusedSecret];
/// How many environments of a finding are named.
const NAMED: usize = 10;

/// A finding, and the environments in which it is.
struct Finding {
    diagnostic: Diagnostic,
    /// Whether a rule has found it, which looks at no environment that can't be read.
    by_rule: bool,
    environments: BTreeSet<Environment>,
}

/// Findings by all that is said about them.
#[derive(Default)]
struct Findings(BTreeMap<String, Finding>);

impl Findings {
    fn add(&mut self, diagnostic: Diagnostic, by_rule: bool, environments: &BTreeSet<Environment>) {
        let place = diagnostic.labels.first().map_or(0, |label| label.span.start);
        let key = format!("{place:>9} {}", serde_json::to_string(&diagnostic).unwrap_or_default());
        let none = Finding { diagnostic, by_rule, environments: BTreeSet::new() };
        self.0.entry(key).or_insert(none).environments.extend(environments.iter().cloned());
    }
}

/// Checks a definition in all its environments.
pub(crate) fn check(document: &Document<'_>, base: &Reading) -> Found {
    let groups = document.groups();
    let all: BTreeSet<Environment> = groups.values().flatten().cloned().collect();
    if groups.keys().all(Vec::is_empty) {
        return one(base);
    }
    let (mut findings, mut unread, mut untold) = (Findings::default(), BTreeSet::new(), (0, 0));
    for (layers, environments) in groups {
        let of_its_own = environments.first().filter(|_| !layers.is_empty());
        let read = of_its_own.map(|environment| document.read(Some(environment)));
        let reading = read.as_ref().unwrap_or(base);
        if !reading.errors.is_empty() {
            unread.extend(environments.iter().cloned());
        }
        let (diagnostics, errors, warnings) = by_rules(reading).into_parts();
        untold = (untold.0.max(errors + reading.untold), untold.1.max(warnings));
        diagnostics.into_iter().for_each(|diagnostic| findings.add(diagnostic, true, &environments));
        reading.errors.iter().for_each(|error| findings.add(decoding::diagnostic(error), false, &environments));
    }
    // What can't be read as it stands can't be, whatever overrides it.
    base.errors.iter().for_each(|error| findings.add(decoding::diagnostic(error), false, &all));
    let mut found = Found::default();
    for Finding { mut diagnostic, by_rule, mut environments } in findings.0.into_values() {
        if by_rule {
            environments.extend(unread.iter().cloned());
        }
        if !EVERYWHERE.contains(&diagnostic.code) || environments == all {
            diagnostic.environments = names(&all, environments);
            found.add(diagnostic);
        }
    }
    found.add_untold(untold.0, untold.1);
    found
}

/// What is wrong in one environment.
pub(crate) fn one(reading: &Reading) -> Found {
    let mut found = by_rules(reading);
    reading.errors.iter().map(decoding::diagnostic).for_each(|error| found.add(error));
    found.add_untold(reading.untold, 0);
    found
}

/// What rules find in what could be read.
fn by_rules(reading: &Reading) -> Found {
    let Some(app) = &reading.app else { return Found::default() };
    let mut scope = Scope::new(app, &reading.left_out);
    rules::check(&mut scope);
    scope.into_found()
}

/// The names of environments, in few words; none for all of them.
fn names(all: &BTreeSet<Environment>, some: BTreeSet<Environment>) -> Vec<String> {
    if *all == some {
        return Vec::new();
    }
    let (mut left, mut names) = (some, Vec::new());
    for stage in all.iter().filter_map(Environment::stage).collect::<BTreeSet<_>>() {
        if take(all, &mut left, |environment| environment.stage() == Some(stage)) {
            names.push(format!("stage {stage}"));
        }
    }
    for tier in all.iter().filter_map(Environment::tier).collect::<BTreeSet<_>>() {
        if take(all, &mut left, |environment| environment.tier() == Some(tier)) {
            names.push(format!("tenants of tier {tier}"));
        }
    }
    names.extend(left.iter().map(|environment| match environment {
        Environment::Stage(stage) => format!("the stack of stage {stage}"),
        Environment::Tenant { .. } | Environment::Preview => environment.to_string(),
    }));
    if let Some(more @ 1..) = names.len().checked_sub(NAMED) {
        names.truncate(NAMED);
        names.push(format!("{more} more"));
    }
    names
}

/// Takes the environments of a kind out of those that are left, if all of them are there.
fn take(all: &BTreeSet<Environment>, left: &mut BTreeSet<Environment>, kind: impl Fn(&Environment) -> bool) -> bool {
    let there = all.iter().filter(|environment| kind(environment)).all(|environment| left.contains(environment));
    if there {
        left.retain(|environment| !kind(environment));
    }
    there
}
