//! Commands that somebody runs in a stack's environment and waits for: a Job of its own each, `run-ID`.
//!
//! Its Pod has the labels of the service or job whose environment it has, so the same policies let it through, and it is never ready, so no
//! Service sends it requests ([`freehold_graph::command`]).
//!
//! Nobody else looks after it: when it has ended, or isn't wanted any more, it is deleted with its Pod. Should this process die meanwhile,
//! the cluster does it. The Job is given little time at first (`activeDeadlineSeconds`), and more for as long as somebody waits; what has
//! ended is removed after a while (`ttlSecondsAfterFinished`).

use std::sync::Arc;
use std::time::Duration;

use freehold_engine::backoff::Backoff;
use freehold_engine::capability::{CommandEvent, CommandEvents, CommandRequest};
use freehold_engine::{Context, ProviderError};
use freehold_graph::Value;
use freehold_problem::{Code, Problem};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::{Instant, sleep, sleep_until};

use crate::cluster::Cluster;
use crate::document::Fields;
use crate::error::Reason;
use crate::logs::{is_later, next_line, words};
use crate::mark;
use crate::moment::Moment;
use crate::not_ready;
use crate::object::{JOB, NAMESPACE, POD, Place};
use crate::reader::Reader;
use crate::readiness::{deployment::refused, pod};
use crate::request::Request;
use crate::run::has_special;

/// For how long the cluster keeps on with it alone, and how often it is told that it is still wanted.
const ALONE: u64 = 120;
const BEAT: Duration = Duration::from_secs(30);
/// How long the Job stays that nobody has deleted, in seconds.
const KEPT: u64 = 60;
/// How long the program may take to end after SIGTERM, in seconds.
const GRACE: u64 = 10;
/// How long it may take until it starts: nodes that have to be added, images that have to be fetched.
const STARTING: Duration = Duration::from_secs(300);
/// How long a Job may go without a Pod before its events are asked why.
const NO_POD: Duration = Duration::from_secs(2);
/// How long its Pod may be refused.
const REFUSED: Duration = Duration::from_secs(10);
/// How long one look, and one change, may take.
const LOOK: Duration = Duration::from_secs(15);
/// How long it may take until it is gone.
const REMOVAL: Duration = Duration::from_secs(60);
const POLL: Backoff = Backoff::doubling(Duration::from_millis(100), Duration::from_secs(1));
/// How much output is kept for whoever doesn't take it, in lines.
const WAITING: usize = 64;
/// What shells say of a command that took longer than it may, and of one that was killed.
const TOO_LONG: i32 = 124;
const KILLED: i32 = 137;

type Events = Sender<Result<CommandEvent, ProviderError>>;

/// Starts a command.
pub(crate) async fn start(cluster: Arc<Cluster>, request: CommandRequest) -> Result<CommandEvents, ProviderError> {
    let CommandRequest { context, run, timeout } = request;
    let unusable = |why: &str| ProviderError::rejected(Code::StepFailed, format!("a command of {}: {why}", run.id));
    let namespace = run.body.get("namespace").and_then(Value::as_text);
    let namespace = namespace.ok_or_else(|| unusable("its body names no namespace"))?.to_owned();
    let manifest = run.body.get("manifest").filter(|manifest| !has_special(manifest));
    let manifest = manifest.ok_or_else(|| unusable("its manifest is missing, or would show a secret"))?;
    let manifest = serde_json::to_value(manifest).map_err(|error| unusable(&error.to_string()))?;
    let place = Place::named(JOB, Some(&namespace), &format!("run-{}", context.operation.0.simple()));
    own_namespace(&cluster, &context, &namespace).await?;
    let made = cluster.send(&Request::create(&place, &named(manifest, &place, &context)), context.deadline).await?;
    let command =
        Command { cluster, place, namespace, uid: mark::uid(&made.body).to_owned(), begun: Instant::now(), timeout };
    let (sender, mut events) = channel(WAITING);
    tokio::spawn(async move { command.attend(&sender).await });
    Ok(futures::stream::poll_fn(move |context| events.poll_recv(context)).boxed())
}

async fn own_namespace(cluster: &Cluster, context: &Context, namespace: &str) -> Result<(), ProviderError> {
    let place = Place::named(NAMESPACE, None, namespace);
    let found = Reader::new(cluster, context.deadline).get(&place).await?;
    if found.is_some_and(|found| mark::stack(&found) == Some(context.stack)) {
        return Ok(());
    }
    let message = format!("nothing is run: {place} is gone, or does not have this stack's ownership label");
    Err(not_ready::refusal(Code::NotOwned, message, "deploy the stack again"))
}

/// The manifest with what names the command and bounds it.
fn named(mut manifest: Json, place: &Place, context: &Context) -> Json {
    let set = |manifest: &mut Json, parent: &str, field: &str, value: Json| {
        if let Some(fields) = manifest.pointer_mut(parent).and_then(Json::as_object_mut) {
            fields.insert(field.to_owned(), value);
        }
    };
    set(&mut manifest, "/metadata", "name", json!(place.name));
    set(&mut manifest, "/metadata", "namespace", json!(place.namespace));
    set(
        &mut manifest,
        "/metadata/annotations",
        "freehold.dev/step",
        json!(format!("{}/{}", context.operation, context.step)),
    );
    set(&mut manifest, "/spec", "backoffLimit", json!(0));
    set(&mut manifest, "/spec", "activeDeadlineSeconds", json!(ALONE));
    set(&mut manifest, "/spec", "ttlSecondsAfterFinished", json!(KEPT));
    set(&mut manifest, "/spec/template/spec", "terminationGracePeriodSeconds", json!(GRACE));
    manifest
}

/// A command whose Job is there.
struct Command {
    cluster: Arc<Cluster>,
    place: Place,
    namespace: String,
    uid: String,
    begun: Instant,
    timeout: Duration,
}

impl Command {
    /// Passes on what it prints until it has ended, its time is over, or nobody listens any more; then nothing of it is left.
    async fn attend(self, events: &Events) {
        let end = tokio::select! {
            end = self.follow(events) => end,
            () = sleep_until(self.begun + self.timeout) => Ok(ended(TOO_LONG, "it took longer than it may")),
            error = self.beat() => Err(error),
            () = events.closed() => Ok(ended(KILLED, "nobody waits for it any more")),
        };
        let removed = self.remove().await;
        if let Err(error) = &removed {
            tracing::warn!(job = %self.place, %error, "a command's Job could not be deleted; the cluster does it");
        }
        // Whoever doesn't listen any more has ended it.
        let _ = events.send(end).await;
    }

    fn reader(&self) -> Reader<'_> {
        Reader::new(&self.cluster, Instant::now() + LOOK)
    }

    /// Says again and again that it is wanted. Returns only when that can't be said for so long that the cluster ends it.
    async fn beat(&self) -> ProviderError {
        let mut said = Instant::now();
        loop {
            sleep(BEAT).await;
            let seconds = self.begun.elapsed().as_secs().saturating_add(ALONE);
            let change = json!({"metadata": {"uid": self.uid}, "spec": {"activeDeadlineSeconds": seconds}});
            match self.cluster.send(&Request::merge(&self.place, &change), Instant::now() + LOOK).await {
                Ok(_) => said = Instant::now(),
                // Its end is seen elsewhere.
                Err(error) if matches!(error.reason(), Some(Reason::Absent | Reason::Changed)) => {}
                Err(error) if said.elapsed().as_secs() > ALONE => return error.into(),
                Err(error) => tracing::debug!(job = %self.place, %error, "a command is not said to be wanted"),
            }
        }
    }

    /// What it prints, and how it ends.
    async fn follow(&self, events: &Events) -> Result<CommandEvent, ProviderError> {
        let pod = self.started().await?;
        let name = pod.text("/metadata/name").to_owned();
        let pods: Api<Pod> = Api::namespaced(self.cluster.client(), &self.namespace);
        let mut parameters = LogParams { follow: true, timestamps: true, ..LogParams::default() };
        let (mut last, mut is_over) = (String::new(), None);
        let mut pause = POLL.waits();
        loop {
            match pods.log_stream(&name, &parameters).await {
                Ok(stream) => {
                    let mut stream = std::pin::pin!(stream);
                    while let Ok(Some(line)) = next_line(&mut stream).await {
                        let (time, text) = line.split_once(' ').unwrap_or((&line, ""));
                        if is_later(time, &last) {
                            time.clone_into(&mut last);
                            let text = format!("{}\n", text.trim_end_matches(['\n', '\r']));
                            if events.send(Ok(CommandEvent::Output(text))).await.is_err() {
                                return Ok(ended(KILLED, "nobody waits for it any more"));
                            }
                        }
                    }
                }
                Err(error) => tracing::debug!(pod = name, error = words(&error), "a command's log can't be followed"),
            }
            // It was over before this look at its log, which so has all of it.
            if let Some(end) = is_over {
                return end;
            }
            is_over = self.end(&name).await?;
            if let Ok(since) = last.parse() {
                parameters.since_time = Some(since);
            }
            if is_over.is_none() {
                sleep(pause.take()).await;
            }
        }
    }

    /// Its Pod, once that has been started.
    async fn started(&self) -> Result<Json, ProviderError> {
        let mut pause = POLL.waits();
        loop {
            let reader = self.reader();
            let pods = reader.list(POD, Some(&self.namespace), &self.pods()).await?;
            let moment = Moment::new(self.cluster.clock().now());
            let waits = match pods.first() {
                Some(pod) if pod::containers(pod).any(|container| container.has_run()) => return Ok(pod.clone()),
                Some(pod) => pod::not_ready(pod, moment),
                None if self.begun.elapsed() < NO_POD => None,
                None => match reader.get(&self.place).await? {
                    // The cluster doesn't let its Pod be made. It tries again, but somebody is waiting here.
                    Some(job) => not_ready::warning(&reader, &job).await?.map(|said| {
                        let fatal = self.begun.elapsed() > REFUSED;
                        not_ready::NotReady { fatal, ..refused(&said) }
                    }),
                    None => return Err(self.failed(Code::StepFailed, "its Job was deleted")),
                },
            };
            let late = self.begun.elapsed() > STARTING;
            match waits {
                Some(found) if found.fatal || late => {
                    return Err(self.failed(found.code.unwrap_or(Code::StepFailed), &found.words));
                }
                None if late => return Err(self.failed(Code::StepFailed, "its Pod does not start")),
                Some(_) | None => sleep(pause.take()).await,
            }
        }
    }

    /// The labels of its Pods.
    fn pods(&self) -> String {
        format!("batch.kubernetes.io/controller-uid={}", self.uid)
    }

    /// How it ended, if it has.
    async fn end(&self, pod: &str) -> Result<Option<Result<CommandEvent, ProviderError>>, ProviderError> {
        let Some(pod) = self.reader().get(&Place::named(POD, Some(&self.namespace), pod)).await? else {
            return Ok(Some(Ok(ended(KILLED, "its Pod was deleted"))));
        };
        let Some(end) = pod.pointer("/status/containerStatuses/0/state/terminated") else {
            let is_over = matches!(pod.text("/status/phase"), "Failed" | "Succeeded");
            return Ok(is_over.then(|| Ok(ended(KILLED, "its Pod was ended"))));
        };
        let exit = i32::try_from(end.number("/exitCode")).unwrap_or(i32::MAX);
        let reason = match end.text("/reason") {
            "" | "Completed" | "Error" => None,
            "OOMKilled" => Some("the kernel killed it: it took more memory than it may".to_owned()),
            other => Some(other.to_owned()),
        };
        Ok(Some(Ok(CommandEvent::Ended { exit, reason })))
    }

    /// Deletes the Job, and waits until its Pod is gone with it.
    async fn remove(&self) -> Result<(), ProviderError> {
        let deadline = Instant::now() + REMOVAL;
        match self.cluster.send(&Request::delete(&self.place, &self.uid, "Foreground"), deadline).await {
            Ok(_) => {}
            Err(error) if matches!(error.reason(), Some(Reason::Absent | Reason::Changed)) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let mut pause = POLL.waits();
        loop {
            let found = Reader::new(&self.cluster, deadline).get(&self.place).await?;
            if found.is_none_or(|job| mark::uid(&job) != self.uid) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(ProviderError::retryable(Code::NotNow, format!("{} is not gone yet", self.place)));
            }
            sleep(pause.take()).await;
        }
    }

    fn failed(&self, code: Code, why: &str) -> ProviderError {
        Problem::new(code, format!("the command could not be started: {why}")).into()
    }
}

fn ended(exit: i32, reason: &str) -> CommandEvent {
    CommandEvent::Ended { exit, reason: Some(reason.to_owned()) }
}
