//! The fields of the two bodies, as this provider needs them. See [`freehold_graph::expand::local`] for their meaning.

use freehold_engine::ProviderError;
use freehold_graph::Value;
use freehold_graph::expand::names::POSTGRES_LIMIT;
use freehold_problem::Code;
use sha2::{Digest as _, Sha256};

use crate::quote::Identifier;

/// The names of a database's roles: three for the app, two for Freehold's own use ([`crate::in_database`]).
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
            keeper: login_name(&owner, "keeper")?,
            dumper: login_name(&owner, "dumper")?,
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

/// The name of a login beside the owner's: `acme__guestbook__keeper` beside `acme__guestbook__owner`.
pub(crate) fn login_name(owner: &Identifier, login: &str) -> Result<Identifier, ProviderError> {
    let stem = owner.as_str().strip_suffix("__owner").unwrap_or(owner.as_str());
    let name = format!("{stem}__{login}");
    if name.len() <= POSTGRES_LIMIT {
        return identifier(&name);
    }
    // The names of owners end with a digest then, or are foreign ones: the beginning is for people.
    let digest = hex::encode(Sha256::digest(format!("{} {login}", owner.as_str())));
    let mut kept = String::new();
    let room = POSTGRES_LIMIT.saturating_sub(login.len()).saturating_sub(16);
    kept.extend(stem.char_indices().take_while(|(at, c)| at + c.len_utf8() <= room).map(|(_, c)| c));
    identifier(&format!("{kept}__{}__{login}", digest.get(..12).unwrap_or_default()))
}

/// A name that comes from a body or from the server.
pub(crate) fn identifier(text: &str) -> Result<Identifier, ProviderError> {
    Identifier::new(text).map_err(|error| ProviderError::rejected(Code::StepFailed, error.to_string()))
}

fn missing(field: &str) -> ProviderError {
    ProviderError::rejected(Code::StepFailed, format!("the body of a resource lacks its field {field}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_logins_are_bounded_and_differ_for_each_owner() {
        let keeper = |owner: &str| login_name(&identifier(owner).unwrap(), "keeper").unwrap().as_str().to_owned();
        assert_eq!(keeper("acme__guestbook__owner"), "acme__guestbook__keeper");
        assert_eq!(keeper("theirs"), "theirs__keeper");
        let long = |last: char| format!("{}{last}", "ü".repeat(31));
        let (one, other) = (keeper(&long('a')), keeper(&long('b')));
        assert!(one.len() <= POSTGRES_LIMIT && one != other, "{one}");
        assert!(one.ends_with("__keeper"), "{one}");
    }
}
