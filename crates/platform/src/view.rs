//! What callers get: views of what the store holds and the world is like, in domain types.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
pub use freehold_check::{Diagnostic, Severity};
pub use freehold_engine::capability::{CommandEvent, Finding, Level, LogLine, Voice};
use freehold_engine::{OperationId, ReadinessFailure};
pub use freehold_engine::{ProviderError, StepId, Verb};
pub use freehold_graph::Target;
use freehold_graph::{ResourceId, SecretText, StackId, StackKey};
use freehold_plan::{Plan, Purpose};
use freehold_problem::{Code, Problem};
use freehold_spec::Name;
pub use freehold_store::OperationState;

pub use crate::values::ValueChange;

/// A page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// At most as many as were asked for.
    pub items: Vec<T>,
    /// The cursor of the next page; `None` on the last one.
    pub next: Option<String>,
}

/// A plan, with what there is to know beside it.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The plan changes at least one resource or runs a job.
    pub plan: Plan,
    /// The stack is up to date: there is nothing to apply.
    pub noop: bool,
    /// The stack doesn't exist yet.
    pub new_stack: bool,
    /// Warnings about the definition.
    pub diagnostics: Vec<Diagnostic>,
    /// What the definition says otherwise than when the stack was last deployed, by path.
    pub values: Vec<ValueChange>,
    /// The target that it would run on.
    pub target: Name,
    /// The target's cluster, for people: `Kubernetes v1.36.3`; `None` on one machine.
    pub cluster: Option<String>,
    /// What its databases run on, for people: `PostgreSQL 15`, `CloudNativePG`.
    pub database_server: String,
    /// The operation that already works on the very same request.
    pub running: Option<OperationId>,
}

/// What a stack is like: as its operations have left it, and where these say that all is well, as its resources are now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StackHealth {
    /// Named, and never deployed.
    New,
    /// A deploy or rollback is under way.
    Deploying,
    /// Verified, and every resource does what it is for.
    Ready,
    /// Verified, and a resource doesn't do any more what it is for.
    Degraded,
    /// Verified, and not every resource could be observed now; or its row can't be read.
    Unknown,
    /// The last operation failed.
    Failed,
    /// A destroy is under way.
    Destroying,
}

/// A stack: what it is, what it is like now, and what works on it.
#[derive(Debug, Clone, PartialEq)]
pub struct StackView {
    /// Never changes, and is never given to another stack.
    pub id: StackId,
    /// Target, app, kind and name.
    pub key: StackKey,
    /// The same in lists as where one stack is asked for.
    pub health: StackHealth,
    /// Each applied plan adds one.
    pub generation: u64,
    /// The revision that serves.
    pub revision: Option<u64>,
    /// Only of tenants.
    pub tier: Option<String>,
    /// The stage that it belongs to; only of tenants.
    pub stage: Option<String>,
    /// The artifact or image that each service runs from.
    pub artifacts: BTreeMap<String, String>,
    /// By dotted name: `routes.web.url`.
    pub outputs: BTreeMap<String, String>,
    /// When it was first named.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// The operation that works on it.
    pub operation: Option<OperationId>,
    /// The last operation, if it failed or was cancelled; only where one stack is asked for. The stack is `failed` because of it, but for
    /// a destroy that has deleted nothing, which leaves it as it was.
    pub failed: Option<Box<OperationView>>,
    /// What the operation that works on it waits for.
    pub waits: Vec<Wait>,
    /// In lists only those that aren't ready.
    pub resources: Vec<ResourceView>,
    /// Which revision its services take requests with, where the last operation has not verified one; only where one stack is asked for,
    /// and where the provider can tell.
    pub serving: Vec<Serving>,
    /// What its machine can't isolate between stacks, for people; only where one stack is asked for.
    pub not_enforced: Vec<&'static str>,
    /// Why something of it can't be read: FH0516. In lists it is the stack's own row: then nothing else is known.
    pub unreadable: Option<Problem>,
}

/// How many replicas of a service take requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving {
    /// The service's name.
    pub service: String,
    /// Replicas of the verified revision.
    pub verified: u32,
    /// Replicas of the one that was not verified.
    pub newer: u32,
}

/// Whether a resource does what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceState {
    /// It does what it is for.
    Ready,
    /// It isn't ready yet, and may still get ready by itself.
    Waiting,
    /// It failed, and doesn't get ready by itself.
    Failed,
    /// It could not be observed, or its row can't be read.
    Unknown,
}

/// One resource of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceView {
    /// `service.web`.
    pub id: ResourceId,
    /// What kind of resource: `local.service`. As it is stored, where this release doesn't know it.
    pub kind: String,
    /// What it is called in the outside world.
    pub identity: String,
    /// Whether it does what it is for.
    pub state: ResourceState,
    /// Why it isn't ready, or how long it has to stay so.
    pub reason: Option<String>,
    /// The code that explains the reason, where there is one.
    pub code: Option<Code>,
    /// Lines to show below the reason: the end of a log.
    pub lines: Vec<String>,
    /// The reason without the object, where it can't be observed: others that can't be for the same cause have the same text here.
    pub cause: Option<String>,
}

impl ResourceView {
    /// The reason with its code and its lines, for people.
    pub fn explanation(&self) -> Option<String> {
        let (code, lines) = (self.code, self.lines.clone());
        let failure = |message| ReadinessFailure { code, message, lines };
        self.reason.clone().map(|message| failure(message).to_string())
    }

    /// Whether it is known that it doesn't do what it is for.
    pub fn is_unwell(&self) -> bool {
        match self.state {
            ResourceState::Waiting | ResourceState::Failed => true,
            ResourceState::Ready | ResourceState::Unknown => false,
        }
    }
}

/// An operation: what it does to which stack, how far it is, how it ended.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationView {
    /// Immutable; operations that were asked for later have larger ones.
    pub id: OperationId,
    /// The stack that it works on.
    pub stack: StackId,
    /// The stack's key, for people: `guestbook/tenant/acme`.
    pub key: String,
    /// What it is to do.
    pub purpose: Purpose,
    /// How far it is.
    pub state: OperationState,
    /// The revision that it makes.
    pub revision: u64,
    /// 0 until a process has acquired it, then 1. How often that has happened, its events tell.
    pub taken: u32,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it ended; `None` while it is unfinished.
    pub finished_at: Option<DateTime<Utc>>,
    /// The problem that it failed with; `None` unless it failed.
    pub failure: Option<Problem>,
    /// By dotted name: `routes.web.url`.
    pub outputs: BTreeMap<String, String>,
    /// What it waits for now; only where one operation is asked for.
    pub waits: Vec<Wait>,
}

/// What an operation waits for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// `deployment.web`.
    pub subject: ResourceId,
    /// Why it isn't ready.
    pub reason: String,
    /// Since when this has been the reason.
    pub since: DateTime<Utc>,
}

/// A revision of a stack.
#[derive(Debug, Clone, PartialEq)]
pub struct RevisionView {
    /// Counts from 1 within the stack.
    pub number: u64,
    /// When its operation was queued.
    pub created_at: DateTime<Utc>,
    /// Whether it got ready.
    pub verified: bool,
    /// Whether it is the one that serves.
    pub current: bool,
    /// What made it.
    pub purpose: Purpose,
    /// How far the operation is that makes it; `None` where nothing is kept of that operation.
    pub state: Option<OperationState>,
    /// Only of tenants.
    pub tier: Option<String>,
    /// The stage that it belongs to; only of tenants.
    pub stage: Option<String>,
    /// The artifact or image that each service runs from.
    pub artifacts: BTreeMap<String, String>,
    /// SHA-256 of the definition's source, in hex.
    pub definition: String,
    /// The operation that made it.
    pub operation: OperationId,
    /// Why that operation failed; or why the revision or its operation can't be read (FH0516).
    pub failure: Option<Problem>,
}

/// Where a secret's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretState {
    /// Freehold generated it.
    Generated,
    /// Somebody set it.
    Set,
    /// It has no value yet.
    Missing,
}

/// A secret of a stack, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretView {
    /// As in the definition; `database.main` for a database's credentials.
    pub name: String,
    /// How often it was set or rotated; 0: never.
    pub version: u32,
    /// Where its value comes from.
    pub state: SecretState,
    /// When its present value was made.
    pub set_at: Option<DateTime<Utc>>,
    /// The services that read it, and so restart at the next deploy after a change.
    pub readers: Vec<String>,
}

/// Credentials for a session on a stack's database.
#[derive(Debug, Clone)]
pub struct DatabaseCredentials {
    /// The server's address.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// The database's name there.
    pub database: String,
    /// The role to log in as.
    pub user: String,
    /// That role's password.
    pub password: SecretText,
}

/// A target as its operators see it.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetView {
    /// `prod`; this machine is `local`.
    pub name: Name,
    /// Its facts, without any credentials.
    pub facts: Result<Target, UnreadableFacts>,
    /// How many stacks there are on it.
    pub stacks: usize,
}

/// What there is to say of a target whose row can't be read.
#[derive(Debug, Clone, PartialEq)]
pub struct UnreadableFacts {
    /// As it is stored: `kubernetes`.
    pub kind: String,
    /// Why it can't be read: FH0516.
    pub problem: Problem,
}

/// The installation, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// Freehold's version: `0.1.0`.
    pub version: String,
    /// The id of this process.
    pub pid: u32,
    /// Where this machine keeps everything; empty in a cluster.
    pub data_directory: String,
    /// The port that stacks answer on; 0 without a router.
    pub router_port: u16,
    /// What host names end with on this machine; empty in a cluster.
    pub domain: String,
    /// `PostgreSQL 15.18, private, port 54329`.
    pub postgres: String,
    /// When this process was started.
    pub started_at: DateTime<Utc>,
}

/// One event of an operation; a stream of them is replayable from any `sequence`.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Counts up within the operation, from 1.
    pub sequence: u64,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// What happened then.
    pub kind: EventKind,
}

/// What happened to an operation.
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// A process has acquired the operation.
    Taken {
        /// How often that has happened, this time included; above 1: after an interruption.
        times: u32,
        /// How many steps were done before.
        done: u32,
        /// How many steps there are.
        steps: u32,
    },
    /// A step begins.
    StepStarted {
        /// What it does, and to what.
        step: StepId,
        /// Counts from 1.
        attempt: u32,
    },
    /// A step is tried again later.
    StepRetrying {
        /// What it is to do, and to what.
        step: StepId,
        /// Why it didn't work.
        reason: String,
        /// When it is tried again, in milliseconds from `at`; `None` where it is only observed once more, or where an earlier release
        /// has not said so.
        retry_after_milliseconds: Option<u64>,
    },
    /// The operation waits for something; sent again whenever the reason changes.
    Waiting {
        /// `deployment.web`.
        subject: ResourceId,
        /// Why it isn't ready; `None` once it is.
        reason: Option<String>,
        /// For how long this has been the reason.
        milliseconds: u64,
        /// When the failed request is sent again, in milliseconds from `at`; `None` where it is only polled.
        retry_after_milliseconds: Option<u64>,
    },
    /// A step is done.
    StepDone {
        /// What it does, and to what.
        step: StepId,
        /// For people: `ready after 3 probes`.
        note: Option<String>,
        /// From its first attempt on.
        milliseconds: u64,
    },
    /// A step failed.
    StepFailed {
        /// What it was to do, and to what.
        step: StepId,
        /// Why, and what to do about it.
        problem: Problem,
    },
    /// Everything is switched over and responds. What is left is to see whether it stays so.
    Ready {
        /// Since the operation was asked for.
        milliseconds: u64,
    },
    /// The operation has ended; no event follows.
    Finished(Box<Finished>),
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// The stack that it worked on.
    pub stack: StackId,
    /// The operation that ended.
    pub operation: OperationId,
    /// The revision that it made.
    pub revision: u64,
    /// Succeeded, failed or cancelled.
    pub state: OperationState,
    /// By dotted name: `routes.web.url`.
    pub outputs: BTreeMap<String, String>,
    /// How long it took, in milliseconds.
    pub timings: Timings,
    /// The problem that it failed with; `None` unless it failed.
    pub failure: Option<Problem>,
    /// What exists after a failure or a cancel: `database.main`.
    pub exists: Vec<ResourceId>,
    /// What was planned and not done.
    pub missing: Vec<ResourceId>,
}

/// How long an operation took, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timings {
    /// From the request to the end.
    pub total: u64,
    /// From the request until everything was switched over and responded; `None` if it never came to that.
    pub ready: Option<u64>,
    /// Of each step that was done.
    pub steps: BTreeMap<StepId, u64>,
}
