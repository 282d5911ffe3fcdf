//! What a system would make of a desired body, found out without changing anything.

use freehold_graph::Value;
use serde::{Deserialize, Serialize};

use crate::change::FieldChange;
use crate::conflict::Conflict;

/// A provider's answer to "what if". Without one, a body is taken to come out as it is desired.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Preview {
    /// The body as an observation would show it afterwards, in comparable form; [`freehold_graph::value::Special::Unknown`]
    /// where it can't be told.
    pub body: Value,
    /// The fields that would change, if the provider sees more of them than a comparison of the two bodies shows: defaults that come
    /// back, what a webhook adds. Empty for an object that doesn't exist yet.
    pub fields: Option<Vec<FieldChange>>,
    /// The fields that can't be changed where the object stands: it would have to be replaced.
    pub immutable: Vec<String>,
    /// The fields that somebody else manages. Nothing is taken from them without having been named.
    pub conflicts: Vec<Conflict>,
    /// What somebody else has that sets the number of copies again and again.
    pub scaled_by: Option<Autoscaler>,
    /// The fields that are ours no longer and keep their value. Giving them up is a change, though no value changes.
    pub given_up: Vec<String>,
    /// What people have to know beside it: "not tried out: webhook policy.example.org declares side effects".
    pub notes: Vec<String>,
}

/// Something that changes the number of a resource's copies by its load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Autoscaler {
    /// Its own name.
    pub name: String,
    /// How it is named to adopt it; `None` unless it has the name that the stack's own would have.
    pub handle: Option<String>,
    /// The command that removes it.
    pub removal: String,
}

impl Preview {
    /// What comes out is what is desired.
    pub fn exact(desired: Value) -> Self {
        Self { body: desired, ..Self::default() }
    }
}
