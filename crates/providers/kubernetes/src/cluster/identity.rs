//! What is asked of a cluster about itself: which one it is, of which version, and with which kinds of objects.

use std::convert::Infallible;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use freehold_graph::AllowedKind;
use serde_json::Value as Json;
use tokio::time::Instant;

use super::Cluster;
use crate::discovery;
use crate::error::ClusterError;
use crate::kinds::{Group, Kinds};
use crate::neighbour::DEFINITION;
use crate::object::{NAMESPACE, ObjectKind, Place};
use crate::request::Request;

/// How long the answer to "which cluster is this" holds.
const SURE: Duration = Duration::from_secs(2);
/// How long it holds which kinds there are: over the deletions of one moment.
const SAME_KINDS: Duration = Duration::from_secs(5);
/// The namespace whose uid a cluster is known by.
const IDENTITY: &str = "kube-system";

impl Cluster {
    /// Makes sure that it is still the cluster that it has to be. What was found out holds for some seconds.
    ///
    /// # Errors
    /// [`ClusterError::WrongCluster`] if it is another one; it doesn't answer.
    pub async fn is_still(&self, expected: &str, deadline: Instant) -> Result<(), ClusterError> {
        let wrong = |found: &str| ClusterError::WrongCluster { expected: expected.to_owned(), found: found.to_owned() };
        if self.identity != expected {
            return Err(wrong(&self.identity));
        }
        if self.is_sure() {
            return Ok(());
        }
        // One request for all who want to know. What it failed with holds for all of them, too.
        let asked = Instant::now();
        let request = async { Ok::<_, Infallible>(self.ask_identity(deadline).await) };
        let Ok(answer) = self.identities.get(request).await;
        let found = answer?;
        if found != expected {
            return Err(wrong(&found));
        }
        *self.sure.lock().unwrap_or_else(PoisonError::into_inner) = asked;
        Ok(())
    }

    fn is_sure(&self) -> bool {
        self.sure.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < SURE
    }

    /// Which kinds of objects it has, as of a few seconds ago at most.
    ///
    /// # Errors
    /// Discovery fails.
    pub(crate) async fn kinds(&self, deadline: Instant) -> Result<Arc<Kinds>, ClusterError> {
        let known = self.kinds.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((seen, kinds)) = known
            && seen.elapsed() < SAME_KINDS
        {
            return Ok(kinds);
        }
        let (asked, kinds) = (Instant::now(), Arc::new(discovery::kinds(self, deadline).await?));
        if kinds.silent.is_empty() {
            *self.kinds.lock().unwrap_or_else(PoisonError::into_inner) = Some((asked, Arc::clone(&kinds)));
        }
        Ok(kinds)
    }

    /// A kind that the target allows, in the version that its group prefers; `None` where the cluster doesn't have it.
    ///
    /// # Errors
    /// The cluster doesn't say.
    pub(crate) async fn served(
        &self,
        kind: &AllowedKind,
        deadline: Instant,
    ) -> Result<Option<ObjectKind>, ClusterError> {
        let kinds = self.kinds(deadline).await?;
        if let Some(served) = kinds.collection(&kind.group, &kind.plural) {
            return Ok(Some(ObjectKind::allowed(kind, served.version())));
        }
        let why = match kinds.group(&kind.group) {
            Group::Hidden => "not permitted to discover which kinds exist",
            Group::Silent => "the API server of its group does not answer",
            Group::There | Group::None => return Ok(None),
        };
        Err(ClusterError::Answer { doing: format!("looking for {}", kind.resource()), why: why.to_owned() })
    }

    /// The same place in a version that the cluster has, for what only has to be looked at or deleted: a definition may have dropped the one
    /// that an object was made in.
    ///
    /// # Errors
    /// The cluster doesn't say.
    pub(crate) async fn present_place(&self, place: &Place, deadline: Instant) -> Result<Place, ClusterError> {
        if place.kind.is_known() {
            return Ok(place.clone());
        }
        let kinds = self.kinds(deadline).await?;
        let served = kinds.collection(&place.kind.group, &place.kind.plural);
        let version = served.map_or_else(|| place.kind.version.clone(), |served| served.version().to_owned().into());
        Ok(Place { kind: ObjectKind { version, ..place.kind.clone() }, ..place.clone() })
    }

    /// Whether a kind that didn't come with Kubernetes is certainly not there: its definition doesn't exist. That the API server doesn't
    /// serve it is not enough, because that may be another version, or a server that is starting.
    pub(crate) async fn is_without(&self, kind: &ObjectKind, deadline: Instant) -> bool {
        if kind.installation().is_none() {
            return false;
        }
        matches!(self.look(&Place::named(DEFINITION, None, &kind.resource()), deadline).await, Ok(None))
    }

    pub(super) async fn ask_identity(&self, deadline: Instant) -> Result<String, ClusterError> {
        let place = Place::named(NAMESPACE, None, IDENTITY);
        let request = Request::get(&place);
        let answer = self.send(&request, deadline).await?;
        let uid = answer.body.pointer("/metadata/uid").and_then(Json::as_str);
        uid.map(str::to_owned)
            .ok_or_else(|| ClusterError::Answer { doing: request.doing(), why: "a namespace without a uid".to_owned() })
    }

    pub(super) async fn ask_version(&self, deadline: Instant) -> Result<String, ClusterError> {
        let doing = || "asking for the version".to_owned();
        let ask = self.client.apiserver_version();
        match tokio::time::timeout_at(deadline, ask).await {
            Ok(Ok(info)) => Ok(info.git_version),
            Ok(Err(error)) => Err(ClusterError::Answer { doing: doing(), why: error.to_string() }),
            Err(_) => Err(ClusterError::Unreachable {
                doing: doing(),
                server: self.server.clone(),
                why: "timed out".to_owned(),
                uncertain: false,
            }),
        }
    }
}
