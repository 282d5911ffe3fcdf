//! Who was there: every object with a mark that ever came into being, by its uid, from watches of the API server. What was made
//! twice is seen here, however soon it was gone again.
//!
//! It also does what a gateway would do: it takes routes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::TryStreamExt;
use http::{Method, Request};
use kube::core::WatchEvent;
use serde_json::{Value as Json, json};
use tokio::sync::watch;
use tokio::time::timeout;

use super::api::{self, Api, KINDS, Kind, NAMESPACE, Name};

const SELECTOR: &str = "labelSelector=freehold.dev%2Fstack";
const WHOLE: &str = "application/json";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const PATIENCE: Duration = Duration::from_secs(240);

/// One life of an object.
#[derive(Debug, Clone, Default)]
pub(super) struct Life {
    pub(super) gone: bool,
    /// Whose Pod it is.
    pub(super) job: Option<String>,
}

/// By namespace, object and uid.
type Lives = BTreeMap<String, BTreeMap<Name, BTreeMap<String, Life>>>;

pub(super) struct Witness {
    api: Api,
    lives: watch::Sender<Lives>,
    /// Why not everything was seen, if so.
    blind: watch::Sender<Option<String>>,
}

impl Witness {
    /// Sees everything from now on.
    pub(super) async fn start(api: Api) -> Result<Arc<Self>> {
        let (lives, blind) = (watch::Sender::default(), watch::Sender::default());
        let witness = Arc::new(Self { api, lives, blind });
        for kind in KINDS.into_iter().chain([NAMESPACE]) {
            let path = format!("/{}/{}?{SELECTOR}", kind.api, kind.plural);
            let list = witness.api.get(&path).await?.context(path.clone())?;
            let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
            let witness = Arc::clone(&witness);
            tokio::spawn(async move {
                let why = witness.follow(kind, &path, version).await.unwrap_err();
                witness.blind.send_replace(Some(format!("{path}: {why:#}")));
            });
        }
        Ok(witness)
    }

    /// Watches until something goes wrong.
    async fn follow(&self, kind: Kind, path: &str, mut version: String) -> Result<()> {
        // Of routes the gateway has to see more.
        let form = if kind.name == "HTTPRoute" { WHOLE } else { METADATA };
        loop {
            let path = format!("{path}&allowWatchBookmarks=true&resourceVersion={version}&watch=true");
            let request = Request::get(path).header("accept", form);
            let events = self.api.client().request_events::<Json>(request.body(Vec::new())?).await?;
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.try_next().await? {
                let (object, gone) = match event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
                    WatchEvent::Deleted(object) => (object, true),
                    WatchEvent::Bookmark(bookmark) => {
                        version = bookmark.metadata.resource_version;
                        continue;
                    }
                    WatchEvent::Error(error) => bail!("{error}"),
                };
                version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
                self.note(kind, &object, gone);
                if kind.name == "HTTPRoute" && !gone {
                    self.take_route(&object).await;
                }
            }
        }
    }

    fn note(&self, kind: Kind, object: &Json, gone: bool) {
        let name = api::name(object);
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or(&name).to_owned();
        let job = object["metadata"]["labels"]["batch.kubernetes.io/job-name"].as_str().map(str::to_owned);
        self.lives.send_modify(|lives| {
            let all = lives.entry(namespace).or_default().entry((kind.name.to_owned(), name)).or_default();
            all.insert(api::uid(object), Life { gone, job });
        });
    }

    /// Says of a route what the gateway would say.
    async fn take_route(&self, route: &Json) {
        let generation = &route["metadata"]["generation"];
        if route.pointer("/status/parents/0/conditions/0/observedGeneration") == Some(generation) {
            return;
        }
        let conditions = ["Accepted", "ResolvedRefs"].map(|kind| {
            json!({"type": kind, "status": "True", "reason": kind, "message": "", "observedGeneration": generation,
                "lastTransitionTime": "2026-01-01T00:00:00Z"})
        });
        let parents = route["spec"]["parentRefs"].as_array().into_iter().flatten();
        let parents: Vec<Json> = parents
            .map(|parent| json!({"controllerName": "test/gateway", "parentRef": parent, "conditions": conditions}))
            .collect();
        let namespace = route["metadata"]["namespace"].as_str().unwrap_or_default();
        let path = api::path(&("HTTPRoute".to_owned(), api::name(route)), namespace);
        // It may be gone by now.
        let _ = self.api.put(Method::PATCH, &format!("{path}/status"), &json!({"status": {"parents": parents}})).await;
    }

    /// The lives of all that was ever in a namespace, once these are among them and all others are gone.
    pub(super) async fn lives(
        &self,
        namespace: &str,
        alive: &BTreeSet<String>,
    ) -> Result<BTreeMap<Name, BTreeMap<String, Life>>> {
        let mut lives = self.lives.subscribe();
        let is_up_to_date = |lives: &Lives| {
            let lives = lives.get(namespace).into_iter().flat_map(BTreeMap::values).flatten();
            let seen: BTreeSet<&String> = lives.filter(|(_, life)| !life.gone).map(|(uid, _)| uid).collect();
            seen == alive.iter().collect()
        };
        let waited = timeout(PATIENCE, lives.wait_for(is_up_to_date)).await.is_ok();
        if let Some(why) = &*self.blind.borrow() {
            bail!("not everything was seen: {why}");
        }
        let seen = self.lives.borrow().get(namespace).cloned().unwrap_or_default();
        if !waited {
            bail!("these should be there: {alive:?}; and these are: {seen:#?}");
        }
        Ok(seen)
    }
}
