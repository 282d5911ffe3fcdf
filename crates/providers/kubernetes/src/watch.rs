//! Changes to managed objects, as the API server tells of them: a watch for each kind, of metadata only. Kinds that the target allows are
//! watched as well, from when the cluster has them.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use freehold_engine::backoff::Backoff;
use freehold_engine::{Changed, ProviderError};
use freehold_graph::AllowedKind;
use freehold_problem::Code;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use futures::{AsyncBufRead, AsyncBufReadExt};
use http::header::ACCEPT;
use serde_json::Value as Json;
use tokio::time::{sleep, timeout};

use crate::cluster::Cluster;
use crate::document::Fields;
use crate::mark;
use crate::object::{ObjectKind, Place};
use crate::owned;
use crate::request::Request;

/// How long the API server keeps a watch open, in seconds.
const OPEN: &str = "300";
/// A connection on which nothing came for longer is taken for broken: by then the API server has ended the watch.
const SILENCE: Duration = Duration::from_secs(330);
/// How long the API server may take to begin.
const BEGIN: Duration = Duration::from_secs(14);
/// Between one beginning and the next, where nothing was told in between.
const RETRIES: Backoff = Backoff::doubling(Duration::from_secs(1), Duration::from_secs(60));
/// A watch of its objects' metadata only.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// Gives the cluster, if it answers now and is the right one.
pub(crate) type Connect = Arc<dyn Fn() -> BoxFuture<'static, Result<Arc<Cluster>, ProviderError>> + Send + Sync>;

/// Of all kinds that a stack can leave behind.
pub(crate) fn of_all(connect: &Connect, allowed: &BTreeSet<AllowedKind>) -> BoxStream<'static, Changed> {
    let known = owned::kinds().map(|kind| Watched::Known(kind.into()));
    let kinds = known.chain(allowed.iter().cloned().map(Watched::Allowed)).map(|kind| {
        let watch = Watch { connect: Arc::clone(connect), kind, version: None, lines: None, failures: 0 };
        stream::unfold(watch, |mut watch| async move { Some((watch.next().await, watch)) }).boxed()
    });
    stream::select_all(kinds).boxed()
}

/// What is watched.
#[derive(Clone)]
enum Watched {
    Known(ObjectKind),
    /// Looked for whenever the watch begins: its definition comes and goes.
    Allowed(AllowedKind),
}

impl Watched {
    fn word(&self) -> String {
        match self {
            Self::Known(kind) => kind.word(),
            Self::Allowed(kind) => kind.kind.to_ascii_lowercase(),
        }
    }

    async fn at(&self, cluster: &Cluster) -> Result<ObjectKind, ProviderError> {
        match self {
            Self::Known(kind) => Ok(kind.clone()),
            Self::Allowed(kind) => {
                let served = cluster.served(kind, tokio::time::Instant::now() + BEGIN).await?;
                let missing = || format!("the cluster has no {}", kind.resource());
                served.ok_or_else(|| ProviderError::retryable(Code::KindUnknown, missing()))
            }
        }
    }
}

/// The watch of one kind.
struct Watch {
    connect: Connect,
    kind: Watched,
    /// The state of the cluster up to which everything was told; `None` where that isn't known.
    version: Option<String>,
    lines: Option<Pin<Box<dyn AsyncBufRead + Send>>>,
    /// How often it was begun since it last told of a change or that there is none.
    failures: u32,
}

impl Watch {
    /// The next change, however long that takes.
    async fn next(&mut self) -> Changed {
        loop {
            let Some(lines) = &mut self.lines else {
                // Also behind a watch that was ended before it told of anything: nothing here may be asked again and again.
                if self.failures > 0 {
                    sleep(RETRIES.jittered(self.failures, getrandom::u32().unwrap_or_default())).await;
                }
                self.failures = self.failures.saturating_add(1);
                let begin = timeout(BEGIN, self.begin()).await;
                match begin.unwrap_or_else(|_| Err(ProviderError::retryable(Code::NotNow, "no answer in time"))) {
                    Ok(true) => return Changed::Anything,
                    Ok(false) => {}
                    Err(error) => tracing::debug!(%error, kind = self.kind.word(), "can't be watched now"),
                }
                continue;
            };
            let mut line = String::new();
            match timeout(SILENCE, lines.read_line(&mut line)).await {
                Ok(Ok(1..)) => {
                    let changed = self.read(&line);
                    if self.lines.is_some() {
                        self.failures = 0;
                    }
                    if let Some(changed) = changed {
                        return changed;
                    }
                }
                // It goes on where it was.
                Ok(Ok(0) | Err(_)) | Err(_) => self.lines = None,
            }
        }
    }

    /// Begins the watch; whether anything may have happened that nobody was told of.
    async fn begin(&mut self) -> Result<bool, ProviderError> {
        let cluster = (self.connect)().await?;
        let (all, selector) = (Place::all(self.kind.at(&cluster).await?, None), mark::selector(None));
        let (version, is_anew) = match &self.version {
            Some(version) => (version.clone(), false),
            None => {
                let list = Request::list(&all, &selector).metadata().with("limit", "1");
                let answer = cluster.send(&list, tokio::time::Instant::now() + BEGIN).await?;
                (answer.body.text("/metadata/resourceVersion").to_owned(), true)
            }
        };
        let watch = Request::list(&all, &selector)
            .with("watch", "true")
            .with("allowWatchBookmarks", "true")
            .with("resourceVersion", &version)
            .with("timeoutSeconds", OPEN);
        let request = http::Request::get(watch.uri()).header(ACCEPT, METADATA).body(Vec::new());
        let broken =
            |error: &dyn std::fmt::Display| ProviderError::retryable(Code::ClusterUnreachable, error.to_string());
        let lines = cluster.client().request_stream(request.map_err(|error| broken(&error))?).await;
        self.lines = Some(Box::pin(lines.map_err(|error| broken(&error))?));
        self.version = Some(version);
        Ok(is_anew)
    }

    /// Takes in one event; `None` for what is only about the watch itself.
    fn read(&mut self, line: &str) -> Option<Changed> {
        match event(&self.kind.word(), line) {
            Some((version, changed)) => {
                self.version = Some(version);
                changed
            }
            None => {
                (self.version, self.lines) = (None, None);
                None
            }
        }
    }
}

/// The version that an event leads to, and what has changed; `None` where the watch is over. Most often its version is too old then, and what
/// happened since is lost.
fn event(word_of_kind: &str, line: &str) -> Option<(String, Option<Changed>)> {
    let event: Json = serde_json::from_str(line).ok()?;
    let (word, object) = (event.text("/type"), event.get("object")?);
    if word == "ERROR" {
        return None;
    }
    let version = object.text("/metadata/resourceVersion").to_owned();
    let object = owned::marked(word_of_kind, object).filter(|_| word != "BOOKMARK");
    Some((version, object.map(Changed::Object)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_tells_of_an_object_or_of_the_watch_itself() {
        let stack = "0197d6b4-6a2f-7000-8000-000000000001";
        let event =
            |word: &str, object: Json| super::event("namespace", &json!({"type": word, "object": object}).to_string());
        let labels = json!({"freehold.dev/stack": stack});
        let meta = |labels: &Json| json!({"metadata": {"name": "a", "resourceVersion": "7", "labels": labels}});
        for word in ["ADDED", "MODIFIED", "DELETED"] {
            let (version, changed) = event(word, meta(&labels)).unwrap();
            let Some(Changed::Object(object)) = changed else { panic!("{changed:?}") };
            assert_eq!((version.as_str(), object.name.as_str(), object.stack.to_string().as_str()), ("7", "a", stack));
        }
        assert_eq!(event("BOOKMARK", meta(&labels)), Some(("7".to_owned(), None)));
        assert_eq!(event("ADDED", meta(&json!({}))), Some(("7".to_owned(), None)), "it bears no mark");
        assert_eq!(event("ERROR", json!({"kind": "Status", "code": 410})), None);
    }
}
