//! Logs of services and jobs, and the artifacts that they run from.

use std::io;
use std::time::Duration;

use axum::body::BodyDataStream;
use bytes::Bytes;
use chrono::Utc;
use freehold_graph::{ResourceId, ResourceType, StackId};
use freehold_provider_kubernetes::{KubernetesProvider, LogQuery as PodLogs};
use freehold_provider_local::{ArtifactError, ArtifactHash};
use freehold_spec::Name;
use freehold_store::{EngineStore, PLATFORM, Stack};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use tokio_util::io::StreamReader;
use tracing::{info, warn};
use uuid::Uuid;

use super::runtime::Local;
use super::secrets::none_such;
use super::{Platform, store_refusal};
use crate::http::LogQuery;
use crate::refusal::{Answer, Refusal};

/// How many lines, unless told.
const LINES: usize = 100;
/// How long an artifact is kept that nothing refers to: time enough for the deploy that it was sent for.
const GRACE: Duration = Duration::from_secs(24 * 3600);

impl Platform {
    /// The last lines of a log, and with `follow` those that are written from now on.
    pub(crate) async fn logs(&self, stack: Uuid, query: &LogQuery) -> Answer<BoxStream<'static, io::Result<Bytes>>> {
        let stack = self.find_stack(StackId(stack)).await?;
        let (word, name) = query.of.split_once('.').unwrap_or_default();
        if !matches!(word, "service" | "job" | "schedule") {
            return Err(
                Refusal::invalid("FH1003", format!("{:?} has no log", query.of)).help("service.NAME or job.NAME")
            );
        }
        self.refuse_without_log(&stack, word, name).await?;
        let of = ResourceId(query.of.clone());
        let lines = query.lines.unwrap_or(LINES);
        let runtime = self.targets.find(&stack.key.target).await?;
        if let Some(kubernetes) = &runtime.kubernetes {
            return self.logs_of_pods(kubernetes, &stack, of, lines, query.follow).await;
        }
        let Some(local) = &runtime.local else { return Err(no_machine()) };
        let reader = local.provider.logs();
        if query.follow {
            let lines = reader.follow(stack.id, &of, lines).map_ok(|line| Bytes::from(format!("{}\n", line.text)));
            return Ok(lines.take_until(self.stopping.clone().cancelled_owned()).boxed());
        }
        let found = tokio::task::spawn_blocking(move || reader.tail(stack.id, &of, lines)).await;
        let found = found.map_err(|error| Refusal::unavailable("FH0505", error.to_string()))?;
        let found = found.map_err(|error| Refusal::unavailable("FH0505", format!("the log can't be read: {error}")))?;
        Ok(stream::iter(found.into_iter().map(|line| Ok(Bytes::from(format!("{}\n", line.text))))).boxed())
    }

    /// Refuses a service or a job that the stack's definition doesn't have: nothing would ever be written.
    async fn refuse_without_log(&self, stack: &Stack, word: &str, name: &str) -> Answer<()> {
        if stack.definition.is_none() {
            return Ok(());
        }
        let app = self.definition_of(self.tenant_of(stack).await?, stack).await?.app;
        let (what, names): (_, Vec<&str>) = match word {
            "service" => ("service", app.services.keys().map(Name::as_str).collect()),
            _ => ("job", app.jobs.keys().map(Name::as_str).collect()),
        };
        if names.contains(&name) { Ok(()) } else { Err(none_such(stack, what, name, &names)) }
    }

    /// The lines of a stack's Pods, each with the Pod that printed it.
    async fn logs_of_pods(
        &self,
        kubernetes: &KubernetesProvider,
        stack: &Stack,
        of: ResourceId,
        lines: usize,
        follow: bool,
    ) -> Answer<BoxStream<'static, io::Result<Bytes>>> {
        let tenant = self.tenant_of(stack).await?;
        let mut tx = self.store.begin(tenant).await.map_err(store_refusal)?;
        let resources = tx.resources(stack.id).await.map_err(store_refusal)?;
        drop(tx);
        let namespace = resources.into_iter().find(|stored| stored.resource.kind == ResourceType::Namespace);
        // Before its namespace is made a stack has printed nothing.
        let Some(namespace) = namespace else { return Ok(stream::empty().boxed()) };
        let namespace = namespace.resource.identity;
        let query = PodLogs { stack: stack.id, namespace, of, lines, follow, since: None, previous: false };
        let lines = kubernetes.logs(query).await?;
        let lines = lines.map(|line| Ok(Bytes::from(format!("{} | {}\n", line.source, line.text))));
        Ok(lines.take_until(self.stopping.clone().cancelled_owned()).boxed())
    }

    /// This machine, which artifacts are for.
    fn machine(&self) -> Option<&Local> {
        self.targets.local().and_then(|local| local.local.as_ref())
    }

    /// Whether an artifact is here.
    pub(crate) fn has_artifact(&self, artifact: &str) -> bool {
        let machine = self.machine();
        machine.is_some_and(|local| artifact.parse::<ArtifactHash>().is_ok_and(|hash| local.artifacts.has(&hash)))
    }

    /// Takes an artifact in; its content has to be what its name says.
    pub(crate) async fn receive_artifact(&self, artifact: &str, body: BodyDataStream) -> Answer<()> {
        let hash: ArtifactHash = artifact
            .parse()
            .map_err(|_| Refusal::invalid("FH0603", format!("{artifact:?} is no artifact: it looks like sha256:…")))?;
        let machine = self.machine().ok_or_else(no_machine)?;
        let stream = StreamReader::new(body.map_err(io::Error::other));
        machine.artifacts.receive(&hash, stream).await.map_err(artifact_refusal)?;
        let mut tx = self.store.begin(PLATFORM).await.map_err(store_refusal)?;
        tx.keep_artifact(&hash.to_string(), 0).await.map_err(store_refusal)?;
        tx.commit().await.map_err(store_refusal)
    }

    /// Removes the artifacts that no revision and no process refers to any more.
    pub(crate) async fn collect_artifacts(&self, engine: &EngineStore) {
        let Some(machine) = self.machine() else { return };
        let before = Utc::now() - chrono::Duration::from_std(GRACE).unwrap_or_default();
        let unused = match engine.unused_artifacts(before).await {
            Ok(unused) => unused,
            // What isn't known to be unused stays.
            Err(failure) => return warn!("unused artifacts could not be looked for: {failure}"),
        };
        let in_use = machine.provider.artifacts_in_use();
        for artifact in unused {
            let Ok(hash) = artifact.parse::<ArtifactHash>() else { continue };
            if in_use.contains(&hash) {
                continue;
            }
            match engine.forget_artifact(&artifact, before).await {
                Ok(true) => match machine.artifacts.remove(&hash) {
                    Ok(()) => info!(artifact, "removed: nothing refers to it any more"),
                    Err(failure) => warn!(artifact, "could not be removed: {failure}"),
                },
                Ok(false) => {}
                Err(failure) => warn!(artifact, "could not be forgotten: {failure}"),
            }
        }
    }
}

fn no_machine() -> Refusal {
    Refusal::conflict("FH1244", "this platform runs on no machine of its own: artifacts are of no use to it")
        .help("push an image, and deploy it with --image to a cluster")
}

fn artifact_refusal(error: ArtifactError) -> Refusal {
    Refusal::invalid(error.code(), error.to_string())
}
