//! Runs of jobs: a Job of the cluster, made once for (stack, revision, job).
//!
//! The Job is called `JOB-rREVISION`, so there can't be two. A Job can vanish: its time to live is over, or somebody deletes it. So it is
//! made suspended, noted on the namespace (`freehold.dev/run-JOB: REVISION UID open`), and only then let go: one that may have run is
//! noted, whenever this process dies. When its end was seen, the note says so ([`note`]).
//!
//! | Job | noted for this revision | |
//! |---|---|---|
//! | no | no | it is made |
//! | yes | no | it is noted: it has not run yet |
//! | yes | yes, with its uid | it is let go, waited for, or tells how it ended |
//! | no, or another one | yes | nobody knows how it ended |
//!
//! Before it is let go, the runs of other revisions have ended. One whose end nobody has seen (the credentials were withdrawn meanwhile)
//! is looked at first: if it has done the same work, it is taken in place of a new one. An unknown outcome stops and asks, unless the job
//! says `retry = "safe"`: then it is made anew. Whoever was asked and deploys again has answered.
//!
//! That nobody may look, or nobody answers, is no outcome of a run: it goes on, and is looked at again ([`not_seen`]).
//!
//! What can't start at all is not left to its deadline: the Job is suspended, so that nothing starts behind our back, and the reason is
//! written on it (`freehold.dev/given-up`) for whoever asks again.

use std::time::Duration;

use freehold_engine::{Context, Performed, ProviderError};
use freehold_graph::{Run, Value};
use freehold_problem::{Code, Problem};
use futures::TryStreamExt;
use kube::api::{Api, DynamicObject, WatchEvent, WatchParams};
use kube::core::ApiResource;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout};

use crate::cluster::Cluster;
use crate::document::{Condition, Fields};
use crate::error::{ClusterError, Reason};
use crate::logs;
use crate::mark::{self, MARK};
use crate::moment::Moment;
use crate::not_ready::{self, NotReady, SHOWN_LINES};
use crate::object::{JOB, NAMESPACE, POD, Place};
use crate::reader::Reader;
use crate::readiness::{deployment::refused, pod, quota};
use crate::request::Request;

/// Between two looks at a Job whose watch tells nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// The part of the time that is left before a deadline in which to answer.
const SLACK: Duration = Duration::from_millis(250);
/// The part of the time in which no new look is begun.
const LAST_LOOK: Duration = Duration::from_secs(1);
/// How long it may take to note that a run's end was seen.
const CLOSING: Duration = Duration::from_secs(2);
/// How long a Job may have no room, for a cluster that adds nodes; or half of the job's own time, if that is less.
const NO_ROOM: Duration = Duration::from_secs(180);
/// How long a Job may go without a Pod before its events are asked why.
const NO_POD: Duration = Duration::from_secs(2);
const GIVEN_UP: &str = "freehold.dev/given-up";
/// Where a Job says which work it does.
const WORK: &str = "/metadata/annotations/freehold.dev~1work";

mod note;

use note::{Note, State};

/// Does a step's run.
pub(crate) async fn perform(cluster: &Cluster, context: &Context, run: &Run) -> Result<Performed, ProviderError> {
    RunOnce::of(cluster, context, run)?.perform().await
}

struct RunOnce<'a> {
    reader: Reader<'a>,
    context: &'a Context,
    job: &'a str,
    /// Without what names it.
    manifest: Json,
    place: Place,
    timeout: Duration,
    /// It may run again if nobody knows how it ended.
    safe: bool,
}

/// How a run begins.
enum Begun {
    Going(Json),
    /// One that was begun before has done it.
    Taken(Performed),
}

/// How a look at the Job went.
enum Look {
    Going(Json),
    Vanished,
}

impl<'a> RunOnce<'a> {
    fn of(cluster: &'a Cluster, context: &'a Context, run: &'a Run) -> Result<Self, ProviderError> {
        let job = run.id.name();
        let unusable = |why: &str| ProviderError::rejected(Code::StepFailed, format!("job {job}: {why}"));
        let text = |field: &str| run.body.get(field).and_then(Value::as_text);
        let namespace = text("namespace").ok_or_else(|| unusable("its body names no namespace"))?;
        let manifest = run.body.get("manifest").ok_or_else(|| unusable("its body has no manifest"))?;
        if has_special(manifest) {
            return Err(unusable("its manifest would show a secret; it has to take it from a Secret"));
        }
        let manifest = serde_json::to_value(manifest).map_err(|error| unusable(&error.to_string()))?;
        let seconds = run.body.get("timeout_seconds").and_then(Value::as_integer).unwrap_or(600);
        Ok(Self {
            reader: Reader::new(cluster, context.deadline.checked_sub(SLACK).unwrap_or(context.deadline)),
            context,
            job,
            manifest,
            place: Place::named(JOB, Some(namespace), &name(job, context.revision)),
            timeout: Duration::from_secs(seconds.unsigned_abs()),
            safe: text("retry") == Some("safe"),
        })
    }

    async fn perform(&self) -> Result<Performed, ProviderError> {
        loop {
            let job = match self.begun().await? {
                Begun::Going(job) => job,
                Begun::Taken(performed) => return Ok(performed),
            };
            if let Some(ended) = self.wait(job).await.map_err(not_seen)? {
                self.close().await;
                return ended;
            }
            // It has vanished. What that means, the note says.
        }
    }

    /// The Job, which is noted and let go; or what came of one that was begun before.
    async fn begun(&self) -> Result<Begun, ProviderError> {
        loop {
            let namespace = self.own_namespace().await.map_err(not_seen)?;
            let note = Note::of(&namespace, self.job);
            if let Some(open) = note.filter(|note| note.is_open() && note.revision != self.context.revision)
                && let Some(taken) = self.earlier(&namespace, open).await?
            {
                return Ok(Begun::Taken(taken));
            }
            let noted = note.filter(|note| note.revision == self.context.revision);
            let found = self.reader.get(&self.place).await.map_err(|error| not_seen(error.into()))?;
            if let Some(job) = &found {
                self.check_mark(job, &self.place.to_string())?;
            }
            let job = match (found, noted) {
                (Some(job), noted) if noted.is_none_or(|noted| noted.uid == mark::uid(&job) || self.safe) => Some(job),
                (_, Some(noted)) if !self.safe => return Err(self.ask(&namespace, noted).await?),
                _ => self.make().await?,
            };
            // Where somebody else was faster, it is looked at again.
            let Some(job) = job else { continue };
            let is_noted = noted.is_some_and(|noted| noted.uid == mark::uid(&job))
                || self.write_note(&namespace, &Note::open(self.context.revision, mark::uid(&job))).await?;
            if is_noted && let Some(job) = self.let_go(job).await? {
                return Ok(Begun::Going(job));
            }
        }
    }

    /// Looks at the run of another revision whose end nobody has seen. `None` if this revision's own has to run.
    async fn earlier(&self, namespace: &Json, note: Note<'_>) -> Result<Option<Performed>, ProviderError> {
        let place = Place::named(JOB, self.place.namespace.as_deref(), &name(self.job, note.revision));
        loop {
            let found = self.reader.get(&place).await.map_err(|error| not_seen(error.into()))?;
            let found = found.filter(|job| mark::uid(job) == note.uid && mark::stack(job) == Some(self.context.stack));
            let Some(job) = found else {
                return if self.safe { Ok(None) } else { Err(self.ask(namespace, note).await?) };
            };
            let is = |kind: &str| job.condition(kind).is_some_and(Condition::is_true);
            if is("Complete") && job.text(WORK) == self.work() {
                let ended = Note { revision: self.context.revision, state: State::Ended, ..note };
                if self.write_note(namespace, &ended).await? {
                    let how = duration(&job, "/status/completionTime");
                    let told =
                        format!("exit code 0{how}, in the run for revision {}, whose end was not noted", note.revision);
                    return Ok(Some(Performed {
                        object: Some(note.uid.to_owned()),
                        note: Some(told),
                        ..Performed::default()
                    }));
                }
                return Err(ProviderError::retryable(
                    Code::NotNow,
                    format!("job {}: its namespace was changed meanwhile", self.job),
                ));
            }
            let never_ran = job.flag("/spec/suspend") && job.number("/status/active") == 0;
            if is("Complete") || is("Failed") || never_ran {
                return Ok(None);
            }
            self.patience(&job)?;
            tokio::time::sleep(LAST_LOOK / 2).await;
        }
    }

    /// A failure that may pass, if there is no time left to wait for another run.
    fn patience(&self, other: &Json) -> Result<(), ProviderError> {
        let other = other.text("/metadata/name");
        if Instant::now() + LAST_LOOK < self.reader.deadline {
            self.context.waits.tell(format!("an earlier run of it, {other}, is still going on"));
            return Ok(());
        }
        let message = format!("job {} waits for an earlier run of it, {other}, which is still going on", self.job);
        Err(ProviderError::retryable(Code::ClusterUnreachable, message))
    }

    /// Asks, and notes that it was asked: whoever deploys again after that has answered.
    async fn ask(&self, namespace: &Json, note: Note<'_>) -> Result<ProviderError, ProviderError> {
        let asked = Note { state: State::Asked, ..note };
        if note.is_open() && !self.write_note(namespace, &asked).await? {
            return Err(ProviderError::retryable(
                Code::NotNow,
                format!("job {}: its namespace was changed meanwhile", self.job),
            ));
        }
        Ok(self.unknown(&name(self.job, note.revision)))
    }

    /// Notes that the end of this revision's run was seen, as well as that goes: the end counts in any case. Where the note stays open, the
    /// next revision takes the run if it did the same; the other way round, the job would run twice.
    async fn close(&self) {
        let left = self.reader.deadline.saturating_duration_since(Instant::now());
        // Cut off in the middle, it could be noted as seen and not be told.
        if left < 2 * CLOSING {
            return;
        }
        let note = async {
            loop {
                let namespace = self.own_namespace().await?;
                let note = Note::of(&namespace, self.job);
                let open = note.filter(|note| note.is_open() && note.revision == self.context.revision);
                let Some(open) = open else { return Ok::<_, ProviderError>(()) };
                if self.write_note(&namespace, &Note { state: State::Ended, ..open }).await? {
                    return Ok(());
                }
            }
        };
        match timeout(CLOSING, note).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(job = self.job, %error, "the end of a run is not noted"),
            Err(_) => tracing::warn!(job = self.job, "the end of a run is not noted in time"),
        }
    }

    /// What tells whether another run has done the same.
    fn work(&self) -> String {
        let digest = Sha256::digest(self.manifest.to_string());
        digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    fn namespace(&self) -> Place {
        Place::named(NAMESPACE, None, self.place.namespace.as_deref().unwrap_or_default())
    }

    async fn own_namespace(&self) -> Result<Json, ProviderError> {
        let place = self.namespace();
        let Some(found) = self.reader.get(&place).await? else {
            let help = "run the same command again: it makes the namespace first";
            let message = format!("job {} can't run: its {place} is gone", self.job);
            return Err(not_ready::refusal(Code::StepFailed, message, help));
        };
        self.check_mark(&found, &place.to_string())?;
        Ok(found)
    }

    fn check_mark(&self, object: &Json, what: &str) -> Result<(), ProviderError> {
        if mark::stack(object) == Some(self.context.stack) {
            return Ok(());
        }
        let message = format!("job {} does not run: {what} does not have this stack's ownership label", self.job);
        Err(not_ready::refusal(Code::NotOwned, message, "find out who made it; then rename or remove it"))
    }

    /// Waits until no run of another revision is going on: after a deploy that was cancelled, two migrations at once would meet.
    async fn alone(&self) -> Result<(), ProviderError> {
        let stack = self.context.stack;
        let labels = format!("{MARK}={stack},app.kubernetes.io/name={},freehold.dev/component=job", self.job);
        loop {
            let jobs = self.reader.list(JOB, self.place.namespace.as_deref(), &labels).await?;
            let is_over = |job: &&Json| {
                let ended = ["Complete", "Failed"].into_iter().filter_map(|kind| job.condition(kind));
                job.text("/metadata/name") == self.place.name
                    || (job.flag("/spec/suspend") && job.number("/status/active") == 0)
                    || ended.into_iter().any(Condition::is_true)
            };
            let Some(other) = jobs.iter().find(|job| !is_over(job)) else { return Ok(()) };
            self.patience(other)?;
            tokio::time::sleep(LAST_LOOK / 2).await;
        }
    }

    /// Makes the Job, suspended. `None` if somebody was faster.
    async fn make(&self) -> Result<Option<Json>, ProviderError> {
        match self.reader.cluster.send(&Request::create(&self.place, &self.named()), self.reader.deadline).await {
            Ok(answer) => Ok(Some(answer.body)),
            Err(ClusterError::Refused { refusal, .. }) if refusal.status.is_already_exists() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Notes a run on the namespace. Not if that has changed since it was looked at: somebody else may have noted another one.
    async fn write_note(&self, namespace: &Json, note: &Note<'_>) -> Result<bool, ProviderError> {
        let change = json!({"metadata": {
            "uid": mark::uid(namespace),
            "resourceVersion": namespace.text("/metadata/resourceVersion"),
            "annotations": {note::annotation(self.job): note.to_string()},
        }});
        match self.reader.cluster.send(&Request::merge(&self.namespace(), &change), self.reader.deadline).await {
            Ok(_) => Ok(true),
            Err(error) if error.reason() == Some(Reason::Changed) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets the Job run, unless that was done or it was given up. `None` if it is gone.
    async fn let_go(&self, job: Json) -> Result<Option<Json>, ProviderError> {
        if !job.flag("/spec/suspend") || given_up_for(&job).is_some() {
            return Ok(Some(job));
        }
        self.alone().await?;
        let change = json!({"metadata": {"uid": mark::uid(&job)}, "spec": {"suspend": false}});
        match self.reader.cluster.send(&Request::merge(&self.place, &change), self.reader.deadline).await {
            Ok(answer) => Ok(Some(answer.body)),
            Err(error) if matches!(error.reason(), Some(Reason::Absent | Reason::Changed)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The manifest with everything that names this run, suspended.
    fn named(&self) -> Json {
        let mut manifest = self.manifest.clone();
        if let Some(spec) = manifest.get_mut("spec").and_then(Json::as_object_mut) {
            spec.insert("suspend".to_owned(), json!(true));
        }
        let metadata = manifest.as_object_mut().map(|fields| fields.entry("metadata").or_insert_with(|| json!({})));
        if let Some(metadata) = metadata.and_then(Json::as_object_mut) {
            metadata.insert("name".to_owned(), json!(self.place.name));
            metadata.insert("namespace".to_owned(), json!(self.place.namespace));
            let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
            if let Some(annotations) = annotations.as_object_mut() {
                annotations.insert("freehold.dev/revision".to_owned(), json!(self.context.revision.to_string()));
                let step = format!("{}/{}", self.context.operation, self.context.step);
                annotations.insert("freehold.dev/step".to_owned(), json!(step));
                annotations.insert("freehold.dev/work".to_owned(), json!(self.work()));
            }
        }
        manifest
    }

    /// Waits until the Job has ended, or is gone (`None`).
    async fn wait(&self, job: Json) -> Result<Option<Result<Performed, ProviderError>>, ProviderError> {
        let uid = job.text("/metadata/uid").to_owned();
        let mut job = job;
        let mut last: Option<NotReady> = None;
        loop {
            if let Some(ended) = self.ended(&job, last.as_ref()).await? {
                return Ok(Some(ended));
            }
            match self.hindrance(&job).await? {
                Some((not_ready, lines)) if not_ready.fatal => {
                    return Ok(Some(Err(self.give_up(&job, &not_ready, lines).await?)));
                }
                Some((not_ready, _)) => {
                    self.context.waits.tell(not_ready.words.as_str());
                    last = Some(not_ready);
                }
                None if job.number("/status/ready") > 0 => {
                    self.context.waits.are_over();
                    last = None;
                }
                None => {}
            }
            if Instant::now() + LAST_LOOK >= self.reader.deadline {
                let why = last.map(|not_ready| format!(": {}", not_ready.words)).unwrap_or_default();
                return Err(ProviderError::unknown(
                    Code::ClusterUnreachable,
                    format!("job {} is still running{why}", self.job),
                ));
            }
            self.change(&job).await;
            match self.look(&uid).await? {
                Look::Going(seen) => job = seen,
                Look::Vanished => return Ok(None),
            }
        }
    }

    async fn look(&self, uid: &str) -> Result<Look, ProviderError> {
        let Some(job) = self.reader.get(&self.place).await? else { return Ok(Look::Vanished) };
        if job.text("/metadata/uid") == uid {
            return Ok(Look::Going(job));
        }
        // Somebody has deleted ours and made another: that one's outcome isn't ours.
        Ok(Look::Vanished)
    }

    /// Waits until the Job changes, for a little while at the most. Whether it did is for the next look to see.
    async fn change(&self, job: &Json) {
        let left = self.reader.deadline.saturating_duration_since(Instant::now()).saturating_sub(LAST_LOOK);
        let left = left.min(LOOK_AGAIN);
        let kind = ApiResource {
            group: JOB.group.to_owned(),
            version: JOB.version.to_owned(),
            api_version: JOB.api_version(),
            kind: JOB.name.to_owned(),
            plural: JOB.plural.to_owned(),
        };
        let namespace = self.place.namespace.as_deref().unwrap_or_default();
        let jobs: Api<DynamicObject> = Api::namespaced_with(self.reader.cluster.client(), namespace, &kind);
        let parameters = WatchParams::default().fields(&format!("metadata.name={}", self.place.name)).timeout(10);
        let begun = Instant::now();
        let watch = async {
            let events = jobs.watch(&parameters, job.text("/metadata/resourceVersion")).await.ok()?;
            let mut events = std::pin::pin!(events);
            // An error, such as a version that is too old, ends it: then the next look is the answer.
            while let Ok(Some(event)) = events.try_next().await {
                match event {
                    WatchEvent::Bookmark(_) => {}
                    WatchEvent::Error(_) => return None,
                    _ => return Some(()),
                }
            }
            None
        };
        if let Ok(None) = timeout(left, watch).await {
            tokio::time::sleep(left.saturating_sub(begun.elapsed())).await;
        }
    }

    /// What came of it, if it has ended. `hindrance` is what kept it from starting when that was last looked at: at its deadline the
    /// cluster takes its Pods away, and what these say with them.
    async fn ended(
        &self,
        job: &Json,
        hindrance: Option<&NotReady>,
    ) -> Result<Option<Result<Performed, ProviderError>>, ProviderError> {
        if let Some(reason) = given_up_for(job) {
            let (code, words) = given_up(reason);
            return Ok(Some(Err(self.failed(code, words, Vec::new()))));
        }
        if job.condition("Complete").is_some_and(Condition::is_true) {
            let note = Some(format!("exit code 0{}", duration(job, "/status/completionTime")));
            let object = Some(job.text("/metadata/uid").to_owned());
            return Ok(Some(Ok(Performed { object, note, ..Performed::default() })));
        }
        let failed = ["Failed", "FailureTarget"].into_iter().filter_map(|kind| job.condition(kind));
        let Some(failed) = failed.into_iter().find(|condition| condition.is_true()) else { return Ok(None) };
        let pods = self.pods(job).await?;
        let pod = pods.iter().find(|pod| container(pod).is_some()).or(pods.last());
        let name = pod.and_then(container);
        let lines = match (pod, &name) {
            (Some(pod), Some(name)) => match logs::last_lines(&self.reader, pod, name, false, SHOWN_LINES).await {
                Ok(lines) => lines,
                Err(error) => vec![format!("(its log can't be read: {})", logs::words(&error))],
            },
            _ => Vec::new(),
        };
        let how = if failed.reason() == "DeadlineExceeded" {
            let found = pod.and_then(|pod| pod::not_ready(pod, self.moment()));
            // That it was starting when it was last looked at, or is ending now, is no reason.
            let is_reason = |not_ready: &&NotReady| not_ready.code.is_some();
            let why = found.as_ref().filter(is_reason).or(hindrance.filter(is_reason)).filter(|_| name.is_none());
            let why = why.map(|not_ready| format!("; {}", not_ready.words)).unwrap_or_default();
            let after = self.timeout.as_secs();
            format!("ended because it took longer than it may, after {after} s{why}")
        } else {
            // A node that ended the Pod has ended its containers as well: that is the cause.
            let ended = pod.and_then(pod::ended).map(|not_ready| not_ready.words);
            let end = || pod.and_then(|pod| pod::containers(pod).find(pod::Container::has_failed)?.end());
            ended.or_else(end).unwrap_or_else(|| failed.words())
        };
        Ok(Some(Err(self.failed(Code::JobFailed, &how, lines))))
    }

    /// Its Pods are made for it, so nothing that they say is from before.
    fn moment(&self) -> Moment {
        Moment::new(self.reader.cluster.clock().now())
    }

    /// Its Pods, the last one first.
    async fn pods(&self, job: &Json) -> Result<Vec<Json>, ProviderError> {
        let labels = format!("batch.kubernetes.io/controller-uid={}", job.text("/metadata/uid"));
        let mut pods = self.reader.list(POD, self.place.namespace.as_deref(), &labels).await?;
        pods.sort_by_key(|pod| std::cmp::Reverse(pod.time("/metadata/creationTimestamp")));
        Ok(pods)
    }

    /// What keeps it from starting, if something does.
    async fn hindrance(&self, job: &Json) -> Result<Option<(NotReady, Vec<String>)>, ProviderError> {
        // A Job that was let go says so a moment later.
        let begun = job.time("/status/startTime").or(job.time("/metadata/creationTimestamp"));
        let age = begun.map(|begun| self.moment().now.signed_duration_since(begun));
        let age = age.and_then(|age| age.to_std().ok()).unwrap_or_default();
        if job.number("/status/ready") > 0 || (job.number("/status/active") == 0 && age < NO_POD) {
            return Ok(None);
        }
        let pods = self.pods(job).await?;
        let Some(pod) = pods.first() else {
            let Some(said) = not_ready::warning(&self.reader, job).await? else { return Ok(None) };
            return Ok(Some((self.refusal(&said, age).await?, Vec::new())));
        };
        let moment = self.moment();
        let Some(found) = pod::not_ready(pod, moment) else { return Ok(None) };
        let (mut found, lines) = found.explained(&self.reader, pod, moment).await;
        let patience = NO_ROOM.min(self.timeout / 2);
        if pod::is_unscheduled(pod) && age >= patience {
            found.fatal = true;
        }
        Ok(Some((found, lines)))
    }

    /// The cluster doesn't let its Pod be made, and tries again by itself. It is given up when that has had its time.
    async fn refusal(&self, said: &str, age: Duration) -> Result<NotReady, ProviderError> {
        let not_ready = refused(said);
        let namespace = self.place.namespace.as_deref().unwrap_or_default();
        let may_pass = match not_ready.code == Some(Code::QuotaTooSmall) {
            true => quota::room(&self.reader, namespace, said).await?.words(),
            false => None,
        };
        if let Some(words) = may_pass {
            return Ok(NotReady { fatal: false, words: words.to_owned(), ..not_ready });
        }
        let late = chrono::Duration::from_std(age).is_ok_and(|age| age > pod::GRACE);
        Ok(NotReady { fatal: not_ready.fatal && late, ..not_ready })
    }

    /// Suspends it, with the reason: nothing of it may start later.
    async fn give_up(
        &self,
        job: &Json,
        not_ready: &NotReady,
        lines: Vec<String>,
    ) -> Result<ProviderError, ProviderError> {
        let code = not_ready.code.unwrap_or(Code::JobFailed);
        let reason = format!("{code} {}", not_ready.words);
        let change = json!({
            "metadata": {"uid": mark::uid(job), "annotations": {GIVEN_UP: reason}},
            "spec": {"suspend": true},
        });
        let request = Request::merge(&self.place, &change);
        self.reader.cluster.send(&request, self.reader.deadline).await?;
        Ok(self.failed(code, &not_ready.words, lines))
    }

    fn failed(&self, code: Code, how: &str, detail: Vec<String>) -> ProviderError {
        let key = self.context.key.option();
        ProviderError::from(
            Problem::new(code, format!("job {} failed, so the new version was not started\n{how}", self.job))
                .lines(detail)
                .help(format!("fix it and deploy again; its log: `freehold logs {key} --job {}`", self.job)),
        )
    }

    fn unknown(&self, run: &str) -> ProviderError {
        let (job, key) = (self.job, self.context.key.option());
        let place = Place::named(JOB, self.place.namespace.as_deref(), run);
        ProviderError::from(
            Problem::new(
                Code::RunOutcomeUnknown,
                format!("job {job} was started, and its outcome is unknown: {place} is gone"),
            )
            .help(format!(
                "see what it did; if it may run again, deploy again ({key}), or say `retry = \"safe\"` in [job.{job}]"
            )),
        )
    }
}

/// A failure that says nothing about a run: nobody may look, or nobody answers. It is looked at again.
pub(crate) fn not_seen(error: ProviderError) -> ProviderError {
    match error {
        ProviderError::Rejected(Problem {
            code: Code::ClusterUnreachable | Code::ClusterCredentials | Code::NotPermitted | Code::ClusterAnswer,
            message,
            ..
        }) => ProviderError::unknown(Code::ClusterUnreachable, format!("the run can't be observed: {message}")),
        error => error,
    }
}

/// What a run's Job is called: `migrate-r7`. Within the 63 characters that a label takes.
fn name(job: &str, revision: u64) -> String {
    let end = format!("-r{revision}");
    let kept: String = job.chars().take(63_usize.saturating_sub(end.len())).collect();
    format!("{}{end}", kept.trim_end_matches('-'))
}

/// Why a Job was given up, if it was.
fn given_up_for(job: &Json) -> Option<&str> {
    job.pointer("/metadata/annotations")?.get(GIVEN_UP)?.as_str()
}

/// Whether there is anything but plain values in it.
pub(crate) fn has_special(value: &Value) -> bool {
    match value {
        Value::Special(_) => true,
        Value::List(items) => items.iter().any(has_special),
        Value::Map(fields) => fields.values().any(has_special),
        _ => false,
    }
}

/// The name of the container whose log tells most: the one that failed, else the first that has run.
fn container(pod: &Json) -> Option<String> {
    let failed = pod::containers(pod).find(pod::Container::has_failed);
    let told = failed.or_else(|| pod::containers(pod).filter(pod::Container::has_run).last());
    told.map(|container| container.name.to_owned())
}

/// ` after 3 s`, from the Job's start to the time at `until`.
fn duration(job: &Json, until: &str) -> String {
    match (job.time("/status/startTime"), job.time(until)) {
        (Some(from), Some(to)) => format!(" after {} s", to.signed_duration_since(from).num_seconds().max(0)),
        _ => String::new(),
    }
}

/// The code and the words of a reason that was written on a Job.
fn given_up(reason: &str) -> (Code, &str) {
    let coded = reason.split_once(' ').and_then(|(code, words)| Some((Code::parse(code)?, words)));
    coded.unwrap_or((Code::JobFailed, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runs_name_tells_job_and_revision_and_fits_a_label() {
        assert_eq!(name("migrate", 7), "migrate-r7");
        let long = name(&"a-".repeat(40), 123);
        assert!(long.len() <= 63 && long.ends_with("a-r123"), "{long}");
    }

    #[test]
    fn a_reason_that_was_written_down_is_read_again() {
        assert_eq!(given_up("FH0607 the image is gone"), (Code::ImageMissing, "the image is gone"));
        assert_eq!(given_up("words"), (Code::JobFailed, "words"));
    }
}
