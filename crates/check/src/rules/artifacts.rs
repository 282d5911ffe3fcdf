//! Where the files of services come from.

use freehold_graph::image::ImageReference;
use freehold_problem::Code;

use crate::diagnostic::Diagnostic;
use crate::scope::Scope;

pub(super) fn check(scope: &mut Scope<'_>) {
    image_references(scope);
    image_tags(scope);
    nothing_to_run(scope);
    no_command(scope);
    same_file_name(scope);
}

/// What no registry could be asked for: of services, sidecars and init containers.
fn image_references(scope: &mut Scope<'_>) {
    let services = scope.app.services.values();
    let images = services.flat_map(|service| {
        let sidecars = service.sidecars.values().filter_map(|sidecar| sidecar.image.as_ref());
        let init = service.init.values().filter_map(|init| init.image.as_ref());
        service.image.iter().chain(sidecars).chain(init)
    });
    let unreadable = images.filter_map(|image| Some((image.span, image.value.parse::<ImageReference>().err()?)));
    for (span, error) in unreadable {
        let diagnostic = Diagnostic::error(Code::BadImageReference, error.to_string()).at(span, "not a reference");
        scope.report(diagnostic.help("write it like \"ghcr.io/acme/web\"; a digest is sha256: and 64 digits"));
    }
}

/// The digest comes with the deploy: a tag would say something else.
fn image_tags(scope: &mut Scope<'_>) {
    for service in scope.app.services.values() {
        let Some(image) = service.image.as_ref().filter(|image| image.parse::<ImageReference>().is_ok()) else {
            continue;
        };
        let last = image.rsplit('/').next().unwrap_or_default();
        let Some(at) = last.find(['@', ':']) else { continue };
        let (repository, tag) = image.split_at(image.len() - last.len() + at);
        let why = match tag {
            ":latest" => "this tag is a different image every day",
            tag if tag.starts_with('@') => "fixed, whatever is deployed",
            _ => "a tag can be moved to another image",
        };
        let diagnostic =
            Diagnostic::warning(Code::ImageTag, format!("the image {} has a tag or a digest", image.value))
                .at(image.span, why)
                .help(format!("write {repository:?}: the digest comes with the deploy"));
        scope.report(diagnostic);
    }
}

/// A service without files of its own could only run what happens to be installed.
fn nothing_to_run(scope: &mut Scope<'_>) {
    for (name, service) in &scope.app.services {
        let unknown = |key: &str| !scope.knows(&format!("service.{name}.{key}"));
        if service.build.is_some() || service.image.is_some() || unknown("build") || unknown("image") {
            continue;
        }
        let message = format!("service {name} has neither `build` nor `image`, so there is nothing to run");
        let diagnostic = Diagnostic::error(Code::NothingToRun, message)
            .at(service.command.as_ref().map_or(service.span, |command| command.span), "a program of what?")
            .note("what is installed on the machine doesn't count: another machine has another version of it");
        scope.report(diagnostic.help("name its files, `build = { artifact = [\"…\"] }`, or its image, or both"));
    }
}

/// An image says what it executes, an artifact doesn't.
fn no_command(scope: &mut Scope<'_>) {
    for (name, service) in &scope.app.services {
        let unknown = |key: &str| !scope.knows(&format!("service.{name}.{key}"));
        if service.command.is_some() || unknown("command") || unknown("build") {
            continue;
        }
        let Some(build) = &service.build else { continue };
        let diagnostic = Diagnostic::error(Code::MissingKey, format!("service {name} has no `command`"))
            .at(build.span, "which of these files is the program?")
            .help(format!(
                "write `command = [\"…\"]` into [service.{name}]; only an image says by itself what it executes"
            ));
        scope.report(diagnostic);
    }
}

/// In an artifact each file has the last part of its path as its name.
fn same_file_name(scope: &mut Scope<'_>) {
    for build in scope.app.services.values().filter_map(|service| service.build.as_ref()) {
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        for (index, file) in build.artifact.iter().enumerate() {
            let first = build.artifact.iter().take(index).find(|other| name(other) == name(file));
            if let Some(first) = first {
                let message = format!("two files of the artifact would both be called {}", name(file));
                let diagnostic = Diagnostic::error(Code::ListedTwice, message)
                    .at(file.span, "the second one")
                    .at(first.span, "the first one")
                    .note("in an artifact, each file or folder has the last part of its path as its name");
                scope.report(diagnostic.help("rename one of them, or name the folder that both are in"));
            }
        }
    }
}
