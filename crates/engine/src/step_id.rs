//! What a step is called: a verb and its subject, `create/database.main` wherever it is written down or shown.
//!
//! The text is written and read here and nowhere else.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use freehold_graph::ResourceId;
use serde::de::value::Error as UnknownWord;
use serde::de::{Error as _, IntoDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Make a resource.
    Create,
    /// Change a resource in place.
    Update,
    /// Delete it and make it anew.
    Replace,
    /// Mark it as ours and make it what it should be.
    Adopt,
    /// Run a job.
    Run,
    /// Keep everybody from writing, so that what is dumped is all there is: logins are shut, processes and schedules stop. Before the
    /// dumps of a destroy, and undone by [`Verb::Lift`].
    Fence,
    /// Undo a fence, because the operation ends before it has deleted anything. Done in no other case.
    Lift,
    /// Write a dump of a data-bearing resource and prove that it restores.
    Dump,
    /// Delete a resource that the stack no longer has.
    Delete,
    /// See that all of the stack is ready (deploy) or gone (destroy). Only the closing of former logins comes after it.
    Verify,
}

/// How a step of a verb goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// It looks at its object first, and what it sees decides whether it acts.
    Assessed(Assessed),
    /// It runs a job: what became of an earlier run, its provider knows.
    Run,
    /// It undoes a fence, whether or how far that got.
    Lift,
    /// It asks until all is as it should be.
    Verify,
}

/// A verb whose object is looked at before it acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assessed {
    /// Makes the object what it should be.
    Apply(Applied),
    /// [`Verb::Fence`]
    Fence,
    /// [`Verb::Dump`]
    Dump,
    /// [`Verb::Delete`]
    Delete,
}

/// A verb that makes an object what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// [`Verb::Create`]
    Create,
    /// [`Verb::Update`]
    Update,
    /// [`Verb::Replace`]
    Replace,
    /// [`Verb::Adopt`]
    Adopt,
}

/// A step's identity within its operation. Together with the operation's id it makes a step idempotent: providers may use both as a key.
/// Ordered as its text is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StepId {
    verb: Verb,
    subject: ResourceId,
}

/// A text that is no step's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a step is a verb, a slash and a subject; found {0:?}")]
pub struct NotAStep(String);

impl Verb {
    /// The word as it stands in a step's id.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Replace => "replace",
            Self::Adopt => "adopt",
            Self::Run => "run",
            Self::Fence => "fence",
            Self::Lift => "lift",
            Self::Dump => "dump",
            Self::Delete => "delete",
            Self::Verify => "verify",
        }
    }

    /// How its steps go about it.
    pub const fn work(self) -> Work {
        match self {
            Self::Create => Work::Assessed(Assessed::Apply(Applied::Create)),
            Self::Update => Work::Assessed(Assessed::Apply(Applied::Update)),
            Self::Replace => Work::Assessed(Assessed::Apply(Applied::Replace)),
            Self::Adopt => Work::Assessed(Assessed::Apply(Applied::Adopt)),
            Self::Fence => Work::Assessed(Assessed::Fence),
            Self::Dump => Work::Assessed(Assessed::Dump),
            Self::Delete => Work::Assessed(Assessed::Delete),
            Self::Run => Work::Run,
            Self::Lift => Work::Lift,
            Self::Verify => Work::Verify,
        }
    }

    /// Whether it makes a resource what it should be.
    pub const fn applies(self) -> bool {
        matches!(self, Self::Create | Self::Update | Self::Replace | Self::Adopt)
    }
}

impl StepId {
    /// `verb/subject`.
    pub fn new(verb: Verb, subject: &ResourceId) -> Self {
        Self { verb, subject: subject.clone() }
    }

    /// What the step does.
    pub const fn verb(&self) -> Verb {
        self.verb
    }

    /// To what: a resource, a job, or for [`Verb::Verify`] the stack.
    pub const fn subject(&self) -> &ResourceId {
        &self.subject
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.verb.as_str(), self.subject)
    }
}

impl FromStr for StepId {
    type Err = NotAStep;

    fn from_str(text: &str) -> Result<Self, NotAStep> {
        let parts = text.split_once('/').filter(|(_, subject)| !subject.is_empty());
        let (verb, subject) = parts.ok_or_else(|| NotAStep(text.to_owned()))?;
        let verb: Result<Verb, UnknownWord> = Verb::deserialize(verb.into_deserializer());
        let verb = verb.map_err(|_| NotAStep(text.to_owned()))?;
        Ok(Self { verb, subject: ResourceId(subject.to_owned()) })
    }
}

impl Ord for StepId {
    fn cmp(&self, other: &Self) -> Ordering {
        // No verb begins with another one.
        (self.verb.as_str(), &self.subject).cmp(&(other.verb.as_str(), &other.subject))
    }
}

impl PartialOrd for StepId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Serialize for StepId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StepId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERBS: [Verb; 10] = [
        Verb::Create,
        Verb::Update,
        Verb::Replace,
        Verb::Adopt,
        Verb::Run,
        Verb::Fence,
        Verb::Lift,
        Verb::Dump,
        Verb::Delete,
        Verb::Verify,
    ];

    /// As out of a document.
    fn read(text: &str) -> Result<StepId, UnknownWord> {
        StepId::deserialize(text.into_deserializer())
    }

    #[test]
    fn a_step_is_read_as_it_is_written_and_ordered_as_its_text_is() {
        let subjects = ["database.main", "route.web@web1.localhost", "stack.acme", "object.apps/v1"];
        let subjects = subjects.map(|subject| ResourceId(subject.to_owned()));
        let steps = || VERBS.iter().flat_map(|verb| subjects.iter().map(|subject| StepId::new(*verb, subject)));
        for step in steps() {
            let text = step.to_string();
            assert_eq!(text.parse(), Ok(step.clone()));
            assert_eq!(read(&text), Ok(step.clone()));
            for other in steps() {
                assert_eq!(step.cmp(&other), text.cmp(&other.to_string()), "{step} and {other}");
            }
        }
    }

    #[test]
    fn a_text_without_a_known_verb_or_a_subject_is_no_step() {
        for text in ["", "create", "create/", "/database.main", "Create/database.main", "make/database.main"] {
            assert_eq!(text.parse::<StepId>(), Err(NotAStep(text.to_owned())), "{text}");
            assert!(read(text).is_err(), "{text}");
        }
    }
}
