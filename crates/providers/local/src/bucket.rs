//! Buckets: a folder with objects for each, and a server for it within Freehold, at an address that only the stack's own user gets to.
//!
//! ```text
//!   a program of the stack ──TCP──► 127.a.b.c:port ──► forward: who connects? ──► freehold-bucket ──► buckets/NAME/objects
//! ```
//!
//! Each server knows one bucket and one key, so there is no other stack's that it could show. The folder belongs to Freehold, not to the
//! stack's user. The secret is in memory only.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use freehold_bucket::{Access, BucketError, Limits, Rule, Server, Store};
use freehold_engine::{Context, Lookup, Performed, ProviderError, Readiness, Revealed};
use freehold_graph::{Resource, ResourceId, StackId, Value};
use freehold_plan::Observation;
use freehold_plan::observation::Ownership;
use freehold_problem::Code;
use serde::{Deserialize, Serialize};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::directory::{self, BUCKETS, Durability};
use crate::failure;
use crate::forward;
use crate::machine::{Machine, endpoint};
use freehold_router::socket::Socket;

/// What objects leave free on the disk for everybody else, in bytes.
const RESERVE: u64 = 256 << 20;
/// How often what has had its time is looked for.
const SWEEP: Duration = Duration::from_secs(60 * 60);

#[derive(Debug, Serialize, Deserialize)]
struct BucketRecord {
    /// Made when the folder is made, and never used again.
    object: String,
    /// What was deployed last.
    desired: Value,
}

/// What a body says.
struct Settings {
    address: SocketAddr,
    versioning: bool,
    max_size: u64,
    rules: Vec<Rule>,
}

/// A bucket that is being served.
struct Open {
    server: Server,
    _sweeping: AbortOnDropHandle<()>,
}

/// The buckets of all stacks.
pub(crate) struct Buckets {
    machine: Machine,
    open: Mutex<BTreeMap<(StackId, ResourceId), Open>>,
}

fn unreadable(id: &ResourceId, field: &str) -> ProviderError {
    ProviderError::rejected(Code::StepFailed, format!("{id} has no {field} that this version can read"))
}

fn figure(value: Option<&Value>) -> Option<u64> {
    value.and_then(Value::as_integer).and_then(|figure| u64::try_from(figure).ok())
}

impl Settings {
    fn read(resource: &Resource) -> Result<Self, ProviderError> {
        let (id, body) = (&resource.id, &resource.body);
        let address = body.get("endpoint").and_then(Value::as_text).and_then(|text| text.parse().ok());
        let rules = match body.get("lifecycle") {
            Some(Value::List(rules)) => rules.iter().map(rule).collect(),
            _ => return Err(unreadable(id, "lifecycle")),
        };
        Ok(Self {
            address: address.ok_or_else(|| unreadable(id, "endpoint"))?,
            versioning: body.get("versioning") == Some(&Value::Bool(true)),
            max_size: figure(body.get("max_size_bytes")).ok_or_else(|| unreadable(id, "max_size_bytes"))?,
            rules,
        })
    }
}

fn rule(rule: &Value) -> Rule {
    let days = |key: &str| figure(rule.get(key)).and_then(|days| u32::try_from(days).ok());
    Rule {
        prefix: rule.get("prefix").and_then(Value::as_text).unwrap_or_default().to_owned(),
        expire_days: days("expire_days"),
        noncurrent_days: days("noncurrent_days"),
        uploads_days: days("abort_uploads_days"),
    }
}

async fn access(context: &Context, resource: &Resource) -> Result<Access, ProviderError> {
    let (id, body) = (&resource.id, &resource.body);
    let text = |field: &str| body.get(field).and_then(Value::as_text).ok_or_else(|| unreadable(id, field));
    let revealed = Revealed::all(context, body).await?;
    let secret = body.get("secret_access_key").ok_or_else(|| unreadable(id, "secret_access_key"))?;
    Ok(Access {
        name: text("name")?.to_owned(),
        region: text("region")?.to_owned(),
        access_key_id: text("access_key_id")?.to_owned(),
        secret_access_key: revealed.text(secret)?.reveal().to_owned(),
    })
}

impl Buckets {
    pub(crate) fn new(machine: Machine) -> Self {
        Self { machine, open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<(StackId, ResourceId), Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self, stack: StackId, id: &ResourceId) -> PathBuf {
        self.machine.directory.stack(stack).join(BUCKETS).join(directory::component(id.name()))
    }

    fn record(&self, stack: StackId, id: &ResourceId) -> Result<Option<BucketRecord>, ProviderError> {
        let path = self.folder(stack, id).join("bucket.json");
        directory::read_json(&path).map_err(|error| failure::file("read", &path, &error))
    }

    /// Makes the bucket, or changes it while it goes on serving.
    pub(crate) async fn apply(
        &self,
        context: &Context,
        resource: &Resource,
        desired: &Value,
    ) -> Result<Performed, ProviderError> {
        let (stack, id) = (context.stack, &resource.id);
        self.machine.prepare(stack, &Value::Null)?;
        let former = self.record(stack, id)?;
        let object = former.map_or_else(|| Uuid::new_v4().to_string(), |record| record.object);
        let path = self.folder(stack, id).join("bucket.json");
        // Before the first object is there: a folder without a record would be nobody's.
        let record = BucketRecord { object: object.clone(), desired: desired.clone() };
        let written = directory::write_json(&path, &record, Durability::Power);
        written.map_err(|error| failure::file("write", &path, &error))?;
        self.serve(context, resource).await?;
        Ok(Performed { object: Some(object), ..Performed::default() })
    }

    /// Serves it again after a start of Freehold.
    pub(crate) async fn restore(&self, context: &Context, resource: &Resource) -> Result<(), ProviderError> {
        if self.record(context.stack, &resource.id)?.is_none() {
            // An empty bucket in its place would be taken for the one that was lost.
            let message = format!("the folder of {} is gone", resource.id);
            return Err(ProviderError::rejected(Code::ChangedExternally, message));
        }
        self.serve(context, resource).await
    }

    async fn serve(&self, context: &Context, resource: &Resource) -> Result<(), ProviderError> {
        let (stack, id) = (context.stack, &resource.id);
        let settings = Settings::read(resource)?;
        let access = access(context, resource).await?;
        let key = (stack, id.clone());
        let running = self.open().get(&key).map(|open| open.server.clone());
        let server = match running {
            Some(server) => {
                server.store().set(settings.versioning, settings.max_size);
                server.set_access(access);
                server
            }
            None => {
                let limits = Limits { max_size: settings.max_size, reserve: RESERVE };
                let (folder, versioning) = (self.folder(stack, id).join("objects"), settings.versioning);
                let opening = tokio::task::spawn_blocking(move || {
                    directory::make(&folder, 0o700).map_err(BucketError::File)?;
                    Store::open(&folder, versioning, limits)
                });
                let opened = opening.await.map_err(|_| failure::stopped("opening a bucket"))?;
                Server::new(Arc::new(opened.map_err(|error| unusable(id, &error))?), access)
            }
        };
        let _sweeping = sweeping(Arc::clone(server.store()), settings.rules);
        self.open().insert(key, Open { server: server.clone(), _sweeping });
        self.listen(stack, id, settings.address, server).await
    }

    async fn listen(
        &self,
        stack: StackId,
        id: &ResourceId,
        address: SocketAddr,
        server: Server,
    ) -> Result<(), ProviderError> {
        let (key, server) = (endpoint(stack, &id.0), forward::Server::Bucket(server));
        let listening = || self.machine.forwards.listen(&key, stack, address, server.clone());
        let mut taken = listening();
        if taken.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse) {
            // The address is claimed in the store: a tenant's process has no business there.
            let there = |other: SocketAddr, _: &Socket| {
                other.port() == address.port() && (other.ip() == address.ip() || other.ip().is_unspecified())
            };
            if self.machine.evict(there).await.unwrap_or(false) {
                taken = listening();
            }
        }
        taken.map_err(|error| {
            let message = format!("{id} can't have its address {address}: {error}");
            failure::refusal(Code::PortTaken, message, "stop what listens there, then deploy again")
        })
    }

    pub(crate) fn observe(&self, stack: StackId, lookup: &Lookup) -> Result<Option<Observation>, ProviderError> {
        let Some(record) = self.record(stack, &lookup.id)? else { return Ok(None) };
        let served = self.open().contains_key(&(stack, lookup.id.clone()));
        if !served && !self.machine.is_restored() {
            let message = format!("{} is still owned by a previous Freehold process", lookup.id);
            return Err(ProviderError::retryable(Code::NotNow, message));
        }
        let mut body = record.desired;
        if !served && let Value::Map(fields) = &mut body {
            // So that the next deploy makes it serve again.
            fields.remove("endpoint");
        }
        Ok(Some(Observation { object: record.object, ownership: Ownership::Ours, body, foreign_fields: Vec::new() }))
    }

    pub(crate) fn readiness(&self, stack: StackId, lookup: &Lookup) -> Result<Readiness, ProviderError> {
        Ok(match (self.record(stack, &lookup.id)?, self.open().contains_key(&(stack, lookup.id.clone()))) {
            (Some(_), true) => Readiness::Ready,
            (Some(_), false) => Readiness::failed("it is not being served"),
            (None, _) => Readiness::failed("its folder does not exist"),
        })
    }

    pub(crate) async fn delete(
        &self,
        stack: StackId,
        lookup: &Lookup,
        object: Option<&str>,
    ) -> Result<Performed, ProviderError> {
        let Some(found) = self.record(stack, &lookup.id)? else { return Ok(Performed::default()) };
        if object.is_some_and(|object| object != found.object) {
            let message = format!("{} is not the one that was deployed", lookup.id);
            return Err(ProviderError::rejected(Code::ChangedExternally, message));
        }
        self.machine.forwards.stop(&endpoint(stack, &lookup.id.0));
        self.open().remove(&(stack, lookup.id.clone()));
        let folder = self.folder(stack, &lookup.id);
        let gone = folder.clone();
        // The record last: what is left of the objects is still known as what it is.
        let removing = move || directory::remove(&gone.join("objects")).and_then(|()| directory::remove(&gone));
        let removed = tokio::task::spawn_blocking(removing).await;
        let removed = removed.map_err(|_| failure::stopped("removing a bucket"))?;
        removed.map_err(|error| failure::file("remove", &folder, &error))?;
        Ok(Performed::default())
    }

    /// Stops serving a stack's buckets.
    pub(crate) fn forget(&self, stack: StackId) {
        let forgotten: Vec<_> = self.open().keys().filter(|(owner, _)| *owner == stack).cloned().collect();
        for (stack, id) in forgotten {
            self.machine.forwards.stop(&endpoint(stack, &id.0));
            self.open().remove(&(stack, id));
        }
    }

    /// Stops serving all of them.
    pub(crate) fn stop(&self) {
        let stacks: Vec<StackId> = self.open().keys().map(|(stack, _)| *stack).collect();
        stacks.into_iter().for_each(|stack| self.forget(stack));
    }
}

fn unusable(id: &ResourceId, error: &BucketError) -> ProviderError {
    if matches!(error, BucketError::DiskFull) {
        return failure::refusal(
            Code::DiskFull,
            format!("the disk is full: can't open {id}"),
            "free some space, then deploy again",
        );
    }
    failure::refusal(
        Code::BucketUnusable,
        format!("the files of {id} can't be used: {error}"),
        "see that no other Freehold has the data directory open and that the disk works, then deploy again",
    )
}

/// Removes what has had its time, from now on.
fn sweeping(store: Arc<Store>, rules: Vec<Rule>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut every = tokio::time::interval(SWEEP);
        loop {
            every.tick().await;
            let (store, rules) = (Arc::clone(&store), rules.clone());
            let now = chrono::Utc::now().timestamp_millis();
            match tokio::task::spawn_blocking(move || store.sweep(&rules, now)).await {
                Ok(Ok(swept)) => tracing::debug!(?swept, "a bucket was swept"),
                Ok(Err(error)) => tracing::warn!(%error, "a bucket could not be swept"),
                Err(_stopping) => return,
            }
        }
    }))
}
