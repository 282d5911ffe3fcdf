//! Logs of services and jobs.

use std::io;

use freehold_graph::{ResourceId, ResourceKind, StackId};
use freehold_problem::{Code, Problem};
use freehold_provider_kubernetes::{KubernetesProvider, LogQuery as PodLogs};
use freehold_provider_local as local;
use freehold_spec::Name;
use freehold_store::Stack;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::Platform;
use super::artifacts::no_machine;
use super::secrets::none_such;
use crate::Result;
use crate::actor::{Actor, Scope};
use crate::request::LogQuery;
use crate::view::{LogLine, Voice};

/// How many lines, unless told.
const LINES: usize = 100;
/// How many lines are sent at once.
const PIECE: usize = 512;

impl Platform {
    /// The last lines of a log, and with `follow` those that are written from now on.
    pub async fn logs(
        &self,
        actor: &Actor,
        stack: StackId,
        query: &LogQuery,
    ) -> Result<BoxStream<'static, io::Result<Vec<LogLine>>>> {
        actor.require(Scope::Read)?;
        let stack = self.find_stack(actor, stack).await?;
        let (word, name) = query.of.split_once('.').unwrap_or_default();
        if !matches!(word, "service" | "job" | "schedule") {
            return Err(
                Problem::new(Code::BadRequest, format!("{:?} has no log", query.of)).help("service.NAME or job.NAME")
            );
        }
        let scheduled = self.refuse_without_log(&stack, word, name).await?;
        let of = ResourceId(query.of.clone());
        let lines = query.lines.unwrap_or(LINES);
        let runtime = self.targets.find(&stack.key.target).await?;
        if let Some(kubernetes) = &runtime.kubernetes {
            return self.logs_of_pods(kubernetes, &stack, of, lines, query.follow).await;
        }
        let Some(local) = &runtime.local else { return Err(no_machine()) };
        // On one machine a job that runs by the clock is a thing of its own; in a cluster its Pods are looked for under the job's name.
        let of = if scheduled { ResourceId::new("schedule", name) } else { of };
        let reader = local.provider.logs();
        if query.follow {
            let lines = reader.follow(stack.id, &of, lines).map_ok(|lines| written(&lines));
            return Ok(lines.take_until(self.stopping.clone().cancelled_owned()).boxed());
        }
        let found = tokio::task::spawn_blocking(move || reader.tail(stack.id, &of, lines)).await;
        let found = found.map_err(|error| Problem::new(Code::DataNotWritable, error.to_string()))?;
        let found =
            found.map_err(|error| Problem::new(Code::DataNotWritable, format!("the log can't be read: {error}")))?;
        let pieces: Vec<io::Result<Vec<LogLine>>> = found.chunks(PIECE).map(|lines| Ok(written(lines))).collect();
        Ok(stream::iter(pieces).boxed())
    }

    /// Refuses a service or a job that the stack's definition doesn't have: nothing would ever be written. Says whether it is a job
    /// that runs by the clock.
    async fn refuse_without_log(&self, stack: &Stack, word: &str, name: &str) -> Result<bool> {
        if stack.definition.is_none() {
            return Ok(false);
        }
        let app = self.definition_of(self.tenant_of(stack).await?, stack).await?.app;
        let scheduled = app.jobs.iter().any(|(job, one)| job.as_str() == name && one.schedule.is_some());
        let (what, names): (_, Vec<&str>) = match word {
            "service" => ("service", app.services.keys().map(Name::as_str).collect()),
            _ => ("job", app.jobs.keys().map(Name::as_str).collect()),
        };
        if names.contains(&name) { Ok(what == "job" && scheduled) } else { Err(none_such(stack, what, name, &names)) }
    }

    /// The lines of a stack's Pods, each with the Pod that printed it.
    async fn logs_of_pods(
        &self,
        kubernetes: &KubernetesProvider,
        stack: &Stack,
        of: ResourceId,
        lines: usize,
        follow: bool,
    ) -> Result<BoxStream<'static, io::Result<Vec<LogLine>>>> {
        let tenant = self.tenant_of(stack).await?;
        let mut tx = self.store.begin(tenant).await?;
        let resources = tx.resources(stack.id).await?;
        drop(tx);
        let namespace = resources.into_iter().find(|stored| stored.resource.kind == ResourceKind::Namespace);
        // Before its namespace is made a stack has printed nothing.
        let Some(namespace) = namespace else { return Ok(stream::empty().boxed()) };
        let namespace = namespace.resource.identity;
        let query = PodLogs { stack: stack.id, namespace, of, lines, follow, since: None, previous: false };
        let lines = kubernetes.logs(query).await?;
        let lines = lines.map(|line| Ok(vec![LogLine { source: line.source, by: Voice::Program, line: line.text }]));
        Ok(lines.take_until(self.stopping.clone().cancelled_owned()).boxed())
    }
}

fn written(lines: &[local::LogLine]) -> Vec<LogLine> {
    let line = |line: &local::LogLine| LogLine {
        source: line.source.clone(),
        by: match line.voice {
            local::Voice::Program => Voice::Program,
            local::Voice::Freehold => Voice::Freehold,
        },
        line: line.text.clone(),
    };
    lines.iter().map(line).collect()
}
