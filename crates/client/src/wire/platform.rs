//! The installation, and what is found about it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::words;

/// The platform as a process: `GET /platform`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Platform {
    /// The version of the program: `0.3.0`.
    pub version: String,
    /// The id of its process.
    pub pid: u32,
    /// Where this machine keeps everything; empty in a cluster.
    pub data_directory: String,
    /// The port that stacks answer on; 0 without a router.
    pub router_port: u16,
    /// What host names end with on this machine; empty in a cluster.
    pub domain: String,
    /// `PostgreSQL 15.18, private, port 54329`.
    pub postgres: String,
    /// When that process was started.
    pub started_at: DateTime<Utc>,
}

/// One finding of `GET /doctor` or `POST /targets/{name}/check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// `postgresql`, `orphans`, `drift guestbook/tenant/acme`, `permission to create
    /// deployments.apps`.
    pub subject: String,
    /// What was found.
    pub message: Words,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// A text that says something: there is no empty one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(from = "String")]
#[schema(value_type = String, min_length = 1)]
pub struct Words(String);

impl<T: Into<String>> From<T> for Words {
    fn from(text: T) -> Self {
        let text = text.into();
        match text.trim().is_empty() {
            true => Self("unknown finding (this is a bug: please report it)".to_owned()),
            false => Self(text),
        }
    }
}

impl std::ops::Deref for Words {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

words! {
    /// How bad a finding is.
    Level {
        /// Nothing to do.
        Ok "ok",
        /// To be looked at.
        Warning "warning",
        /// Something doesn't work.
        Error "error",
    }
}
