//! Logs of services and jobs.

use std::sync::Arc;

use freehold_engine::capability::{self, LogLines};
use freehold_graph::kind::Program;
use freehold_graph::{ResourceId, ResourceKind, StackId, writes_log};
use freehold_problem::{Code, Problem};
use freehold_spec::app::When;
use freehold_spec::{Name, PartKind};
use freehold_store::Stack;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::secrets::none_such;
use crate::Result;
use crate::actor::{Actor, Scope};
use crate::records::Records;
use crate::request::LogQuery;
use crate::targets::Targets;

/// How many lines, unless told.
const LINES: usize = 100;

/// What services and jobs print.
pub struct Logs {
    pub(crate) records: Records,
    pub(crate) targets: Arc<Targets>,
    pub(crate) stopping: CancellationToken,
}

impl Logs {
    /// The last lines of a log, and with `follow` those that are written from now on.
    pub async fn read(&self, actor: &Actor, stack: StackId, query: &LogQuery) -> Result<LogLines> {
        actor.require(Scope::Read)?;
        let stack = self.records.find_stack(actor, stack).await?;
        let (word, name) = query.of.split_once('.').unwrap_or_default();
        let Some(part) = part_with_log(word) else {
            return Err(
                Problem::new(Code::BadRequest, format!("{:?} has no log", query.of)).help("service.NAME or job.NAME")
            );
        };
        let scheduled = self.refuse_without_log(&stack, part, name).await?;
        let runtime = self.targets.find(&stack.key.target).await?;
        let Some(logs) = &runtime.capabilities.logs else {
            let message = format!("target {} keeps no logs", runtime.target.name());
            return Err(Problem::new(Code::OtherKindOfTarget, message));
        };
        let mut tx = self.records.store.look(actor.access()).await?;
        // One that can't be read hides the logs of no other.
        let listed = tx.resources(&[stack.id]).await?.into_iter();
        let resources = listed.filter_map(|listed| Some(listed.ok()?.1.resource)).collect();
        drop(tx);
        let (of, lines) = (ResourceId(query.of.clone()), query.lines.unwrap_or(LINES));
        let query = capability::LogQuery { stack: stack.id, of, scheduled, lines, follow: query.follow, resources };
        let lines = logs.logs(query).await?;
        Ok(lines.take_until(self.stopping.clone().cancelled_owned()).boxed())
    }

    /// Refuses a service or a job that the stack's definition doesn't have: nothing would ever be written. Says whether it is a job
    /// that runs by the clock.
    async fn refuse_without_log(&self, stack: &Stack, part: PartKind, name: &str) -> Result<bool> {
        if stack.definition.is_none() {
            return Ok(false);
        }
        let app = self.records.definition_of(self.records.tenant_of(stack).await?, stack).await?.app;
        let names: Vec<&str> = app.names(part).into_iter().map(Name::as_str).collect();
        if !names.contains(&name) {
            return Err(none_such(stack, part.word(), name, &names));
        }
        let scheduled = app.jobs.iter().any(|(job, one)| job.as_str() == name && one.runs() == When::Schedule);
        Ok(part == PartKind::Job && scheduled)
    }
}

/// The part whose programs write the log that is meant by a part's word, or by that of the kind that runs a job by the clock.
fn part_with_log(word: &str) -> Option<PartKind> {
    let part = PartKind::of_word(word).or_else(|| match ResourceKind::of_id_word(word)?.row().program {
        Program::Schedule => Some(PartKind::Job),
        Program::Service | Program::Server | Program::None => None,
    })?;
    writes_log(part).then_some(part)
}
