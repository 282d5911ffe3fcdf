//! Images: from what a request or a definition says to one set of bytes in a registry, or to an error that says what is missing.
//!
//! A service's image sticks with its digest. It is looked up again only where a deploy names one, or where the definition now names
//! another tag or digest than it did. The images of sidecars and init containers are the definition's: a deploy looks their tags up,
//! so that a tag that was moved is a change of the plan; a rollback runs the digests of its revision. Everything that a plan would
//! run is checked to be there for the target's machines, also what stuck.
//!
//! In a cluster everything is an image. On one machine it is what has an `image` and no `build`; sidecars and init containers don't run there.

use std::collections::BTreeMap;

use freehold_engine::capability::Images;
use freehold_graph::expand::local;
use freehold_graph::image::ImageReference;
use freehold_graph::{ArtifactHash, Request, Target};
use freehold_problem::{Code, Problem};
use freehold_spec::app::Service;
use freehold_spec::{App, Name, Spanned};
use futures::{StreamExt, stream};

use super::runtime::TargetRuntime;
use crate::Result;
use crate::request::Deploy;

/// How many images are looked up at once for one plan.
const LOOKUPS: usize = 8;

/// Looks all of them up at once; the answers in the same order.
async fn resolve_all(images: &dyn Images, references: &[(String, ImageReference)]) -> Vec<Result<String>> {
    let lookups: Vec<_> = references.iter().map(|(_, reference)| images.resolve(reference)).collect();
    stream::iter(lookups).buffered(LOOKUPS).collect().await
}

/// What one service is to run.
enum Choice {
    /// As it stuck: known by its digest.
    Stuck(String),
    /// To be looked up.
    Named(String),
}

/// What a deploy changes about images, and what was there before.
pub(crate) struct ImageDemand<'a> {
    pub(crate) app: &'a App,
    /// The definition that the stack has now, if it has one.
    pub(crate) before: Option<&'a App>,
    pub(crate) images: &'a BTreeMap<String, String>,
}

/// Settles the images of a request, with digests: those of its services in `request.artifacts`, those of sidecars and init
/// containers in `request.containers`, where a rollback has them already.
pub(crate) async fn settle(runtime: &TargetRuntime, wanted: &ImageDemand<'_>, request: &mut Request) -> Result<()> {
    let Some(images) = &runtime.capabilities.images else { return Ok(()) };
    let services = chosen(&runtime.target, wanted, request)?;
    let containers = match &runtime.target {
        Target::Kubernetes(_) => side_images(wanted.app, request),
        Target::Local(_) => Vec::new(),
    };
    let mut references = Vec::new();
    for (service, choice) in &services {
        let (Choice::Stuck(text) | Choice::Named(text)) = choice;
        references.push((format!("service {service}"), reference(text)?));
    }
    for SideImage { word, service, name, image } in &containers {
        references.push((format!("{word} {name} of {service}"), reference(image)?));
    }
    let answers = resolve_all(&**images, &references).await;
    let failures: Vec<(&str, &Problem)> = references
        .iter()
        .zip(&answers)
        .filter_map(|((what, _), answer)| Some((what.as_str(), answer.as_ref().err()?)))
        .collect();
    if !failures.is_empty() {
        return Err(refusal(&failures));
    }
    let mut pinned = answers.into_iter().flatten();
    for (service, pinned) in services.keys().zip(pinned.by_ref()) {
        request.artifacts.insert(service.clone(), pinned);
    }
    request.containers.clear();
    for (SideImage { service, name, .. }, pinned) in containers.into_iter().zip(pinned) {
        request.containers.entry(service).or_default().insert(name, pinned);
    }
    Ok(())
}

/// Asks whether all images of a request are still in their registries, right before it is carried out: a plan may have been kept for
/// hours. One that gives no answer now keeps nothing back: the image was there when the plan was made.
pub(crate) async fn refuse_vanished(runtime: &TargetRuntime, request: &Request) -> Result<()> {
    let Some(images) = &runtime.capabilities.images else { return Ok(()) };
    let deployed = request.artifacts.iter().filter(|(_, deployed)| is_image(deployed));
    let services = deployed.map(|(service, image)| (format!("service {service}"), image));
    let side = request.containers.iter().flat_map(|(service, containers)| {
        containers.iter().map(move |(name, image)| (format!("container {name} of {service}"), image))
    });
    let mut references = Vec::new();
    for (what, image) in services.chain(side) {
        references.push((what, reference(image)?));
    }
    let lookups: Vec<_> = references.iter().map(|(_, reference)| images.resolve_now(reference)).collect();
    let answers: Vec<Result<String>> = stream::iter(lookups).buffered(LOOKUPS).collect().await;
    let vanished: Vec<(&str, &Problem)> = references
        .iter()
        .zip(&answers)
        .filter_map(|((what, _), answer)| Some((what.as_str(), answer.as_ref().err()?)))
        .filter(|(_, error)| error.code == Code::ImageMissing)
        .collect();
    if vanished.is_empty() { Ok(()) } else { Err(refusal(&vanished)) }
}

/// A sidecar or an init container, and the image that it is to run.
struct SideImage {
    word: &'static str,
    service: Name,
    name: Name,
    image: String,
}

/// What runs beside services: with the image that the request has, else the definition's.
fn side_images(app: &App, request: &Request) -> Vec<SideImage> {
    let of_service = |(service, parts): (&Name, &Service)| {
        let known = request.containers.get(service);
        // Those that run a service's image have it from there.
        let side = |word: &'static str, name: &Name, stated: Option<&Spanned<String>>| {
            let stated = stated?.value.as_str();
            let image = known.and_then(|known| known.get(name)).map_or(stated, String::as_str).to_owned();
            Some(SideImage { word, service: service.clone(), name: name.clone(), image })
        };
        let sidecars = parts.sidecars.iter().filter_map(|(name, one)| side("sidecar", name, one.image.as_ref()));
        let init = parts.init.iter().filter_map(|(name, one)| side("init", name, one.image.as_ref()));
        sidecars.chain(init).collect::<Vec<_>>()
    };
    app.services.iter().flat_map(of_service).collect()
}

/// Whether a service runs from an image on this target.
pub(crate) fn runs_image(target: &Target, service: &Service) -> bool {
    match target {
        Target::Kubernetes(_) => true,
        Target::Local(_) => local::runs_image(service),
    }
}

/// Whether what a service was deployed with is an image, and no artifact.
fn is_image(deployed: &str) -> bool {
    deployed.parse::<ArtifactHash>().is_err()
}

/// Which image each service runs.
fn chosen(target: &Target, wanted: &ImageDemand<'_>, request: &Request) -> Result<BTreeMap<Name, Choice>> {
    for (service, image) in wanted.images {
        let Some(stated) = wanted.app.services.get(service.as_str()) else {
            let known: Vec<&str> = wanted.app.services.keys().map(Name::as_str).collect();
            let message = format!("{} has no service {service}; it has {}", wanted.app.name.value, known.join(", "));
            return Err(Problem::new(Code::RequestName, message));
        };
        if !runs_image(target, stated) {
            let message =
                format!("{} builds service {service}: it doesn't run `--image {service}={image}`", target.name());
            return Err(Problem::new(Code::OtherKindOfTarget, message)
                .help("leave it out, or name a cluster with --target; on one machine a service with an `image` and no `build` runs from it"));
        }
    }
    let mut choices = BTreeMap::new();
    let mut missing = Vec::new();
    for (name, service) in wanted.app.services.iter().filter(|(_, service)| runs_image(target, service)) {
        let given = wanted.images.get(name.as_str()).map(|image| complete(name, service, image)).transpose()?;
        let deployed = request.artifacts.get(name).filter(|deployed| is_image(deployed));
        let stuck = deployed.filter(|_| !is_new(wanted.before, name, service));
        let choice = match (given, stuck, written(service)) {
            (Some(given), _, _) => Choice::Named(given),
            (None, Some(stuck), _) => Choice::Stuck(stuck.clone()),
            (None, None, Some(written)) => Choice::Named(written.to_owned()),
            (None, None, None) => match deployed {
                Some(stuck) => Choice::Stuck(stuck.clone()),
                None => {
                    missing.push((name, service));
                    continue;
                }
            },
        };
        choices.insert(name.clone(), choice);
    }
    if missing.is_empty() { Ok(choices) } else { Err(no_image(&missing)) }
}

/// The definition's image, where it says which of its repository.
fn written(service: &Service) -> Option<&str> {
    let image = service.image.as_ref()?.value.as_str();
    let parsed: ImageReference = image.parse().ok()?;
    (parsed.tag().is_some() || parsed.digest().is_some()).then_some(image)
}

/// Whether the definition now names another tag or digest than the one that the stack was deployed with.
fn is_new(before: Option<&App>, name: &Name, service: &Service) -> bool {
    let Some(before) = before.and_then(|app| app.services.get(name)) else { return false };
    written(service).is_some() && written(before) != written(service)
}

/// `:1.4` and `@sha256:…` are of the repository that the definition gives.
fn complete(name: &Name, service: &Service, image: &str) -> Result<String> {
    if !image.starts_with([':', '@']) {
        return Ok(image.to_owned());
    }
    let Some(repository) = &service.image else {
        let message = format!("{image} names no repository, and the definition gives service {name} no image");
        return Err(Problem::new(Code::NoImage, message)
            .help(format!("give the full reference: --image {name}=registry/repository{image}")));
    };
    Ok(format!("{}{image}", reference(&repository.value)?.name()))
}

fn reference(text: &str) -> Result<ImageReference> {
    text.parse::<ImageReference>().map_err(|error| {
        Problem::new(Code::BadImageReference, error.to_string())
            .help("write it like ghcr.io/acme/web:1.4 or ghcr.io/acme/web@sha256:…")
    })
}

fn no_image(missing: &[(&Name, &Service)]) -> Problem {
    let words: Vec<String> = missing
        .iter()
        .map(|(name, service)| match (&service.image, &service.build) {
            (Some(image), _) => format!("service {name} has no image yet: {} without a tag or digest", image.value),
            (None, Some(_)) => format!("service {name} is built for this machine, and has no image for a cluster"),
            (None, None) => format!("service {name} has no image"),
        })
        .collect();
    let (first, service) =
        missing.first().map_or(("web", None), |(name, service)| (name.as_str(), service.image.as_ref()));
    let help = match service {
        Some(_) => format!("choose one: --image {first}=:TAG, or --image {first}=@sha256:…"),
        None => format!(
            "push one and name it: --image {first}=registry/repository:TAG; or write `image` into [service.{first}]"
        ),
    };
    Problem::new(Code::NoImage, words.join("; ")).help(help)
}

/// All that is wrong with images, together.
fn refusal(failures: &[(&str, &Problem)]) -> Problem {
    let Some((what, first)) = failures.first() else {
        return Problem::new(Code::ImageMissing, "an image is missing");
    };
    let words: Vec<String> = failures.iter().map(|(what, problem)| format!("{what}: {}", problem.message)).collect();
    let help = |problem: &Problem| problem.help.clone().unwrap_or_default();
    let mut refusal = Problem::new(first.code, words.join("; ")).help(help(first));
    if failures.len() > 1 {
        let others = failures.iter().skip(1).map(|(what, problem)| format!("{what}: {}", help(problem)));
        refusal = refusal.lines(std::iter::once(format!("{what}: {}", help(first))).chain(others).collect());
    }
    refusal
}

/// Artifacts are for this machine.
pub(crate) fn refuse_wrong_kind(target: &Target, request: &Deploy) -> Result<()> {
    let name = target.name();
    match target {
        // Which services run from images the definition says.
        Target::Local(_) => Ok(()),
        Target::Kubernetes(_) => match request.artifacts.iter().next() {
            Some((service, artifact)) => {
                let message = format!("{name} runs images, not the artifact {artifact} of service {service}");
                Err(Problem::new(Code::OtherKindOfTarget, message)
                    .help(format!("give an image: --image {service}=registry/repository:TAG")))
            }
            None => Ok(()),
        },
    }
}
