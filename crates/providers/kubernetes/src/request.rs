//! One request to the API server: how it is made, sent, repeated, and what its answer is.
//!
//! A request is repeated here where that changes nothing: it never arrived, the server said that it has too much to do, or it only
//! looks. A change that was sent and got no answer is never repeated here: whoever asked looks again first.

use std::time::Duration;

use chrono::Utc;
use freehold_engine::backoff::Backoff;
use http::header::{ACCEPT, CONTENT_TYPE, DATE, RETRY_AFTER};
use http::{HeaderValue, Method};
use http_body_util::BodyExt;
use hyper_util::client::legacy;
use kube::client::Body;
use kube::core::Status;
use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep, timeout_at};

use crate::cluster::Cluster;
use crate::document::Fields;
use crate::error::{ClusterError, Reason, Refusal};
use crate::field_manager::{MANAGER, RUNS};
use crate::limit::Feedback;
use crate::object::Place;

/// How often something is tried that may work the next time.
const TRIES: u32 = 4;
/// How often a server that has too much to do is asked again, if it doesn't take too long.
const TRIES_WHILE_BUSY: u32 = 10;
const RETRIES: Backoff = Backoff::doubling(Duration::from_millis(200), Duration::from_secs(5));
/// No `Retry-After` is heeded for longer: what is in the way may be gone by then.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// A look that takes longer is given up and tried again.
const LOOK: Duration = Duration::from_secs(10);
/// A dry run may take as long as the webhooks that it asks: an API server lets each have up to 30 s.
const TRIAL: Duration = Duration::from_secs(35);

const JSON: &str = "application/json";
/// Objects per page of a list.
const PAGE: &str = "500";
/// A list of its objects' metadata only.
pub(crate) const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// A request. It has no `Debug`: its body may hold a secret.
#[derive(Clone)]
pub(crate) struct Request {
    method: Method,
    pub(crate) place: Place,
    query: String,
    accept: &'static str,
    content: &'static str,
    body: Vec<u8>,
    /// It changes something, unless it is a dry run.
    changes: bool,
    /// How long one attempt may take; a change has until the deadline.
    limit: Duration,
    /// `creating`
    verb: &'static str,
}

/// A response that is no refusal.
#[derive(Debug)]
pub(crate) struct Response {
    /// 200, 201, 202.
    status: u16,
    /// The object or list.
    pub(crate) body: Json,
    /// The request was sent more than once.
    repeated: bool,
}

impl Response {
    /// It is there only since this request.
    pub(crate) const fn is_created(&self) -> bool {
        self.status == 201
    }

    /// The request was sent more than once, so it may have met what it made itself.
    pub(crate) const fn is_repeated(&self) -> bool {
        self.repeated
    }
}

impl Request {
    fn new(method: Method, place: &Place, verb: &'static str) -> Self {
        let (place, query, body) = (place.clone(), String::new(), Vec::new());
        Self { method, place, query, accept: JSON, content: JSON, body, changes: false, limit: LOOK, verb }
    }

    /// Looks at one object, or lists all of a kind.
    pub(crate) fn get(place: &Place) -> Self {
        let verb = if place.name.is_empty() { "listing" } else { "looking at" };
        Self::new(Method::GET, place, verb)
    }

    /// Lists the objects of a kind that a label selector fits.
    pub(crate) fn list(all: &Place, labels: &str) -> Self {
        let request = Self::get(all);
        if labels.is_empty() { request } else { request.with("labelSelector", labels) }
    }

    /// Only the metadata of what is listed.
    pub(crate) fn metadata(self) -> Self {
        Self { accept: METADATA, ..self }
    }

    pub(crate) fn apply(place: &Place, manifest: &Json, force: bool) -> Self {
        Self::apply_as(MANAGER, place, manifest, force)
    }

    /// The same in the name of another field manager.
    pub(crate) fn apply_as(manager: &str, place: &Place, manifest: &Json, force: bool) -> Self {
        let request = Self {
            changes: true,
            content: "application/apply-patch+yaml",
            ..Self::new(Method::PATCH, place, "applying")
        };
        let request = request.with_body(manifest).with("fieldManager", manager);
        if force { request.with("force", "true") } else { request }
    }

    /// Makes an object, which must not exist.
    pub(crate) fn create(place: &Place, manifest: &Json) -> Self {
        let all = Place::all(place.kind.clone(), place.namespace.as_deref());
        let request = Self { changes: true, ..Self::new(Method::POST, &all, "creating") };
        request.with_body(manifest).with("fieldManager", MANAGER)
    }

    /// Changes some fields, which aren't part of what is applied: traces of runs.
    pub(crate) fn merge(place: &Place, change: &Json) -> Self {
        let request = Self {
            changes: true,
            content: "application/merge-patch+json",
            ..Self::new(Method::PATCH, place, "changing")
        };
        request.with_body(change).with("fieldManager", RUNS)
    }

    /// Deletes this very object, whose dependants go with it.
    pub(crate) fn delete(place: &Place, uid: &str, propagation: &str) -> Self {
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation, "preconditions": {"uid": uid},
        });
        Self { changes: true, ..Self::new(Method::DELETE, place, "deleting") }.with_body(&options)
    }

    /// Deletes an object that is still as it was seen.
    pub(crate) fn delete_as_seen(place: &Place, seen: &Json) -> Self {
        let (uid, version) = (seen.text("/metadata/uid"), seen.text("/metadata/resourceVersion"));
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
            "preconditions": {"uid": uid, "resourceVersion": version},
        });
        Self { changes: true, ..Self::new(Method::DELETE, place, "deleting") }.with_body(&options)
    }

    /// Everything is done but the change: defaults, validation, admission.
    pub(crate) fn dry_run(self) -> Self {
        Self { changes: false, limit: TRIAL, verb: "trying out", ..self }.with("dryRun", "All")
    }

    /// A parameter of the query.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        let mut query = form_urlencoded::Serializer::new(std::mem::take(&mut self.query));
        self.query = query.append_pair(key, value).finish();
        self
    }

    fn with_body(self, body: &Json) -> Self {
        Self { body: body.to_string().into_bytes(), ..self }
    }

    /// `applying deployment acme--guestbook/web`
    pub(crate) fn doing(&self) -> String {
        format!("{} {}", self.verb, self.place)
    }

    pub(crate) fn uri(&self) -> String {
        let mut uri = self.place.path();
        if !self.query.is_empty() {
            uri.push('?');
            uri.push_str(&self.query);
        }
        uri
    }

    fn http(&self) -> Result<http::Request<Body>, http::Error> {
        http::Request::builder()
            .method(self.method.clone())
            .uri(self.uri())
            .header(ACCEPT, self.accept)
            .header(CONTENT_TYPE, self.content)
            .body(Body::from(self.body.clone()))
    }
}

/// What came of one attempt.
enum Attempt {
    Answered(Response),
    Refused(Box<Refusal>),
    Lost { why: String, sent: bool },
}

impl Cluster {
    /// Looks at one object. `None` only where the API server says that this very object doesn't exist.
    ///
    /// # Errors
    /// Any other answer, or none.
    pub(crate) async fn look(&self, place: &Place, deadline: Instant) -> Result<Option<Json>, ClusterError> {
        match self.send(&Request::get(place), deadline).await {
            Ok(answer) if crate::mark::uid(&answer.body).is_empty() => Err(ClusterError::Answer {
                doing: format!("looking at {place}"),
                why: "an object without a uid".to_owned(),
            }),
            Ok(answer) => Ok(Some(answer.body)),
            Err(error) if error.reason() == Some(Reason::Absent) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The same for an object that was there once: of a kind whose definition is gone there is none, and one whose version is gone is looked
    /// at in another.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub(crate) async fn look_for(&self, place: &Place, deadline: Instant) -> Result<Option<Json>, ClusterError> {
        match self.look(place, deadline).await {
            Err(error) if error.is_of_unknown_kind() => {
                if self.is_without(&place.kind, deadline).await {
                    return Ok(None);
                }
                let present = self.present_place(place, deadline).await?;
                if present == *place { Err(error) } else { self.look(&present, deadline).await }
            }
            answer => answer,
        }
    }

    /// The same, or what was seen a moment ago. Only for what binds its next request to the version that was seen.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub(crate) async fn cached_or_get(&self, place: &Place, deadline: Instant) -> Result<Option<Json>, ClusterError> {
        match self.object_cache().take(place) {
            Some(seen) => Ok(seen),
            None => self.look(place, deadline).await,
        }
    }

    /// The whole list that is asked for, page by page. Empty where the cluster doesn't know the kind, unless it is one of Kubernetes'
    /// own: that these are unknown is no answer at all.
    ///
    /// # Errors
    /// Any other answer that isn't the whole list.
    pub(crate) async fn list(&self, request: &Request, deadline: Instant) -> Result<Vec<Json>, ClusterError> {
        let first = request.clone().with("limit", PAGE);
        let (mut found, mut next) = (Vec::new(), String::new());
        loop {
            let page = if next.is_empty() { first.clone() } else { first.clone().with("continue", &next) };
            let mut answer = match self.send(&page, deadline).await {
                Ok(answer) => answer.body,
                Err(error) if next.is_empty() && error.is_of_unknown_kind() => return Ok(found),
                // A page that was asked for too late: the list has to be begun again.
                Err(error) if !next.is_empty() && error.is_gone() => {
                    found.clear();
                    next.clear();
                    continue;
                }
                Err(error) => return Err(error),
            };
            let is_list = answer.text("/kind").ends_with("List");
            match answer.get_mut("items").map(Json::take) {
                Some(Json::Array(items)) if is_list => found.extend(items),
                // An empty list is written so.
                None | Some(Json::Null) if is_list => {}
                _ => return Err(ClusterError::Answer { doing: page.doing(), why: "no list".to_owned() }),
            }
            answer.text("/metadata/continue").clone_into(&mut next);
            if next.is_empty() {
                return Ok(found);
            }
        }
    }

    /// Sends a request, and again where that is safe and may help. Returns before the deadline.
    ///
    /// # Errors
    /// The API server says no or nothing.
    pub(crate) async fn send(&self, request: &Request, deadline: Instant) -> Result<Response, ClusterError> {
        if request.changes {
            self.namespaces().note_sent(&request.place, request.method == Method::DELETE);
        }
        let mut tries = 0;
        loop {
            let mut attempt = self.attempt(request, deadline).await;
            if let Attempt::Answered(answer) = &mut attempt {
                answer.repeated = tries > 0;
            }
            tries += 1;
            if matches!(attempt, Attempt::Lost { .. }) {
                self.note_lost();
            }
            let (wait, most) = match &attempt {
                Attempt::Answered(_) => (None, 0),
                Attempt::Refused(refusal) if refusal.status.code == 429 => (refusal.after, TRIES_WHILE_BUSY),
                Attempt::Refused(refusal) if may_pass(refusal) => (refusal.after, TRIES),
                Attempt::Refused(refusal) if self.is_early(refusal) || self.is_leaving(refusal) => {
                    (None, TRIES_WHILE_BUSY)
                }
                Attempt::Refused(_) => (None, 0),
                Attempt::Lost { sent, .. } if *sent && request.changes => (None, 0),
                Attempt::Lost { .. } => (None, TRIES),
            };
            let wait = wait.unwrap_or_else(|| RETRIES.jittered(tries, getrandom::u32().unwrap_or_default()));
            let in_time = Instant::now().checked_add(wait).is_some_and(|then| then < deadline);
            if tries >= most || !in_time {
                return self.outcome(request, attempt);
            }
            sleep(wait).await;
        }
    }

    /// Forbidden by an API server that has just started. It has done nothing.
    fn is_early(&self, refusal: &Refusal) -> bool {
        matches!(refusal.reason(), Reason::NotPermitted(_)) && self.may_be_starting()
    }

    /// The token of a Pod ends with it, a moment before its processes do. What this one would call a failure, another replica goes on with.
    fn is_leaving(&self, refusal: &Refusal) -> bool {
        self.is_in_it() && refusal.status.code == 401
    }

    fn outcome(&self, request: &Request, attempt: Attempt) -> Result<Response, ClusterError> {
        let doing = request.doing();
        match attempt {
            Attempt::Answered(answer) => Ok(answer),
            Attempt::Refused(refusal) => Err(ClusterError::Refused { doing, refusal }),
            Attempt::Lost { why, sent } => {
                let (server, uncertain) = (self.server().to_owned(), sent && request.changes);
                Err(ClusterError::Unreachable { doing, server, why, uncertain })
            }
        }
    }

    async fn attempt(&self, request: &Request, deadline: Instant) -> Attempt {
        let late = |sent| Attempt::Lost { why: "timed out".to_owned(), sent };
        let Ok(place) = timeout_at(deadline, self.limit().enter()).await else { return late(false) };
        let limit = if request.changes { deadline } else { deadline.min(Instant::now() + request.limit) };
        let attempt = timeout_at(limit, self.exchange(request)).await.unwrap_or_else(|_| late(true));
        self.limit().leave(
            place,
            match &attempt {
                Attempt::Answered(_) => Feedback::Well,
                Attempt::Refused(refusal) if matches!(refusal.status.code, 429 | 503 | 504) => Feedback::TooMuch,
                Attempt::Refused(refusal) if refusal.status.code < 500 => Feedback::Well,
                Attempt::Refused(_) | Attempt::Lost { .. } => Feedback::Unclear,
            },
        );
        attempt
    }

    async fn exchange(&self, request: &Request) -> Attempt {
        let http = match request.http() {
            Ok(http) => http,
            Err(error) => return Attempt::Lost { why: error.to_string(), sent: false },
        };
        let response = match self.client().send(http).await {
            Ok(response) => response,
            Err(error) => return Attempt::Lost { sent: !never_sent(&error), why: innermost(&error) },
        };
        let status = response.status();
        if let Some(date) = response.headers().get(DATE).and_then(|date| date.to_str().ok()) {
            self.clock().note(date, Utc::now());
        }
        let after = response.headers().get(RETRY_AFTER).and_then(retry_after);
        let bytes = match response.into_body().collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(error) => return Attempt::Lost { why: innermost(&error), sent: true },
        };
        if !status.is_success() {
            let status = refusal_of(status.as_u16(), &bytes);
            let place = request.place.clone();
            return Attempt::Refused(Box::new(Refusal { after, changes: request.changes, status, place }));
        }
        match serde_json::from_slice(&bytes) {
            Ok(body) => Attempt::Answered(Response { status: status.as_u16(), body, repeated: false }),
            Err(error) => Attempt::Lost { why: format!("a response that is not JSON: {error}"), sent: true },
        }
    }
}

/// How long a server asks to be left alone, in whole seconds; no longer than [`LONGEST_WAIT`].
fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let seconds = value.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

/// Whether a look is worth another try.
fn may_pass(refusal: &Refusal) -> bool {
    !refusal.changes && matches!(refusal.reason(), Reason::Busy | Reason::TimedOut | Reason::Fault)
}

/// The refusal's status object. Proxies, and the API server itself for groups that it doesn't know, answer with plain text.
fn refusal_of(code: u16, bytes: &[u8]) -> Status {
    let json: Option<Json> = serde_json::from_slice(bytes).ok();
    let status = json.filter(|json| json.get("kind") == Some(&json!("Status")));
    match status.and_then(|json| serde_json::from_value::<Status>(json).ok()) {
        Some(status) => Status { code, ..status },
        None => {
            let text = String::from_utf8_lossy(bytes);
            Status::failure(text.trim().chars().take(500).collect::<String>().as_str(), "").with_code(code)
        }
    }
}

/// No connection was made, or there was nothing to send.
fn never_sent(error: &kube::Error) -> bool {
    if matches!(error, kube::Error::Auth(_)) {
        return true;
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The chain of causes ends with the one that says something.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_waited_for_longer_than_five_minutes_whatever_a_server_asks_for() {
        let asked = |text: &'static str| retry_after(&HeaderValue::from_static(text));
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        assert_eq!(asked("18446744073709551615"), Some(LONGEST_WAIT));
        assert_eq!(asked("184467440737095516160"), None);
        assert_eq!(asked("Mon, 30 Nov 2026 12:00:00 GMT"), None);
    }
}
