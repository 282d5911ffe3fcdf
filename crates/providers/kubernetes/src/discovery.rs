//! Asks an API server which kinds of objects it has, also those that Freehold doesn't know, and for lists of them.

use std::time::Duration;

use http::header::ACCEPT;
use serde_json::Value as Json;
use tokio::time::{Instant, sleep, timeout_at};

use crate::cluster::Cluster;
use crate::document::Fields;
use crate::error::ClusterError;
use crate::kinds::{Collection, Kinds};
use crate::request::METADATA;

/// How often, and after how long, a collection is asked for again whose server has too much to do.
const MOST_WHILE_BUSY: u32 = 30;
const WHILE_BUSY: Duration = Duration::from_secs(1);
const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Why a collection isn't listed.
#[derive(Debug)]
pub(crate) enum Unlisted {
    /// We may not.
    NotPermitted(String),
    /// Its own API server doesn't answer.
    Silent(String),
    Failed(ClusterError),
}

impl Collection {
    /// The metadata of all its objects that a selector fits, in one namespace or everywhere. None where it isn't there any more, or
    /// can't be listed after all.
    ///
    /// # Errors
    /// Any answer that isn't the whole list.
    pub(crate) async fn list(
        &self,
        cluster: &Cluster,
        namespace: Option<&str>,
        labels: &str,
        deadline: Instant,
    ) -> Result<Vec<Json>, Unlisted> {
        let namespace = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
        let path = format!("{}{namespace}/{}", self.root, self.plural);
        let (mut found, mut next, mut busy) = (Vec::new(), String::new(), 0);
        loop {
            let page = format!("{path}?{}", query(labels, &next));
            let list = match ask(cluster, &page, METADATA, deadline).await {
                Ok(list) => list,
                // A definition that was installed a moment ago is being prepared.
                Err(No::Status(429, _)) if busy < MOST_WHILE_BUSY => {
                    busy += 1;
                    sleep(WHILE_BUSY).await;
                    continue;
                }
                Err(No::Status(404 | 405, _)) => return Ok(found),
                // A page that was asked for too late: the list has to be begun again.
                Err(No::Status(410, _)) if !next.is_empty() => {
                    found.clear();
                    next.clear();
                    continue;
                }
                Err(No::Status(403, why)) => return Err(Unlisted::NotPermitted(why)),
                Err(No::Status(503, why)) => return Err(Unlisted::Silent(why)),
                Err(no) => return Err(Unlisted::Failed(no.listing(&path))),
            };
            if !list.text("/kind").ends_with("List") {
                return Err(Unlisted::Failed(No::Answer("not a list".to_owned()).listing(&path)));
            }
            found.extend_from_slice(list.items("/items"));
            list.text("/metadata/continue").clone_into(&mut next);
            if next.is_empty() {
                return Ok(found);
            }
        }
    }
}

fn query(labels: &str, page: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let given = [("labelSelector", labels), ("continue", page)].into_iter().filter(|(_, value)| !value.is_empty());
    query.append_pair("limit", "500").extend_pairs(given).finish()
}

/// Asks which kinds there are.
///
/// # Errors
/// The cluster doesn't say.
pub(crate) async fn kinds(cluster: &Cluster, deadline: Instant) -> Result<Kinds, ClusterError> {
    let mut kinds = Kinds::default();
    for root in ["/api", "/apis"] {
        match ask(cluster, root, DISCOVERY, deadline).await {
            Ok(answer) if answer.text("/kind") == "APIGroupDiscoveryList" => kinds.read(&answer),
            Ok(_) => return Err(No::Answer("not a list of kinds".to_owned()).listing(root)),
            Err(No::Status(403, _)) => kinds.hidden = true,
            Err(no) => return Err(no.listing(root)),
        }
    }
    Ok(kinds)
}

/// Not an answer that can be used.
enum No {
    Status(u16, String),
    Answer(String),
    Nothing { server: String, why: String },
}

impl No {
    fn listing(self, path: &str) -> ClusterError {
        let doing = format!("listing {path}");
        match self {
            Self::Status(code, why) => ClusterError::Answer { doing, why: format!("{code} {why}") },
            Self::Answer(why) => ClusterError::Answer { doing, why },
            Self::Nothing { server, why } => ClusterError::Unreachable { doing, server, why, uncertain: false },
        }
    }
}

async fn ask(cluster: &Cluster, path: &str, accept: &str, deadline: Instant) -> Result<Json, No> {
    let request = http::Request::get(path).header(ACCEPT, accept).body(Vec::new());
    let request = request.map_err(|error| No::Answer(error.to_string()))?;
    let nothing = |why: String| No::Nothing { server: cluster.server().to_owned(), why };
    match timeout_at(deadline, cluster.client().request(request)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(No::Status(status.code, status.message)),
        Ok(Err(kube::Error::SerdeError(error))) => Err(No::Answer(error.to_string())),
        Ok(Err(error)) => Err(nothing(error.to_string())),
        Err(_) => Err(nothing("timed out".to_owned())),
    }
}
