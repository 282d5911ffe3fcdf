//! What this machine can do beside running what the engine asks for.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use freehold_engine::capability::{
    Artifacts, CommandEvents, CommandRequest, Commands, Finding, HiddenArtifact, LogLine, LogLines, LogQuery, Logs,
    Restore, Restored, System,
};
use freehold_engine::{ProviderError, Secrets};
use freehold_graph::{ArtifactHash, ProviderName, ResourceId};
use freehold_problem::{Code, Problem};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio_util::io::StreamReader;

use crate::artifact::{ArtifactError, Hidden};
use crate::command;
use crate::descriptors;
use crate::provider::LocalProvider;
use crate::service::state::ServiceState;

/// Below this much room on the data directory's disk it is said, in bytes.
const LITTLE_ROOM: u64 = 1 << 30;
/// How many lines of a log are sent at once.
const PIECE: usize = 512;

#[async_trait]
impl System for LocalProvider {
    async fn ping(&self) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn inspect(&self) -> Vec<Finding> {
        let mut findings = vec![self.room()];
        if let Some(limit) = descriptors::low() {
            let help = "raise its hard limit before it is started: `ulimit -Hn 65536`, systemd: `LimitNOFILE=65536`";
            findings.push(Finding::warning("files", descriptors::few(limit), help));
        }
        findings.push(isolation(&self.not_enforced()));
        findings
    }
}

impl LocalProvider {
    fn room(&self) -> Finding {
        let (subject, directory) = ("disk", self.machine.data());
        match rustix::fs::statvfs(directory) {
            Ok(figures) => {
                let free = figures.f_bavail.saturating_mul(figures.f_frsize);
                let message = format!("{} MB free for {}", free >> 20, directory.display());
                if free < LITTLE_ROOM {
                    Finding::warning(subject, message, "a full disk stops databases and dumps: make room")
                } else {
                    Finding::ok(subject, message)
                }
            }
            Err(error) => Finding::failed(
                subject,
                Problem::new(Code::DataNotWritable, format!("{} is unreachable: {error}", directory.display())),
            ),
        }
    }
}

/// How far the stacks of this machine are kept apart.
fn isolation(missing: &[&str]) -> Finding {
    let subject = "isolation";
    if missing.is_empty() {
        return Finding::ok(subject, "stacks are isolated from each other: users, files, processes, ports");
    }
    let help = "run Freehold as root, on a kernel with control groups and mount namespaces, if its tenants don't trust each other";
    Finding::warning(subject, format!("not enforced here: {}", missing.join("; ")), help)
}

#[async_trait]
impl Logs for LocalProvider {
    async fn logs(&self, query: LogQuery) -> Result<LogLines, ProviderError> {
        // On this target a scheduled job is a resource of its own kind.
        let LogQuery { stack, of, scheduled, lines, follow, .. } = query;
        let of = if scheduled { ResourceId::new("schedule", of.name()) } else { of };
        let reader = self.log_reader();
        if follow {
            return Ok(reader.follow(stack, &of, lines).boxed());
        }
        let read = tokio::task::spawn_blocking(move || reader.tail(stack, &of, lines)).await;
        let read = read.unwrap_or_else(|error| Err(io::Error::other(error)));
        let read = read.map_err(|error| {
            ProviderError::rejected(Code::DataNotWritable, format!("the log can't be read: {error}"))
        })?;
        let pieces: Vec<io::Result<Vec<LogLine>>> = read.chunks(PIECE).map(|lines| Ok(lines.to_vec())).collect();
        Ok(stream::iter(pieces).boxed())
    }
}

#[async_trait]
impl Commands for LocalProvider {
    async fn start(&self, request: CommandRequest) -> Result<CommandEvents, ProviderError> {
        let _busy = self.busy(request.context.stack);
        command::start(&self.machine, request).await
    }
}

#[async_trait]
impl Artifacts for LocalProvider {
    fn has(&self, artifact: &ArtifactHash) -> bool {
        self.machine.artifacts.has(artifact)
    }

    async fn receive(
        &self,
        artifact: &ArtifactHash,
        content: BoxStream<'static, io::Result<Bytes>>,
    ) -> Result<(), Problem> {
        Ok(self.machine.artifacts.receive(artifact, StreamReader::new(content)).await?)
    }

    fn all(&self) -> Result<BTreeSet<ArtifactHash>, Problem> {
        Ok(self.machine.artifacts.all()?)
    }

    fn in_use(&self) -> Result<BTreeSet<ArtifactHash>, Problem> {
        let services: Vec<ServiceState> = self.services().iter().map(|service| service.seen()).collect();
        let records = services.iter().filter_map(|seen| seen.record.as_ref());
        Ok(records.filter_map(|record| record.resource.body.get("artifact")?.as_text()?.parse().ok()).collect())
    }

    fn hide(&self, artifact: &ArtifactHash) -> Result<Option<Box<dyn HiddenArtifact>>, Problem> {
        let hidden = self.machine.artifacts.hide(artifact)?;
        Ok(hidden.map(|hidden| Box::new(hidden) as Box<dyn HiddenArtifact>))
    }
}

impl HiddenArtifact for Hidden {
    fn remove(self: Box<Self>) -> Result<(), Problem> {
        Ok(Self::remove(*self)?)
    }

    fn put_back(self: Box<Self>) -> Result<(), Problem> {
        Ok(Self::put_back(*self)?)
    }
}

impl From<ArtifactError> for Problem {
    fn from(error: ArtifactError) -> Self {
        let problem = Self::new(error.code(), error.to_string());
        match error.help() {
            Some(help) => problem.help(help),
            None => problem,
        }
    }
}

#[async_trait]
impl Restore for LocalProvider {
    fn provider(&self) -> ProviderName {
        ProviderName::Local
    }

    async fn restore(&self, resources: Vec<Restored>, secrets: Arc<dyn Secrets>) -> Result<(), ProviderError> {
        Self::restore(self, resources, secrets).await.map(drop)
    }
}
