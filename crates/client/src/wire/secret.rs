//! Secrets and credentials.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::words;

/// A secret of a stack, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretStatus {
    /// As in the definition; `database.main` for the credentials of a database.
    pub name: String,
    /// How often it was set or rotated; 0: never.
    pub version: u32,
    /// Where its value comes from.
    pub state: SecretState,
    /// When its present value was made.
    pub set_at: Option<DateTime<Utc>>,
    /// The services that read it and so restart at the next deploy.
    pub readers: Vec<String>,
}

/// The new value of a secret: the body of `PUT /stacks/{id}/secrets/{name}`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretValue {
    /// 1 to 65536 bytes of UTF-8 without NUL. Never logged.
    pub value: String,
}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretValue(•••)")
    }
}

/// The new values of several secrets, by name: the body of `PUT /secrets`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretValues {
    /// Each as in [`SecretValue`]; at most 1000. Never logged.
    pub values: BTreeMap<String, String>,
}

impl std::fmt::Debug for SecretValues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// Credentials for one session of `db shell`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DatabaseAccess {
    /// The server's address.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// The database's name there.
    pub database: String,
    /// The role to log in as.
    pub user: String,
    /// That role's password.
    pub password: String,
}

impl std::fmt::Debug for DatabaseAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DatabaseAccess({}@{}:{}/{})", self.user, self.host, self.port, self.database)
    }
}

words! {
    /// Where a secret's value comes from.
    SecretState {
        /// Freehold generated it.
        Generated "generated",
        /// Somebody set it.
        Set "set",
        /// It has no value yet.
        Missing "missing",
    }
}

words! {
    /// A role of a stack's database.
    DatabaseRole {
        /// What services work as.
        App "app",
        /// What migrations work as: it owns the tables.
        Migrator "migrator",
    }
}
