//! The provisioner's own database on a server: where it connects to, and where its locks are.
//!
//! Nobody else gets in. In `postgres`, which on a server that was given is open to every role, a tenant could hold our
//! locks. The store's database won't do: the provisioner has nothing to look for in there, and a cluster's server has none.

use freehold_engine::ProviderError;
use freehold_graph::expand::names::POSTGRES_LIMIT;
use freehold_problem::Code;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::body;
use crate::failure::{self, Doing};
use crate::quote::Identifier;
use crate::session::Session;

/// Its name follows from the role's, so that two platforms on one server have two.
pub(crate) fn name(provisioner: &str) -> Result<Identifier, ProviderError> {
    if provisioner.starts_with("freehold") {
        return body::identifier(provisioner);
    }
    let whole = format!("freehold_{provisioner}");
    if whole.len() <= POSTGRES_LIMIT {
        return body::identifier(&whole);
    }
    let digest = hex::encode(Sha256::digest(provisioner.as_bytes()));
    body::identifier(&format!("freehold_{}", digest.get(..24).unwrap_or_default()))
}

/// Makes it, closed to all but its owner: who runs this. Repeating it changes nothing.
pub(crate) async fn make(
    session: &mut Session,
    provisioner: &str,
    doing: &Doing,
    deadline: Instant,
) -> Result<(), ProviderError> {
    let home = name(provisioner)?;
    // Closed until PUBLIC's rights are gone.
    let create = format!("CREATE DATABASE {home} TEMPLATE template0 ENCODING 'UTF8' CONNECTION LIMIT 0");
    match session.attempt(deadline, create).await {
        Ok(()) => {}
        // There already, or made by another process in this moment.
        Err(Some(error)) if matches!(failure::sqlstate(&error).as_deref(), Some("42P04" | "23505")) => {}
        Err(Some(error)) => return Err(doing.failed(error)),
        Err(None) => {
            return Err(ProviderError::retryable(
                Code::PostgresUnreachable,
                format!("{}: no answer within its time", doing.0),
            ));
        }
    }
    let close = format!("REVOKE ALL ON DATABASE {home} FROM PUBLIC; ALTER DATABASE {home} CONNECTION LIMIT -1");
    session.run(doing, deadline, close).await
}
