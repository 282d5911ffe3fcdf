//! Whether an autoscaler can scale.

use chrono::Duration;
use freehold_engine::Readiness;
use freehold_problem::Code;
use serde_json::Value as Json;

use crate::document::{Condition, Fields};
use crate::error::ClusterError;
use crate::kinds::{Group, METRICS};
use crate::moment::Moment;
use crate::not_ready::NotReady;
use crate::reader::Reader;

const NO_API: &str = "it can't scale, because the cluster has no metrics API (metrics-server)";
/// How long an autoscaler may have no figures: those of a new Pod come after a minute.
const FIRST_FIGURES: Duration = Duration::seconds(120);

/// Ready if it scales, or can be expected to. A number of Pods that has reached its limit is what was asked for.
pub(super) async fn readiness(
    reader: &Reader<'_>,
    autoscaler: &Json,
    moment: Moment,
) -> Result<Readiness, ClusterError> {
    let told = told(autoscaler, moment);
    let works = autoscaler.condition("ScalingActive").is_some_and(Condition::is_true);
    let uses = |metric: &Json| matches!(metric.text("/type"), "Resource" | "ContainerResource");
    if told != Readiness::Ready || works || !autoscaler.items("/spec/metrics").iter().any(uses) {
        return Ok(told);
    }
    // Its controller looks at it after 15 s at first.
    let kinds = reader.cluster.kinds(reader.deadline).await?;
    Ok(match kinds.group(METRICS) {
        Group::There | Group::Hidden => told,
        Group::Silent => Readiness::Waiting("it can't scale: the server of the metrics API does not answer".to_owned()),
        Group::None => NotReady::failed(Code::NoMetrics, NO_API).readiness(&[]),
    })
}

fn told(autoscaler: &Json, moment: Moment) -> Readiness {
    if let Some(condition) = autoscaler.condition("AbleToScale").filter(|condition| condition.is_false()) {
        return Readiness::Waiting(format!("it can't scale: {}", condition.words()));
    }
    let Some(active) = autoscaler.condition("ScalingActive").filter(|condition| condition.is_false()) else {
        return Readiness::Ready;
    };
    if has_no_api(active.message()) {
        return NotReady::failed(Code::NoMetrics, format!("{NO_API}: {}", active.words())).readiness(&[]);
    }
    // Without Pods there is nothing to scale.
    let is_new = active.since().is_some_and(|since| moment.now.signed_duration_since(since) < FIRST_FIGURES);
    if is_new || active.reason() == "ScalingDisabled" {
        return Readiness::Ready;
    }
    let limited = autoscaler.condition("ScalingLimited").filter(|condition| Condition::is_true(*condition));
    let limited = limited.map(|condition| format!("; {}", condition.words())).unwrap_or_default();
    Readiness::Waiting(format!("it can't scale: {}{limited}", active.words()))
}

/// The API server knows no such API, as opposed to one whose own server doesn't answer, or has no figures yet.
fn has_no_api(message: &str) -> bool {
    message.contains("could not find the requested resource") || message.contains("no matches for kind")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(conditions: &Json) -> Readiness {
        let now = "2026-03-01T10:10:00Z".parse().unwrap();
        told(&json!({"status": {"conditions": conditions}}), Moment::new(now))
    }

    fn active(reason: &str, message: &str, since: &str) -> Json {
        let since = format!("2026-03-01T{since}Z");
        json!({"type": "ScalingActive", "status": "False", "reason": reason, "message": message, "lastTransitionTime": since})
    }

    #[test]
    fn an_autoscaler_without_a_metrics_api_can_never_scale_and_one_without_figures_may_soon() {
        assert_eq!(of(&json!([])), Readiness::Ready, "nobody has looked at it");
        let none = "failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)";
        let Readiness::Failed(failure) = of(&json!([active("FailedGetResourceMetric", none, "10:09:55")])) else {
            panic!("it never will")
        };
        assert_eq!(failure.code, Some(Code::NoMetrics));
        assert!(failure.message.contains("no metrics API (metrics-server)"), "{failure}");
        let late = "no metrics returned from resource metrics API";
        assert_eq!(of(&json!([active("FailedGetResourceMetric", late, "10:09:00")])), Readiness::Ready);
        let limited =
            json!({"type": "ScalingLimited", "status": "True", "reason": "TooManyReplicas", "message": "at 3"});
        let Readiness::Waiting(words) = of(&json!([active("FailedGetResourceMetric", late, "10:00:00"), limited]))
        else {
            panic!("it waits")
        };
        assert_eq!(words, format!("it can't scale: FailedGetResourceMetric: {late}; TooManyReplicas: at 3"));
        assert_eq!(of(&json!([active("ScalingDisabled", "the target has no replicas", "10:00:00")])), Readiness::Ready);
        assert_eq!(of(&json!([limited])), Readiness::Ready, "as many as it may have");
    }
}
