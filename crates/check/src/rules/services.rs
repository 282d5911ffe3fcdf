//! What a service says of its ports, of its health, and of the containers and files of its Pods.

use std::collections::BTreeMap;

use freehold_problem::Code;
use freehold_spec::app::{File, Protocol, Question, Service};
use freehold_spec::{Name, Span};

use crate::diagnostic::Diagnostic;
use crate::scope::{Scope, listed, suggestion};

/// Where containers find what Freehold gives them as files.
const OURS: &str = "/etc/freehold";

pub(super) fn check(scope: &mut Scope<'_>) {
    let app = scope.app;
    for (name, service) in &app.services {
        probes(scope, name, service);
        images(scope, name, service);
        figures(scope, name, service);
        files(scope, &format!("service {name}"), &service.files);
        let sidecars = service.sidecars.iter().map(|(name, one)| (format!("sidecar {name}"), &one.files));
        let init = service.init.iter().map(|(name, one)| (format!("init container {name}"), &one.files));
        for (who, its) in sidecars.chain(init) {
            files(scope, &who, its);
        }
    }
    for (name, job) in &app.jobs {
        files(scope, &format!("job {name}"), &job.files);
    }
    spoken(scope);
}

/// Probes that ask nothing, several things, or nobody.
fn probes(scope: &mut Scope<'_>, name: &Name, service: &Service) {
    let known = |key: &str| scope.knows(&format!("service.{name}.{key}"));
    let (knows_ports, knows_port) = (known("ports"), known("port"));
    for (key, probe) in service.health.probes() {
        let questions = probe.questions();
        if questions != 1 {
            let says = if questions == 0 { "asks nothing" } else { "asks several things" };
            let message = format!("the probe `{key}` of service {name} {says}");
            let diagnostic = Diagnostic::error(Code::BadProbe, message).at(probe.span, "one question is needed");
            scope.report(diagnostic.help(
                "say one of `http = \"/health\"`, `tcp = true`, `grpc = \"\"` and `command = [\"program\", \"argument\"]`",
            ));
            continue;
        }
        match &probe.port {
            Some(port) if !service.ports.contains_key(&port.value) && knows_ports => {
                let message = format!("service {name} has no port {}", port.value);
                let diagnostic = Diagnostic::error(Code::Dangling, message).at(port.span, "nothing listens there");
                let help = suggestion(port.as_str(), service.ports.keys());
                scope.report(diagnostic.help(help.unwrap_or_else(|| match service.ports.is_empty() {
                    true => "leave it out to ask the service's `port`".to_owned(),
                    false => format!("its other ports are {}", listed(&service.ports)),
                })));
            }
            None if service.port.is_none() && !matches!(probe.question(), Question::Command(_)) && knows_port => {
                let message = format!("service {name} has no port, so `{key}` of its health can't be probed there");
                let diagnostic = Diagnostic::error(Code::NoPortToReach, message).at(probe.span, "nothing would answer");
                scope.report(diagnostic.help(
                    "set `port`, or leave it out: without a port, a service is ready when it has lived for a second",
                ));
            }
            Some(_) | None => {}
        }
    }
}

/// The image of a sidecar or an init container is said once: by its reference, or as that of a service.
fn images(scope: &mut Scope<'_>, name: &Name, service: &Service) {
    let sidecars =
        service.sidecars.iter().map(|(one, sidecar)| ("sidecar", one, sidecar.span, &sidecar.image, &sidecar.service));
    let init = service.init.iter().map(|(one, init)| ("init", one, init.span, &init.image, &init.service));
    for (key, container, span, image, of) in sidecars.chain(init) {
        let path = format!("service.{name}.{key}.{container}");
        if !scope.knows(&path) {
            continue;
        }
        let help =
            "say `image = \"REPOSITORY:TAG\"`, or `service = \"NAME\"` for the image that a service is deployed with";
        match (image, of) {
            (Some(image), Some(of)) => {
                let message = format!("{container} of service {name} has an image of its own and that of a service");
                let diagnostic = Diagnostic::error(Code::ContainerImage, message);
                scope.report(diagnostic.at(of.span, "the image again").at(image.span, "an image").help(help));
            }
            (None, None) => {
                let message = format!("{container} of service {name} has no image");
                scope.report(Diagnostic::error(Code::ContainerImage, message).at(span, "nothing to run").help(help));
            }
            (Some(_), None) | (None, Some(_)) => {}
        }
    }
}

/// Prometheus can't ask where nothing listens.
fn figures(scope: &mut Scope<'_>, name: &Name, service: &Service) {
    if let Some(said) = &service.prometheus
        && said.port.is_none()
        && service.port.is_none()
        && scope.knows(&format!("service.{name}.port"))
    {
        let message = format!("service {name} has no port, so Prometheus can't ask it");
        let diagnostic = Diagnostic::error(Code::NoPortToReach, message).at(said.span, "nothing would answer");
        scope.report(diagnostic.help("say `port` in `prometheus`, or in the service"));
    }
}

/// Files that are in each other's way.
fn files(scope: &mut Scope<'_>, who: &str, files: &BTreeMap<Name, File>) {
    let mut taken: BTreeMap<&str, Span> = BTreeMap::new();
    let mut files: Vec<&File> = files.values().collect();
    files.sort_by_key(|file| file.span);
    for file in files {
        let path = file.path.value.as_str();
        let below = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        if below(OURS) {
            let message = format!("{path} of {who} lies in {OURS}, where Freehold puts its files");
            let diagnostic = Diagnostic::error(Code::FoldersOverlap, message).at(file.path.span, "a file");
            scope.report(diagnostic.help("choose another folder"));
        }
        let other = taken.iter().find(|(other, _)| {
            **other == path || below(other) || other.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
        });
        if let Some((other, place)) = other {
            let message = match *other == path {
                true => format!("two files of {who} would be at {path}"),
                false => format!("{path} and {other} of {who}: one of them would have to be a folder"),
            };
            let diagnostic = Diagnostic::error(Code::FoldersOverlap, message);
            scope.report(diagnostic.at(file.path.span, "a file").at(*place, "a file").help("choose another path"));
        }
        taken.insert(path, file.path.span);
    }
}

/// Routes carry HTTP.
fn spoken(scope: &mut Scope<'_>) {
    for (name, route) in &scope.app.routes {
        let mut told = Vec::new();
        for service in route.services() {
            let Some(to) = scope.app.services.get(&service.value) else { continue };
            if to.protocol.value != Protocol::Tcp || told.contains(&service) {
                continue;
            }
            told.push(service);
            let message = format!("route {name} leads to {}, which doesn't speak HTTP", service.value);
            let diagnostic = Diagnostic::error(Code::RouteNotHttp, message)
                .at(service.span, "gets requests of HTTP")
                .at(to.protocol.span, "speaks something else");
            let name = &service.value;
            scope.report(diagnostic.help(format!(
                "routes are for HTTP and gRPC: other services of the stack reach it by `${{service.{name}.host}}` and `.port`"
            )));
        }
    }
}
