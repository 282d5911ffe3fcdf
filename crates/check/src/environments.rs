//! A definition in all its environments: what is wrong in any of them, told once, with those in which it is.

use std::collections::{BTreeMap, BTreeSet};

use freehold_problem::Code;
use freehold_spec::{App, Document, Environment, Fact, PRODUCTION, Reading};

use crate::diagnostic::Diagnostic;
use crate::found::Found;
use crate::scope::Scope;
use crate::silence::Silences;
use crate::{decoding, rules};

/// What is told only if it is so in every environment: a part is defined for all of them, and used where it is needed.
const EVERYWHERE: [Code; 5] =
    [Code::UnusedDatabase, Code::UnusedCache, Code::UnusedBucket, Code::UnusedSecret, Code::NobodyReaches];
/// What is asked of what people rely on: of production and its tenants.
const OF_PRODUCTION: [Code; 2] = [Code::NoBackup, Code::OneCopy];
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
pub(crate) fn check(document: &Document<'_>, base: &Reading, source: &str) -> Found {
    let mut groups = document.groups();
    let all: BTreeSet<Environment> = groups.values().flatten().cloned().collect();
    if groups.is_empty() {
        // They are more than are checked: what holds before anything overrides it is.
        groups.insert(Vec::new(), BTreeSet::new());
    }
    let (mut findings, mut unread, mut untold) = (Findings::default(), BTreeSet::new(), (0, 0));
    for (layers, environments) in groups {
        let of_its_own = environments.first().filter(|_| !layers.is_empty());
        let read = of_its_own.map(|environment| document.read(Some(environment)));
        let reading = read.as_ref().unwrap_or(base);
        if !reading.errors.is_empty() {
            unread.extend(environments.iter().cloned());
        }
        let (diagnostics, errors, warnings) = by_rules(reading, environments.iter().any(is_production)).into_parts();
        untold = (untold.0.max(errors + reading.untold), untold.1.max(warnings));
        diagnostics.into_iter().for_each(|diagnostic| findings.add(diagnostic, true, &environments));
        reading.errors.iter().for_each(|error| findings.add(decoding::diagnostic(error), false, &environments));
    }
    // What can't be read as it stands can't be, whatever overrides it.
    base.errors.iter().for_each(|error| findings.add(decoding::diagnostic(error), false, &all));
    let (mut found, mut silences) = (Found::default(), Silences::of(source));
    for Finding { mut diagnostic, by_rule, mut environments } in findings.0.into_values() {
        if by_rule {
            environments.extend(unread.iter().cloned());
        }
        if OF_PRODUCTION.contains(&diagnostic.code) {
            environments.retain(is_production);
        }
        if is_told(&diagnostic, &environments, &all, base.app.as_ref()) {
            // What is asked of production only is so everywhere, if it is so in all of production.
            let production: BTreeSet<Environment> = all.iter().filter(|one| is_production(one)).cloned().collect();
            let of_all = if OF_PRODUCTION.contains(&diagnostic.code) { &production } else { &all };
            diagnostic.environments = names(of_all, environments);
            silences.apply(&mut diagnostic);
            found.add(diagnostic);
        }
    }
    found.add_untold(untold.0, untold.1);
    // Of what isn't listed, or couldn't be read, nobody knows whether it would be found.
    if found.is_whole() && base.errors.is_empty() && unread.is_empty() {
        silences.idle().for_each(|idle| found.add(idle));
    }
    found
}

/// What is wrong in one environment.
pub(crate) fn one(document: &Document<'_>, environment: &Environment, reading: &Reading, source: &str) -> Found {
    // Of a definition that is another elsewhere, one environment doesn't say what is so everywhere.
    let differs = document.groups().len() > 1;
    let (diagnostics, errors, warnings) = by_rules(reading, is_production(environment)).into_parts();
    let only = BTreeSet::from([environment.clone()]);
    let (mut found, mut silences) = (Found::default(), Silences::of(source));
    let decoded = reading.errors.iter().map(decoding::diagnostic);
    for mut diagnostic in diagnostics.into_iter().chain(decoded) {
        let elsewhere = differs && EVERYWHERE.contains(&diagnostic.code);
        if !elsewhere && is_told(&diagnostic, &only, &only, reading.app.as_ref()) {
            silences.apply(&mut diagnostic);
            found.add(diagnostic);
        }
    }
    found.add_untold(errors + reading.untold, warnings);
    found
}

fn is_production(environment: &Environment) -> bool {
    environment.stage() == Some(PRODUCTION)
}

/// Whether a finding is one in the environments in which it is.
fn is_told(
    diagnostic: &Diagnostic,
    environments: &BTreeSet<Environment>,
    all: &BTreeSet<Environment>,
    app: Option<&App>,
) -> bool {
    if EVERYWHERE.contains(&diagnostic.code) {
        return environments == all;
    }
    diagnostic.code != Code::HostSharedByStacks || app.is_none_or(|app| are_several(environments, app))
}

/// Whether stacks of these environments are more than one: those of two stages, of tenants, of previews where the app speaks of them, or
/// where what holds in none in particular stands beside a host with the stack's name.
fn are_several(environments: &BTreeSet<Environment>, app: &App) -> bool {
    let tenants = environments.iter().any(|environment| matches!(environment, Environment::Tenant { .. }));
    let stages: BTreeSet<&str> = environments.iter().filter_map(Environment::stage).collect();
    let hosts = app.routes.values().flat_map(|route| route.hosts.iter().chain(&route.redirect_from));
    let facts = hosts.flat_map(|host| host.references()).filter_map(|reference| reference.value.fact());
    let of_stack = facts.into_iter().any(|fact| matches!(fact, Fact::StackName | Fact::StackId));
    let previews = environments.contains(&Environment::Preview) && (app.preview.is_some() || of_stack);
    tenants || previews || stages.len() > 1
}

/// What rules find in what could be read.
fn by_rules(reading: &Reading, production: bool) -> Found {
    let Some(app) = &reading.app else { return Found::default() };
    let mut scope = Scope::new(app, &reading.left_out, production);
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
