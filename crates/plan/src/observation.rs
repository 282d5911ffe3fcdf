//! What a provider saw when it looked at one resource.

use std::fmt;

use freehold_graph::{StackId, Value};
use serde::{Deserialize, Serialize};

use crate::conflict::Conflict;

/// An object of the outside world, as a provider saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Its identity in its own system, which never comes back once the object is gone: an oid, a uid, an instance's id.
    pub object: String,
    /// Whose it is.
    pub ownership: Ownership,
    /// What it is like: a comparable body with the fields that the desired body has, as far as the provider can see them.
    pub body: Value,
    /// Fields that others manage and the desired body doesn't have. They are told, and part of nothing else: not of the body, nor of
    /// the fingerprint.
    #[serde(default, rename = "beside")]
    pub foreign_fields: Vec<Conflict>,
}

impl Observation {
    /// Changes exactly if the object is another one or has changed.
    pub fn fingerprint(&self) -> String {
        let ownership = match &self.ownership {
            Ownership::Ours => Value::text("ours"),
            Ownership::OtherStack(stack) => Value::text(stack.to_string()),
            Ownership::Foreign(who) => Value::text(who.clone()),
        };
        Value::List(vec![Value::text(self.object.clone()), ownership, self.body.clone()]).fingerprint()
    }
}

/// Whose an object is, by the mark that it bears.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ownership {
    /// It bears this stack's mark.
    Ours,
    /// It bears another stack's mark.
    OtherStack(StackId),
    /// It bears no mark of ours; what is known of its owner, in words for people ("owned by role app1, without an ownership label of Freehold").
    Foreign(String),
}

impl fmt::Display for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours => f.write_str("it is owned by this stack"),
            Self::OtherStack(stack) => write!(f, "it belongs to stack {stack}"),
            Self::Foreign(who) => f.write_str(who),
        }
    }
}
