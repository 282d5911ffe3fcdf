//! One resource's line in a plan.

use std::collections::BTreeSet;

use freehold_graph::display::added_by_others;
use freehold_graph::{Effect, Resource, ResourceId, ResourceKind, Value};
use serde::{Deserialize, Serialize};

use crate::conflict::Conflict;

/// What is to be done about a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It doesn't exist yet.
    Create,
    /// It exists and differs.
    Update,
    /// It differs in a field that can't be changed: it is deleted and made anew.
    Replace,
    /// It exists, isn't ours, and becomes ours because the user said so.
    Adopt,
    /// It is ours and no longer wanted.
    Delete,
    /// It is as it should be.
    NoOp,
}

/// One field's change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Dotted path in the body: `env.LOG_LEVEL`, `paths[/events].timeout_seconds`.
    pub path: String,
    /// What is there; `None` where there is nothing.
    pub before: Option<Value>,
    /// What is to be there.
    pub after: Option<Value>,
    /// What the change does to the resource.
    #[serde(with = "effect_name")]
    pub effect: Effect,
}

/// One resource's line in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its name within the stack; with `@` and its outside name where that changes.
    pub id: ResourceId,
    /// What it is, and who takes care of it.
    #[serde(rename = "type")]
    pub kind: ResourceKind,
    /// Its outside name.
    pub identity: String,
    /// What is to be done.
    pub action: Action,
    /// The fields that differ (update, replace, adopt).
    pub fields: Vec<FieldChange>,
    /// Why, in words for people. Where one of the fields restarts it, the first tells that: "restarts: session-key changed (reads
    /// SESSION_KEY)".
    pub reasons: Vec<String>,
    /// The resource as desired; for a deletion as it was last applied.
    pub resource: Resource,
    /// The desired body in comparable form.
    pub desired: Option<Value>,
    /// The body that was observed.
    pub observed: Option<Value>,
    /// Fingerprint of the observation that the line rests on; `None`: it didn't exist.
    pub fingerprint: Option<String>,
    /// The identity of the object that was observed.
    pub object: Option<String>,
    /// What has to exist before it (desired, or as last applied for a deletion).
    pub depends_on: BTreeSet<ResourceId>,
    /// Data is lost with it.
    pub loses_data: bool,
    /// The fields that are taken from others (adopt). No other is, whatever has become of them when the plan is applied.
    #[serde(default)]
    pub takes: Vec<Conflict>,
    /// What others have in it that the definition doesn't: told, and left alone.
    #[serde(default, rename = "beside")]
    pub foreign_fields: Vec<Conflict>,
}

impl Change {
    /// What would change, in a few words: "deployment acme--guestbook/web differs in spec.replicas". `None` if nothing would.
    pub fn summary(&self) -> Option<String> {
        let what = format!("{} {}", self.kind.word(), self.identity);
        Some(match self.action {
            Action::NoOp => return None,
            Action::Create => format!("{what} is missing"),
            Action::Delete => format!("{what} is left over"),
            Action::Update | Action::Replace | Action::Adopt => match (self.fields.is_empty(), self.reasons.is_empty())
            {
                (true, true) => format!("{what} differs"),
                (true, false) => format!("{what}: {}", self.reasons.join(", ")),
                (false, _) => {
                    let fields: Vec<&str> = self.fields.iter().map(|field| field.path.as_str()).collect();
                    format!("{what} differs in {}", fields.join(", "))
                }
            },
        })
    }

    /// What others have in the object that the definition doesn't, a line for each of them:
    /// `deployment acme--guestbook/web: kubectl-set manages spec.template.spec.containers[web].env[DEBUG], which the definition doesn't have`.
    pub fn notes(&self) -> Vec<String> {
        let object = format!("{} {}", self.kind.word(), self.identity);
        added_by_others(&object, self.foreign_fields.iter().map(|field| (field.manager.as_str(), field.path.as_str())))
    }
}

mod effect_name {
    use freehold_graph::Effect;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(effect: &Effect, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match effect {
            Effect::InPlace => "in-place",
            Effect::Restart => "restart",
            Effect::Replace => "replace",
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Effect, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "in-place" => Ok(Effect::InPlace),
            "restart" => Ok(Effect::Restart),
            "replace" => Ok(Effect::Replace),
            other => Err(serde::de::Error::custom(format!("unknown effect {other:?}"))),
        }
    }
}
