//! What goes over the wire: the types of `/api/v1`. The server's handlers and the OpenAPI document use these very types.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use freehold_graph::StackKind;
use freehold_plan::Plan;
use freehold_problem::Code;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use utoipa::ToSchema;
use uuid::Uuid;

/// A failure, as RFC 9457 problem details (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem: `urn:freehold:FH0901`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, to what, why.
    pub detail: String,
    /// The diagnostic's code; `freehold explain` tells more.
    #[schema(value_type = String)]
    pub code: Code,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Lines to show below: the end of a log, another server's own words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
    /// What is wrong with the definition, each with its place in the source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub diagnostics: Vec<Json>,
    /// The operation that is in the way or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Uuid>,
}

/// What to deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployRequest {
    /// The app's name. May be left out if the definition is given, or if the platform knows only one app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// The definition's source (`freehold.toml`). Left out: the one that the app was last deployed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// The target: `local`, or one that was added. Left out: the only one there is, or this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The kind of stack.
    #[schema(value_type = String)]
    pub kind: StackKind,
    /// Its name.
    pub name: String,
    /// The tier (tenants). Left out: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// The artifact that each service runs from: `sha256:…`. Left out: as before.
    #[serde(default)]
    pub artifacts: BTreeMap<String, String>,
    /// The image that each service runs in a cluster: `registry/acme/web:1.4`, with or without a digest, or only `:1.4` or `@sha256:…` of the
    /// repository that the definition gives. Resolved to a digest when the plan is made. Left out: as before.
    #[serde(default)]
    pub images: BTreeMap<String, String>,
    /// Objects to take over that aren't ours: `database/acme__guestbook`.
    #[serde(default)]
    pub adopt: BTreeSet<String>,
    /// Data-bearing resources that may be deleted: `main`.
    #[serde(default)]
    pub delete_data: BTreeSet<String>,
    /// The operation ends once everything has been ready for long enough; false: as soon as everything is ready.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub settle: bool,
}

/// A cluster to deploy to. `PUT /targets/{name}`: added, or changed; everything that is left out is found out or stays as it was.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetRequest {
    /// A kubeconfig with exactly the context that is meant, credentials included. Left out for a new target: the service account of the
    /// Pod that the platform runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<String>,
    /// What host names end with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The Gateway, `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Its listener (`sectionName`). Left out: the one whose host name covers the domain, one with TLS first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// The port at which clients reach that listener, where it isn't the listener's own (a NodePort).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The namespace of the gateway's Pods. Left out: looked for (Envoy Gateway: `envoy-gateway-system`), else the Gateway's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_plane_namespace: Option<String>,
    /// A server for the stacks' databases: an administrator's URL as the platform reaches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_url: Option<String>,
    /// That server as the Pods reach it, `host:port`. Left out: as in the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_address: Option<String>,
    /// Databases are clusters of CloudNativePG instead.
    #[serde(default)]
    pub cloudnative_pg: bool,
    /// The ClusterIssuer of cert-manager for certificates of each host. Left out: the gateway's certificate covers them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// external-dns watches HTTPRoutes.
    #[serde(default)]
    pub external_dns: bool,
    /// The storage class of volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// Registry credentials (a `config.json` of Docker), for resolving images and for the Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_credentials: Option<String>,
    /// Registries that are spoken to without TLS, `host:port`.
    #[serde(default)]
    pub insecure_registries: BTreeSet<String>,
    /// Take the cluster that is there now, although another one was pinned.
    #[serde(default)]
    pub replace_cluster: bool,
    /// Reach the cluster with the service account of the Pod that the platform runs in, instead of the kubeconfig that was given before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_cluster: bool,
    /// What was asked for once and isn't any more: it is off, or found out again.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unset: BTreeSet<TargetSetting>,
}

impl std::fmt::Debug for TargetRequest {
    /// Without what may hold a credential.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TargetRequest")
            .field("domain", &self.domain)
            .field("gateway", &self.gateway)
            .finish_non_exhaustive()
    }
}

/// A setting of a target that can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TargetSetting {
    /// [`TargetRequest::listener`]
    Listener,
    /// [`TargetRequest::port`]
    Port,
    /// [`TargetRequest::data_plane_namespace`]
    DataPlaneNamespace,
    /// [`TargetRequest::issuer`]
    Issuer,
    /// [`TargetRequest::external_dns`]
    ExternalDns,
    /// [`TargetRequest::database_address`]
    DatabaseAddress,
    /// [`TargetRequest::storage_class`]
    StorageClass,
    /// [`TargetRequest::registry_credentials`]
    RegistryCredentials,
    /// [`TargetRequest::insecure_registries`]
    InsecureRegistries,
}

/// A target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// `local` or `kubernetes`.
    pub kind: String,
    /// What host names end with.
    pub domain: String,
    /// How many stacks there are on it.
    pub stacks: usize,
    /// Its facts, without any credentials.
    #[schema(value_type = Object)]
    pub facts: Json,
}

/// `POST /stacks`: a request, or a plan that was made from one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ApplyRequest {
    /// Apply a plan that was shown.
    Plan {
        /// Its id.
        plan: Uuid,
    },
    /// Plan and apply in one.
    Deploy(Box<DeployRequest>),
}

/// `POST /stacks/{id}/plans`: other things than a deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "purpose", rename_all = "kebab-case", deny_unknown_fields)]
pub enum StackPlanRequest {
    /// Go back to an older revision; without a number to the last verified one before the present.
    Rollback {
        /// Which.
        #[serde(default)]
        to: Option<u64>,
        /// Objects to take over that aren't ours, and objects whose fields to take from others.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        adopt: BTreeSet<String>,
        /// Data-bearing resources that may be deleted. What isn't named is kept.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        delete_data: BTreeSet<String>,
        /// The operation ends once everything has been ready for long enough; false: as soon as everything is ready.
        #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
        settle: bool,
    },
    /// Take the stack away.
    Destroy {
        /// Whether dumps of its databases are written and proved first.
        dump: bool,
    },
    /// Make it what it was: the present definition and settings again.
    Repair,
}

impl StackPlanRequest {
    /// To go back to a revision, or without one to the last verified one before the present: nothing is adopted, all data is kept.
    pub fn rollback(to: Option<u64>) -> Self {
        Self::Rollback { to, adopt: BTreeSet::new(), delete_data: BTreeSet::new(), settle: true }
    }
}

/// A plan, with what there is to know beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanAnswer {
    /// The plan.
    #[schema(value_type = Object)]
    pub plan: Plan,
    /// Nothing would change.
    pub noop: bool,
    /// The stack doesn't exist yet.
    pub new_stack: bool,
    /// Warnings about the definition.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub diagnostics: Vec<Json>,
    /// Where it would run, in words: `local, PostgreSQL 15`.
    pub target: String,
    /// The operation that carries on the same request already, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Uuid>,
}

/// `DELETE /stacks/{id}`, as query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DestroyRequest {
    /// The stack's name, typed again.
    pub confirm: String,
    /// Whether dumps of its databases are written and proved first. Default true.
    #[serde(default = "yes")]
    pub dump: bool,
    /// The plan to destroy it that was shown; `dump` is as it says. Left out, a plan is made and carried out unseen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Uuid>,
}

fn yes() -> bool {
    true
}

/// A stack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stack {
    /// Its identity.
    pub id: Uuid,
    /// Where it runs.
    pub target: String,
    /// Its app.
    pub app: String,
    /// Its kind.
    #[schema(value_type = String)]
    pub kind: StackKind,
    /// Its name.
    pub name: String,
    /// `new`, `deploying`, `ready`, `degraded` (it was verified, and a resource doesn't do any more what it is for), `unknown` (it was
    /// verified, and its resources can't all be looked at now), `failed`, `destroying`. In lists as where one stack is asked for.
    pub state: String,
    /// Each applied plan adds one. Also the ETag.
    pub generation: u64,
    /// The revision that serves.
    pub revision: Option<u64>,
    /// The tier.
    pub tier: Option<String>,
    /// The artifact that each service runs from.
    pub artifacts: BTreeMap<String, String>,
    /// URLs and the like: `{"routes": {"web": {"url": …}}}`.
    #[schema(value_type = Object)]
    pub outputs: Json,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// The operation that works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Uuid>,
    /// The last operation, if it failed or was cancelled; only where one stack is asked for. The stack is `failed` because of it, but for
    /// a destroy that has deleted nothing, which leaves it as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Box<Operation>>,
    /// What the operation that works on it waits for, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<Wait>,
    /// Its resources and whether they do what they are for; in lists only those that aren't ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceStatus>,
    /// Which revision its services take requests with, where the last operation has not verified one; only where one stack is asked for,
    /// and where it can be told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub serving: Vec<Serving>,
    /// What its machine can't keep apart between stacks, in words for people; only where one stack is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_enforced: Vec<String>,
}

/// How many copies of a service take requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Serving {
    /// `web`
    pub service: String,
    /// Of the verified revision.
    pub verified: u32,
    /// Of the one that was not verified.
    pub newer: u32,
}

/// One resource of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResourceStatus {
    /// `service.web`.
    pub id: String,
    /// `local.service`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its outside name.
    pub identity: String,
    /// `ready`, `waiting`, `failed`, `missing`, `unknown`.
    pub state: String,
    /// Why it isn't ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl ResourceStatus {
    /// Whether it is known that it doesn't do what it is for.
    pub fn is_unwell(&self) -> bool {
        matches!(self.state.as_str(), "waiting" | "failed" | "missing")
    }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Give this as `cursor` to get the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    /// Its identity.
    pub id: Uuid,
    /// The stack that it works on.
    pub stack: Uuid,
    /// The stack in words: `guestbook/tenant/acme`.
    pub key: String,
    /// `deploy`, `rollback`, `destroy`.
    pub purpose: String,
    /// `queued`, `running`, `succeeded`, `failed`, `cancelled`.
    pub state: String,
    /// The revision that it makes.
    pub revision: u64,
    /// How often a process took it up; above 1, it was interrupted.
    pub taken: u32,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Problem>,
    /// URLs and the like.
    #[schema(value_type = Object)]
    pub outputs: Json,
    /// What it waits for now, and why; only where one operation is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<Wait>,
}

impl Operation {
    /// Whether nothing more will happen.
    pub fn is_finished(&self) -> bool {
        matches!(self.state.as_str(), "succeeded" | "failed" | "cancelled")
    }
}

/// What an operation waits for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Wait {
    /// For what: `deployment.web`.
    pub subject: String,
    /// Why.
    pub reason: String,
    /// Since when it has been so for this reason.
    pub since: DateTime<Utc>,
}

/// One event of an operation: its stream is replayable from any `sequence`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Counts up from 1 within the operation. The SSE `id`.
    pub sequence: u64,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum EventKind {
    /// A process has taken the operation up; `times` above 1: after an interruption.
    Taken {
        /// How often that has happened, this time included.
        times: u32,
        /// How many steps were done before.
        done: u32,
        /// How many steps there are.
        steps: u32,
    },
    /// A step begins.
    StepStarted {
        /// `create/database.main`.
        step: String,
        /// `create`, `update`, `run`, …
        verb: String,
        /// `database.main`.
        subject: String,
        /// Counts from 1.
        attempt: u32,
    },
    /// A step is tried again later.
    StepRetrying {
        /// Which.
        step: String,
        /// Why.
        reason: String,
        /// When, in milliseconds from now.
        after_milliseconds: u64,
    },
    /// Something isn't as it should be yet, and the operation waits for it; told as the reason changes.
    Waiting {
        /// For what: `deployment.web`.
        subject: String,
        /// Why; absent once nothing has to be waited for any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// For how long it has been so for this reason.
        milliseconds: u64,
        /// In how many milliseconds what failed is tried again; absent where it is only looked at until it is so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_milliseconds: Option<u64>,
    },
    /// A step is done.
    StepDone {
        /// Which.
        step: String,
        /// `create`, `update`, `run`, …
        verb: String,
        /// `database.main`.
        subject: String,
        /// In words for people: "ready after 3 probes".
        note: Option<String>,
        /// How long it took.
        milliseconds: u64,
    },
    /// A step failed.
    StepFailed {
        /// Which.
        step: String,
        /// `database.main`.
        subject: String,
        /// Why.
        problem: Problem,
    },
    /// Everything is switched and answers. What is left is to see whether it stays so.
    Ready {
        /// How long it took since the operation was asked for.
        milliseconds: u64,
    },
    /// Nothing more will happen.
    Finished {
        /// The stack.
        stack: Uuid,
        /// The operation.
        operation: Uuid,
        /// The revision that it made.
        revision: u64,
        /// `succeeded`, `failed`, `cancelled`.
        state: String,
        /// URLs and the like.
        #[schema(value_type = Object)]
        outputs: Json,
        /// Milliseconds by phase and step: `{"total": 5812, "ready": 812, "steps": {"create/database.main": 61}}`. `ready` is when
        /// everything was switched and answered; null if it never came to that.
        #[schema(value_type = Object)]
        timings: Json,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Problem>,
        /// What exists after a failure or a cancel: `["database.main"]`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        exists: Vec<String>,
        /// What was planned and not done.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        missing: Vec<String>,
    },
}

/// A revision of a stack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Revision {
    /// Its number.
    pub number: u64,
    /// When it was begun.
    pub created_at: DateTime<Utc>,
    /// Whether it got ready.
    pub verified: bool,
    /// Whether it is the one that serves.
    pub current: bool,
    /// What made it: `deploy`, `rollback to 3`.
    pub purpose: String,
    /// `succeeded`, `failed`, `cancelled`, `running`.
    pub state: String,
    /// The tier.
    pub tier: Option<String>,
    /// The artifact that each service runs from.
    pub artifacts: BTreeMap<String, String>,
    /// SHA-256 of the definition's source.
    pub definition: String,
    /// The operation that made it.
    pub operation: Uuid,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Problem>,
}

/// A secret of a stack, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretStatus {
    /// Its name.
    pub name: String,
    /// How often it was set or rotated; 0: never.
    pub version: u32,
    /// `generated`, `set`, `missing`.
    pub state: String,
    /// When its present value was made.
    pub set_at: Option<DateTime<Utc>>,
    /// The services that read it and so restart at the next deploy.
    pub readers: Vec<String>,
}

/// `PUT /stacks/{id}/secrets/{name}`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretValue {
    /// The value. Never logged.
    pub value: String,
}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretValue(•••)")
    }
}

/// Credentials for one session of `db shell`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DatabaseAccess {
    /// Address of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// The role.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl std::fmt::Debug for DatabaseAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DatabaseAccess({}@{}:{}/{})", self.user, self.host, self.port, self.database)
    }
}

/// `GET /platform`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Platform {
    /// Freehold's version.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// Where its data is.
    pub data_directory: String,
    /// The router's port.
    pub router_port: u16,
    /// Host names end with it.
    pub domain: String,
    /// PostgreSQL in words: `PostgreSQL 15.18, private, port 54329`.
    pub postgres: String,
    /// When it was started.
    pub started_at: DateTime<Utc>,
}

/// One finding of `GET /doctor` or `POST /targets/{name}/check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// `ok`, `warning`, `error`.
    pub level: String,
    /// What was looked at: `postgresql`, `orphans`, `drift guestbook/tenant/acme`, `permission to create
    /// deployments.apps`.
    pub subject: String,
    /// What was found.
    pub message: Words,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// A text that says something: there is no empty one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(from = "String")]
#[schema(value_type = String, min_length = 1)]
pub struct Words(String);

impl<T: Into<String>> From<T> for Words {
    fn from(text: T) -> Self {
        let text = text.into();
        match text.trim().is_empty() {
            true => {
                Self("something that there are no words for; that is a fault of Freehold's, worth a report".to_owned())
            }
            false => Self(text),
        }
    }
}

impl std::ops::Deref for Words {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who says a line of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Voice {
    /// The program, which may print anything.
    Program,
    /// Freehold, of the program.
    Freehold,
}

/// One line of `GET /stacks/{stack}/logs`, a stream of JSON objects, one a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// Which instance, run or Pod it is about.
    pub source: String,
    /// Who says it.
    pub by: Voice,
    /// What it says, without the line break: of a program exactly what it printed, but for what is no UTF-8.
    pub line: String,
}

/// Nests dotted names: `{"routes.web.url": x}` becomes `{"routes": {"web": {"url": x}}}`.
pub fn nested(outputs: &BTreeMap<String, String>) -> Json {
    let mut root = serde_json::Map::new();
    for (name, value) in outputs {
        let mut at = &mut root;
        let mut parts = name.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                at.insert(part.to_owned(), Json::String(value.clone()));
                break;
            }
            let entry = at.entry(part).or_insert_with(|| Json::Object(serde_json::Map::new()));
            match entry {
                Json::Object(inner) => at = inner,
                _ => break,
            }
        }
    }
    Json::Object(root)
}
