//! What a service's pods are made of: containers that get on with each other, folders, volumes.

use std::collections::BTreeMap;

use freehold_problem::Code;
use freehold_spec::app::{Service, Update};
use freehold_spec::{Name, Span};

use crate::diagnostic::Diagnostic;
use crate::scope::Scope;

/// Where containers find what Freehold gives them as files.
const OURS: &str = "/etc/freehold";

pub(super) fn check(scope: &mut Scope<'_>) {
    let app = scope.app;
    for (name, service) in &app.services {
        same_name(scope, name, service);
        same_port(scope, name, service);
        overlapping_folders(scope, name, service);
        shared_volume(scope, name, service);
    }
}

/// The containers of a pod have different names; the service's own is called like the service.
fn same_name(scope: &mut Scope<'_>, name: &Name, service: &Service) {
    let mut taken: BTreeMap<&Name, (&str, Span)> = BTreeMap::from([(name, ("service", service.span))]);
    let sidecars = service.sidecars.iter().map(|(name, one)| (name, "sidecar", one.span));
    let init = service.init.iter().map(|(name, one)| (name, "init container", one.span));
    for (container, word, span) in sidecars.chain(init) {
        let Some((first, place)) = taken.get(container) else {
            taken.insert(container, (word, span));
            continue;
        };
        let message = format!("two containers of service {name} are called {container}: the {first} and the {word}");
        let diagnostic = Diagnostic::error(Code::ClaimedTwice, message)
            .at(span, format!("the {word}"))
            .at(*place, format!("the {first}"));
        scope.report(diagnostic.help(format!("give the {word} another name")));
    }
}

/// The containers of a pod share its address, and so its ports.
fn same_port(scope: &mut Scope<'_>, name: &Name, service: &Service) {
    // A sidecar that has the service's own port answers for it.
    let own = service.port.iter().filter(|_| service.answered_by().is_none()).map(|port| (name, port));
    let own = own.chain(service.ports.iter().map(|(name, port)| (name, &port.port)));
    let sidecars = service.sidecars.iter().filter_map(|(name, sidecar)| Some((name, sidecar.port.as_ref()?)));
    let mut taken: BTreeMap<u16, (&Name, Span)> = BTreeMap::new();
    for (container, port) in own.chain(sidecars) {
        let Some((first, place)) = taken.get(&port.value) else {
            taken.insert(port.value, (container, port.span));
            continue;
        };
        let message = format!("{first} and {container} would listen on the same port {} of a pod", port.value);
        let diagnostic = Diagnostic::error(Code::ClaimedTwice, message)
            .at(port.span, "the port again")
            .at(*place, format!("taken by {first}"))
            .note("the containers of a pod share one address");
        scope.report(diagnostic.help("give one of them another port"));
    }
}

/// One folder that lies in another: what is written there would be gone, or last, contrary to what the other promises.
fn overlapping_folders(scope: &mut Scope<'_>, name: &Name, service: &Service) {
    let writable = service.writable.iter().map(|path| ("writable folder", path));
    let volumes = service.volumes.values().map(|volume| ("volume", &volume.path));
    let mut folders: Vec<_> = volumes.chain(writable).collect();
    folders.sort_by_key(|(_, path)| path.span);
    for (word, path) in folders.iter().filter(|(_, path)| within(path, OURS)) {
        let message = format!("{} of service {name} lies in {OURS}, where Freehold puts its files", path.value);
        let diagnostic = Diagnostic::error(Code::FoldersOverlap, message).at(path.span, format!("a {word}"));
        scope.report(diagnostic.help("choose another folder"));
    }
    for (index, (word, path)) in folders.iter().enumerate() {
        let overlapping =
            |(_, other): &&(&str, &freehold_spec::Spanned<String>)| within(path, other) || within(other, path);
        let Some((first_word, first)) = folders.iter().take(index).find(overlapping) else { continue };
        let message = match (path.value == first.value, within(path, first)) {
            (true, _) => format!("service {name} would find two folders at {}", path.value),
            (_, true) => format!("{} lies in another folder of service {name}, {}", path.value, first.value),
            (_, false) => format!("{} lies in another folder of service {name}, {}", first.value, path.value),
        };
        let diagnostic = Diagnostic::error(Code::FoldersOverlap, message)
            .at(path.span, format!("a {word}"))
            .at(first.span, format!("a {first_word}"));
        scope.report(diagnostic.help("leave one of them out: a volume can be written anyway, and all that lies in it"));
    }
}

/// Whether a path is a folder or lies in it.
fn within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A volume can be used by one pod at a time (ReadWriteOnce).
fn shared_volume(scope: &mut Scope<'_>, name: &Name, service: &Service) {
    let Some((volume_name, volume)) = service.volumes.first_key_value() else { return };
    if service.update == Update::Rolling && scope.knows(&format!("service.{name}.update")) {
        let message = format!("an update of {name} would have two processes on the volume {volume_name}");
        let diagnostic = Diagnostic::error(Code::VolumeShared, message)
            .at(volume.span, "can be used by one copy at a time")
            .note("with `update = \"rolling\"`, the default, the new version starts beside the old one");
        scope.report(diagnostic.help(format!("set `update = \"recreate\"` in `[service.{name}]`")));
    }
    let most = service.autoscale.iter().map(|autoscale| ("the autoscaler", &autoscale.max));
    for (who, count) in [("the definition", &service.replicas)].into_iter().chain(most) {
        if count.value > 1 {
            let message = format!("{who} has {} copies of {name} on the volume {volume_name}", count.value);
            let diagnostic = Diagnostic::error(Code::VolumeShared, message)
                .at(count.span, "more than one")
                .at(volume.span, "can be used by one copy at a time");
            scope.report(diagnostic.help("have one copy, or put what they share into a database"));
        }
    }
}
