//! Looks at several objects, all before one deadline.

use serde_json::Value as Json;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::error::ClusterError;
use crate::object::{ObjectKind, Place};
use crate::request::Request;

/// A cluster, and until when it is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) deadline: Instant,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(cluster: &'a Cluster, deadline: Instant) -> Self {
        Self { cluster, deadline }
    }

    /// An object; `None` if there is certainly none, its kind not being there included.
    pub(crate) async fn get(&self, place: &Place) -> Result<Option<Json>, ClusterError> {
        match self.cluster.look(place, self.deadline).await {
            Err(error) if error.is_of_unknown_kind() => Ok(None),
            answer => answer,
        }
    }

    /// All objects of a kind that a label selector fits. None where the cluster doesn't have the kind.
    pub(crate) async fn list(
        &self,
        kind: impl Into<ObjectKind>,
        namespace: Option<&str>,
        labels: &str,
    ) -> Result<Vec<Json>, ClusterError> {
        self.cluster.list(&Request::list(&Place::all(kind, namespace), labels), self.deadline).await
    }
}
