//! The ownership mark: the comment on a role or database that says whose it is.
//!
//! `freehold stack=0198… resource=roles.main v1 {"password":{"$digest":"…"}}`
//!
//! Behind the version stand values of the applied body that can't be read back from the server, in comparable form
//! (digests of passwords, never passwords). Comments on roles and databases can be read by every role of the server.
//! A mark of a newer version is understood as far as the owner goes: whose an object is never changes its form.

use std::collections::BTreeMap;
use std::fmt;

use freehold_graph::{ResourceId, StackId, Value};
use uuid::Uuid;

const VERSION: &str = "v1";

/// The field of a mark that says which password one of Freehold's own logins has. Only their marks have it.
pub(crate) const KEY: &str = "key";

/// What all marks begin with.
pub(crate) const PREFIX: &str = "freehold stack=";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) stack: StackId,
    pub(crate) resource: ResourceId,
    /// Fields of the comparable body.
    pub(crate) values: BTreeMap<String, Value>,
}

impl Mark {
    pub(crate) fn new(stack: StackId, resource: &ResourceId) -> Self {
        Self { stack, resource: resource.clone(), values: BTreeMap::new() }
    }

    /// Adds a value; what isn't known isn't remembered.
    pub(crate) fn with(mut self, field: &str, value: Option<&Value>) -> Self {
        self.values.extend(value.map(|value| (field.to_owned(), value.clone())));
        self
    }

    /// `None` if the comment is no mark of ours.
    pub(crate) fn parse(comment: &str) -> Option<Self> {
        let rest = comment.strip_prefix(PREFIX)?;
        let mut words = rest.splitn(4, ' ');
        let stack = StackId(Uuid::parse_str(words.next()?).ok()?);
        let resource = words.next()?.strip_prefix("resource=")?.to_owned();
        let values = match (words.next(), words.next()) {
            (Some(VERSION), Some(json)) => serde_json::from_str(json).unwrap_or_default(),
            _ => BTreeMap::new(),
        };
        Some(Self { stack, resource: ResourceId(resource), values })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = Value::Map(self.values.clone());
        // Spaces would end the word; names of resources have none, unless somebody made one up.
        let resource = self.resource.0.replace(' ', "_");
        write!(f, "{PREFIX}{} resource={resource} {VERSION} {values}", self.stack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freehold_graph::secret::Digest;
    use freehold_graph::value::Special;

    fn stack() -> StackId {
        StackId(Uuid::from_u128(7))
    }

    #[test]
    fn a_mark_reads_as_it_was_written() {
        let digest = Value::Special(Special::Digest(Digest("ab12".to_owned())));
        let mark = Mark::new(stack(), &ResourceId::new("roles", "main")).with("password", Some(&digest));
        assert_eq!(Mark::parse(&mark.to_string()), Some(mark));
    }

    #[test]
    fn a_newer_mark_still_tells_whose_the_object_is() {
        let mark = Mark::parse(&format!("freehold stack={} resource=roles.main v9 <xml/>", stack())).unwrap();
        assert_eq!((mark.stack, mark.values.len()), (stack(), 0));
    }

    #[test]
    fn other_comments_are_no_marks() {
        for comment in ["", "default administrative connection database", "freehold stack=acme resource=x v1 {}"] {
            assert_eq!(Mark::parse(comment), None, "{comment}");
        }
    }
}
