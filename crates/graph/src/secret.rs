//! Secrets: how they are referred to, compared and held. A secret's text exists only in [`SecretText`], only inside
//! a provider call.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Refers to a secret of a stack without telling it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretRef {
    /// A secret of the definition, kept sealed in the store: its name there.
    Stored(String),
    /// A credential that is derived from the tenant's data key and so needs no storage: what it is for
    /// (`postgres/main/app`) and how often it was rotated.
    Derived {
        /// What it is for; part of the derivation.
        purpose: String,
        /// Starts at 0; a rotation adds one.
        rotation: u32,
    },
    /// A credential of the stack's target, such as `registry`: its name there.
    Target(String),
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored(name) => write!(f, "secret {name}"),
            Self::Derived { purpose, .. } => write!(f, "credential {purpose}"),
            Self::Target(name) => write!(f, "the target's {name}"),
        }
    }
}

/// A keyed hash of a secret value: equal exactly if the values are equal, and useless to anybody without the key.
/// Hexadecimal, 32 characters (HMAC-SHA-256, cut to 128 bits).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(pub String);

/// The text of a secret. It is wiped when dropped, and neither `Debug` nor `Display` nor serde prints it.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SecretText(String);

impl SecretText {
    /// Takes a secret's text into custody.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one call that needs it. Never log or format it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}
