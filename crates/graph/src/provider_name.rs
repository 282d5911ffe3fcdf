//! The systems that Freehold talks to.

use serde::{Deserialize, Serialize};

/// Which system a provider talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderName {
    /// The store itself: sealed secrets.
    Store,
    /// A PostgreSQL server.
    Postgres,
    /// This machine: processes and routes.
    Local,
    /// A cluster's API server.
    Kubernetes,
}

impl ProviderName {
    /// The name as it is written everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Postgres => "postgres",
            Self::Local => "local",
            Self::Kubernetes => "kubernetes",
        }
    }
}
