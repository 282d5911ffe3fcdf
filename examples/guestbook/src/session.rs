//! The session: a random name in a cookie, signed with `SESSION_KEY`. Nothing is kept on the server; with another
//! key all sessions end.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The cookie's name.
pub const COOKIE: &str = "guestbook_session";
/// How long a session lasts.
pub const LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// A session whose signature was right, or a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// 128 random bits, as text.
    pub name: String,
    /// The cookie's value, where the client doesn't have it yet.
    pub new_cookie: Option<String>,
}

/// Makes sessions and knows them again.
pub struct Signer {
    key: Hmac<Sha256>,
}

impl Signer {
    pub fn new(key: &[u8]) -> Self {
        // HMAC takes keys of any length.
        let key = Hmac::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&Default::default()));
        Self { key }
    }

    /// The session of a request's `Cookie` headers, else a new one.
    pub fn session<'a>(&self, cookies: impl Iterator<Item = &'a str>, now: SystemTime, random: [u8; 16]) -> Session {
        let known = cookies
            .flat_map(|header| header.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == COOKIE)
            .find_map(|(_, value)| self.verify(value, now));
        known.map_or_else(|| self.issue(now, random), |name| Session { name, new_cookie: None })
    }

    fn issue(&self, now: SystemTime, random: [u8; 16]) -> Session {
        let name = URL_SAFE_NO_PAD.encode(random);
        let signed = format!("{name}.{}", seconds(now));
        let signature = URL_SAFE_NO_PAD.encode(self.key.clone().chain_update(&signed).finalize().into_bytes());
        Session { name, new_cookie: Some(format!("{signed}.{signature}")) }
    }

    /// The session's name, if the signature is ours and the session has not ended.
    fn verify(&self, cookie: &str, now: SystemTime) -> Option<String> {
        let (signed, signature) = cookie.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        self.key.clone().chain_update(signed).verify_slice(&signature).ok()?;
        let (name, issued) = signed.split_once('.')?;
        let issued: u64 = issued.parse().ok()?;
        (seconds(now) < issued.saturating_add(LIFETIME.as_secs())).then(|| name.to_owned())
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"a key of at least sixteen bytes";

    fn time(after: Duration) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000) + after
    }

    fn cookie() -> String {
        let cookie = Signer::new(KEY).session([].into_iter(), time(Duration::ZERO), [7; 16]).new_cookie.unwrap();
        format!("theme=dark; {COOKIE}={cookie}")
    }

    #[test]
    fn a_session_is_known_again() {
        let session = Signer::new(KEY).session([cookie().as_str()].into_iter(), time(Duration::from_secs(5)), [8; 16]);
        assert_eq!(session, Session { name: URL_SAFE_NO_PAD.encode([7; 16]), new_cookie: None });
    }

    #[test]
    fn a_session_ends_after_its_lifetime() {
        let session = Signer::new(KEY).session([cookie().as_str()].into_iter(), time(LIFETIME), [8; 16]);
        assert!(session.new_cookie.is_some());
    }

    #[test]
    fn a_cookie_that_was_tampered_with_or_signed_by_another_key_is_not_accepted() {
        let now = time(Duration::from_secs(5));
        let tampered = cookie().replace("guestbook_session=B", "guestbook_session=C");
        assert_ne!(tampered, cookie());
        assert!(Signer::new(KEY).session([tampered.as_str()].into_iter(), now, [8; 16]).new_cookie.is_some());
        let other = Signer::new(b"another key of sixteen bytes");
        assert!(other.session([cookie().as_str()].into_iter(), now, [8; 16]).new_cookie.is_some());
        assert!(other.session(["guestbook_session=;;=.."].into_iter(), now, [8; 16]).new_cookie.is_some());
    }
}
