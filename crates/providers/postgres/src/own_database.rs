//! The provisioner's own database on a server: where it connects to, and where its locks are.
//!
//! Nobody else gets in. In `postgres`, which on a server that was given is open to every role, a tenant could hold our
//! locks. The store's database won't do: the provisioner has nothing to look for in there, and a cluster's server has none.

use freehold_engine::ProviderError;
use freehold_graph::expand::names::POSTGRES_LIMIT;
use sha2::{Digest as _, Sha256};

use crate::body;
use crate::quote::Identifier;

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
