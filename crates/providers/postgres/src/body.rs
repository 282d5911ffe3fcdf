//! The fields of the two bodies, as this provider needs them. See [`freehold_graph::expand::local`] for their meaning.

use freehold_engine::ProviderError;
use freehold_graph::Value;
use freehold_problem::Code;

use crate::inside;
use crate::quote::Identifier;

/// The names of a database's roles: three for the app, two for Freehold's own use ([`crate::inside`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoleNames {
    /// Owns the database and all that is in it; nobody logs in as it.
    pub(crate) owner: Identifier,
    /// Logs in to migrate, and acts as the owner.
    pub(crate) migrator: Identifier,
    /// Logs in to read and write.
    pub(crate) app: Identifier,
    /// Freehold's, to look and to restore.
    pub(crate) keeper: Identifier,
    /// Freehold's, to dump.
    pub(crate) dumper: Identifier,
}

impl RoleNames {
    pub(crate) fn of(body: &Value) -> Result<Self, ProviderError> {
        let owner = name(body, "owner")?;
        Ok(Self {
            keeper: inside::name(&owner, "keeper")?,
            dumper: inside::name(&owner, "dumper")?,
            owner,
            migrator: name(body, "migrator")?,
            app: name(body, "app")?,
        })
    }

    /// In this order everywhere: owner, migrator, app, keeper, dumper.
    pub(crate) fn all(&self) -> [&Identifier; 5] {
        [&self.owner, &self.migrator, &self.app, &self.keeper, &self.dumper]
    }
}

/// The extensions that are wanted.
pub(crate) fn extensions(body: &Value) -> Vec<&str> {
    let listed = body.get("extensions").and_then(Value::as_list).unwrap_or_default();
    listed.iter().filter_map(Value::as_text).collect()
}

/// A whole number.
pub(crate) fn number(body: &Value, field: &str) -> Result<i64, ProviderError> {
    body.get(field).and_then(Value::as_integer).ok_or_else(|| missing(field))
}

fn name(body: &Value, field: &str) -> Result<Identifier, ProviderError> {
    let text = body.get(field).and_then(Value::as_text).ok_or_else(|| missing(field))?;
    identifier(text)
}

/// A name that comes from a body or from the server.
pub(crate) fn identifier(text: &str) -> Result<Identifier, ProviderError> {
    Identifier::new(text).map_err(|error| ProviderError::rejected(Code::StepFailed, error.to_string()))
}

fn missing(field: &str) -> ProviderError {
    ProviderError::rejected(Code::StepFailed, format!("the body of a resource lacks its field {field}"))
}
