//! What a provider can do beside keeping resources as they should be.
//!
//! Whoever needs one of these asks a target's [`Capabilities`] for it, never a provider by its name: what no provider of the target can do
//! is `None` there, and a new kind of target has what it has. Each is asked without a lease, and changes no resource.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use freehold_graph::image::ImageReference;
use freehold_graph::{ArtifactHash, ProviderName, Resource, ResourceId, Run, StackId, StackKey, Value};
use freehold_problem::Problem;
use futures::stream::BoxStream;
use uuid::Uuid;

use crate::context::Context;
use crate::owned_object::OwnedObject;
use crate::provider_error::ProviderError;
use crate::secrets::Secrets;

/// All that the providers of a target can do.
#[derive(Clone, Default)]
pub struct Capabilities {
    /// The system that the target is: a machine, a cluster.
    pub system: Option<Arc<dyn System>>,
    /// The servers that databases are on.
    pub databases: Option<Arc<dyn DatabaseServers>>,
    /// What services and jobs print.
    pub logs: Option<Arc<dyn Logs>>,
    /// Commands that somebody runs in a stack's environment.
    pub commands: Option<Arc<dyn Commands>>,
    /// Scans beyond what each provider finds of its own ([`crate::Provider::owned`]).
    pub scan: Option<Arc<dyn Scan>>,
    /// The files that services run from, where they run from files.
    pub artifacts: Option<Arc<dyn Artifacts>>,
    /// The images that services run, where they run from images.
    pub images: Option<Arc<dyn Images>>,
    /// Brings back what ended with the platform.
    pub restore: Option<Arc<dyn Restore>>,
}

impl Capabilities {
    /// These, and of `others` what is missing here.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            system: self.system.or(others.system),
            databases: self.databases.or(others.databases),
            logs: self.logs.or(others.logs),
            commands: self.commands.or(others.commands),
            scan: self.scan.or(others.scan),
            artifacts: self.artifacts.or(others.artifacts),
            images: self.images.or(others.images),
            restore: self.restore.or(others.restore),
        }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, but somebody should look at it.
    Warning,
    /// Deploys or stacks don't work until it is fixed.
    Error,
}

/// One thing that was looked at, and what there is to say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at: `postgresql`, `drift guestbook/tenant/acme`, `permission to create deployments.apps`.
    pub subject: String,
    /// What was found, in one line for people.
    pub message: String,
    /// What to do about it, or the command to run.
    pub help: Option<String>,
}

impl Finding {
    /// Without what to do.
    pub fn new(level: Level, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { level, subject: subject.into(), message: message.into(), help: None }
    }

    /// With what to do, where that is known.
    #[must_use]
    pub fn maybe_help(self, help: Option<String>) -> Self {
        Self { help, ..self }
    }

    /// Nothing to do.
    pub fn ok(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Level::Ok, subject, message)
    }

    /// To be looked at, with what to do about it.
    pub fn warning(subject: impl Into<String>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(Level::Warning, subject, message).maybe_help(Some(help.into()))
    }

    /// Something that doesn't work, with what to do about it.
    pub fn error(subject: impl Into<String>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(Level::Error, subject, message).maybe_help(Some(help.into()))
    }

    /// Something that could not be looked at.
    pub fn failed(subject: impl Into<String>, problem: Problem) -> Self {
        Self::new(Level::Error, subject, problem.message).maybe_help(problem.help)
    }
}

/// The machine or cluster that a target is.
#[async_trait]
pub trait System: Send + Sync {
    /// Whether it responds, and is the one that it was.
    ///
    /// # Errors
    /// The system doesn't respond, or it is another one than when the target was added.
    async fn ping(&self) -> Result<(), ProviderError>;

    /// Whether it has what deploys need: each thing that was looked at.
    async fn inspect(&self) -> Vec<Finding>;

    /// Removes what was made in it for the platform itself, because it is a target no more.
    ///
    /// # Errors
    /// The system doesn't respond, or refuses the deletion.
    async fn release(&self) -> Result<(), ProviderError> {
        Ok(())
    }
}

/// The connections of a database server: what there is, and what is promised to whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capacity {
    /// How many connections stacks may have together.
    pub usable: u32,
    /// The sums of the limits of each stack's roles.
    pub promised: BTreeMap<StackId, u32>,
}

impl Capacity {
    /// What is left for a stack, what it has already included.
    pub fn available_to(&self, stack: StackId) -> u32 {
        let others = self.promised.iter().filter(|(other, _)| **other != stack).map(|(_, promised)| promised);
        self.usable.saturating_sub(others.sum())
    }

    /// Whether a stack may have so many: what it has already, it may always keep.
    pub fn allows(&self, stack: StackId, wanted: u32) -> bool {
        wanted <= self.promised.get(&stack).copied().unwrap_or_default().max(self.available_to(stack))
    }
}

/// The servers that a target's databases are on: one without a name, and others by theirs.
#[async_trait]
pub trait DatabaseServers: Send + Sync {
    /// The names of the others.
    fn names(&self) -> Vec<String>;

    /// What a server's connections are promised to.
    ///
    /// # Errors
    /// There is no such server, or it doesn't answer.
    async fn capacity(&self, server: Option<&str>) -> Result<Capacity, ProviderError>;

    /// What is on the servers that no platform manages, where it may do harm to what is managed.
    ///
    /// # Errors
    /// The server doesn't answer.
    async fn unmanaged(&self) -> Result<Vec<Finding>, ProviderError>;
}

/// Which log, and how much of it.
#[derive(Debug, Clone)]
pub struct LogQuery {
    /// The stack whose log it is.
    pub stack: StackId,
    /// `service.web`, `job.migrate`.
    pub of: ResourceId,
    /// The job runs by the clock.
    pub scheduled: bool,
    /// How many of the last lines. Where several instances print, each has its share.
    pub lines: usize,
    /// Go on with what is written from now on.
    pub follow: bool,
    /// What the stack consists of, as recorded.
    pub resources: Vec<Resource>,
}

/// Who says a line of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// The program, which may print anything.
    Program,
    /// Freehold, about the program.
    Freehold,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The instance, run or Pod that it is about; with the container's name where there are several: `web-7d9f-x2x, sidecar proxy`.
    pub source: String,
    /// Who says it.
    pub voice: Voice,
    /// Without the line break: of a program exactly what it printed, with U+FFFD for what isn't UTF-8.
    pub text: String,
}

/// Some lines at a time, or why the rest can't be read.
pub type LogLines = BoxStream<'static, io::Result<Vec<LogLine>>>;

/// What services and jobs print.
#[async_trait]
pub trait Logs: Send + Sync {
    /// The last lines of a log, oldest instance first; without `follow` the stream ends.
    ///
    /// # Errors
    /// The log can't be read, or the cluster doesn't answer.
    async fn logs(&self, query: LogQuery) -> Result<LogLines, ProviderError>;
}

/// A command to run.
#[derive(Clone)]
pub struct CommandRequest {
    /// What is run, and when it is ended; bears the stack's mark. The operation's id is the command's own.
    pub context: Context,
    /// As [`Graph::command`](freehold_graph::Graph::command) makes it.
    pub run: Run,
    /// When it is ended.
    pub timeout: Duration,
}

/// What comes of a command while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandEvent {
    /// It printed this, on whichever output, with U+FFFD for what isn't UTF-8.
    Output(String),
    /// It has ended, and nothing of it is left.
    Ended {
        /// As shells have it: 128 and the number of the signal that ended it.
        exit: i32,
        /// Why it ended, if it didn't by itself.
        reason: Option<String>,
    },
}

/// What comes of a command. The last one is its end, or an error.
pub type CommandEvents = BoxStream<'static, Result<CommandEvent, ProviderError>>;

/// Runs commands in the environments of stacks.
#[async_trait]
pub trait Commands: Send + Sync {
    /// Starts one. It is ended when the stream is dropped, and if this process is killed a while later; nothing that was made for it stays.
    ///
    /// # Errors
    /// It can't be started.
    async fn start(&self, request: CommandRequest) -> Result<CommandEvents, ProviderError>;
}

/// Scans of a system that several platforms may use, and that has kinds of objects which no provider knows.
#[async_trait]
pub trait Scan: Send + Sync {
    /// The platform that each stack in this system belongs to, as the system itself says.
    ///
    /// # Errors
    /// The system doesn't answer, or permissions to list its namespaces are missing.
    async fn platforms(&self) -> Result<BTreeMap<StackId, Uuid>, ProviderError>;

    /// Everything that bears a stack's mark, of every kind that the system has.
    ///
    /// # Errors
    /// The system doesn't answer, or permissions to list some of its kinds are missing.
    async fn owned_of_every_kind(&self) -> Result<Vec<OwnedObject>, ProviderError>;
}

/// The artifacts of a machine.
#[async_trait]
pub trait Artifacts: Send + Sync {
    /// Whether its files are here.
    fn has(&self, artifact: &ArtifactHash) -> bool;

    /// Stores an artifact; its content has to have the hash that it is named by.
    ///
    /// # Errors
    /// The content has another hash, or can't be stored. No part of it stays.
    async fn receive(
        &self,
        artifact: &ArtifactHash,
        content: BoxStream<'static, io::Result<Bytes>>,
    ) -> Result<(), Problem>;

    /// All whose files are here.
    ///
    /// # Errors
    /// The directory of artifacts can't be read.
    fn all(&self) -> Result<BTreeSet<ArtifactHash>, Problem>;

    /// Those that something runs from. They must be kept even where no revision names them any more.
    ///
    /// # Errors
    /// The records of services and jobs can't be read: then every artifact counts as used.
    fn in_use(&self) -> Result<BTreeSet<ArtifactHash>, Problem>;

    /// Puts the files of one out of sight, so that nothing can start from them any more; `None` if there are none.
    ///
    /// # Errors
    /// The artifact's files can't be moved.
    fn hide(&self, artifact: &ArtifactHash) -> Result<Option<Box<dyn HiddenArtifact>>, Problem>;
}

/// An artifact out of sight. One that is neither removed nor put back is removed at the next start.
pub trait HiddenArtifact: Send {
    /// Removes its files. Blocks.
    ///
    /// # Errors
    /// Some of the artifact's files can't be removed.
    fn remove(self: Box<Self>) -> Result<(), Problem>;

    /// Makes the artifact usable again.
    ///
    /// # Errors
    /// The artifact's files can't be moved.
    fn put_back(self: Box<Self>) -> Result<(), Problem>;
}

/// The registries of a target, which know for what machines its images have to be made.
#[async_trait]
pub trait Images: Send + Sync {
    /// The image at its digest: `registry/repository@sha256:…`. What was there lately isn't asked for again.
    ///
    /// # Errors
    /// The image doesn't exist or isn't built for the target's architectures, or the registry doesn't answer.
    async fn resolve(&self, reference: &ImageReference) -> Result<String, Problem>;

    /// The same, asked of the registry now.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    async fn resolve_now(&self, reference: &ImageReference) -> Result<String, Problem>;
}

/// A resource as the store remembers it, for a provider whose objects don't outlive the platform.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The stack that it belongs to.
    pub stack: StackId,
    /// What people call that stack.
    pub key: StackKey,
    /// As last applied, or as it was about to be.
    pub resource: Resource,
    /// Its body in comparable form.
    pub comparable: Value,
    /// Its identity; `None` while it isn't known whether it was made. Then it is left to the operation that was making it.
    pub object: Option<String>,
}

/// Brings back what ended with the platform's process or its machine.
#[async_trait]
pub trait Restore: Send + Sync {
    /// Whose resources it brings back.
    fn provider(&self) -> ProviderName;

    /// Brings back all of these, once, after a start. What can't be brought back is told in the log and tried again by itself.
    ///
    /// # Errors
    /// The processes that the former platform left can't be listed.
    async fn restore(&self, resources: Vec<Restored>, secrets: Arc<dyn Secrets>) -> Result<(), ProviderError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_that_asks_for_no_more_than_it_has_is_never_refused() {
        let [first, second] = [1, 2].map(|number| StackId(uuid::Uuid::from_u128(number)));
        let capacity = |usable| Capacity { usable, promised: BTreeMap::from([(first, 30), (second, 50)]) };
        // Two deploys at once, or somebody who lowered max_connections, have promised too much.
        let tight = capacity(60);
        assert!(tight.allows(first, 30) && tight.allows(second, 50) && tight.allows(second, 40));
        assert!(!tight.allows(first, 31) && !tight.allows(second, 51));
        assert!(capacity(100).allows(first, 50) && !capacity(100).allows(first, 51));
        assert!(!tight.allows(StackId(uuid::Uuid::from_u128(3)), 1));
    }
}
