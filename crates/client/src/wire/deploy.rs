//! What to deploy, apply, plan and destroy.

use std::collections::{BTreeMap, BTreeSet};

use freehold_graph::StackKind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::yes;

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
    /// The files that the definition names (`file` of a `[manifest.NAME]`): path → text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// The target: `local`, or one that was added. Left out: the only one there is, or this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The kind of stack.
    #[schema(value_type = String)]
    pub kind: StackKind,
    /// The stack's name: a-z, 0-9 and -, unique among those of its target, app and kind.
    pub name: String,
    /// The tier (tenants). Left out: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// The stage that a tenant belongs to. Left out: as before, at first `production`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The artifact that each service runs from: `sha256:…`. Left out: as before.
    #[serde(default)]
    pub artifacts: BTreeMap<String, String>,
    /// The image that each service runs in a cluster: `registry/acme/web:1.4`, with or without a digest, or only `:1.4` or `@sha256:…` of the
    /// repository that the definition gives. Resolved to a digest when the plan is made. Left out: as before.
    #[serde(default)]
    pub images: BTreeMap<String, String>,
    /// Unmanaged objects to adopt: `database/acme__guestbook`.
    #[serde(default)]
    pub adopt: BTreeSet<String>,
    /// Data-bearing resources that may be deleted: `main`.
    #[serde(default)]
    pub delete_data: BTreeSet<String>,
    /// The operation ends once everything has been ready for long enough; false: as soon as everything is ready.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub settle: bool,
}

/// `POST /stacks`: a request, or a plan that was made from one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ApplyRequest {
    /// Apply a plan that was shown.
    Plan {
        /// The id that came with the plan.
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
        /// The revision's number; left out: the last verified one before the present.
        #[serde(default)]
        to: Option<u64>,
        /// Unmanaged objects to adopt, and objects whose fields to take from other managers.
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
