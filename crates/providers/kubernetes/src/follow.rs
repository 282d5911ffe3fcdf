//! The watch that shows what is waited for ([`crate::awaited`]).

use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncBufReadExt, StreamExt};
use kube::Client;
use serde_json::Value as Json;
use tokio::time::timeout;

use crate::awaited::{IDLE, Shown};
use crate::cluster::Cluster;
use crate::mark;
use crate::object::{ObjectKind, Place};
use crate::request::Request;

/// How long the API server keeps a watch open, in seconds.
const OPEN: &str = "300";
/// How long it may take to begin.
const BEGIN: Duration = Duration::from_secs(5);

/// An object was applied, and is like this: if it is of a kind that is waited for, a watch shows what becomes of it.
pub(crate) fn applied(cluster: &Cluster, place: &Place, answer: &Json) {
    if let Some(awaited) = cluster.awaited(&place.kind) {
        let begin =
            |shown, from| tokio::spawn(follow(shown, cluster.client(), place.kind.clone(), from)).abort_handle();
        awaited.applied(place, answer, begin);
    }
}

/// Watches all objects of a kind that bear a mark.
async fn follow(shown: Arc<Shown>, client: Client, kind: ObjectKind, from: u64) {
    let request = Request::list(&Place::all(kind.clone(), None), &mark::selector(None))
        .with("watch", "true")
        .with("resourceVersion", &from.to_string())
        .with("timeoutSeconds", OPEN);
    let begun = match http::Request::get(request.uri()).body(Vec::new()) {
        Ok(request) => timeout(BEGIN, client.request_stream(request)).await.ok().and_then(Result::ok),
        Err(_) => None,
    };
    if let Some(reader) = begun {
        let mut lines = reader.lines();
        loop {
            match timeout(IDLE, lines.next()).await {
                Ok(Some(Ok(line))) if !shown.read(&line) => break,
                Ok(Some(Ok(_))) | Err(_) if shown.is_idle() => return,
                Ok(Some(Ok(_))) | Err(_) => {}
                Ok(Some(Err(_)) | None) => break,
            }
        }
    }
    tracing::debug!(kind = kind.word(), "the watch of what is waited for has ended");
    shown.end();
}
