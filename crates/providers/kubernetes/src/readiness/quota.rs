//! Whether a quota that has refused a Pod has room for it by now.
//!
//! The refusal stands on the Deployment until the next attempt, which comes as long after the last one as that came after the first.
//! Meanwhile an old Pod has ended. So what counts is what the quotas say now, and whether that is true yet: they are counted a moment after
//! a Pod is gone.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::document::Fields;
use crate::error::ClusterError;
use crate::object::{POD, QUOTA};
use crate::reader::Reader;

/// Whether a Pod would be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// Now, or the quotas aren't counted up to date.
    Now,
    /// When Pods have ended that are ending, or do so by themselves.
    Soon,
    /// Not without a change.
    None,
}

impl Room {
    /// Why a Pod that was refused may be let in without a change; `None` if it may not.
    pub(crate) const fn words(self) -> Option<&'static str> {
        match self {
            Self::Now => Some("a quota let no pod in, and has room now: the cluster tries again by itself"),
            Self::Soon => Some("the namespace's quota lets no pod in until those that are ending have ended"),
            Self::None => None,
        }
    }
}

/// Whether there is room in a namespace for what was refused with this message.
pub(crate) async fn room(reader: &Reader<'_>, namespace: &str, refusal: &str) -> Result<Room, ClusterError> {
    let Some(requested) = requested(refusal) else { return Ok(Room::None) };
    let quotas = reader.list(QUOTA, Some(namespace), "");
    let pods = reader.list(POD, Some(namespace), "");
    let (quotas, pods) = futures::try_join!(quotas, pods)?;
    Ok(judge(&quotas, &pods, &requested))
}

fn judge(quotas: &[Json], pods: &[Json], requested: &BTreeMap<&str, f64>) -> Room {
    let ended = |pod: &Json| matches!(pod.text("/status/phase"), "Succeeded" | "Failed");
    let alive: Vec<&Json> = pods.iter().filter(|pod| !ended(pod)).collect();
    let uncounted = |quota: &Json| {
        let counted = quota.pointer("/status/used/pods").and_then(Json::as_str).and_then(amount);
        let limits = |pointer: &str| quota.pointer(pointer).cloned().unwrap_or_default();
        limits("/status/hard") != limits("/spec/hard")
            || counted.is_some_and(|counted| counted > as_amount(alive.len()))
    };
    let full = |quota: &&Json| {
        requested.iter().any(|(resource, wanted)| {
            let of = |list: &str| amount(quota.get("status")?.get(list)?.get(resource)?.as_str()?);
            matches!((of("hard"), of("used")), (Some(hard), Some(used)) if hard - used < *wanted)
        })
    };
    let mut full = quotas.iter().filter(full).peekable();
    if full.peek().is_none() || full.any(uncounted) {
        return Room::Now;
    }
    let leaves = |pod: &&Json| {
        let of_job = pod.items("/metadata/ownerReferences").iter().any(|owner| owner.text("/kind") == "Job");
        of_job || pod.pointer("/metadata/deletionTimestamp").is_some()
    };
    if alive.iter().any(leaves) { Room::Soon } else { Room::None }
}

#[expect(clippy::cast_precision_loss, reason = "there are never so many Pods")]
fn as_amount(count: usize) -> f64 {
    count as f64
}

/// `exceeded quota: freehold, requested: pods=1,requests.cpu=100m, used: pods=3,…, limited: …`: the amounts behind `requested`.
fn requested(message: &str) -> Option<BTreeMap<&str, f64>> {
    let (_, rest) = message.split_once("requested: ")?;
    let list = rest.split(", used: ").next().unwrap_or(rest);
    list.split(',').map(|item| item.trim().split_once('=')).map(|item| Some((item?.0, amount(item?.1)?))).collect()
}

/// A quantity of Kubernetes: `100m`, `64Mi`, `3`, `1e3`.
fn amount(text: &str) -> Option<f64> {
    let end = text.find(|letter: char| !(letter.is_ascii_digit() || matches!(letter, '.' | '-' | '+')));
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let factor = match unit {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        "Pi" => 1_125_899_906_842_624.0,
        "Ei" => 1_152_921_504_606_846_976.0,
        exponent => return format!("{number}{exponent}").parse().ok(),
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const REFUSAL: &str = "pods \"web-1\" is forbidden: exceeded quota: freehold, requested: pods=1,requests.cpu=100m, used: pods=3,requests.cpu=300m, limited: pods=3,requests.cpu=1";

    fn quota(pods: &str) -> Json {
        let hard = json!({"pods": "3", "requests.cpu": "1"});
        json!({"spec": {"hard": hard}, "status": {"hard": hard, "used": {"pods": pods, "requests.cpu": "300m"}}})
    }

    fn pods(count: usize, rest: &Json) -> Vec<Json> {
        std::iter::repeat_n(json!({"metadata": rest, "status": {"phase": "Running"}}), count).collect()
    }

    #[test]
    fn a_refusal_counts_only_while_the_quota_has_no_room() {
        let requested = requested(REFUSAL).unwrap();
        assert_eq!(requested, BTreeMap::from([("pods", 1.0), ("requests.cpu", 0.1)]));
        let judge = |quota: &Json, pods: &[Json]| judge(std::slice::from_ref(quota), pods, &requested);
        assert_eq!(judge(&quota("3"), &pods(3, &json!({}))), Room::None);
        assert_eq!(judge(&quota("2"), &pods(2, &json!({}))), Room::Now);
        assert_eq!(judge(&quota("3"), &pods(2, &json!({}))), Room::Now, "a pod is gone and not counted yet");
        let ending = json!({"deletionTimestamp": "2026-03-01T10:00:00Z"});
        assert_eq!(judge(&quota("3"), &pods(3, &ending)), Room::Soon);
        let of_job = json!({"ownerReferences": [{"kind": "Job"}]});
        assert_eq!(judge(&quota("3"), &pods(3, &of_job)), Room::Soon);
        let mut raised = quota("3");
        raised["spec"]["hard"]["pods"] = json!("5");
        assert_eq!(judge(&raised, &pods(3, &json!({}))), Room::Now, "a quota that was raised just now");
    }

    #[test]
    fn quantities_are_read_in_all_their_units() {
        let read = |text: &str| amount(text).unwrap();
        assert!((read("1500m") - 1.5).abs() < 1e-9 && (read("2Gi") - 2_147_483_648.0).abs() < 1.0);
        assert!((read("1e3") - 1000.0).abs() < 1e-9 && (read("-1") + 1.0).abs() < 1e-9);
        assert_eq!(amount("many"), None);
    }
}
