//! References and names that have to lead somewhere.

use std::collections::BTreeMap;

use freehold_problem::Code;
use freehold_spec::part::output::{Reach, Readers};
use freehold_spec::{Name, PartKind, Span, Spanned};

use crate::diagnostic::Diagnostic;
use crate::scope::{Scope, listed, suggestion};

pub(super) fn check(scope: &mut Scope<'_>) {
    dangling(scope);
    unknown_services(scope);
    cycles(scope);
    unreachable(scope);
    migrator_in_service(scope);
    no_service(scope);
}

/// `${…}` of something that isn't defined.
fn dangling(scope: &mut Scope<'_>) {
    let app = scope.app;
    for reference in scope.references() {
        let Some((name, output)) = reference.value.output() else { continue };
        if let Some((service, port)) = reference.value.port()
            && let Some(ports) = app.services.get(service).map(|service| &service.ports)
        {
            if !ports.contains_key(port) && scope.knows(&format!("service.{service}.ports")) {
                let message =
                    format!("`${{{}}}` refers to a port that service {service} doesn't have", reference.value);
                let near = if scope.is_full() { None } else { suggestion(port.as_str(), ports.keys()) };
                let help = near.unwrap_or_else(|| {
                    format!("define it in `[service.{service}.ports]`: `{port} = {{ port = 9000 }}`")
                });
                scope.report(Diagnostic::error(Code::Dangling, message).at(reference.span, "no such port").help(help));
            }
            continue;
        }
        let (part, word) = (output.part(), output.part().word());
        if app.span(part, name.as_str()).is_some() || !scope.knows(&format!("{word}.{name}")) {
            continue;
        }
        let message = format!("`${{{}}}` refers to a {word} that isn't defined", reference.value);
        let near = if scope.is_full() { None } else { suggestion(name.as_str(), app.names(part)) };
        let help = near.unwrap_or_else(|| format!("define it in `[{word}.{name}]`, or leave the reference out"));
        let label = format!("there is no `[{word}.{name}]`");
        scope.report(Diagnostic::error(Code::Dangling, message).at(reference.span, label).help(help));
    }
}

/// Jobs and routes of a service that isn't defined.
fn unknown_services(scope: &mut Scope<'_>) {
    let jobs = scope.app.jobs.iter().map(|(name, job)| (format!("job {name}"), &job.service));
    let routes = scope.app.routes.iter().flat_map(|(name, route)| {
        let services = route.service.iter().chain(route.paths.iter().filter_map(|rule| rule.service.as_ref()));
        services.map(move |service| (format!("route {name}"), service))
    });
    let containers = scope.app.services.values().flat_map(|service| {
        let sidecars = service.sidecars.iter().map(|(name, one)| (format!("sidecar {name}"), &one.service));
        let init = service.init.iter().map(|(name, one)| (format!("init container {name}"), &one.service));
        sidecars.chain(init).filter_map(|(who, service)| Some((who, service.as_ref()?)))
    });
    let services = &scope.app.services;
    let unknown: Vec<(String, &Spanned<Name>)> =
        jobs.chain(routes).chain(containers).filter(|(_, service)| !services.contains_key(&service.value)).collect();
    for (who, service) in unknown {
        if !scope.knows(&format!("service.{}", service.value)) {
            continue;
        }
        let help = suggestion(service.as_str(), services.keys()).unwrap_or_else(|| match services.is_empty() {
            true => "the app has no service at all".to_owned(),
            false => format!("the app's services are {}", listed(services)),
        });
        let message = format!("{who} names the service {}, which isn't defined", service.value);
        scope.report(Diagnostic::error(Code::UnknownService, message).at(service.span, "no such service").help(help));
    }
}

/// Routes whose host names are made from each other's URLs.
fn cycles(scope: &mut Scope<'_>) {
    let edges: BTreeMap<&Name, Vec<(&Name, Span)>> = scope
        .app
        .routes
        .iter()
        .map(|(name, route)| {
            let hosts = route.hosts.iter().chain(&route.redirect_from);
            let targets = hosts.flat_map(|host| host.references()).filter_map(|reference| {
                let (target, output) = reference.value.output()?;
                output.row().follows_references.then_some((target, reference.span))
            });
            (name, targets.collect())
        })
        .collect();
    for (name, targets) in &edges {
        for (target, span) in targets {
            // A circle is reported once, at the first of its names.
            let Some(path) = way(&edges, target, name) else { continue };
            let circle = [&[*name], path.as_slice()].concat();
            let circle = circle.iter().map(|name| format!("route.{name}")).collect::<Vec<_>>().join(" → ");
            let diagnostic = Diagnostic::error(Code::Cycle, "these routes' host names are made from each other")
                .at(*span, "this closes the circle")
                .note(circle)
                .help("write the host name out in one of them");
            scope.report(diagnostic);
        }
    }
}

/// The way from one name to another, both included, over names that don't stand before the other.
fn way<'n>(edges: &BTreeMap<&'n Name, Vec<(&'n Name, Span)>>, from: &'n Name, to: &'n Name) -> Option<Vec<&'n Name>> {
    // By which name each was reached first.
    let mut reached: BTreeMap<&Name, Option<&Name>> = BTreeMap::new();
    let mut open = vec![(from, None)];
    while let Some((name, before)) = open.pop() {
        if name < to || reached.contains_key(name) {
            continue;
        }
        reached.insert(name, before);
        if name == to {
            break;
        }
        open.extend(edges.get(name).into_iter().flatten().map(|(next, _)| (*next, Some(name))));
    }
    let mut path = vec![to];
    let mut before = *reached.get(to)?;
    while let Some(name) = before {
        path.push(name);
        before = reached.get(name).copied().flatten();
    }
    path.reverse();
    Some(path)
}

/// Services that are asked over HTTP and have no port.
fn unreachable(scope: &mut Scope<'_>) {
    let services = &scope.app.services;
    let has_none = |name: &Name| services.get(name).is_some_and(|service| service.port.is_none());
    for reference in scope.references() {
        if let Some((name, output)) = reference.value.output()
            && reference.value.port().is_none()
            && output.part() == PartKind::Service
            && output.row().reach == Reach::Part
            && has_none(name)
            && scope.knows(&format!("service.{name}.port"))
        {
            let message = format!("service {name} has no port, so it has no {}", output.row().noun());
            let diagnostic = Diagnostic::error(Code::NoPortToReach, message)
                .at(reference.span, "nothing listens there")
                .help(format!("set `port` in `[service.{name}]`"));
            scope.report(diagnostic);
        }
    }
}

/// Services, or what runs in their pods, that get the URL of the role that owns the schema.
fn migrator_in_service(scope: &mut Scope<'_>) {
    for program in scope.programs().iter().filter(|program| program.word != "job") {
        for reference in program.templates().flat_map(|template| template.references()) {
            let Some((database, output)) = reference.value.output() else { continue };
            match output.row().readers {
                Readers::All => continue,
                Readers::Jobs => {}
            }
            let (word, name) = (program.word, program.name);
            let field = output.row().field;
            let field = field.strip_prefix("migration_").unwrap_or(field);
            let message = format!("{word} {name} gets the role that may change and drop everything in {database}");
            let diagnostic = Diagnostic::warning(Code::MigratorInService, message)
                .at(reference.span, format!("the migrator's {}", output.row().noun()))
                .help(format!("use `${{database.{database}.{field}}}` here, and migrate in a job"));
            scope.report(diagnostic);
        }
    }
}

fn no_service(scope: &mut Scope<'_>) {
    if scope.app.services.is_empty() && scope.knows_all() {
        let message = format!("the app {} has no service, so nothing would run", scope.app.name.value);
        let diagnostic = Diagnostic::warning(Code::NoService, message).at(scope.app.name.span, "");
        scope.report(diagnostic.help("add a `[service.NAME]`"));
    }
}
