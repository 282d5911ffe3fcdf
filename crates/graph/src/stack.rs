//! Which stack is meant.

use std::fmt;

use freehold_spec::{Name, StackName};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A stack's immutable identity. Every ownership mark carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StackId(pub Uuid);

impl fmt::Display for StackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The kinds of stacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StackKind {
    /// A customer of the product.
    Tenant,
    /// A pull request.
    Preview,
    /// An environment of the developers: dev, production.
    Stage,
}

impl StackKind {
    /// The kind as it is written everywhere: `tenant`, `preview`, `stage`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Preview => "preview",
            Self::Stage => "stage",
        }
    }
}

impl fmt::Display for StackKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What makes a stack unique: target, app, kind and name. Shown as `guestbook/tenant/acme`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StackKey {
    /// The target's name.
    pub target: Name,
    /// The app's name.
    pub app: Name,
    /// Stacks of another kind may have the same name.
    pub kind: StackKind,
    /// The stack's own name.
    pub name: StackName,
}

impl StackKey {
    /// How the stack is named on the command line: `--tenant acme`, and where it isn't on this machine `--target prod --tenant acme`.
    pub fn option(&self) -> String {
        match self.target.as_str() {
            "local" => format!("--{} {}", self.kind, self.name),
            target => format!("--target {target} --{} {}", self.kind, self.name),
        }
    }
}

impl fmt::Display for StackKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.app, self.kind, self.name)
    }
}
