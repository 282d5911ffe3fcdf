//! A definition in all its environments: what is wrong in any of them, told once, with those in which it is.

use std::collections::{BTreeMap, BTreeSet};

use freehold_problem::Code;
use freehold_spec::{Document, Environment, Layer, Reading, Span};

use crate::diagnostic::Diagnostic;
use crate::found::Found;
use crate::scope::Scope;
use crate::{decoding, rules};

/// What tells findings apart.
type Key = (Code, Option<Span>, String);

/// A finding, and the environments in which it is.
struct Finding {
    diagnostic: Diagnostic,
    environments: BTreeSet<Environment>,
}

/// Checks a definition in all its environments.
pub(crate) fn check(document: &Document<'_>, base: &Reading) -> Found {
    let all = document.environments();
    let mut groups: BTreeMap<Vec<Layer>, BTreeSet<Environment>> = BTreeMap::new();
    for environment in &all {
        groups.entry(document.layers(environment)).or_default().insert(environment.clone());
    }
    if groups.len() == 1 && groups.contains_key(&Vec::new()) {
        return one(base);
    }
    let mut findings: BTreeMap<Key, Finding> = BTreeMap::new();
    let mut untold = (0, 0);
    for (layers, environments) in groups {
        let found = match environments.first() {
            Some(environment) if !layers.is_empty() => one(&document.read(Some(environment))),
            Some(_) | None => one(base),
        };
        let (diagnostics, errors, warnings) = found.into_parts();
        untold = (untold.0.max(errors), untold.1.max(warnings));
        for diagnostic in diagnostics {
            let finding = findings.entry(key(&diagnostic));
            let finding = finding.or_insert(Finding { diagnostic, environments: BTreeSet::new() });
            finding.environments.extend(environments.iter().cloned());
        }
    }
    // What can't be read as it stands can't be, whatever overrides it.
    for diagnostic in base.errors.iter().map(decoding::diagnostic) {
        let finding = findings.entry(key(&diagnostic));
        let finding = finding.or_insert(Finding { diagnostic, environments: BTreeSet::new() });
        finding.environments.extend(all.iter().cloned());
    }
    let mut found = Found::default();
    for Finding { mut diagnostic, environments } in findings.into_values() {
        diagnostic.environments = names(&all, &environments);
        found.add(diagnostic);
    }
    found.add_untold(untold.0, untold.1);
    found
}

fn key(diagnostic: &Diagnostic) -> Key {
    (diagnostic.code, diagnostic.labels.first().map(|label| label.span), diagnostic.message.clone())
}

/// What is wrong in one environment.
pub(crate) fn one(reading: &Reading) -> Found {
    let mut found = match &reading.app {
        Some(app) => {
            let mut scope = Scope::new(app, &reading.left_out);
            rules::check(&mut scope);
            scope.into_found()
        }
        None => Found::default(),
    };
    reading.errors.iter().map(decoding::diagnostic).for_each(|error| found.add(error));
    found.add_untold(reading.untold, 0);
    found
}

/// The names of environments, in as few words as possible; none for all of them.
fn names(all: &[Environment], some: &BTreeSet<Environment>) -> Vec<String> {
    if all.iter().all(|environment| some.contains(environment)) {
        return Vec::new();
    }
    let mut left = some.clone();
    let mut names = Vec::new();
    for stage in all.iter().filter_map(|environment| match environment {
        Environment::Stage(stage) => Some(stage.as_str()),
        Environment::Tenant { .. } | Environment::Preview => None,
    }) {
        if take(all, &mut left, |environment| environment.stage() == Some(stage)) {
            names.push(format!("stage {stage}"));
        }
    }
    for tier in all.iter().filter_map(Environment::tier).collect::<BTreeSet<_>>() {
        if take(all, &mut left, |environment| environment.tier() == Some(tier)) {
            names.push(format!("tenants of tier {tier}"));
        }
    }
    names.extend(left.iter().map(Environment::to_string));
    names
}

/// Takes the environments of a kind out of those that are left, if all of them are there.
fn take(all: &[Environment], left: &mut BTreeSet<Environment>, kind: impl Fn(&Environment) -> bool) -> bool {
    let there = all.iter().filter(|environment| kind(environment)).all(|environment| left.contains(environment));
    if there {
        left.retain(|environment| !kind(environment));
    }
    there
}
