//! What went wrong, as it goes from where it is found to whoever is told.

use std::fmt;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use crate::code::Code;

/// Something that went wrong: of which kind, what happened to what and why, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What kind of problem it is.
    pub code: Code,
    /// What happened, to what, why. One sentence; further lines are facts.
    pub message: String,
    /// Lines to show below: the end of a log, another system's own words.
    #[serde(rename = "detail")]
    pub lines: Vec<String>,
    /// What to do next.
    pub help: Option<String>,
    /// What programs want to know of it: nobody has to read that out of the message.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "known")]
    pub about: Option<Box<About>>,
    /// The message without what was being done to what, where it begins with that: whatever else failed for the same cause has the same
    /// text here. Not stored.
    #[serde(skip)]
    pub cause: Option<Box<str>>,
}

/// What this release knows to be about; what a later one wrote is nothing that it can act on.
fn known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<About>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Read {
        Known(Box<About>),
        Newer(IgnoredAny),
    }
    Ok(match Option::<Read>::deserialize(deserializer)? {
        Some(Read::Known(about)) => Some(about),
        Some(Read::Newer(_)) | None => None,
    })
}

/// What a problem is about, where something depends on that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum About {
    /// What is wrong with a definition: diagnostics as `check` writes them, each with its place in the source.
    Diagnostics(Vec<serde_json::Value>),
    /// The operation that is in the way, or that failed.
    Operation(Uuid),
    /// A permission that is missing in a cluster.
    Permission {
        /// What is to be done: `get`.
        verb: String,
        /// To what and where: `deployments.apps in namespace acme`.
        object: String,
        /// By whom, as the cluster calls it.
        user: Option<String>,
        /// How an administrator grants all that is needed.
        #[serde(default)]
        grant: Option<String>,
    },
}

impl Problem {
    /// Of a kind, with what happened.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), lines: Vec::new(), help: None, about: None, cause: None }
    }

    /// Of a kind, with what was being done to what, and why that failed.
    pub fn caused(code: Code, doing: impl fmt::Display, cause: impl Into<String>) -> Self {
        let cause = cause.into();
        Self { cause: Some(cause.as_str().into()), ..Self::new(code, format!("{doing}: {cause}")) }
    }

    /// With what to do next.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// With what to do next, if there is something to say.
    #[must_use]
    pub fn maybe_help(self, help: Option<impl Into<String>>) -> Self {
        Self { help: help.map(Into::into), ..self }
    }

    /// With what it is about.
    #[must_use]
    pub fn about(self, about: About) -> Self {
        Self { about: Some(Box::new(about)), ..self }
    }

    /// With lines to show below.
    #[must_use]
    pub fn lines(self, lines: Vec<String>) -> Self {
        Self { lines, ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_an_earlier_release_wrote_into_its_journal_is_read() {
        let written = r#"{"code":"FH0701","message":"job migrate failed","detail":["exit code 1"],"help":null}"#;
        let read: Problem = serde_json::from_str(written).unwrap();
        assert_eq!(read, Problem::new(Code::JobFailed, "job migrate failed").lines(vec!["exit code 1".to_owned()]));
        assert_eq!(serde_json::to_string(&read).unwrap(), written);
    }

    #[test]
    fn two_things_that_failed_for_the_same_cause_say_so_with_the_same_text() {
        let of = |object: &str| Problem::caused(Code::PostgresUnreachable, object, "the server is starting");
        let (one, other) = (of("reading database one"), of("reading database other"));
        assert_eq!(one.message, "reading database one: the server is starting");
        assert_eq!((one.cause.as_deref(), &one.cause), (Some("the server is starting"), &other.cause));
        let written = serde_json::to_string(&one).unwrap();
        assert!(!written.contains("cause"), "{written}");
        assert_eq!(serde_json::from_str::<Problem>(&written).unwrap(), Problem { cause: None, ..one });
    }

    #[test]
    fn what_it_is_about_is_kept_and_what_a_later_release_says_it_is_about_does_no_harm() {
        let about = About::Permission { verb: "get".to_owned(), object: "pods".to_owned(), user: None, grant: None };
        let problem = Problem::new(Code::NotPermitted, "no").about(about);
        let written = serde_json::to_string(&problem).unwrap();
        assert_eq!(serde_json::from_str::<Problem>(&written).unwrap(), problem);
        let newer = written.replace("permission", "something-new");
        let read: Problem = serde_json::from_str(&newer).unwrap();
        assert_eq!(read, Problem { about: None, ..problem });
    }
}
