//! Names: of apps, of what an app consists of, of stacks, of environment variables.
//!
//! A name is a DNS label without doubled hyphens. Doubled hyphens are kept free because the outside names
//! (databases, roles, namespaces) are joined with a doubled separator, which makes joining reversible.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

/// The longest name, in bytes. Three names and their separators fit into PostgreSQL's 63 in most cases;
/// longer outside names are shortened with a digest.
pub const LONGEST_NAME: usize = 40;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing was written.
    #[error("a name can't be empty")]
    Empty,
    /// Longer than [`LONGEST_NAME`] characters.
    #[error("a name has at most {LONGEST_NAME} characters, this one has {0}")]
    TooLong(usize),
    /// A character outside `a-z`, `0-9` and `-`.
    #[error("names use a-z, 0-9 and -; found {0:?}")]
    Character(char),
    /// A first character that isn't allowed there.
    #[error("a name starts with a letter, not with {0:?}")]
    Start(char),
    /// A hyphen at the end.
    #[error("a name doesn't end with a hyphen")]
    TrailingHyphen,
    /// Two hyphens in a row.
    #[error("a name has no two hyphens in a row")]
    DoubledHyphen,
    /// The name of a tenant that would read as another kind of stack.
    #[error("{0:?} is a reserved name")]
    Reserved(String),
    /// Not the name of an environment variable.
    #[error("an environment variable is named with A-Z, 0-9 and _, and starts with a letter or _: {0:?}")]
    Variable(String),
}

fn check_label(text: &str) -> Result<(), NameError> {
    let first = text.chars().next().ok_or(NameError::Empty)?;
    if let Some(odd) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        return Err(NameError::Character(odd));
    }
    if text.len() > LONGEST_NAME {
        return Err(NameError::TooLong(text.len()));
    }
    if first == '-' {
        return Err(NameError::Start(first));
    }
    if text.ends_with('-') {
        return Err(NameError::TrailingHyphen);
    }
    if text.contains("--") {
        return Err(NameError::DoubledHyphen);
    }
    Ok(())
}

macro_rules! text_type {
    ($name:ident) => {
        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// The name of an app or of a part of one: `a-z`, `0-9` and `-`, starting with a letter, at most [`LONGEST_NAME`] long.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String);
text_type!(Name);

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_label(text)?;
        match text.chars().next() {
            Some(first) if !first.is_ascii_lowercase() => Err(NameError::Start(first)),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

/// The name of a stack: like a [`Name`], but it may start with a digit (preview `107`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct StackName(String);
text_type!(StackName);

/// Names that no stack may have: the outside names of other kinds of stacks begin with them.
pub const RESERVED_STACK_NAMES: [&str; 4] = ["freehold", "platform", "preview", "stage"];

impl FromStr for StackName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_label(text)?;
        if RESERVED_STACK_NAMES.contains(&text) {
            return Err(NameError::Reserved(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The name of an environment variable: `A-Z`, `a-z`, `0-9` and `_`, not starting with a digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct EnvName(String);
text_type!(EnvName);

impl FromStr for EnvName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if starts_well && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Variable(text.to_owned()))
        }
    }
}
