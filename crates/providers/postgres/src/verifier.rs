//! What a server stores in the place of a password.

use freehold_graph::SecretText;

/// A SCRAM-SHA-256 verifier with a random salt: the password itself never reaches the server.
pub(crate) fn verifier(password: &SecretText) -> String {
    postgres_protocol::password::scram_sha_256(password.reveal().as_bytes())
}
