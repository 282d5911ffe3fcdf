//! Sealed values, and the keys of tenants that seal them.
//!
//! ```text
//!   master key (file) ──wraps──▶ data key (one for each tenant) ──seals──▶ secrets
//!                                        ├──HKDF──▶ derived credentials
//!                                        └──HKDF──▶ key of digests
//! ```
//!
//! A sealed value is `version (1 byte) · key's number (4, big endian) · nonce (12) · ciphertext and tag`: AES-256-GCM with a
//! random nonce. The associated data are the table's name and the row's identity, so that a value opens in its own row only.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use freehold_graph::{Digest, SecretText, StackId};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::error::StoreError;
use crate::tenant_id::TenantId;

/// The format that this program writes. It reads all up to this one.
const VERSION: u8 = 1;
const NONCE: usize = 12;
const HEADER: usize = 1 + 4 + NONCE;
const TAG: usize = 16;

/// How many bytes a text has that was sealed as so many.
pub(crate) const fn opened_length(sealed: usize) -> usize {
    sealed.saturating_sub(HEADER + TAG)
}

/// 256 bits that seal and open. Wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Key(pub(crate) [u8; 32]);

impl Key {
    /// A new one.
    pub(crate) fn random() -> Result<Self, StoreError> {
        let mut key = Self([0; 32]);
        fill_random(&mut key.0)?;
        Ok(key)
    }

    /// Seals `text` for the row that `place` names.
    pub(crate) fn seal(&self, number: u32, place: &AssociatedData, text: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut nonce = [0_u8; NONCE];
        fill_random(&mut nonce)?;
        let payload = Payload { msg: text, aad: &place.0 };
        let sealed = self.cipher().encrypt(&Nonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| StoreError::Tampered { what: "a value to seal".to_owned() })?;
        let mut value = Vec::with_capacity(HEADER + sealed.len());
        value.push(VERSION);
        value.extend_from_slice(&number.to_be_bytes());
        value.extend_from_slice(&nonce);
        value.extend_from_slice(&sealed);
        Ok(value)
    }

    /// Opens what was sealed under this number for the row that `place` names; `what` is for the error.
    pub(crate) fn open(
        &self,
        number: u32,
        place: &AssociatedData,
        sealed: &[u8],
        what: &str,
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let tampered = || StoreError::Tampered { what: what.to_owned() };
        let (header, ciphertext) = sealed.split_at_checked(HEADER).ok_or_else(tampered)?;
        let (version, header) = header.split_first().ok_or_else(tampered)?;
        if *version > VERSION {
            let message = format!("its format {version} is newer than this program");
            return Err(StoreError::Unreadable { what: "a sealed value", message });
        }
        let (key, nonce) = header.split_at_checked(4).ok_or_else(tampered)?;
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| tampered())?;
        if *version != VERSION || key != number.to_be_bytes() {
            return Err(tampered());
        }
        let payload = Payload { msg: ciphertext, aad: &place.0 };
        self.cipher().decrypt(&Nonce::from(nonce), payload).map(Zeroizing::new).map_err(|_| tampered())
    }

    /// 256 bits for one purpose. `parts` are told apart by their lengths.
    pub(crate) fn derive(&self, purpose: &str, parts: &[&[u8]]) -> Self {
        let mut key = Self([0; 32]);
        let info = joined(purpose, parts);
        // 32 bytes are always within HKDF's limit, so this can't fail.
        let _ = Hkdf::<Sha256>::new(Some(b"freehold"), &self.0).expand(&info, &mut key.0);
        key
    }

    /// HMAC-SHA-256 of a message under this key.
    pub(crate) fn authenticate(&self, message: &[u8]) -> [u8; 32] {
        // The key of a block's length that HMAC would make of a shorter one: zeros behind it.
        let mut block = Zeroizing::new([0_u8; 64]);
        for (to, from) in block.iter_mut().zip(self.0) {
            *to = from;
        }
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&(*block).into());
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(&self.0.into())
    }
}

/// Which row a sealed value belongs to.
pub(crate) struct AssociatedData(Vec<u8>);

impl AssociatedData {
    pub(crate) fn new(table: &str, row: &[&[u8]]) -> Self {
        Self(joined(table, row))
    }
}

/// The parts, each behind its length, so that `("ab", "c")` and `("a", "bc")` differ.
fn joined(first: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    for part in std::iter::once(first.as_bytes()).chain(parts.iter().copied()) {
        all.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        all.extend_from_slice(part);
    }
    all
}

/// Fills `bytes` with random numbers of the system.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), StoreError> {
    getrandom::fill(bytes).map_err(|error| StoreError::Random(error.to_string()))
}

/// A tenant's key: seals its secrets, derives its credentials, makes its digests. Get it with [`crate::Store::data_key`].
pub struct DataKey {
    tenant: TenantId,
    number: u32,
    key: Key,
    digests: Key,
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataKey").field("tenant", &self.tenant).field("number", &self.number).finish_non_exhaustive()
    }
}

impl DataKey {
    pub(crate) fn new(tenant: TenantId, number: u32, key: Key) -> Self {
        let digests = key.derive("digests/1", &[]);
        Self { tenant, number, key, digests }
    }

    /// The tenant whose secrets it seals.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The credential for one purpose of one stack: 32 bytes in base64url. The same at any time, for it is stored nowhere.
    pub fn derive(&self, stack: StackId, purpose: &str, rotation: u32) -> SecretText {
        let key = self.key.derive("credential/1", &[stack.0.as_bytes(), purpose.as_bytes(), &rotation.to_be_bytes()]);
        SecretText::new(URL_SAFE_NO_PAD.encode(key.0))
    }

    /// The keyed digest of a text: equal exactly for equal texts of the same tenant.
    pub fn digest(&self, text: &str) -> Digest {
        let mut digest = hex::encode(self.digests.authenticate(text.as_bytes()));
        digest.truncate(32);
        Digest(digest)
    }

    /// Seals a secret for its row.
    pub(crate) fn seal_secret(
        &self,
        stack: StackId,
        name: &str,
        version: u32,
        text: &SecretText,
    ) -> Result<Vec<u8>, StoreError> {
        self.key.seal(self.number, &self.place(stack, name, version), text.reveal().as_bytes())
    }

    /// Opens a secret of a row.
    pub(crate) fn open_secret(
        &self,
        stack: StackId,
        name: &str,
        version: u32,
        sealed: &[u8],
    ) -> Result<SecretText, StoreError> {
        let what = format!("secret {name}");
        let text = self.key.open(self.number, &self.place(stack, name, version), sealed, &what)?;
        let text = std::str::from_utf8(&text).map_err(|_| StoreError::Tampered { what })?;
        Ok(SecretText::new(text))
    }

    /// Seals a target's credential for its row.
    pub(crate) fn seal_credential(
        &self,
        target: &str,
        purpose: &str,
        text: &SecretText,
    ) -> Result<Vec<u8>, StoreError> {
        self.key.seal(self.number, &self.place_of_credential(target, purpose), text.reveal().as_bytes())
    }

    /// Opens a target's credential of a row.
    pub(crate) fn open_credential(&self, target: &str, purpose: &str, sealed: &[u8]) -> Result<SecretText, StoreError> {
        let what = format!("the {purpose} of target {target}");
        let text = self.key.open(self.number, &self.place_of_credential(target, purpose), sealed, &what)?;
        let text = std::str::from_utf8(&text).map_err(|_| StoreError::Tampered { what })?;
        Ok(SecretText::new(text))
    }

    fn place_of_credential(&self, target: &str, purpose: &str) -> AssociatedData {
        AssociatedData::new("target_credentials", &[self.tenant.0.as_bytes(), target.as_bytes(), purpose.as_bytes()])
    }

    fn place(&self, stack: StackId, name: &str, version: u32) -> AssociatedData {
        AssociatedData::new(
            "secrets",
            &[self.tenant.0.as_bytes(), stack.0.as_bytes(), name.as_bytes(), &version.to_be_bytes()],
        )
    }
}
