//! Operations.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use super::{Problem, words};

/// A deploy, rollback or destroy of one stack: a plan that is carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    /// Immutable; operations that were asked for later have larger ones.
    pub id: Uuid,
    /// The stack that it works on.
    pub stack: Uuid,
    /// The stack in words: `guestbook/tenant/acme`.
    pub key: String,
    /// `deploy`, `rollback to 3`, `destroy`.
    pub purpose: Purpose,
    /// How far it is.
    pub state: OperationState,
    /// The revision that it makes.
    pub revision: u64,
    /// 0 until a process has acquired it, then 1. How often that has happened, its events tell.
    pub taken: u32,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Problem>,
    /// `{"routes": {"web": {"url": …}}}`.
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub outputs: Json,
    /// What it waits for now, and why; only where one operation is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<Wait>,
}

impl Operation {
    /// Whether nothing more will happen.
    pub fn is_finished(&self) -> bool {
        match self.state {
            OperationState::Succeeded | OperationState::Failed | OperationState::Cancelled => true,
            OperationState::Queued | OperationState::Running | OperationState::Unknown | OperationState::Other(_) => {
                false
            }
        }
    }
}

/// What an operation waits for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Wait {
    /// `deployment.web`.
    pub subject: String,
    /// Why it isn't ready.
    pub reason: String,
    /// Since when this has been the reason.
    pub since: DateTime<Utc>,
}

words! {
    /// How far an operation is.
    OperationState {
        /// It waits for a process to acquire it.
        Queued "queued",
        /// A process works on it.
        Running "running",
        /// Everything was done and verified.
        Succeeded "succeeded",
        /// A step failed; `failure` says why.
        Failed "failed",
        /// It was asked to stop, and did.
        Cancelled "cancelled",
        /// Nothing is kept of it any more.
        Unknown "unknown",
    }
}

/// What an operation is for. On the wire one word, or `rollback to 3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// To make the stack what the definition and the request say.
    Deploy,
    /// To go back to an older revision.
    Rollback {
        /// The number of that revision.
        to: u64,
    },
    /// To take the stack away.
    Destroy,
    /// What a later release says; kept and shown as it is.
    Other(String),
}

impl Purpose {
    /// The command that asks for it: `deploy`, `rollback`, `destroy`.
    pub fn command(&self) -> &str {
        match self {
            Self::Deploy => "deploy",
            Self::Rollback { .. } => "rollback",
            Self::Destroy => "destroy",
            Self::Other(text) => text,
        }
    }
}

impl From<&str> for Purpose {
    fn from(text: &str) -> Self {
        match (text, text.strip_prefix("rollback to ").and_then(|to| to.parse().ok())) {
            (_, Some(to)) => Self::Rollback { to },
            ("deploy", None) => Self::Deploy,
            ("destroy", None) => Self::Destroy,
            (other, None) => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rollback { to } => write!(f, "rollback to {to}"),
            Self::Deploy | Self::Destroy | Self::Other(_) => f.pad(self.command()),
        }
    }
}

impl Serialize for Purpose {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Purpose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::from(text.as_str()))
    }
}

impl PartialSchema for Purpose {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("What an operation is for: `deploy`, `destroy`, or `rollback to` and a revision."))
            .pattern(Some("^(deploy|destroy|rollback to [0-9]+)$"))
            .into()
    }
}

impl ToSchema for Purpose {}
