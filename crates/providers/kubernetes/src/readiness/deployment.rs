//! Whether a rollout is done, and what hinders it.

use chrono::{DateTime, Utc};
use freehold_engine::{Readiness, Serving};
use freehold_problem::Code;
use serde_json::Value as Json;

use super::pod::{self, GRACE};
use super::quota::{self, Room};
use crate::awaited::Sight;
use crate::document::{Condition, Fields, is_owned_by, selector};
use crate::error::{ClusterError, says_quota};
use crate::mark;
use crate::moment::Moment;
use crate::neighbour::REPLICA_SET;
use crate::not_ready::{self, NotReady};
use crate::object::POD;
use crate::reader::Reader;

const REVISION: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";

pub(super) async fn readiness(
    reader: &Reader<'_>,
    deployment: &Json,
    moment: Moment,
) -> Result<Readiness, ClusterError> {
    let rollout = Rollout::of(deployment);
    if !rollout.is_seen {
        return Ok(Readiness::Waiting("not yet reconciled by the cluster".to_owned()));
    }
    if rollout.is_done() {
        return Ok(Readiness::Ready);
    }
    let overdue = deployment.condition("Progressing").is_some_and(|condition| {
        let is_over = condition.is_false() && condition.reason() == "ProgressDeadlineExceeded";
        is_over && moment.is_evidence(condition.since())
    });
    let (not_ready, lines) = hindrance(reader, deployment, &rollout, moment).await?;
    let not_ready = NotReady { words: format!("{}: {}", rollout.words(), not_ready.words), ..not_ready };
    // Where there is room by now, the cluster only hasn't tried again.
    if overdue && !not_ready.fatal && not_ready.code != Some(Code::QuotaTooSmall) {
        let seconds = deployment.number("/spec/progressDeadlineSeconds");
        let words = format!("not ready after {seconds} s, its deadline; {}", not_ready.words);
        return Ok(NotReady::failed(not_ready.code.unwrap_or(Code::NeverReady), words).readiness(&lines));
    }
    Ok(not_ready.readiness(&lines))
}

/// What a version of a Deployment that was just applied says.
pub(crate) fn sight(deployment: &Json) -> Sight {
    let rollout = Rollout::of(deployment);
    let has_failed = deployment.condition("ReplicaFailure").is_some_and(|condition| condition.is_true())
        || deployment.condition("Progressing").is_some_and(|condition| condition.is_false());
    if mark::deletion(deployment).is_some() {
        Sight::Look
    } else if !rollout.is_seen {
        Sight::NotYet
    } else if rollout.is_done() {
        Sight::Ready
    } else if has_failed {
        Sight::Look
    } else {
        Sight::NotYet
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy)]
struct Rollout {
    is_seen: bool,
    wanted: i64,
    all: i64,
    updated: i64,
    available: i64,
}

impl Rollout {
    fn of(deployment: &Json) -> Self {
        let number = |field: &str| deployment.number(&format!("/status/{field}"));
        Self {
            is_seen: number("observedGeneration") >= deployment.number("/metadata/generation"),
            wanted: deployment.pointer("/spec/replicas").and_then(Json::as_i64).unwrap_or(1),
            all: number("replicas"),
            updated: number("updatedReplicas"),
            available: number("availableReplicas"),
        }
    }

    fn is_done(&self) -> bool {
        self.updated == self.wanted && self.all == self.updated && self.available >= self.wanted
    }

    fn words(&self) -> String {
        let old = self.all - self.updated;
        let ready = self.available.saturating_sub(old).clamp(0, self.wanted);
        match old {
            0 => format!("{} of {} ready", self.available.min(self.wanted), self.wanted),
            1 => format!("{ready} of {} ready, 1 old one still there", self.wanted),
            old => format!("{ready} of {} ready, {old} old ones still there", self.wanted),
        }
    }
}

/// What hinders a rollout that isn't done, and lines of a log.
async fn hindrance(
    reader: &Reader<'_>,
    deployment: &Json,
    rollout: &Rollout,
    moment: Moment,
) -> Result<(NotReady, Vec<String>), ClusterError> {
    let pods = new_pods(reader, deployment).await?;
    let worst = pods.iter().filter_map(|pod| Some((pod, pod::not_ready(pod, moment)?)));
    let worst = worst.max_by_key(|(_, not_ready)| not_ready.rank());
    let refused = deployment.condition("ReplicaFailure").filter(|condition| condition.is_true());
    match (worst, refused) {
        // Pods that can't be made hinder more than Pods that only start.
        (Some((_, not_ready)), Some(condition)) if !not_ready.fatal => {
            Ok((refusal(reader, deployment, condition, moment).await?, Vec::new()))
        }
        (Some((pod, not_ready)), _) => {
            let name = pod.text("/metadata/name").to_owned();
            let (not_ready, lines) = not_ready.explained(reader, pod, moment).await;
            let words =
                if pods.len() > 1 { format!("{} (pod {name})", not_ready.words) } else { not_ready.words.clone() };
            Ok((NotReady { words, ..not_ready }, lines))
        }
        (None, Some(condition)) => Ok((refusal(reader, deployment, condition, moment).await?, Vec::new())),
        (None, None) => Ok((NotReady::waiting(in_between(rollout)), Vec::new())),
    }
}

fn in_between(rollout: &Rollout) -> &'static str {
    if rollout.updated < rollout.wanted {
        "its pods are being made"
    } else if rollout.all > rollout.updated {
        "old pods are ending"
    } else {
        "its pods are not yet counted as available"
    }
}

/// The Pods of the newest ReplicaSet.
async fn new_pods(reader: &Reader<'_>, deployment: &Json) -> Result<Vec<Json>, ClusterError> {
    let labels = selector(&deployment.entries("/spec/selector/matchLabels"));
    let pods = reader.list(POD, Some(deployment.text("/metadata/namespace")), &labels);
    let (newest, mut pods) = futures::try_join!(newest_set(reader, deployment), pods)?;
    let Some(newest) = newest else { return Ok(Vec::new()) };
    pods.retain(|pod| is_owned_by(pod, newest.text("/metadata/uid")));
    Ok(pods)
}

/// How many Pods take requests, of its present template and of those before.
pub(super) async fn serving(reader: &Reader<'_>, deployment: &Json) -> Result<Serving, ClusterError> {
    let labels = selector(&deployment.entries("/spec/selector/matchLabels"));
    let pods = reader.list(POD, Some(deployment.text("/metadata/namespace")), &labels);
    let (newest, pods) = futures::try_join!(newest_set(reader, deployment), pods)?;
    let mut serving = Serving::default();
    let takes_requests = |pod: &&Json| pod::is_ready(pod) && mark::deletion(pod).is_none();
    for pod in pods.iter().filter(takes_requests) {
        let is_new = newest.as_ref().is_some_and(|newest| is_owned_by(pod, mark::uid(newest)));
        *(if is_new { &mut serving.newest } else { &mut serving.former }) += 1;
    }
    Ok(serving)
}

/// The ReplicaSet of its present template.
pub(crate) async fn newest_set(reader: &Reader<'_>, deployment: &Json) -> Result<Option<Json>, ClusterError> {
    let labels = selector(&deployment.entries("/spec/selector/matchLabels"));
    let sets = reader.list(REPLICA_SET, Some(deployment.text("/metadata/namespace")), &labels).await?;
    let uid = deployment.text("/metadata/uid");
    let of_it = sets.into_iter().filter(|set| is_owned_by(set, uid));
    Ok(of_it.max_by_key(|set| set.text(REVISION).parse().unwrap_or(0_u64)))
}

/// The cluster doesn't let Pods be made: the words are those of whoever refused.
async fn refusal(
    reader: &Reader<'_>,
    deployment: &Json,
    condition: Condition<'_>,
    moment: Moment,
) -> Result<NotReady, ClusterError> {
    let not_ready = refused(condition.message());
    let namespace = deployment.text("/metadata/namespace");
    if not_ready.code == Some(Code::QuotaTooSmall) {
        // What the quota said then isn't what it says now.
        let words = match quota::room(reader, namespace, condition.message()).await? {
            // It may be full of the very Pod that was refused before.
            Room::None if is_complete(reader, deployment).await? => Some("its pods are starting"),
            room @ (Room::Now | Room::Soon | Room::None) => room.words(),
        };
        if let Some(words) = words {
            return Ok(NotReady { fatal: false, words: words.to_owned(), ..not_ready });
        }
    }
    let since = condition.since();
    let late = since.is_none_or(|since| moment.lasted(since) > GRACE);
    if !(not_ready.fatal && late) || not_ready.code == Some(Code::QuotaTooSmall) {
        return Ok(NotReady { fatal: not_ready.fatal && late, ..not_ready });
    }
    // The condition has the time of the first refusal.
    let told = if moment.is_evidence(since) { since } else { last_refusal(reader, deployment).await? };
    Ok(NotReady { fatal: moment.is_evidence(told), ..not_ready })
}

/// Whether the ReplicaSet of its present template has all the Pods that it should have.
async fn is_complete(reader: &Reader<'_>, deployment: &Json) -> Result<bool, ClusterError> {
    let pods = new_pods(reader, deployment).await?;
    let wanted = newest_set(reader, deployment).await?.map(|set| set.number("/spec/replicas"));
    Ok(wanted.is_some_and(|wanted| i64::try_from(pods.len()).is_ok_and(|made| made >= wanted)))
}

/// When a Pod was last refused.
async fn last_refusal(reader: &Reader<'_>, deployment: &Json) -> Result<Option<DateTime<Utc>>, ClusterError> {
    match newest_set(reader, deployment).await? {
        Some(set) => Ok(not_ready::last_warning(reader, &set).await?.as_ref().and_then(not_ready::time_of)),
        None => Ok(None),
    }
}

/// A refusal to make a Pod, from its message: `pods "web-1" is forbidden: exceeded quota: main, requested: …`.
pub(crate) fn refused(message: &str) -> NotReady {
    let words = message.split_once(" is forbidden: ").map_or(message, |(_, rest)| rest);
    if says_quota(words) {
        return NotReady::failed(Code::QuotaTooSmall, format!("the namespace's quota lets no pod in: {words}"));
    }
    let passing = ["failed calling webhook", "timeout", "connection refused", "error looking up service account"];
    if passing.iter().any(|hint| words.contains(hint)) {
        return NotReady::waiting(format!("no pod can be made: {words}")).coded(Code::PodRefused);
    }
    NotReady::failed(Code::PodRefused, format!("the cluster refuses its pods: {words}"))
}
