//! Tiers and stages: what they name, and how many copies they ask for. Whether the app fits into a tier: `quota`.

use freehold_problem::Code;
use freehold_spec::app::{Service, Stage, Tier};
use freehold_spec::{App, Name, Span, Spanned};

use crate::diagnostic::Diagnostic;
use crate::scope::{Scope, listed, suggestion};

pub(super) fn check(scope: &mut Scope<'_>) {
    unknown(scope);
    most_below_replicas(scope);
    scaled_from_nothing(scope);
}

/// Everything that says how many copies of a service there are, with its place.
pub(super) fn copies<'a>(app: &'a App, name: &Name, service: &'a Service) -> Vec<(String, &'a Spanned<u32>)> {
    let of_tier = |(tier, figures): (&Name, &'a Tier)| Some((format!("tier {tier}"), figures.replicas.get(name)?));
    let of_stage = |(stage, figures): (&Name, &'a Stage)| Some((format!("stage {stage}"), figures.replicas.get(name)?));
    let own = [("the definition".to_owned(), &service.replicas)];
    own.into_iter().chain(app.tiers.iter().filter_map(of_tier)).chain(app.stages.iter().filter_map(of_stage)).collect()
}

/// Copies of services, or connections of databases, that aren't defined.
fn unknown(scope: &mut Scope<'_>) {
    let app = scope.app;
    let tiers = app.tiers.iter().flat_map(|(name, tier)| {
        let replicas = tier.replicas.iter().map(|(service, count)| ("service", service, count.span));
        let connections = tier.connections.iter().map(|(database, count)| ("database", database, count.span));
        replicas.chain(connections).map(move |(word, part, span)| (format!("tier {name}"), word, part, span))
    });
    let stages = app.stages.iter().flat_map(|(name, stage)| {
        let replicas = stage.replicas.iter().map(|(service, count)| ("service", service, count.span));
        replicas.map(move |(word, part, span)| (format!("stage {name}"), word, part, span))
    });
    let all: Vec<(String, &str, &Name, Span)> = tiers.chain(stages).collect();
    for (who, word, part, span) in all {
        let is_service = word == "service";
        let known = if is_service { app.services.contains_key(part) } else { app.databases.contains_key(part) };
        if known || !scope.knows(&format!("{word}.{part}")) {
            continue;
        }
        let (near, names) = match is_service {
            true => (suggestion(part.as_str(), app.services.keys()), listed(&app.services)),
            false => (suggestion(part.as_str(), app.databases.keys()), listed(&app.databases)),
        };
        let message = format!("{who} gives figures for the {word} {part}, which isn't defined");
        let help = near.unwrap_or_else(|| match names.is_empty() {
            true => format!("the app has no {word}"),
            false => format!("the app has {names}"),
        });
        let label = format!("no {word} `{part}`");
        scope.report(Diagnostic::error(Code::UnknownInTier, message).at(span, label).help(help));
    }
}

/// More copies at the least than at the most.
fn most_below_replicas(scope: &mut Scope<'_>) {
    let app = scope.app;
    for (name, service) in &app.services {
        let Some(autoscale) = &service.autoscale else { continue };
        let most = &autoscale.max;
        for (who, count) in copies(app, name, service).into_iter().filter(|(_, count)| count.value > most.value) {
            let message =
                format!("{who} starts {name} with {}, and it may have {} at the most", count.value, most.value);
            let diagnostic = Diagnostic::error(Code::MostBelowReplicas, message)
                .at(count.span, "the least")
                .at(most.span, "the most");
            scope.report(diagnostic.help(format!("raise `max` to {} or more, or lower `replicas`", count.value)));
        }
    }
}

/// An autoscaler with nothing to look at: of no copy there is no load.
fn scaled_from_nothing(scope: &mut Scope<'_>) {
    let app = scope.app;
    for (name, service) in &app.services {
        let Some(autoscale) = &service.autoscale else { continue };
        for (who, count) in copies(app, name, service).into_iter().filter(|(_, count)| count.value == 0) {
            let message = format!("{who} has no copy of {name}, which its autoscaler is to make more of");
            let diagnostic = Diagnostic::error(Code::ScaleFromZero, message)
                .at(count.span, "none")
                .at(autoscale.span, "scaled by the load of its copies");
            scope.report(diagnostic.help("have one copy at least, or leave `autoscale` out"));
        }
    }
}
