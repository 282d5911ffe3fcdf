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
    /// The object that somebody else has and that sets the number of copies again and again: its outside name's last part.
    pub scaled_by: Option<String>,
    /// The fields that are ours no longer and keep their value. Giving them up is a change, though no value changes.
    pub given_up: Vec<String>,
    /// What people have to know beside it: "not tried out: webhook policy.example.org declares side effects".
    pub notes: Vec<String>,
}

impl Preview {
    /// What comes out is what is desired.
    pub fn exact(desired: Value) -> Self {
        Self { body: desired, ..Self::default() }
    }
}
