//! Logs of a stack's services and jobs, out of its Pods.
//!
//! A log lives as long as its Pod: a cluster keeps none of what is gone. Of a job it is that of its latest run. While a log is followed,
//! each container of each Pod has a task that reads its stream and takes it up again where it broke off; a look each second finds new
//! Pods. Everything ends when the stream is dropped.

use std::collections::BTreeSet;
use std::time::Duration;

use freehold_engine::ProviderError;
use freehold_engine::capability::{LogLine, Voice};
use freehold_graph::{ResourceId, StackId};
use futures::{AsyncBufRead, AsyncBufReadExt, Stream, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use serde_json::Value as Json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::cluster::Cluster;
use crate::document::Fields;
use crate::error::ClusterError;
use crate::mark::MARK;
use crate::object::POD;
use crate::reader::Reader;

/// How often a followed log's Pods are looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long a look may take.
const LOOK: Duration = Duration::from_secs(15);
/// How long the few lines that are shown with a failure may take.
const FEW_LINES: Duration = Duration::from_secs(3);
/// How many lines wait for whoever reads them.
const BUFFER: usize = 1024;
/// The most that is read of one log at once, in bytes.
const MOST: i64 = 8 << 20;
/// How much of a line is shown while a log is followed, in bytes.
const LONGEST_LINE: usize = 16 * 1024;
/// The label of a Job's Pods.
const JOB_NAME: &str = "/metadata/labels/batch.kubernetes.io~1job-name";

/// Which log, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodLogs {
    /// The stack whose Pods print.
    pub stack: StackId,
    /// The stack's namespace.
    pub namespace: String,
    /// `service.web`, `job.migrate`; a job that runs on a schedule may be called `schedule.digest`, too.
    pub of: ResourceId,
    /// How many of the last lines. Where several containers print, each has its share.
    pub lines: usize,
    /// Go on with what is written from now on.
    pub follow: bool,
    /// Only what is younger.
    pub since: Option<Duration>,
    /// Of the containers that ran before the present ones.
    pub previous: bool,
}

fn printed(source: &str, text: String) -> LogLine {
    LogLine { source: source.to_owned(), voice: Voice::Program, text }
}

/// The lines of a log, oldest Pod first. Without `follow` the stream ends.
pub(crate) async fn read(
    cluster: std::sync::Arc<Cluster>,
    query: PodLogs,
) -> Result<impl Stream<Item = LogLine> + Send + use<>, ProviderError> {
    let printers = printers(&cluster, &query).await?;
    let share = share(query.lines, &printers);
    let (sender, receiver) = mpsc::channel(BUFFER);
    if query.follow {
        tokio::spawn(follow(cluster, query, share, sender));
    } else {
        tokio::spawn(tell(cluster, query, printers, share, sender));
    }
    Ok(stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) }))
}

/// The last lines of one container.
pub(crate) async fn last_lines(
    reader: &Reader<'_>,
    pod: &Json,
    container: &str,
    previous: bool,
    count: usize,
) -> Result<Vec<String>, kube::Error> {
    let parameters = LogParams {
        container: Some(container.to_owned()),
        previous,
        tail_lines: i64::try_from(count).ok(),
        limit_bytes: Some(MOST),
        ..LogParams::default()
    };
    let pods: Api<Pod> = Api::namespaced(reader.cluster.client(), pod.text("/metadata/namespace"));
    // A node that doesn't answer must not keep back the reason itself.
    let text = match timeout(FEW_LINES, pods.logs(pod.text("/metadata/name"), &parameters)).await {
        Ok(text) => text?,
        Err(_elapsed) => return Ok(vec!["(its log could not be read in time)".to_owned()]),
    };
    Ok(text.lines().map(|line| line.trim_end_matches('\r').to_owned()).collect())
}

/// Why a log can't be read: what the API server says, where it says something.
pub(crate) fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.trim().is_empty() => status.message.trim().to_owned(),
        other => other.to_string(),
    }
}

/// One container of one Pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Printer {
    uid: String,
    pod: String,
    container: String,
    source: String,
}

fn share(lines: usize, printers: &[Printer]) -> usize {
    lines.div_ceil(printers.len().max(1))
}

/// The containers that have printed something, or may have.
async fn printers(cluster: &Cluster, query: &PodLogs) -> Result<Vec<Printer>, ClusterError> {
    let component = match query.of.word() {
        word @ ("service" | "cache") => word,
        _ => "job",
    };
    let labels =
        format!("{MARK}={},app.kubernetes.io/name={},freehold.dev/component={component}", query.stack, query.of.name());
    let reader = Reader::new(cluster, Instant::now() + LOOK);
    let mut pods = reader.list(POD, Some(&query.namespace), &labels).await?;
    pods.sort_by_key(|pod| (pod.time("/metadata/creationTimestamp"), pod.text("/metadata/name").to_owned()));
    if component == "job" {
        let latest = pods.last().map(|pod| pod.text(JOB_NAME).to_owned());
        pods.retain(|pod| latest.as_deref() == Some(pod.text(JOB_NAME)));
    }
    Ok(pods.iter().flat_map(printers_of).collect())
}

fn printers_of(pod: &Json) -> Vec<Printer> {
    use crate::readiness::pod::containers;
    let (uid, name) = (pod.text("/metadata/uid"), pod.text("/metadata/name"));
    let several = pod.items("/spec/containers").len() + pod.items("/spec/initContainers").len() > 1;
    let has_run = containers(pod).filter(|container| container.has_run());
    let printer = |container: &str| {
        let source = if several { format!("{name}, {container}") } else { name.to_owned() };
        Printer { uid: uid.to_owned(), pod: name.to_owned(), container: container.to_owned(), source }
    };
    has_run.map(|container| printer(container.name)).collect()
}

/// The last lines of all, one after the other.
async fn tell(
    cluster: std::sync::Arc<Cluster>,
    query: PodLogs,
    printers: Vec<Printer>,
    share: usize,
    sender: mpsc::Sender<LogLine>,
) {
    let pods: Api<Pod> = Api::namespaced(cluster.client(), &query.namespace);
    for printer in printers {
        let parameters = LogParams {
            container: Some(printer.container.clone()),
            previous: query.previous,
            since_seconds: query.since.and_then(|since| i64::try_from(since.as_secs().max(1)).ok()),
            tail_lines: i64::try_from(share).ok(),
            limit_bytes: Some(MOST),
            ..LogParams::default()
        };
        let text = match timeout(LOOK, pods.logs(&printer.pod, &parameters)).await {
            Ok(Ok(text)) => text,
            // A container that has no previous one has no log of it.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 400 | 404) => continue,
            Ok(Err(error)) => format!("(can't be read: {})", words(&error)),
            Err(_elapsed) => "(its node does not answer)".to_owned(),
        };
        for line in text.lines() {
            let line = printed(&printer.source, line.trim_end_matches('\r').to_owned());
            if sender.send(line).await.is_err() {
                return;
            }
        }
    }
}

/// Keeps a task for each container until nobody reads any more.
async fn follow(cluster: std::sync::Arc<Cluster>, query: PodLogs, share: usize, sender: mpsc::Sender<LogLine>) {
    let mut tasks = JoinSet::new();
    let mut known: BTreeSet<(String, String)> = BTreeSet::new();
    let mut first = true;
    loop {
        match printers(&cluster, &query).await {
            Ok(printers) => {
                for printer in printers {
                    if known.insert((printer.uid.clone(), printer.container.clone())) {
                        let pods: Api<Pod> = Api::namespaced(cluster.client(), &query.namespace);
                        let tail = first.then_some(share);
                        let since = query.since.filter(|_| first);
                        tasks.spawn(Followed { pods, printer, last: String::new() }.run(tail, since, sender.clone()));
                    }
                }
                first = false;
            }
            Err(error) => tracing::debug!(%error, "the pods of a followed log can't be listed"),
        }
        while tasks.try_join_next().is_some() {}
        tokio::select! {
            () = sender.closed() => return,
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}

/// One container whose log is followed as long as its Pod is there.
struct Followed {
    pods: Api<Pod>,
    printer: Printer,
    /// The time of the last line, as the kubelet writes it: what isn't later was told already.
    last: String,
}

impl Followed {
    async fn run(mut self, tail: Option<usize>, since: Option<Duration>, sender: mpsc::Sender<LogLine>) {
        let mut parameters = LogParams {
            container: Some(self.printer.container.clone()),
            follow: true,
            timestamps: true,
            tail_lines: tail.and_then(|count| i64::try_from(count).ok()),
            since_seconds: since.and_then(|since| i64::try_from(since.as_secs().max(1)).ok()),
            ..LogParams::default()
        };
        loop {
            match self.pods.log_stream(&self.printer.pod, &parameters).await {
                Ok(stream) => {
                    let mut stream = std::pin::pin!(stream);
                    while let Ok(Some(line)) = next_line(&mut stream).await {
                        if !self.tell(&line, &sender).await {
                            return;
                        }
                    }
                }
                Err(kube::Error::Api(status)) if status.code == 404 => return,
                Err(error) => {
                    tracing::debug!(%error, pod = self.printer.pod, "the stream of a followed log ended early")
                }
            }
            if let Ok(last) = self.last.parse() {
                (parameters.tail_lines, parameters.since_seconds, parameters.since_time) = (None, None, Some(last));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Says whether anybody still reads.
    async fn tell(&mut self, line: &str, sender: &mpsc::Sender<LogLine>) -> bool {
        let (time, text) = line.split_once(' ').unwrap_or((line, ""));
        if !is_later(time, &self.last) {
            return true;
        }
        time.clone_into(&mut self.last);
        let text = text.trim_end_matches(['\n', '\r']).to_owned();
        sender.send(printed(&self.printer.source, text)).await.is_ok()
    }
}

/// The next line of a stream, the last one also without its end; `None` after that. Of a line without end no more is kept than is shown.
pub(crate) async fn next_line(stream: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<String>> {
    let (mut line, mut dropped, mut begun) = (Vec::new(), 0_usize, false);
    loop {
        let piece = stream.fill_buf().await?;
        if piece.is_empty() && !begun {
            return Ok(None);
        }
        begun = true;
        let end = piece.iter().position(|byte| *byte == b'\n');
        let ended = end.is_some() || piece.is_empty();
        let text = piece.get(..end.unwrap_or(piece.len())).unwrap_or_default();
        let (kept, rest) = text.split_at(text.len().min(LONGEST_LINE.saturating_sub(line.len())));
        line.extend_from_slice(kept);
        dropped += rest.len();
        let read = text.len() + usize::from(end.is_some());
        stream.consume_unpin(read);
        if ended {
            let text = String::from_utf8_lossy(&line).into_owned();
            return Ok(Some(if dropped > 0 {
                format!("{text}… (and {dropped} bytes more in this line)")
            } else {
                text
            }));
        }
    }
}

/// Whether a time of a log is later. Times of one node differ only in the length of their fractions, `…:07.5Z` and `…:07.123Z`.
pub(crate) fn is_later(time: &str, last: &str) -> bool {
    let parts = |time: &str| {
        let time = time.trim_end_matches('Z');
        let (whole, fraction) = time.split_once('.').unwrap_or((time, ""));
        (whole.to_owned(), fraction.to_owned())
    };
    parts(time) > parts(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_without_end_takes_no_room() {
        let text = [b"one\ntwo\n".to_vec(), vec![b'.'; 3_000_000], b"\nlast".to_vec()].concat();
        let mut stream = futures::io::BufReader::with_capacity(10_000, futures::io::Cursor::new(text));
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut stream).await.unwrap() {
            lines.push(line);
        }
        assert_eq!(lines.len(), 4);
        assert_eq!((lines[0].as_str(), lines[1].as_str(), lines[3].as_str()), ("one", "two", "last"));
        assert!(lines[2].len() < LONGEST_LINE + 100 && lines[2].ends_with("bytes more in this line)"));
    }

    #[test]
    fn a_line_is_told_once_however_often_the_stream_breaks() {
        assert!(is_later("2026-03-01T10:00:07.123Z", ""));
        assert!(is_later("2026-03-01T10:00:07.5Z", "2026-03-01T10:00:07.123456789Z"));
        assert!(is_later("2026-03-01T10:00:07.1Z", "2026-03-01T10:00:07Z"));
        assert!(!is_later("2026-03-01T10:00:07.5Z", "2026-03-01T10:00:07.5Z"));
        assert!(!is_later("2026-03-01T10:00:07Z", "2026-03-01T10:00:07.000000001Z"));
    }
}
