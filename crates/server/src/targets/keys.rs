//! What follows from the platform's master key for each target, so that it is kept nowhere.

use freehold_graph::SecretText;
use freehold_problem::Problem;
use freehold_spec::Name;
use freehold_store::Store;
use sha2::{Digest as _, Sha256};

/// The name of Freehold's own role on a target's database server: the same at any time, another one for each platform and target.
pub(crate) async fn role_name(store: &Store, target: &Name) -> Result<String, Problem> {
    let secret = store.derive(&format!("target/{target}/role")).await?;
    let digest = hex::encode(Sha256::digest(secret.reveal()));
    let digest = digest.get(..12).unwrap_or_default();
    Ok(format!("freehold_{}_{digest}", target.as_str().replace('-', "_")))
}

/// That role's password.
pub(crate) async fn role_password(store: &Store, target: &Name) -> Result<SecretText, Problem> {
    Ok(store.derive(&format!("target/{target}/database")).await?)
}

/// What the passwords of Freehold's own logins in the target's databases follow from.
pub(crate) async fn login_key(store: &Store, target: &Name) -> Result<SecretText, Problem> {
    Ok(store.derive(&format!("target/{target}/logins")).await?)
}
