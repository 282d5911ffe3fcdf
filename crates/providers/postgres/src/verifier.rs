//! What a server stores in the place of a password: SCRAM-SHA-256 verifiers, from which nobody can log in.
//!
//! The rounds of hashing in one slow down whoever guesses passwords that people chose. Both sides pay for them: the client at each login,
//! the server when the role is made. So the passwords that programs of tenants use, which may come from a person and which their libraries may want
//! to have hashed 4096 times, have PostgreSQL's rounds. Those that only Freehold uses are 256 bits of a key, which nobody guesses.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use freehold_engine::ProviderError;
use freehold_graph::SecretText;
use freehold_problem::Code;
use hmac::{Hmac, KeyInit, Mac as _};
use sha2::{Digest as _, Sha256};

/// A verifier with a random salt and PostgreSQL's rounds: the password itself never reaches the server.
pub(crate) fn verifier(password: &SecretText) -> String {
    postgres_protocol::password::scram_sha_256(password.reveal().as_bytes())
}

/// A verifier of a password that was derived from a key of 256 bits, written in ASCII, with a single round.
///
/// # Errors
/// The system gives no random numbers for the salt.
pub(crate) fn verifier_of_key(password: &SecretText) -> Result<String, ProviderError> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|error| {
        ProviderError::retryable(Code::NoRandomness, format!("the system provides no random numbers: {error}"))
    })?;
    Ok(single_round(password, salt))
}

/// RFC 5802, section 3, with one iteration.
fn single_round(password: &SecretText, salt: [u8; 16]) -> String {
    let first_block = [&salt[..], &1_u32.to_be_bytes()].concat();
    let salted = hmac(&block(password.reveal().as_bytes()), &first_block);
    let stored = Sha256::digest(hmac(&block(&salted), b"Client Key"));
    let server = hmac(&block(&salted), b"Server Key");
    let [salt, stored, server] = [&salt[..], &stored[..], &server[..]].map(|bytes| BASE64_STANDARD.encode(bytes));
    format!("SCRAM-SHA-256$1:{salt}${stored}:{server}")
}

fn hmac(key: &[u8; 64], text: &[u8]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new(key.into());
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// A key as HMAC uses it, which this way can't fail: a longer one is hashed, and zeros fill the block.
fn block(key: &[u8]) -> [u8; 64] {
    let mut block = [0; 64];
    let mut fill = |key: &[u8]| block.iter_mut().zip(key).for_each(|(place, byte)| *place = *byte);
    match key.len() {
        0..=64 => fill(key),
        _ => fill(&Sha256::digest(key)),
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_of_a_key_is_what_the_rfc_says() {
        // Computed by hashlib.pbkdf2_hmac('sha256', password, salt, 1) and hmac.
        let password = SecretText::new("r0pSk-VbS4lHgF5Xw1ZpN9xY2t7uQbJcE3mAaKdLz8o");
        assert_eq!(
            single_round(&password, *b"0123456789abcdef"),
            "SCRAM-SHA-256$1:MDEyMzQ1Njc4OWFiY2RlZg==$Cwd+z9fTD6pclcSxCPScews49JW8LiQl88sSYfwuxAk=:lJgvlzPZEdiuB9UODd3NAy/kSszXOHGfmGEJFvFitm8="
        );
    }

    #[test]
    fn a_password_longer_than_a_block_is_hashed_first() {
        let password = SecretText::new("k".repeat(65));
        assert_eq!(
            single_round(&password, *b"0123456789abcdef"),
            "SCRAM-SHA-256$1:MDEyMzQ1Njc4OWFiY2RlZg==$j9BjmyhhoMF0C3QJCqBvXkvHxhfDE1pDy5jy+Ncu1cw=:G8PJlZER+QR5fk4ZjO5b9Y0kUYTz05Rkcl62lEKVQ4Y="
        );
    }
}
