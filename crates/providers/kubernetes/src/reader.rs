//! Looks at several objects, all before one deadline.

use serde_json::Value as Json;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::document::Fields;
use crate::error::ClusterError;
use crate::object::{Kind, Place};
use crate::request::Request;

/// How many objects a page of a list has.
const PAGE: &str = "500";

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
        match self.cluster.send(&Request::get(place), self.deadline).await {
            Ok(answer) => Ok(Some(answer.body)),
            Err(ClusterError::Refused { refusal, .. }) if refusal.status.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects of a kind that a label selector fits. None where the cluster doesn't have the kind.
    pub(crate) async fn list(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        labels: &str,
    ) -> Result<Vec<Json>, ClusterError> {
        self.query(kind, namespace, ("labelSelector", labels)).await
    }

    /// All objects of a kind that a selector fits, page by page.
    pub(crate) async fn query(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        (parameter, selector): (&str, &str),
    ) -> Result<Vec<Json>, ClusterError> {
        let place = Place::all(kind, namespace);
        let mut found = Vec::new();
        let mut page = String::new();
        loop {
            let mut request = Request::get(&place).with("limit", PAGE);
            for (name, value) in [(parameter, selector), ("continue", page.as_str())] {
                if !value.is_empty() {
                    request = request.with(name, value);
                }
            }
            let mut answer = match self.cluster.send(&request, self.deadline).await {
                Ok(answer) => answer.body,
                Err(ClusterError::Refused { refusal, .. }) if refusal.status.code == 404 => return Ok(found),
                Err(error) => return Err(error),
            };
            if let Some(items) = answer.get_mut("items").and_then(Json::as_array_mut) {
                found.append(items);
            }
            page = answer.text("/metadata/continue").to_owned();
            if page.is_empty() {
                return Ok(found);
            }
        }
    }
}
