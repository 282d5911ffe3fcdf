//! How Freehold enters a stack's database: as nobody who is worth anything elsewhere.
//!
//! ```text
//! keeper  LOGIN, member of the owner             looks, sets rights and extensions, restores
//! dumper  LOGIN, member of the owner, BYPASSRLS  dumps and counts; reads rows that forced row-level security hides
//! ```
//!
//! The owner of a database decides what everybody finds in there who enters: settings (`ALTER DATABASE … SET`), views and
//! functions in front of the catalogs' names, code in constraints, defaults and index expressions. So the provisioner never
//! enters. Each stack's database has these two logins, which may connect to that database and its scratch copy, and are
//! members of that owner and of nothing else: what code of the tenant's gets from them, `RESET ROLE` included, the tenant
//! has anyway. Start-up options win over the settings of databases and roles, and every name is qualified.
//!
//! Their names follow from the owner's, their passwords from the platform's master key. Code that runs in a session of a
//! login may change that login's own password, as PostgreSQL lets every role: it is set anew before and after a restore.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use freehold_graph::SecretText;
use hmac::{Hmac, KeyInit, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::quote::Identifier;

/// Connections of a keeper: what looks at a database at the same time. None of them counts as promised to the stack.
pub(crate) const KEEPER_CONNECTIONS: i32 = 5;
/// Connections of a dumper: the one that counts and that of `pg_dump`, and one that is still ending.
pub(crate) const DUMPER_CONNECTIONS: i32 = 3;

/// What sessions that may change something are called in `pg_stat_activity`, so that those that were given up are found.
pub(crate) const CHANGING: &str = "freehold change";
/// What the others are called.
pub(crate) const LOOKING: &str = "freehold look";

/// Settings at the start of each session in a stack's database; those of the database and of the role lose to them.
pub(crate) const OPTIONS: [(&str, &str); 10] = [
    ("search_path", "pg_catalog,pg_temp"),
    ("local_preload_libraries", ""),
    ("row_security", "off"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_deferrable", "off"),
    ("idle_session_timeout", "0"),
    ("quote_all_identifiers", "off"),
    ("standard_conforming_strings", "on"),
    ("client_min_messages", "error"),
];

/// What programs of PostgreSQL's begin with besides. They set limits of their own, with statements that a database's setting of one
/// millisecond could end. A server notices by itself when one of them was ended.
const PROGRAM_OPTIONS: [(&str, &str); 5] = [
    ("role", "none"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("client_connection_check_interval", "1000"),
];

/// The same for programs of PostgreSQL's, in `PGOPTIONS`.
pub(crate) fn program_options() -> String {
    let mut text = String::new();
    for (name, value) in OPTIONS.into_iter().chain(PROGRAM_OPTIONS) {
        text.push_str(&format!("-c {name}={} ", value.replace('\\', "\\\\").replace(' ', "\\ ")));
    }
    text
}

/// The key that the passwords of all keepers and dumpers of a server follow from.
#[derive(Debug, Clone)]
pub(crate) struct Key(SecretText);

impl Key {
    pub(crate) fn new(text: SecretText) -> Self {
        Self(text)
    }

    pub(crate) fn password(&self, login: &Identifier) -> SecretText {
        SecretText::new(BASE64_URL_SAFE_NO_PAD.encode(self.derive("password", login)))
    }

    /// Says in a mark, which everybody can read, which password a login has.
    pub(crate) fn digest(&self, login: &Identifier) -> String {
        hex::encode(self.derive("digest", login).get(..8).unwrap_or_default())
    }

    fn derive(&self, what: &str, login: &Identifier) -> Vec<u8> {
        // A key of a block's length, zeros behind it, as HMAC would make of a shorter one: this way it can't fail.
        let key: [u8; 32] = Sha256::digest(self.0.reveal().as_bytes()).into();
        let mut block = [0_u8; 64];
        block.iter_mut().zip(key).for_each(|(place, byte)| *place = byte);
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
        mac.update(format!("{what} {}", login.as_str()).as_bytes());
        mac.finalize().into_bytes().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identifier(text: &str) -> Identifier {
        Identifier::new(text).unwrap()
    }

    #[test]
    fn passwords_follow_from_the_key_and_the_login() {
        let key = Key::new(SecretText::new("k"));
        let other = Key::new(SecretText::new("l"));
        let password = |key: &Key, login: &str| key.password(&identifier(login)).reveal().to_owned();
        assert_eq!(password(&key, "a__keeper"), password(&key, "a__keeper"));
        assert_ne!(password(&key, "a__keeper"), password(&key, "a__dumper"));
        assert_ne!(password(&key, "a__keeper"), password(&other, "a__keeper"));
        assert!(!password(&key, "a__keeper").contains(&key.digest(&identifier("a__keeper"))));
    }
}
