//! The master key: 32 bytes in a file of its own, outside the database that it protects.
//!
//! It wraps the tenants' data keys, and the passwords of the store's own roles are derived from it, so that none has to be
//! kept. A new one is made only for a store that was never sealed: a missing key beside sealed data is an error, never a
//! new key.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use freehold_graph::SecretText;
use zeroize::Zeroizing;

use crate::error::StoreError;
use crate::seal::{AssociatedData, DataKey, Key};
use crate::tenant_id::TenantId;

/// What the store keeps to tell the right master key from a wrong one. Says nothing about the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyCheck(pub String);

/// The key above all others of one store.
#[derive(Clone)]
pub struct MasterKey(Key);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(•••)")
    }
}

impl MasterKey {
    /// Takes a key that is kept elsewhere.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Key(bytes))
    }

    /// Reads the key from its file, or makes one if the store was never sealed (`check` is `None`, see
    /// [`crate::key_check`]).
    ///
    /// # Errors
    /// [`StoreError::MasterKeyMissing`] if there is no file and the store is sealed; [`StoreError::MasterKeyWrong`] if the file
    /// holds another key; [`StoreError::MasterKeyFile`] if it can't be read or written, holds no key, or others may read it.
    pub fn load_or_create(path: &Path, check: Option<&KeyCheck>) -> Result<Self, StoreError> {
        let failed = |message: String| StoreError::MasterKeyFile { path: path.display().to_string(), message };
        let key = match std::fs::read(path) {
            Ok(bytes) => {
                let bytes = Zeroizing::new(bytes);
                let mode = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.permissions().mode();
                if mode & 0o077 != 0 {
                    return Err(failed(format!("others may read it (mode {:o})", mode & 0o777)));
                }
                let bytes = <[u8; 32]>::try_from(bytes.as_slice());
                Self::from_bytes(bytes.map_err(|_| failed("it is not 32 bytes long".to_owned()))?)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => match check {
                Some(_) => return Err(StoreError::MasterKeyMissing { path: path.display().to_string() }),
                None => Self::create(path)?,
            },
            Err(error) => return Err(failed(error.to_string())),
        };
        match check {
            Some(check) if *check != key.check() => Err(StoreError::MasterKeyWrong),
            _ => Ok(key),
        }
    }

    /// Reads a key that somebody else keeps in its file, such as a Secret that a cluster mounts: 32 bytes, or these in Base64. It may be
    /// readable to its group, since that is how a cluster hands files to a program that isn't root; never to everybody.
    ///
    /// # Errors
    /// [`StoreError::MasterKeyWrong`] if the store was sealed under another key; [`StoreError::MasterKeyFile`] if the file can't be read,
    /// holds no key, or everybody may read it.
    pub fn load(path: &Path, check: Option<&KeyCheck>) -> Result<Self, StoreError> {
        let failed = |message: String| StoreError::MasterKeyFile { path: path.display().to_string(), message };
        let bytes = Zeroizing::new(std::fs::read(path).map_err(|error| failed(error.to_string()))?);
        let mode = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.permissions().mode();
        if mode & 0o007 != 0 {
            return Err(failed(format!("everybody may read it (mode {:o})", mode & 0o777)));
        }
        let key = Self::from_bytes(thirty_two(&bytes).ok_or_else(|| {
            failed("it holds no key: 32 bytes, or these in Base64 (`openssl rand -base64 32` makes one)".to_owned())
        })?);
        match check {
            Some(check) if *check != key.check() => Err(StoreError::MasterKeyWrong),
            _ => Ok(key),
        }
    }

    /// Writes a new key: complete under another name first, then put in its place, so that no half of a key is ever there.
    fn create(path: &Path) -> Result<Self, StoreError> {
        let key = Key::random()?;
        let new = path.with_extension("new");
        let write = || -> std::io::Result<()> {
            let mut file =
                std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&key.0)?;
            file.sync_all()?;
            // Unlike a rename, a link doesn't replace a key that another process has made meanwhile.
            std::fs::hard_link(&new, path)?;
            std::fs::remove_file(&new)?;
            path.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
        };
        write().map_err(|error| StoreError::MasterKeyFile {
            path: path.display().to_string(),
            message: error.to_string(),
        })?;
        Ok(Self(key))
    }

    /// What the store keeps to recognise this key.
    pub fn check(&self) -> KeyCheck {
        KeyCheck(hex::encode(self.0.derive("check/1", &[]).0))
    }

    /// A password that the platform itself uses, for one purpose (`role freehold_engine`). Stored nowhere.
    pub fn password(&self, purpose: &str) -> SecretText {
        SecretText::new(URL_SAFE_NO_PAD.encode(self.0.derive("password/1", &[purpose.as_bytes()]).0))
    }

    /// Wraps a tenant's new data key for its row.
    pub(crate) fn wrap(&self, tenant: TenantId, number: u32, key: &Key) -> Result<Vec<u8>, StoreError> {
        self.0.seal(0, &data_key_row(tenant, number), &key.0)
    }

    /// Unwraps a tenant's data key.
    pub(crate) fn unwrap_key(&self, tenant: TenantId, number: u32, wrapped: &[u8]) -> Result<DataKey, StoreError> {
        let what = "a tenant's data key";
        let bytes = self.0.open(0, &data_key_row(tenant, number), wrapped, what)?;
        let bytes = <[u8; 32]>::try_from(bytes.as_slice());
        let key = Key(bytes.map_err(|_| StoreError::Tampered { what: what.to_owned() })?);
        Ok(DataKey::new(tenant, number, key))
    }
}

/// A key as it is in a file.
fn thirty_two(bytes: &[u8]) -> Option<[u8; 32]> {
    if let Ok(key) = <[u8; 32]>::try_from(bytes) {
        return Some(key);
    }
    let text = std::str::from_utf8(bytes).ok()?.trim().trim_end_matches('=').replace('+', "-").replace('/', "_");
    let text = Zeroizing::new(text);
    let decoded = Zeroizing::new(URL_SAFE_NO_PAD.decode(text.as_bytes()).ok()?);
    <[u8; 32]>::try_from(decoded.as_slice()).ok()
}

fn data_key_row(tenant: TenantId, number: u32) -> AssociatedData {
    AssociatedData::new("data_keys", &[tenant.0.as_bytes(), &number.to_be_bytes()])
}
