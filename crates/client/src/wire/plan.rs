//! Plans.

use std::collections::{BTreeMap, BTreeSet};

use freehold_graph::{Request, Resource, ResourceId, ResourceKind, Run, StackId, StackKey, Value};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Diagnostic, words, yes};

/// A plan, with what there is to know beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanResponse {
    /// What would change.
    pub plan: Plan,
    /// Nothing would change.
    pub noop: bool,
    /// The stack doesn't exist yet.
    pub new_stack: bool,
    /// Warnings about the definition.
    #[serde(default)]
    pub diagnostics: Vec<Diagnostic>,
    /// What the definition says otherwise than when the stack was last deployed, by path; at most a hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<ValueChange>,
    /// The name of the target that it would run on.
    pub target: String,
    /// The target's cluster, for people: `Kubernetes v1.36.3`; absent on one machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// What its databases run on, for people: `PostgreSQL 15`, `CloudNativePG`.
    pub database_server: String,
    /// The operation that already works on the very same request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Uuid>,
}

/// A value of the definition that isn't what it was when the stack was last deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ValueChange {
    /// Where in the definition: `service.web.replicas`.
    pub path: String,
    /// As it was written; left out: it wasn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// As it is written; left out: it no longer is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The line of the definition in which it is written, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The table that overrides it there, if one does: `stage.production`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// The table that overrode it before, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_before: Option<String>,
}

/// What an operation may do; nothing else changes. Made from the definition, the request and what was observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// Names it in `POST /stacks`, for a day.
    pub id: Uuid,
    /// The stack's identity. A new stack gets it with its first plan.
    #[schema(value_type = Uuid)]
    pub stack: StackId,
    /// The stack's name.
    #[schema(value_type = document::StackKey)]
    pub key: StackKey,
    /// How its steps are made from it.
    #[serde(default)]
    pub layout: u16,
    /// What it is for.
    pub purpose: PlanPurpose,
    /// The stack's generation that the plan rests on: 0 for a new stack.
    pub generation: u64,
    /// The revision that it makes.
    pub revision: u64,
    /// SHA-256 of the definition's source, in hex.
    pub definition: String,
    /// The request, with everything that was left out filled in.
    #[schema(value_type = document::Request)]
    pub request: Request,
    /// A line for each resource, unchanged ones included, by resource: `service.web`.
    #[schema(value_type = BTreeMap<String, Change>)]
    pub changes: BTreeMap<ResourceId, Change>,
    /// The jobs that are run once for the revision, by job: `job.migrate`; empty if there is nothing to change.
    #[schema(value_type = BTreeMap<String, document::Run>)]
    pub runs: BTreeMap<ResourceId, Run>,
    /// By dotted name: `routes.web.url`.
    pub outputs: BTreeMap<String, String>,
    /// What the target can't enforce, for people.
    pub not_enforced: Vec<String>,
    /// Other things to know, for people.
    pub notes: Vec<String>,
    /// It wants exactly what the last verified revision consists of.
    #[serde(default)]
    pub same: bool,
    /// Its operation ends once everything has been ready for long enough; else as soon as everything is ready.
    #[serde(default = "yes")]
    pub settle: bool,
}

impl Plan {
    /// How many resources this is done to.
    pub fn count(&self, action: &Action) -> usize {
        self.changes.values().filter(|change| change.action == *action).count()
    }
}

/// What a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PlanPurpose {
    /// To make the stack what the definition and the request say.
    Deploy,
    /// To go back to an older revision's artifacts and settings.
    Rollback {
        /// The number of that revision.
        to: u64,
    },
    /// To take the stack away.
    Destroy {
        /// Whether dumps of its databases are written and proved first.
        dump: bool,
    },
}

words! {
    /// What is done about a resource.
    Action {
        /// It doesn't exist yet.
        Create "create",
        /// It exists and differs.
        Update "update",
        /// It differs in a field that can't be changed: it is deleted and recreated.
        Replace "replace",
        /// It exists and is unmanaged, and becomes the stack's because the request says so.
        Adopt "adopt",
        /// It is the stack's and no longer wanted.
        Delete "delete",
        /// It is as it should be.
        NoOp "no-op",
    }
}

words! {
    /// What the change of a field does to its resource.
    Effect {
        /// It is changed where it stands.
        InPlace "in-place",
        /// Its processes restart.
        Restart "restart",
        /// It is deleted and recreated.
        Replace "replace",
    }
}

/// What is done about one resource, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// `service.web`.
    #[schema(value_type = String)]
    pub id: ResourceId,
    /// `local.service`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: ResourceKind,
    /// What it is called in the outside world.
    pub identity: String,
    /// What is done.
    pub action: Action,
    /// The fields that differ (update, replace, adopt).
    pub fields: Vec<FieldChange>,
    /// Why, for people. Where one of the fields restarts it, the first tells that: `restarts: session-key changed (reads SESSION_KEY)`.
    pub reasons: Vec<String>,
    /// The resource as desired; for a deletion as it was last applied.
    #[schema(value_type = document::Resource)]
    pub resource: Resource,
    /// The desired body in comparable form: a secret is a keyed hash.
    #[schema(value_type = Option<serde_json::Value>)]
    pub desired: Option<Value>,
    /// The body that was observed.
    #[schema(value_type = Option<serde_json::Value>)]
    pub observed: Option<Value>,
    /// Of the observation that the line rests on; null if nothing was there.
    pub fingerprint: Option<String>,
    /// The identity of the object that was observed: a uid, an oid.
    pub object: Option<String>,
    /// The resources that have to exist before it.
    #[schema(value_type = BTreeSet<String>)]
    pub depends_on: BTreeSet<ResourceId>,
    /// Data is lost with it.
    pub loses_data: bool,
    /// The fields that are taken from other managers (adopt).
    #[serde(default)]
    pub takes: Vec<Conflict>,
    /// The fields that others have added: listed, and left alone.
    #[serde(default, rename = "beside")]
    pub foreign_fields: Vec<Conflict>,
}

/// One field's change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldChange {
    /// Dotted path in the body: `env.LOG_LEVEL`, `paths[/events].timeout_seconds`.
    pub path: String,
    /// What is there; null where there is nothing.
    #[schema(value_type = Option<serde_json::Value>)]
    pub before: Option<Value>,
    /// What is to be there.
    #[schema(value_type = Option<serde_json::Value>)]
    pub after: Option<Value>,
    /// What the change does to the resource.
    pub effect: Effect,
}

/// A field that another manager owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Conflict {
    /// Dotted path in the body.
    pub path: String,
    /// The field manager's name: `kubectl-edit`, `argocd-controller`.
    pub manager: String,
}

/// What the document says of types that the pure crates own. A test compares them with what is sent.
#[doc(hidden)]
#[allow(missing_docs, reason = "each field's documentation is that of the type of the same name in freehold-graph")]
pub mod document {
    use std::collections::{BTreeMap, BTreeSet};

    use serde::{Deserialize, Serialize};
    use serde_json::Value as Json;
    use utoipa::ToSchema;
    use uuid::Uuid;

    /// What makes a stack unique.
    #[derive(Debug, Serialize, Deserialize, ToSchema)]
    #[serde(deny_unknown_fields)]
    pub struct StackKey {
        pub target: String,
        pub app: String,
        /// `tenant`, `preview` or `stage`.
        pub kind: String,
        pub name: String,
    }

    /// A request with everything that sticks from earlier deploys filled in.
    #[derive(Debug, Serialize, Deserialize, ToSchema)]
    #[serde(deny_unknown_fields)]
    #[schema(as = CompleteRequest)]
    pub struct Request {
        pub key: StackKey,
        /// The stack's identity.
        pub id: Uuid,
        /// Only tenants have one.
        pub tier: Option<String>,
        /// The stage that a tenant belongs to; left out: production.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub stage: Option<String>,
        /// By service: `sha256:…`, in a cluster an image with its digest.
        pub artifacts: BTreeMap<String, String>,
        /// Of sidecars and init containers the image with its digest, by service and container.
        pub containers: BTreeMap<String, BTreeMap<String, String>>,
        /// How often each derived credential was rotated, by purpose.
        pub rotations: BTreeMap<String, u32>,
    }

    /// One resource of a stack, as desired.
    #[derive(Debug, Serialize, Deserialize, ToSchema)]
    #[serde(deny_unknown_fields)]
    pub struct Resource {
        /// `service.web`.
        pub id: String,
        /// `local.service`.
        #[serde(rename = "type")]
        pub kind: String,
        /// What it is called in the outside world.
        pub identity: String,
        /// With references to secrets, never with their values.
        pub body: Json,
        /// The resources that have to exist before it.
        pub depends_on: BTreeSet<String>,
    }

    /// A job that the deploy runs.
    #[derive(Debug, Serialize, Deserialize, ToSchema)]
    #[serde(deny_unknown_fields)]
    pub struct Run {
        /// `job.migrate`.
        pub id: String,
        /// `local` or `kubernetes`.
        pub provider: String,
        /// With references to secrets, never with their values.
        pub body: Json,
        /// `once`: not again when it has succeeded. Left out: with each revision.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub due: Option<String>,
        /// The resources that have to exist before it runs, and the jobs that have to succeed before.
        pub depends_on: BTreeSet<String>,
        /// The services that start (or change) only after it has succeeded.
        pub before: BTreeSet<String>,
    }
}
