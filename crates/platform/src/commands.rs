//! Commands that somebody runs in a stack's environment, and waits for.
//!
//! Each is in the audit log before it starts, and again with its end. It changes nothing of the stack's own: no revision comes of it, and a
//! deploy neither waits for it nor ends it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use freehold_engine::capability::{CommandEvent, CommandEvents, CommandRequest};
use freehold_engine::{CallWaits, CancellationToken, Context, OperationId, StepId, Verb};
use freehold_graph::command::Place;
use freehold_graph::kind::Program;
use freehold_graph::{Graph, Run, StackId, Value};
use freehold_problem::{Code, Problem};
use freehold_spec::Name;
use freehold_store::audit::AuditEntry;
use freehold_store::{Stack, StackState, TenantId};
use futures::StreamExt;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::Instrument as _;
use uuid::Uuid;

use super::definition::never_deployed;
use super::secrets::none_such;
use crate::Result;
use crate::actor::{Actor, Scope};
use crate::records::Records;
use crate::request::Command;
use crate::targets::Targets;

/// How many run at once, and how many of them of one tenant.
const MOST: usize = 32;
const MOST_OF_ONE: usize = 8;
/// How long one may take that is no job's, unless told.
const TIMEOUT: Duration = Duration::from_secs(3600);
/// The longest that one may take.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long it may take to start.
const STARTING: Duration = Duration::from_secs(120);
/// How much of a command the audit log shows, in characters.
const SHOWN: usize = 1000;

/// Starts commands, no more than some at once, and tells the audit log of each.
pub struct Commands {
    pub(crate) records: Records,
    pub(crate) targets: Arc<Targets>,
    pub(crate) stopping: CancellationToken,
    pub(crate) seats: Seats,
}

/// A command on its way: whose it is, and what the audit log is told of it.
struct Audited {
    records: Records,
    tenant: TenantId,
    stack: StackId,
    subject: String,
    actor: String,
    detail: serde_json::Value,
}

impl Commands {
    /// Runs a command from what a service or a job was deployed as. It ends when the stream is dropped.
    pub async fn run(&self, actor: &Actor, stack: StackId, request: &Command) -> Result<CommandEvents> {
        actor.require(Scope::Deploy)?;
        let stack = self.records.find_stack(actor, stack).await?;
        if stack.state == StackState::Destroying {
            return Err(Problem::new(Code::OperationRunning, format!("{} is being destroyed", stack.key)));
        }
        let tenant = self.records.tenant_of(&stack).await?;
        let seat = self.seats.take(tenant)?;
        let (revision, graph) = self.deployed(tenant, &stack).await?;
        let place = place(request, &stack, &graph)?;
        if matches!(place, Place::Service(_)) && request.command.is_empty() {
            return Err(Problem::new(Code::BadRequest, "there is no command to run")
                .help("`freehold run … -- COMMAND`, or the name of a job"));
        }
        let command = (!request.command.is_empty()).then_some(request.command.as_slice());
        let run = graph.command(&place, command).ok_or_else(|| unknown(&place, &stack, &graph))?;
        let timeout = timeout(request, &run)?;
        let runtime = self.targets.find(&stack.key.target).await?;
        let Some(commands) = runtime.capabilities.commands.clone() else {
            let message = format!("target {} runs no commands", runtime.target.name());
            return Err(Problem::new(Code::OtherKindOfTarget, message));
        };
        let id = Uuid::now_v7();
        let audited = Audited {
            records: self.records.clone(),
            tenant,
            stack: stack.id,
            subject: stack.key.to_string(),
            actor: actor.audited(),
            detail: json!({ "command": id, "of": place.id(), "executes": shown(&request.command) }),
        };
        let context = Context {
            stack: stack.id,
            key: stack.key.clone(),
            operation: OperationId(id),
            step: StepId::new(Verb::Run, &place.id()),
            revision,
            deadline: Instant::now() + STARTING,
            secrets: Arc::new(self.records.store.clone()),
            waits: CallWaits::default(),
            cancel: CancellationToken::new(),
        };
        let request = CommandRequest { context, run, timeout };
        let stopping = self.stopping.clone();
        // Whoever asked may be gone any moment, and this future with them. What has begun goes on until its end is written; its events are
        // dropped then, which ends it.
        let begun = async move {
            audited.write("run", json!({})).await?;
            match commands.start(request).await {
                Ok(events) => Ok(watched(events, audited, seat, stopping)),
                Err(error) => {
                    let problem = Problem::from(error);
                    audited.note(json!({ "code": problem.code })).await;
                    Err(problem)
                }
            }
        };
        let begun = tokio::spawn(begun.in_current_span()).await;
        begun.unwrap_or_else(|error| Err(Problem::new(Code::Internal, format!("a command was not started: {error}"))))
    }

    /// What serves; before anything ever did, what was deployed last.
    async fn deployed(&self, tenant: TenantId, stack: &Stack) -> Result<(u64, Graph)> {
        let number = stack.verified_revision.unwrap_or(stack.revision);
        let mut tx = self.records.store.begin(tenant).await?;
        let revision = tx.revision(stack.id, number).await?.ok_or_else(|| never_deployed(stack))?;
        Ok((number, revision.graph))
    }
}

/// How many commands each tenant runs.
#[derive(Default, Clone)]
pub(crate) struct Seats(Arc<Mutex<BTreeMap<Uuid, usize>>>);

/// The place of one that runs.
struct Seat {
    seats: Seats,
    tenant: TenantId,
}

impl Seats {
    fn take(&self, tenant: TenantId) -> Result<Seat> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(&tenant.0).copied().unwrap_or_default();
        let full = |most: usize, what: &str| {
            Err(Problem::new(Code::NotNow, format!("{most} commands are running {what}, and no more can"))
                .help("try again when one has ended"))
        };
        if own >= MOST_OF_ONE {
            return full(MOST_OF_ONE, "for this tenant");
        }
        if taken.values().sum::<usize>() >= MOST {
            return full(MOST, "on this platform");
        }
        taken.insert(tenant.0, own.saturating_add(1));
        Ok(Seat { seats: self.clone(), tenant })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = taken.remove(&self.tenant.0).unwrap_or_default().saturating_sub(1);
        if left > 0 {
            taken.insert(self.tenant.0, left);
        }
    }
}

/// The same events; the end is in the audit log before it is told.
fn watched(mut events: CommandEvents, audited: Audited, seat: Seat, stopping: CancellationToken) -> CommandEvents {
    let (sender, mut watched) = mpsc::channel(1);
    let watch = async move {
        let _seat = seat;
        let end = loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = sender.closed() => break json!({ "state": "cancelled" }),
                () = stopping.cancelled() => break json!({ "state": "cancelled" }),
            };
            let end = match &event {
                Some(Ok(CommandEvent::Output(_))) => None,
                Some(Ok(CommandEvent::Ended { exit, .. })) => Some(json!({ "state": "ended", "exit": exit })),
                Some(Err(error)) => Some(json!({ "state": "failed", "reason": error.to_string() })),
                None => Some(json!({ "state": "failed" })),
            };
            let Some(end) = end else {
                if let Some(event) = event
                    && sender.send(event).await.is_err()
                {
                    break json!({ "state": "cancelled" });
                }
                continue;
            };
            audited.note(end).await;
            if let Some(event) = event {
                let _ = sender.send(event).await;
            }
            return;
        };
        drop(events);
        audited.note(end).await;
    };
    tokio::spawn(watch.in_current_span());
    futures::stream::poll_fn(move |context| watched.poll_recv(context)).boxed()
}

impl Audited {
    async fn write(&self, action: &str, end: serde_json::Value) -> Result<()> {
        let mut detail = self.detail.clone();
        if let (Some(detail), serde_json::Value::Object(end)) = (detail.as_object_mut(), end) {
            detail.extend(end);
        }
        let (actor, subject) = (self.actor.as_str(), self.subject.as_str());
        let entry = AuditEntry { actor, action, stack: Some(self.stack), subject, operation: None, detail: &detail };
        let mut tx = self.records.store.begin(self.tenant).await?;
        tx.audit(&entry).await?;
        Ok(tx.commit().await?)
    }

    /// How it ended. That it began is there.
    async fn note(&self, end: serde_json::Value) {
        if let Err(problem) = self.write("run.ended", end).await {
            tracing::warn!(stack = %self.stack, "the end of a command is not in the audit log: {}", problem.message);
        }
    }
}

/// What a command is run in place of: what was named, or the only service.
fn place(request: &Command, stack: &Stack, graph: &Graph) -> Result<Place> {
    let name = |text: &str| -> Result<Name> {
        text.parse().map_err(|error| Problem::new(Code::RequestName, format!("{text:?} is no name: {error}")))
    };
    match (&request.service, &request.job) {
        (Some(_), Some(_)) => {
            Err(Problem::new(Code::BadRequest, "a command is run as a service or as a job, not both"))
        }
        (Some(service), None) => Ok(Place::Service(name(service)?)),
        (None, Some(job)) => Ok(Place::Job(name(job)?)),
        (None, None) => match names(graph, Program::Service).as_slice() {
            [only] => Ok(Place::Service(name(only)?)),
            [] => Err(Problem::new(Code::NotFound, format!("{} has no service", stack.key)).help("name a job")),
            several => {
                let message = format!("{} has several services, and none was named", stack.key);
                Err(Problem::new(Code::Ambiguous, message)
                    .help(format!("--service with one of {}", several.join(", "))))
            }
        },
    }
}

fn names(graph: &Graph, program: Program) -> Vec<&str> {
    let resources = graph.resources.values().filter(|resource| resource.kind.row().program == program);
    resources.map(|resource| resource.id.name()).collect()
}

fn unknown(place: &Place, stack: &Stack, graph: &Graph) -> Problem {
    match place {
        Place::Service(name) => none_such(stack, "service", name.as_str(), &names(graph, Program::Service)),
        Place::Job(name) => {
            let jobs = graph.runs.keys().map(|id| id.name()).chain(names(graph, Program::Schedule));
            none_such(stack, "job", name.as_str(), &jobs.collect::<Vec<_>>())
        }
    }
}

/// When a command is ended: as asked for, else a job as its definition says.
fn timeout(request: &Command, run: &Run) -> Result<Duration> {
    let own =
        run.body.get("timeout_seconds").and_then(Value::as_integer).map(|own| Duration::from_secs(own.unsigned_abs()));
    let timeout = request.timeout.or(own).unwrap_or(TIMEOUT);
    if timeout.is_zero() || timeout > LONGEST {
        return Err(Problem::new(Code::BadRequest, "a command may take from one second to seven days"));
    }
    Ok(timeout)
}

/// A command as the audit log shows it.
fn shown(command: &[String]) -> String {
    let text = command.join(" ");
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tenant_takes_all_the_seats_and_each_is_given_back() {
        let seats = Seats::default();
        let take = |tenant| seats.take(TenantId(Uuid::from_u128(tenant)));
        let of_one: Vec<Seat> = (0..MOST_OF_ONE).map(|_| take(1).unwrap()).collect();
        let refused = take(1).err().unwrap();
        assert_eq!(refused.code, Code::NotNow);
        assert!(refused.message.contains("for this tenant"), "{}", refused.message);
        let others: Vec<Seat> =
            (0..MOST - MOST_OF_ONE).map(|count| take(2 + (count / MOST_OF_ONE) as u128).unwrap()).collect();
        let refused = take(99).err().unwrap();
        assert!(refused.message.contains("on this platform"), "{}", refused.message);
        drop((of_one, others));
        assert!(take(1).is_ok());
        assert!(seats.0.lock().unwrap().is_empty());
    }
}
