//! A cluster as a target: what is found out about it when it is added, what is wrong with it, and the scratch namespace of its plans.
//!
//! [`discover`] and [`check`] look at the same things ([`survey`]): what `check` reports as an error is what `discover` fails with.

mod confinement;
mod finding;
mod gateway;
mod permission;
mod requirements;
mod scan;
mod scratch;
mod survey;

use std::time::Duration;

use chrono::TimeDelta;
use freehold_engine::capability::Finding;
use freehold_graph::expand::KubernetesTarget;
use tokio::time::Instant;

pub use requirements::Requirements;
pub use scan::scan_all_groups;
pub(crate) use scratch::SCRATCH_MARK;
pub use scratch::{SCRATCH_NAMESPACE, prepare, release};

use crate::cluster::Cluster;
use crate::error::ClusterError;
use crate::object::{NAMESPACE, Place};
use crate::reader::Reader;
use crate::target::survey::Survey;

/// How long looking at a target may take.
const LOOK: Duration = Duration::from_secs(60);

/// Finds out what is needed of a cluster. Changes nothing.
///
/// # Errors
/// [`ClusterError::Unfit`] with all that keeps it from being a target; or it can't be asked.
pub async fn discover(cluster: &Cluster, wanted: &Requirements) -> Result<KubernetesTarget, ClusterError> {
    let reader = Reader::new(cluster, Instant::now() + LOOK);
    let survey = Survey::of(&reader, wanted).await;
    survey.facts(wanted)
}

/// Looks at everything that a target needs, and whether it is still what was found when it was added: each thing with its fix.
pub async fn check(cluster: &Cluster, facts: &KubernetesTarget) -> Vec<Finding> {
    let reader = Reader::new(cluster, Instant::now() + LOOK);
    let mut findings = Vec::new();
    if cluster.identity() != facts.cluster {
        let (expected, found) = (facts.cluster.clone(), cluster.identity().to_owned());
        let error = ClusterError::WrongCluster { expected, found };
        return vec![finding::of_error("cluster", &error)];
    }
    // The connection may be an old one. Who doesn't answer is said once, and not for each thing that was to be looked at.
    if let Err(error) = reader.get(&Place::named(NAMESPACE, None, "kube-system")).await {
        return vec![finding::of_error("cluster", &error)];
    }
    findings.push(Finding::ok("cluster", format!("{} at {}", cluster.identity(), cluster.server())));
    let wanted = Requirements::from(facts);
    let survey = Survey::of(&reader, &wanted).await;
    if let Ok(found) = survey.facts(&wanted) {
        findings.extend(changed(facts, &found));
    }
    findings.extend(clock(cluster.clock().ahead()));
    findings.extend(survey.findings);
    findings.push(scratch::check(&reader, facts).await);
    findings.extend(permission::check(&reader, facts).await);
    findings.push(confinement::check(&reader).await);
    findings
}

/// A cluster's clock that is off by more is told.
const OFF: TimeDelta = TimeDelta::minutes(1);

/// That one of two clocks is wrong, if so.
fn clock(ahead: TimeDelta) -> Option<Finding> {
    let (off, word) = if ahead < TimeDelta::zero() { (-ahead, "behind") } else { (ahead, "ahead of") };
    let minutes = (off + TimeDelta::seconds(30)).num_minutes();
    let message = format!("the cluster's is {minutes} min {word} this machine's");
    let fix = "synchronize both clocks with NTP: the age of what is in the cluster is told by its own clock, but each side judges \
               certificates and tokens by its own";
    (off >= OFF).then(|| Finding::warning("clock", message, fix))
}

/// What is remembered of a target and isn't so any more.
fn changed(facts: &KubernetesTarget, found: &KubernetesTarget) -> Vec<Finding> {
    let mut differences = Vec::new();
    let mut compare = |what: &str, then: String, now: String| {
        if then != now {
            differences.push(format!("{what} was {then} and is {now}"));
        }
    };
    let list = |names: &std::collections::BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
    let has = |it: bool| if it { "there" } else { "missing" }.to_owned();
    compare("the version", facts.version.clone(), found.version.clone());
    compare("the nodes' architecture", list(&facts.architectures), list(&found.architectures));
    compare("HTTPRoute.retry", has(facts.gateway.retries), has(found.gateway.retries));
    compare("HTTPRoute's CORS", has(facts.gateway.cors), has(found.gateway.cors));
    compare("Envoy Gateway's policies", has(facts.gateway.envoy), has(found.gateway.envoy));
    compare("ListenerSet", has(facts.gateway.listener_sets), has(found.gateway.listener_sets));
    let scheme = |https: bool| if https { "HTTPS" } else { "HTTP" }.to_owned();
    compare("the listener's protocol", scheme(facts.gateway.https), scheme(found.gateway.https));
    if differences.is_empty() {
        return Vec::new();
    }
    let fix = format!("`freehold target add {}` again records what is there now", facts.name);
    vec![Finding::warning("facts", differences.join("; "), fix)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_minutes_off_is_told_with_the_direction() {
        let told = |seconds| clock(TimeDelta::seconds(seconds)).map(|finding| finding.message);
        assert_eq!((told(0), told(59), told(-59)), (None, None, None));
        assert_eq!(told(599).as_deref(), Some("the cluster's is 10 min ahead of this machine's"));
        assert_eq!(told(-600).as_deref(), Some("the cluster's is 10 min behind this machine's"));
    }
}
