//! The rules that need a request: which stack, of which tier, where.

use freehold_graph::{Request, StackKind, Target};
use freehold_problem::Code;
use freehold_spec::{App, Fact, Reference};

use crate::diagnostic::Diagnostic;
use crate::rules::{UUID, too_long, with_databases};
use crate::scope::{listed, suggestion};

/// Checks a request against the app and the target. What sticks from earlier deploys has to be filled in already.
pub fn request(app: &App, request: &Request, target: &Target) -> Vec<Diagnostic> {
    let found = tier(app, request).into_iter().chain(stage(app, request)).chain(hosts(app, request));
    found.chain(quota(app, target)).collect()
}

/// What takes room in the quota on this kind of target only.
fn quota(app: &App, target: &Target) -> Vec<Diagnostic> {
    if target.postgres().is_none() { with_databases(app) } else { Vec::new() }
}

/// Host names that are too long with the name of this stack and of its tier.
fn hosts(app: &App, request: &Request) -> Vec<Diagnostic> {
    let stack = &request.key;
    let length = |reference: &Reference| match reference {
        Reference::Fact(Fact::StackName) => stack.name.as_str().len(),
        Reference::Fact(Fact::StackKind) => stack.kind.as_str().len(),
        Reference::Fact(Fact::StackId) => UUID,
        Reference::Fact(Fact::TierName) => request.tier.as_ref().map_or(0, |tier| tier.as_str().len()),
        Reference::Fact(Fact::StageName) => request.stage_name().unwrap_or("preview").len(),
        Reference::Fact(Fact::TargetDomain | Fact::StackRevision | Fact::Pod(_))
        | Reference::Output(..)
        | Reference::Port { .. } => 1,
    };
    let hosts = app
        .routes
        .iter()
        .flat_map(|(name, route)| route.hosts.iter().chain(&route.redirect_from).map(move |host| (name, host)));
    let long = hosts.filter_map(|(name, host)| {
        let why = too_long(host, length)?;
        let message = format!("a host of route {name} is no host name for the {} {}: {why}", stack.kind, stack.name);
        Some(
            Diagnostic::error(Code::BadHost, message)
                .help(format!("choose a shorter name than {}, or a shorter host in `[route.{name}]`", stack.name)),
        )
    });
    long.collect()
}

fn tier(app: &App, request: &Request) -> Option<Diagnostic> {
    let stack = &request.key;
    match &request.tier {
        Some(tier) if stack.kind != StackKind::Tenant => {
            let message =
                format!("the {} {} can't have the tier {tier}: only tenants have one", stack.kind, stack.name);
            Some(Diagnostic::error(Code::TierNotForKind, message).help("leave the tier out"))
        }
        Some(tier) if !app.tiers.contains_key(tier) => {
            let message = format!("{} has no tier {tier}", app.name.value);
            let help = suggestion(tier.as_str(), app.tiers.keys()).unwrap_or_else(|| match app.tiers.is_empty() {
                true => "the app defines no tiers: leave it out, or add `[tier.NAME]`".to_owned(),
                false => format!("its tiers are {}", listed(&app.tiers)),
            });
            Some(Diagnostic::error(Code::UnknownTier, message).help(help))
        }
        None if stack.kind == StackKind::Tenant && !app.tiers.is_empty() => {
            let message = format!("the tenant {} has no tier, and {} requires one", stack.name, app.name.value);
            Some(
                Diagnostic::error(Code::TierRequired, message)
                    .help(format!("choose one with --tier: {}", listed(&app.tiers))),
            )
        }
        _ => None,
    }
}

/// The stage of a stack, which has to be one of the app's.
fn stage(app: &App, request: &Request) -> Option<Diagnostic> {
    let stack = &request.key;
    if request.stage.is_some() && stack.kind != StackKind::Tenant {
        let message = format!("the {} {} can't belong to another stage: only tenants do", stack.kind, stack.name);
        return Some(Diagnostic::error(Code::TierNotForKind, message).help("leave the stage out"));
    }
    let stage = request.stage_name()?;
    if app.may_have_stage(stage) {
        return None;
    }
    let message = format!("{} has no stage {stage}", app.name.value);
    let help = suggestion(stage, app.stages.keys())
        .unwrap_or_else(|| format!("its stages are {}; add `[stage.{stage}]` for another", listed(&app.stages)));
    Some(Diagnostic::error(Code::UnknownStage, message).help(help))
}
