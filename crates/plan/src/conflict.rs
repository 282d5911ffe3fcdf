//! Fields that somebody else manages.

use serde::{Deserialize, Serialize};

/// A field that somebody else manages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Conflict {
    /// Dotted path in the body.
    pub path: String,
    /// Who: a field manager's name, `kubectl-edit`, `argocd-controller`.
    pub manager: String,
}
