//! What would come of a change: the API server does everything but the change (server-side apply, dry run), with defaults,
//! validation and admission.
//!
//! What doesn't have its namespace yet is tried out in the target's scratch namespace, under its own name. What can't be tried out
//! comes out as it is desired, with a note that says so. No secret is revealed: a Secret is tried out with placeholders.

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

use freehold_engine::ProviderError;
use freehold_engine::provider::Proposal;
use freehold_graph::kind::KubernetesKind;
use freehold_graph::value::Special;
use freehold_graph::{Effect, ResourceKind, StackId, Value};
use freehold_plan::change::FieldChange;
use freehold_plan::observation::Ownership;
use freehold_plan::{Conflict, Observation, Preview, diff};
use freehold_problem::Code;
use serde_json::{Map, Value as Json};
use tokio::time::Instant;

use crate::body;
use crate::cluster::Cluster;
use crate::conflict::{self, Conflicts};
use crate::error::{ClusterError, Reason, Refusal};
use crate::holders;
use crate::hosts;
use crate::mark;
use crate::object::Place;
use crate::observe;
use crate::precondition::{ATTEMPTS, with_precondition};
use crate::render::{self, Texts};
use crate::replicas;
use crate::request::{Request, Response};
use crate::volume;

/// Appended to a name that is taken in the scratch namespace.
const OTHER_NAME: &str = "-trial";

/// A change that is tried out.
pub(crate) struct Trial<'a> {
    cluster: &'a Cluster,
    stack: StackId,
    /// The namespace for what has none yet.
    scratch: Option<&'a str>,
    proposal: &'a Proposal<'a>,
    place: Place,
    deadline: Instant,
}

/// What a trial gave.
enum Tried {
    /// The object as it would be.
    Object(Box<Json>),
    /// It could not be tried out; why.
    Not(String),
    /// These fields can't be changed.
    Immutable(Vec<String>),
}

/// Why there is no preview.
enum Stop {
    Cluster(Box<ClusterError>),
    Provider(ProviderError),
}

impl From<ClusterError> for Stop {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(Box::new(error))
    }
}

impl From<ProviderError> for Stop {
    fn from(error: ProviderError) -> Self {
        Self::Provider(error)
    }
}

impl<'a> Trial<'a> {
    pub(crate) fn new(
        cluster: &'a Cluster,
        stack: StackId,
        scratch: Option<&'a str>,
        proposal: &'a Proposal<'a>,
        deadline: Instant,
    ) -> Result<Self, ProviderError> {
        let resource = proposal.resource;
        let place = observe::place(&resource.id, resource.kind, &resource.identity, &resource.body)?;
        Ok(Self { cluster, stack, scratch, proposal, place, deadline })
    }

    pub(crate) async fn preview(&self) -> Result<Preview, ProviderError> {
        match self.proposal.observed {
            None => self.creation().await,
            // The plan refuses it anyway.
            Some(seen) if seen.ownership != Ownership::Ours && !self.proposal.adopt => Ok(self.untried(None)),
            Some(seen) => self.change(seen).await,
        }
    }

    async fn creation(&self) -> Result<Preview, ProviderError> {
        let manifest = self.manifest(&Map::new())?;
        let note = self.foresee(None, &manifest).await?;
        let mut preview = self.created(manifest).await?;
        preview.notes.extend(note);
        Ok(preview)
    }

    /// What else has to be known of such an object, which a dry run doesn't tell.
    async fn foresee(&self, live: Option<&Json>, manifest: &Json) -> Result<Option<String>, ProviderError> {
        let (cluster, place, deadline) = (self.cluster, &self.place, self.deadline);
        let resource = self.proposal.resource;
        match observe::kind(&resource.id, resource.kind)? {
            KubernetesKind::HttpRoute => hosts::foresee(cluster, self.stack, place, live, manifest, deadline).await,
            KubernetesKind::PersistentVolumeClaim if live.is_none() => {
                volume::foresee(cluster, place, manifest, deadline).await
            }
            KubernetesKind::Namespace
            | KubernetesKind::ResourceQuota
            | KubernetesKind::LimitRange
            | KubernetesKind::NetworkPolicy
            | KubernetesKind::ServiceAccount
            | KubernetesKind::Secret
            | KubernetesKind::ConfigMap
            | KubernetesKind::PersistentVolumeClaim
            | KubernetesKind::CloudNativePg
            | KubernetesKind::CloudNativePgPooler
            | KubernetesKind::Deployment
            | KubernetesKind::CronJob
            | KubernetesKind::Service
            | KubernetesKind::PodDisruptionBudget
            | KubernetesKind::HorizontalPodAutoscaler
            | KubernetesKind::Object
            | KubernetesKind::Certificate
            | KubernetesKind::ListenerSet
            | KubernetesKind::SecurityPolicy
            | KubernetesKind::BackendTrafficPolicy
            | KubernetesKind::HttpRouteFilter => Ok(None),
        }
    }

    async fn created(&self, manifest: Json) -> Result<Preview, ProviderError> {
        let namespaces = self.cluster.namespaces();
        let may_be_there =
            self.place.namespace.as_deref().is_none_or(|namespace| !namespaces.is_absent_for_trials(namespace));
        if may_be_there {
            let request = Request::apply(&self.place, &manifest, false).dry_run();
            let asked = Instant::now();
            match self.cluster.send(&request, self.deadline).await {
                Ok(answer) if answer.is_created() => return Ok(self.made(&answer.body)),
                Ok(_) => {
                    return Err(ProviderError::retryable(
                        Code::NotNow,
                        format!("{} was created while the plan was made", self.place),
                    ));
                }
                Err(error) => match error.reason() {
                    Some(Reason::NamespaceAbsent) => {
                        if let Some(namespace) = &self.place.namespace {
                            self.cluster.namespaces().note_absent(namespace, asked);
                        }
                    }
                    // Dry runs don't add up: whether the quota is enough is for the plan to say.
                    Some(Reason::Quota | Reason::QuotaUncounted) => {}
                    Some(Reason::NoDryRun(webhook)) => return Ok(self.untried(Some(side_effects(&webhook)))),
                    _ => return Err(error.into()),
                },
            }
        }
        match self.elsewhere(manifest).await? {
            Tried::Object(object) => Ok(self.made(&object)),
            Tried::Not(why) => Ok(self.untried(Some(why))),
            Tried::Immutable(_) => Ok(self.untried(None)),
        }
    }

    /// Tried out on the object as it was just seen, or what controllers write in between would look like a change of ours.
    async fn change(&self, seen: &Observation) -> Result<Preview, ProviderError> {
        for _ in 0..ATTEMPTS {
            let live = self.cluster.cached_or_get(&self.place, self.deadline).await?;
            let Some(live) = live.filter(|live| mark::uid(live) == seen.object) else {
                return Err(ProviderError::retryable(
                    Code::NotNow,
                    format!("{} changed while the plan was made", self.place),
                ));
            };
            if let Some(since) = mark::deletion(&live) {
                return Err(holders::being_deleted(self.cluster, &self.place, (since, &live), self.deadline).await);
            }
            let manifest = with_precondition(&self.manifest(&self.unchanged(seen, &live))?, &live);
            let note = self.foresee(Some(&live), &manifest).await?;
            match self.change_of(seen, &live, &manifest).await {
                Err(Stop::Cluster(error)) if error.reason() == Some(Reason::Changed) => {}
                Err(Stop::Cluster(error)) => return Err((*error).into()),
                Err(Stop::Provider(error)) => return Err(error),
                Ok(mut preview) => {
                    preview.notes.extend(note);
                    return Ok(preview);
                }
            }
        }
        Err(ProviderError::retryable(
            Code::NotNow,
            format!("{} was modified concurrently {ATTEMPTS} times", self.place),
        ))
    }

    async fn change_of(&self, seen: &Observation, live: &Json, manifest: &Json) -> Result<Preview, Stop> {
        let gives_up = replicas::is_given_up(&self.place, live, manifest);
        let manifest = &if gives_up { replicas::kept(manifest, live) } else { manifest.clone() };
        let mut conflicts = Conflicts::default();
        let mut tried = self.in_place(manifest, false).await;
        if let Err(error) = &tried
            && let Some(found) = Conflicts::of(self.cluster, &self.place, self.stack, error, self.deadline).await?
        {
            conflicts = found;
            tried = self.in_place(manifest, true).await;
        }
        let mut preview = match tried? {
            Tried::Object(mut object) => {
                if gives_up {
                    replicas::give_up(&mut object);
                }
                self.changed(seen, live, &object)
            }
            Tried::Not(why) => self.untried(Some(why)),
            Tried::Immutable(fields) => return self.replaced(seen, fields, conflicts.foreign).await,
        };
        if gives_up {
            preview.given_up.push(replicas::PATH.to_owned());
        }
        if conflicts.autoscaled {
            preview.notes.push(format!("takes {} back from the autoscaler", replicas::PATH));
        }
        preview.conflicts = conflicts.foreign;
        preview.scaled_by = conflicts.scaled_by;
        Ok(preview)
    }

    async fn in_place(&self, manifest: &Json, force: bool) -> Result<Tried, ClusterError> {
        let request = Request::apply(&self.place, manifest, force).dry_run();
        let error = match self.cluster.send(&request, self.deadline).await {
            Ok(Response { body, .. }) => return Ok(Tried::Object(Box::new(body))),
            Err(error) => error,
        };
        match (error.reason(), &error) {
            (Some(Reason::Invalid), ClusterError::Refused { refusal, .. }) => match immutable(refusal) {
                Some(fields) => Ok(Tried::Immutable(fields)),
                None => Err(error),
            },
            (Some(Reason::NoDryRun(webhook)), _) => Ok(Tried::Not(side_effects(&webhook))),
            (Some(Reason::Quota | Reason::QuotaUncounted), _) => {
                Ok(Tried::Not("the namespace's quota is used up".to_owned()))
            }
            _ => Err(error),
        }
    }

    /// In the scratch namespace, if there is one. The result is as if it had been tried out in its own.
    async fn elsewhere(&self, mut manifest: Json) -> Result<Tried, ClusterError> {
        let Some(namespace) = self.place.namespace.as_deref() else {
            return Ok(Tried::Not("it has no namespace to try it out in".to_owned()));
        };
        let Some(scratch) = self.scratch else {
            return Ok(Tried::Not(format!(
                "namespace {namespace} is not there yet, and the target has no scratch namespace"
            )));
        };
        let mut place = self.place.in_namespace(scratch);
        let mut names = [self.place.name.clone(), format!("{}{OTHER_NAME}", self.place.name)];
        if self.cluster.taken_in_scratch().contains(&place) {
            names.reverse();
        }
        for name in names {
            place.name = name;
            move_to(&mut manifest, scratch, &place.name);
            match self.cluster.send(&Request::apply(&place, &manifest, false).dry_run(), self.deadline).await {
                Ok(answer) if answer.is_created() => {
                    let mut object = answer.body;
                    move_to(&mut object, namespace, &self.place.name);
                    return Ok(Tried::Object(Box::new(object)));
                }
                // Something of the same name is there, such as the namespace's own limits.
                Ok(_) => self.cluster.taken_in_scratch().note(&place),
                Err(error) => {
                    return match error.reason() {
                        Some(Reason::FieldConflict) => {
                            self.cluster.taken_in_scratch().note(&place);
                            continue;
                        }
                        Some(Reason::NamespaceAbsent | Reason::NamespaceTerminating) => {
                            let help = "`freehold target check` shows how to recreate it";
                            Ok(Tried::Not(format!("the scratch namespace {scratch} is gone: {help}")))
                        }
                        Some(Reason::NoDryRun(webhook)) => Ok(Tried::Not(side_effects(&webhook))),
                        // What is wrong with it is wrong in its own namespace, too.
                        _ => Err(error.about("trying out", &self.place)),
                    };
                }
            }
        }
        Ok(Tried::Not(format!("its name is taken in the scratch namespace {scratch}")))
    }

    fn manifest(&self, kept: &Map<String, Json>) -> Result<Json, ProviderError> {
        let resource = self.proposal.resource;
        render::manifest(resource.kind, &resource.body, self.proposal.desired, &Texts::Kept(kept))
    }

    /// The texts of a Secret under the keys that stay as they are. They are sent back, and shown to nobody.
    fn unchanged(&self, seen: &Observation, live: &Json) -> Map<String, Json> {
        let data = live.get("data").and_then(Json::as_object).into_iter().flatten();
        let leaf = |body: &Value, key: &str| body.get("data").and_then(|data| data.get(key)).cloned();
        let same = |key: &str| leaf(&seen.body, key).is_some_and(|is| leaf(self.proposal.desired, key) == Some(is));
        data.filter(|(key, _)| same(key)).map(|(key, text)| (key.clone(), text.clone())).collect()
    }

    /// The body that an observation would show of such an object.
    fn body(&self, object: &Json) -> Value {
        let resource = self.proposal.resource;
        let mut body = body::comparable(resource.kind, object, &resource.body);
        fill(&mut body, self.proposal.desired);
        body
    }

    fn made(&self, object: &Json) -> Preview {
        Preview { body: self.body(object), ..Preview::default() }
    }

    fn changed(&self, seen: &Observation, live: &Json, object: &Json) -> Preview {
        let kind = self.proposal.resource.kind;
        let (before, mut after) = if kind == ResourceKind::ClusterSecret {
            self.secrets(seen, live, object)
        } else {
            (body::whole(live), body::whole(object))
        };
        fill(&mut after, self.proposal.desired);
        let fields = diff::fields(kind.row(), &before, &after);
        Preview { body: self.body(object), fields: Some(fields), ..Preview::default() }
    }

    /// A Secret before and after, without a text in either.
    fn secrets(&self, seen: &Observation, live: &Json, object: &Json) -> (Value, Value) {
        let of = |body: &Value, key: &str| body.get("data").and_then(|data| data.get(key)).cloned();
        let before = body::masked(live, |key, _| of(&seen.body, key).unwrap_or_else(|| body::hidden(key)));
        let data = live.get("data");
        let after = body::masked(object, |key, text| {
            let stays = data.and_then(|data| data.get(key)) == Some(text);
            of(self.proposal.desired, key)
                .or_else(|| of(&before, key).filter(|_| stays))
                .unwrap_or_else(|| body::hidden(&format!("{key} changes")))
        });
        (before, after)
    }

    /// Some fields can't be changed: what a new object would be like.
    async fn replaced(
        &self,
        seen: &Observation,
        immutable: Vec<String>,
        conflicts: Vec<Conflict>,
    ) -> Result<Preview, Stop> {
        let manifest = self.manifest(&Map::new())?;
        let (body, notes) = match self.elsewhere(manifest).await? {
            Tried::Object(object) => (self.body(&object), Vec::new()),
            Tried::Not(why) => (self.proposal.desired.clone(), vec![format!("not tried out: {why}")]),
            Tried::Immutable(_) => (self.proposal.desired.clone(), Vec::new()),
        };
        let mut fields = diff::fields(self.proposal.resource.kind.row(), &seen.body, &body);
        for path in &immutable {
            if !fields.iter().any(|field| is_below(&field.path, path)) {
                let (path, effect) = (path.clone(), Effect::Replace);
                fields.push(FieldChange { path, before: None, after: None, effect });
            }
        }
        Ok(Preview { body, fields: Some(fields), immutable, notes, conflicts, given_up: Vec::new(), scaled_by: None })
    }

    fn untried(&self, why: Option<String>) -> Preview {
        let notes = why.into_iter().map(|why| format!("not tried out: {why}")).collect();
        Preview { notes, ..Preview::exact(self.proposal.desired.clone()) }
    }
}

fn side_effects(webhook: &str) -> String {
    format!("admission webhook {webhook} has side effects and does not support dry runs")
}

fn move_to(object: &mut Json, namespace: &str, name: &str) {
    if let Some(Json::Object(metadata)) = object.get_mut("metadata") {
        metadata.insert("namespace".to_owned(), namespace.into());
        metadata.insert("name".to_owned(), name.into());
    }
}

/// Puts the digests and open ends of a desired body where the trial had placeholders.
fn fill(body: &mut Value, desired: &Value) {
    match (body, desired) {
        (body, Value::Special(Special::Digest(_) | Special::Unknown(()))) => *body = desired.clone(),
        (Value::Map(fields), Value::Map(desired)) => {
            for (name, field) in fields {
                if let Some(desired) = desired.get(name) {
                    fill(field, desired);
                }
            }
        }
        (Value::List(items), Value::List(desired)) if items.len() == desired.len() => {
            for (item, desired) in items.iter_mut().zip(desired) {
                fill(item, desired);
            }
        }
        _ => {}
    }
}

fn is_below(path: &str, of: &str) -> bool {
    path.strip_prefix(of).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
}

/// Which fields, if all that the server objects to is that they can't be changed.
fn immutable(refusal: &Refusal) -> Option<Vec<String>> {
    const WORDS: [&str; 5] =
        ["immutable", "may not change", "may not be changed", "cannot be changed", "cannot change"];
    let causes = refusal.causes();
    let is = |message: &str| WORDS.iter().any(|words| message.contains(words));
    let all = !causes.is_empty() && causes.iter().all(|cause| is(&cause.message));
    all.then(|| causes.iter().map(|cause| conflict::path(&cause.field)).collect())
}
