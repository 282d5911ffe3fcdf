//! HTTP's basic authentication (RFC 7617).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use sha2::{Digest as _, Sha256};

/// What is kept of a password: a salt, and the SHA-256 of the salt and the password. Quick to compare, for each request has to be, so a
/// password has to be one that can't be guessed; whoever makes them generates them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordHash {
    /// Different for each password.
    pub salt: [u8; 16],
    /// SHA-256 of salt and password.
    pub digest: [u8; 32],
}

impl PasswordHash {
    /// Of a password, with a salt that was chosen at random.
    pub fn of(password: &str, salt: [u8; 16]) -> Self {
        Self { salt, digest: Self::digest(password, salt) }
    }

    fn digest(password: &str, salt: [u8; 16]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(salt);
        hash.update(password.as_bytes());
        hash.finalize().into()
    }

    /// Takes as long for each wrong password.
    fn is_of(&self, password: &str) -> bool {
        let digest = Self::digest(password, self.salt);
        digest.iter().zip(self.digest).fold(0, |odd, (one, other)| odd | (one ^ other)) == 0
    }
}

/// Whether the credentials of a request are one user's. Which names there are isn't told by how long the answer takes.
pub(crate) fn is_let_in(users: &BTreeMap<String, PasswordHash>, authorization: Option<&HeaderValue>) -> bool {
    let Some((name, password)) = authorization.and_then(credentials) else { return false };
    // No password has this digest.
    let nobody = PasswordHash { salt: [0; 16], digest: [0; 32] };
    users.get(&name).unwrap_or(&nobody).is_of(&password)
}

fn credentials(value: &HeaderValue) -> Option<(String, String)> {
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    let decoded = STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (name, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_of_the_right_user_lets_in() {
        let users = BTreeMap::from([("preview".to_owned(), PasswordHash::of("a:b ü", [7; 16]))]);
        let asked = |scheme: &str, credentials: &str| {
            let value = format!("{scheme} {}", STANDARD.encode(credentials));
            is_let_in(&users, Some(&HeaderValue::from_str(&value).unwrap()))
        };
        assert!(asked("Basic", "preview:a:b ü") && asked("basic", "preview:a:b ü"));
        for credentials in ["preview:a:b", "preview:", "preview", "other:a:b ü", ":a:b ü", ""] {
            assert!(!asked("Basic", credentials), "{credentials}");
        }
        assert!(!asked("Bearer", "preview:a:b ü"));
        assert!(!is_let_in(&users, None) && !is_let_in(&users, Some(&HeaderValue::from_static("Basic ???"))));
    }
}
