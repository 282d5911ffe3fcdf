//! Stacks, their resources and their revisions.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use freehold_graph::StackKind;
use freehold_problem::Code;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Operation, OperationState, Problem, Purpose, Wait, words};

/// An app that is deployed for one tenant, preview or stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stack {
    /// Never changes, and is never used again.
    pub id: Uuid,
    /// The name of the target that it runs on.
    pub target: String,
    /// The name of its app.
    pub app: String,
    /// `tenant`, `preview` or `stage`.
    #[schema(value_type = String)]
    pub kind: StackKind,
    /// Unique among stacks of the same target, app and kind.
    pub name: String,
    /// The same in lists as where one stack is asked for.
    pub state: StackState,
    /// Each applied plan adds one. Also the ETag.
    pub generation: u64,
    /// The revision that serves.
    pub revision: Option<u64>,
    /// Only tenants have one.
    pub tier: Option<String>,
    /// The stage that it belongs to; only tenants belong to one.
    #[serde(default)]
    pub stage: Option<String>,
    /// The artifact that each service runs from, by service: `sha256:…`, in a cluster an image with its digest.
    pub artifacts: BTreeMap<String, String>,
    /// URLs and the like: `{"routes": {"web": {"url": …}}}`.
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub outputs: Json,
    /// When it was first named: by a deploy, or by a secret that was set for it.
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
    /// Why something of it can't be read: a newer release has written it (FH0516). In lists it is the stack's own record: then the state is
    /// `unknown`, and nothing else is known but its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<Box<Problem>>,
}

/// How many replicas of a service take requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Serving {
    /// `web`
    pub service: String,
    /// Replicas of the verified revision.
    pub verified: u32,
    /// Replicas of the one that was not verified.
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
    /// What it is called in the outside world: a database's name, `namespace/name` of an object.
    pub identity: String,
    /// Whether it does what it is for.
    pub state: ResourceState,
    /// Why it isn't ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The code that explains the reason, where there is one: `FH0706`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub code: Option<Code>,
    /// Lines to show below the reason: the end of a log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
    /// The reason without the object, where it can't be observed: others that can't be for the same cause have the same text here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

impl ResourceStatus {
    /// The reason with its code and its lines, for people.
    pub fn explanation(&self) -> Option<String> {
        let code = self.code.map(|code| format!("{code}: ")).unwrap_or_default();
        let lines: String = self.lines.iter().map(|line| format!("\n  │ {line}")).collect();
        self.reason.as_ref().map(|reason| format!("{code}{reason}{lines}"))
    }

    /// Whether it is known that it doesn't do what it is for.
    pub fn is_unwell(&self) -> bool {
        match self.state {
            ResourceState::Waiting | ResourceState::Failed | ResourceState::Missing => true,
            ResourceState::Ready | ResourceState::Unknown | ResourceState::Other(_) => false,
        }
    }
}

/// A revision of a stack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Revision {
    /// Counts from 1 within the stack.
    pub number: u64,
    /// When its operation was queued.
    pub created_at: DateTime<Utc>,
    /// Whether it got ready.
    pub verified: bool,
    /// Whether it is the one that serves.
    pub current: bool,
    /// What made it: `deploy`, `rollback to 3`.
    pub purpose: Purpose,
    /// How far the operation is that makes it; `unknown` where nothing is kept of that operation.
    pub state: OperationState,
    /// Only tenants have one.
    pub tier: Option<String>,
    /// The stage that it belongs to; only tenants belong to one.
    #[serde(default)]
    pub stage: Option<String>,
    /// The artifact that each service runs from, by service: `sha256:…`, in a cluster an image with its digest.
    pub artifacts: BTreeMap<String, String>,
    /// SHA-256 of the definition's source, in hex.
    pub definition: String,
    /// The operation that made it.
    pub operation: Uuid,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Problem>,
}

words! {
    /// What a stack is like.
    StackState {
        /// Named, and never deployed.
        New "new",
        /// A deploy or rollback is under way.
        Deploying "deploying",
        /// Verified, and every resource does what it is for.
        Ready "ready",
        /// Verified, and a resource doesn't do any more what it is for.
        Degraded "degraded",
        /// Verified, and not every resource can be observed now.
        Unknown "unknown",
        /// The last operation failed or was cancelled.
        Failed "failed",
        /// A destroy is under way.
        Destroying "destroying",
    }
}

words! {
    /// Whether a resource does what it is for.
    ResourceState {
        /// It does what it is for.
        Ready "ready",
        /// It isn't ready yet, and may get ready by itself.
        Waiting "waiting",
        /// It failed, and doesn't get ready by itself.
        Failed "failed",
        /// It doesn't exist.
        Missing "missing",
        /// It can't be observed now.
        Unknown "unknown",
    }
}
