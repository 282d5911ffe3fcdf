//! Artifacts: what services run from, made from the app's folder.
//!
//! A build runs only when its sources or what it made have changed since it ran last, and an artifact is packed only when
//! its files have. What was seen is remembered in a small file in the user's cache directory ([`memory`]); without it
//! everything is done once more, and nothing else happens.

mod build;
mod hash_cache;
mod survey;
mod transfer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use freehold_problem::Code;
use freehold_provider_local::artifact::{self as format, ArtifactError};
use freehold_spec::app::Build;

use crate::definition::Valid;
use crate::platform::Platform;
use crate::report::{CommandError, CommandResult};
use crate::terminal::Terminal;

use hash_cache::{BuildRecord, HashCache};
use survey::Survey;

/// The artifacts of an app's services.
pub(crate) struct Artifacts {
    root: PathBuf,
    services: BTreeMap<String, Artifact>,
    memory: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Artifact {
    /// `sha256:…`.
    digest: String,
    /// The files and folders that it is made from, below the app's folder.
    entries: Vec<String>,
}

/// Builds what has to be built, or all with `rebuild`, and finds out each artifact's digest.
pub(crate) fn prepare(terminal: Terminal, definition: &Valid, rebuild: bool) -> CommandResult<Artifacts> {
    let root = definition.directory.canonicalize().unwrap_or_else(|_| definition.directory.clone());
    let path = hash_cache::path(&root);
    let mut memory = HashCache::read(&path);
    let mut services = BTreeMap::new();
    // Services that are built the same way are built once.
    let mut made: Vec<(&Build, Artifact)> = Vec::new();
    for (name, service) in &definition.app.services {
        let Some(build) = &service.build else { continue };
        let artifact = match made.iter().find(|(other, _)| is_same(other, build)) {
            Some((_, artifact)) => artifact.clone(),
            None => {
                if rebuild {
                    memory.forget(&key(build));
                }
                make(terminal, &root, name.as_str(), build, &mut memory)?
            }
        };
        made.push((build, artifact.clone()));
        services.insert(name.to_string(), artifact);
    }
    memory.write(&path);
    Ok(Artifacts { root, services, memory: path })
}

/// What tells a build apart from the app's other ones.
fn key(build: &Build) -> String {
    hash_cache::key(build.command.as_deref(), &entries(build))
}

fn entries(build: &Build) -> Vec<String> {
    build.artifact.iter().map(|entry| entry.value.clone()).collect()
}

fn is_same(one: &Build, other: &Build) -> bool {
    one.command == other.command && one.artifact == other.artifact
}

/// One artifact: built if need be, packed if need be.
fn make(
    terminal: Terminal,
    root: &Path,
    service: &str,
    build: &Build,
    memory: &mut HashCache,
) -> CommandResult<Artifact> {
    let (entries, key) = (entries(build), key(build));
    let mut survey =
        Survey::take(root, &entries, build.command.is_some(), memory).map_err(|error| unreadable(&error))?;
    let known = memory.made(&key).filter(|made| made.inputs == survey.inputs() && survey.missing.is_empty());
    if let Some(made) = known {
        return Ok(Artifact { digest: made.digest.clone(), entries });
    }
    let mut settled = true;
    if let Some(command) = &build.command {
        let before = survey.sources.clone();
        build::run(terminal, root, service, command)?;
        survey = Survey::take(root, &entries, true, memory).map_err(|error| unreadable(&error))?;
        // Somebody wrote to the sources meanwhile: nobody knows what was built.
        settled = survey.sources == before;
    }
    if let Some(missing) = survey.missing.first() {
        let (after, or) = match build.command.is_some() {
            true => (" after the build", "or its `command`, which has not made it"),
            false => ("", "or make it before the deploy"),
        };
        return Err(CommandError::new(
            Code::ArtifactFileMissing,
            format!("service {service}: {missing} is not there{after}"),
        )
        .help(format!("correct `artifact` in [service.{service}.build], {or}")));
    }
    let digest = format::pack(root, &entries).map_err(|error| unfit(service, &error))?.hash.to_string();
    match settled {
        true => memory.keep(key, BuildRecord { inputs: survey.inputs(), digest: digest.clone() }),
        false => memory.forget(&key),
    }
    Ok(Artifact { digest, entries })
}

impl Artifacts {
    /// Which artifact each service runs from.
    pub(crate) fn digests(&self) -> BTreeMap<String, String> {
        self.services.iter().map(|(service, artifact)| (service.clone(), artifact.digest.clone())).collect()
    }

    /// Sends what the platform doesn't have. Without `anew`, what it was sent before isn't asked for again.
    pub(crate) async fn send(&self, platform: &Platform, anew: bool) -> CommandResult<()> {
        let mut memory = HashCache::read(&self.memory);
        let identity = platform.identity();
        let mut changed = false;
        for artifact in self.services.values() {
            if !anew && memory.was_sent(&identity, &artifact.digest) {
                continue;
            }
            if !platform.client.has_artifact(&artifact.digest).await? {
                let packed = format::pack(&self.root, &artifact.entries).map_err(|error| unreadable(&error))?;
                if packed.hash.to_string() != artifact.digest {
                    return Err(CommandError::new(
                        Code::BuildFailed,
                        "the artifact's files changed while they were sent",
                    )
                    .help("run the command again when nothing writes to them"));
                }
                platform.client.send_artifact(&artifact.digest, transfer::body(packed)).await?;
            }
            memory.sent(&identity, &artifact.digest);
            changed = true;
        }
        if changed {
            memory.write(&self.memory);
        }
        Ok(())
    }
}

/// The artifact can't be made as the definition says.
fn unfit(service: &str, error: &ArtifactError) -> Box<CommandError> {
    match error {
        ArtifactError::File { .. } | ArtifactError::Stream(_) => unreadable(error),
        ArtifactError::Unfit { .. } => CommandError::new(Code::ArtifactUnfit, format!("service {service}: {error}"))
            .help(
                error
                    .help()
                    .map_or_else(|| format!("leave it out of `artifact` in [service.{service}.build]"), str::to_owned),
            ),
        ArtifactError::Missing { .. } | ArtifactError::SameName { .. } | ArtifactError::OtherContent { .. } => {
            CommandError::new(Code::ArtifactFileMissing, format!("service {service}: {error}"))
                .help(format!("correct `artifact` in [service.{service}.build]"))
        }
    }
}

fn unreadable(error: &dyn std::fmt::Display) -> Box<CommandError> {
    CommandError::new(Code::ArtifactFileMissing, format!("the artifact's files can't be read: {error}"))
}
