//! Fields that others manage, where a change of ours meets them.

use freehold_graph::StackId;
use freehold_plan::Conflict;
use freehold_plan::preview::Autoscaler;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::error::{ClusterError, Reason};
use crate::object::Place;
use crate::replicas;

/// What an apply was refused for. Nothing else is in the way of the same request with force, as long as it is bound to the same
/// version of the object.
#[derive(Default)]
pub(crate) struct Conflicts {
    /// Fields of others. They are taken only where a plan has shown them, and the object was named.
    pub(crate) foreign: Vec<Conflict>,
    /// The number of Pods is what the stack's own autoscaler has made it.
    pub(crate) autoscaled: bool,
    /// The number of Pods is what an autoscaler of somebody else has made it.
    pub(crate) scaled_by: Option<Autoscaler>,
}

impl Conflicts {
    /// Those that an error tells of; `None` if it is another one.
    pub(crate) async fn of(
        cluster: &Cluster,
        place: &Place,
        stack: StackId,
        error: &ClusterError,
        deadline: Instant,
    ) -> Result<Option<Self>, ClusterError> {
        let ClusterError::Refused { refusal, .. } = error else { return Ok(None) };
        if refusal.reason() != Reason::FieldConflict {
            return Ok(None);
        }
        let causes = refusal.causes().iter().filter(|cause| cause.reason == "FieldManagerConflict");
        let mut conflicts = Self::default();
        for cause in causes.filter(|cause| !replicas::is_with_scale_manager(cause)) {
            if replicas::is_with_autoscaler(cause) {
                conflicts.scaled_by = replicas::foreign_autoscaler(cluster, place, stack, deadline).await?;
                conflicts.autoscaled = conflicts.scaled_by.is_none();
            }
            if !(replicas::is_with_autoscaler(cause) && conflicts.autoscaled) {
                conflicts.foreign.push(Conflict { path: path(&cause.field), manager: manager(&cause.message) });
            }
        }
        Ok(Some(conflicts))
    }
}

/// `conflict with "kubectl-edit" using apps/v1` → `kubectl-edit`
fn manager(message: &str) -> String {
    let name = message.split_once("conflict with \"").and_then(|(_, rest)| rest.split_once('"'));
    name.map_or_else(|| message.to_owned(), |(name, _)| name.to_owned())
}

/// `.spec.containers[name="web"].image` → `spec.containers[web].image`
pub(crate) fn path(field: &str) -> String {
    let mut path = String::new();
    let mut rest = field.trim_start_matches('.');
    while let Some((before, after)) = rest.split_once('[') {
        let (keys, after) = after.split_once(']').unwrap_or((after, ""));
        let values = keys.split(',').map(|key| key.split_once('=').map_or(key, |(_, value)| value).trim_matches('"'));
        path.push_str(&format!("{before}[{}]", values.collect::<Vec<_>>().join(",")));
        rest = after;
    }
    path.push_str(rest);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_api_become_those_of_a_plan() {
        assert_eq!(path(".spec.replicas"), "spec.replicas");
        let long = r#".spec.template.spec.containers[name="web"].ports[containerPort=80,protocol="TCP"].name"#;
        assert_eq!(path(long), "spec.template.spec.containers[web].ports[80,TCP].name");
    }
}
