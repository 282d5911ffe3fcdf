//! Secrets of stacks, sealed. The text exists in [`SecretText`] only; lists and digests never need it.
//!
//! Setting a secret adds a version. The last two are kept: the one before serves those who still run with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use freehold_engine::{ProviderError, Secrets};
use freehold_graph::value::Digests;
use freehold_graph::{Digest, SecretRef, SecretText, StackId, Value};
use freehold_problem::{Code, Problem};
use freehold_spec::Name;
use serde_json::json;
use uuid::Uuid;

use crate::error::StoreError;
use crate::row::{self, plain, read};
use crate::seal::{self, DataKey};
use crate::store::Store;
use crate::targets::Credential;
use crate::tenant_id::TenantId;
use crate::transaction::TenantTx;

/// What can be told of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretSummary {
    /// Its name in the definition.
    pub name: String,
    /// Its identity: the same for all versions.
    pub identity: Uuid,
    /// How often it was set.
    pub version: u32,
    /// The digest of its present value.
    pub digest: Digest,
    /// How many bytes its present value has.
    pub length: usize,
    /// Whether Freehold made the value.
    pub generated: bool,
    /// When it was set.
    pub set_at: DateTime<Utc>,
    /// The actor who set it, in words.
    pub set_by: String,
}

/// How a secret came by its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Somebody gave it.
    Set,
    /// Freehold made its first one.
    Generated,
    /// Freehold made another one, because somebody asked for it.
    Rotated,
}

impl Written {
    /// Whether Freehold made the value, and what the audit log calls it.
    fn kept_as(self) -> (bool, &'static str) {
        match self {
            Self::Set => (false, "secret.set"),
            Self::Generated => (true, "secret.generate"),
            Self::Rotated => (true, "secret.rotate"),
        }
    }
}

impl TenantTx<'_> {
    /// Sets a secret of a stack (see [`TenantTx::name_stack`] for one that isn't deployed yet). `key` is the tenant's.
    ///
    /// # Errors
    /// The store doesn't answer; there is no such stack.
    pub async fn set_secret(
        &mut self,
        key: &DataKey,
        stack: StackId,
        name: &str,
        text: &SecretText,
        by: &str,
    ) -> Result<SecretSummary, StoreError> {
        self.write_secret(key, stack, name, text, by, Written::Set).await
    }

    /// Gives a secret a value that Freehold made, unless it has a value. Tells what it has now.
    ///
    /// # Errors
    /// The store doesn't answer; there is no such stack.
    pub async fn generate_secret(
        &mut self,
        key: &DataKey,
        stack: StackId,
        name: &str,
        text: &SecretText,
        by: &str,
    ) -> Result<SecretSummary, StoreError> {
        self.lock_secrets(stack).await?;
        match self.secret(stack, name).await? {
            Some(present) => Ok(present),
            None => self.write_secret(key, stack, name, text, by, Written::Generated).await,
        }
    }

    /// Gives a secret a value, with a line of audit.
    ///
    /// # Errors
    /// The store doesn't answer; there is no such stack.
    pub async fn write_secret(
        &mut self,
        key: &DataKey,
        stack: StackId,
        name: &str,
        text: &SecretText,
        by: &str,
        how: Written,
    ) -> Result<SecretSummary, StoreError> {
        let tenant = self.tenant().0;
        self.lock_secrets(stack).await?;
        let present = self.secret(stack, name).await?;
        let version = present.as_ref().map_or(1, |present| present.version.saturating_add(1));
        let identity = present.map_or_else(Uuid::now_v7, |present| present.identity);
        let (generated, action) = how.kept_as();
        let detail = json!({ "secret": name, "version": version, "generated": generated });
        sqlx::query(
            "WITH pruned AS (
                 DELETE FROM secrets WHERE tenant_id = $1 AND stack = $2 AND name = $3 AND version < $4 - 1
             ), audited AS (
                 INSERT INTO audit (tenant_id, actor, action, stack, subject, detail)
                 SELECT $1, $9, $11, id, concat_ws('/', app, kind, name), $10::json FROM stacks
                 WHERE tenant_id = $1 AND id = $2
             )
             INSERT INTO secrets (tenant_id, stack, name, version, identity, sealed, digest, generated, set_by)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(tenant)
        .bind(stack.0)
        .bind(name)
        .bind(i32::try_from(version).unwrap_or(i32::MAX))
        .bind(identity)
        .bind(key.seal_secret(stack, name, version, text)?)
        .bind(key.digest(text.reveal()).0)
        .bind(generated)
        .bind(plain(by))
        .bind(row::json("a line of audit", &detail)?)
        .bind(action)
        .execute(self.connection())
        .await
        .map_err(StoreError::from_sqlx("set a secret"))?;
        let set = self.secret(stack, name).await?;
        set.ok_or_else(|| StoreError::NotFound { what: "secret", name: name.to_owned() })
    }

    /// One at a time for each stack, so that versions follow each other.
    async fn lock_secrets(&mut self, stack: StackId) -> Result<(), StoreError> {
        let tenant = self.tenant().0;
        sqlx::query("SELECT FROM stacks WHERE tenant_id = $1 AND id = $2 FOR NO KEY UPDATE")
            .bind(tenant)
            .bind(stack.0)
            .fetch_optional(self.connection())
            .await
            .map_err(StoreError::from_sqlx("lock a stack"))?
            .map(|_| ())
            .ok_or_else(|| StoreError::NotFound { what: "stack", name: stack.to_string() })
    }

    /// The present version of each of a stack's secrets, by name.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn secrets(&mut self, stack: StackId) -> Result<Vec<SecretSummary>, StoreError> {
        let tenant = self.tenant().0;
        let rows = sqlx::query(
            "SELECT DISTINCT ON (name) name, identity, version, digest, octet_length(sealed) AS sealed_length, generated, set_at,
                    set_by
             FROM secrets
             WHERE tenant_id = $1 AND stack = $2 ORDER BY name, version DESC",
        )
        .bind(tenant)
        .bind(stack.0)
        .fetch_all(self.connection())
        .await
        .map_err(StoreError::from_sqlx("list the secrets"))?;
        rows.iter().map(summary).collect()
    }

    /// The present version of one secret.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn secret(&mut self, stack: StackId, name: &str) -> Result<Option<SecretSummary>, StoreError> {
        let tenant = self.tenant().0;
        let row = sqlx::query(
            "SELECT name, identity, version, digest, octet_length(sealed) AS sealed_length, generated, set_at,
                    set_by
             FROM secrets
             WHERE tenant_id = $1 AND stack = $2 AND name = $3 ORDER BY version DESC LIMIT 1",
        )
        .bind(tenant)
        .bind(stack.0)
        .bind(name)
        .fetch_optional(self.connection())
        .await
        .map_err(StoreError::from_sqlx("read a secret"))?;
        row.as_ref().map(summary).transpose()
    }

    /// Removes a secret with all its versions. Tells whether there was one.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn remove_secret(&mut self, stack: StackId, name: &str) -> Result<bool, StoreError> {
        let tenant = self.tenant().0;
        sqlx::query("DELETE FROM secrets WHERE tenant_id = $1 AND stack = $2 AND name = $3")
            .bind(tenant)
            .bind(stack.0)
            .bind(name)
            .execute(self.connection())
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(StoreError::from_sqlx("remove a secret"))
    }

    /// The text of a secret's present version; `None` if it has none.
    async fn open_secret(
        &mut self,
        key: &DataKey,
        stack: StackId,
        name: &str,
    ) -> Result<Option<SecretText>, StoreError> {
        let tenant = self.tenant().0;
        let row = sqlx::query(
            "SELECT version, sealed FROM secrets WHERE tenant_id = $1 AND stack = $2 AND name = $3
             ORDER BY version DESC LIMIT 1",
        )
        .bind(tenant)
        .bind(stack.0)
        .bind(name)
        .fetch_optional(self.connection())
        .await
        .map_err(StoreError::from_sqlx("read a secret"))?;
        let Some(row) = row else { return Ok(None) };
        let version: i32 = read(&row, "version")?;
        let sealed: Vec<u8> = read(&row, "sealed")?;
        key.open_secret(stack, name, version.unsigned_abs(), &sealed).map(Some)
    }
}

fn summary(row: &sqlx::postgres::PgRow) -> Result<SecretSummary, StoreError> {
    let version: i32 = read(row, "version")?;
    let sealed: i32 = read(row, "sealed_length")?;
    Ok(SecretSummary {
        name: read(row, "name")?,
        identity: read(row, "identity")?,
        version: version.unsigned_abs(),
        digest: Digest(read(row, "digest")?),
        length: seal::opened_length(usize::try_from(sealed).unwrap_or_default()),
        generated: read(row, "generated")?,
        set_at: read(row, "set_at")?,
        set_by: read(row, "set_by")?,
    })
}

/// The digests of a stack's secrets, and how long they are, as they were when it was made.
#[derive(Debug, Clone)]
pub struct SecretDigests {
    key: Arc<DataKey>,
    stack: StackId,
    stored: BTreeMap<String, Digest>,
    target: BTreeMap<String, Digest>,
    lengths: BTreeMap<SecretRef, usize>,
}

impl SecretDigests {
    /// How many bytes a secret's present value has: none where it has no value yet.
    pub fn length(&self, secret: &SecretRef) -> usize {
        match secret {
            SecretRef::Derived { purpose, rotation } => self.key.derive(self.stack, purpose, *rotation).reveal().len(),
            SecretRef::Stored(_) | SecretRef::Target(_) => self.lengths.get(secret).copied().unwrap_or_default(),
        }
    }

    /// The digests of the stored secrets, by name: what a revision keeps.
    pub fn stored(&self) -> &BTreeMap<String, Digest> {
        &self.stored
    }
}

impl Digests for SecretDigests {
    fn of_secret(&self, secret: &SecretRef) -> Option<Digest> {
        match secret {
            SecretRef::Stored(name) => self.stored.get(name).cloned(),
            SecretRef::Derived { purpose, rotation } => {
                Some(self.key.digest(self.key.derive(self.stack, purpose, *rotation).reveal()))
            }
            SecretRef::Target(name) => self.target.get(name).cloned(),
        }
    }

    fn of_text(&self, text: &str) -> Digest {
        self.key.digest(text)
    }
}

impl Store {
    /// The digests of a stack's secrets, and of its target's as far as stacks may refer to them. The stack need not exist yet.
    ///
    /// # Errors
    /// The store doesn't answer, or the tenant's data key doesn't open.
    pub async fn digests(&self, tenant: TenantId, stack: StackId, target: &Name) -> Result<SecretDigests, StoreError> {
        let key = self.data_key(tenant).await?;
        let name = Credential::Registry.as_str();
        // This machine has none, and most looks are about it.
        let registry = match target.as_str() {
            "local" => None,
            _ => self.credential_for_stacks(target, name).await?,
        };
        let secrets = self.begin(tenant).await?.secrets(stack).await?;
        let lengths = secrets.iter().map(|secret| (SecretRef::Stored(secret.name.clone()), secret.length));
        let lengths = lengths
            .chain(registry.iter().map(|text| (SecretRef::Target(name.to_owned()), text.reveal().len())))
            .collect();
        let target = registry.map(|text| (name.to_owned(), key.digest(text.reveal()))).into_iter().collect();
        let stored = secrets.into_iter().map(|secret| (secret.name, secret.digest)).collect();
        Ok(SecretDigests { key, stack, stored, target, lengths })
    }

    /// The text of a secret; `None` for a stored one that has no value.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such stack, [`StoreError::Tampered`]; the store doesn't answer.
    pub async fn reveal_secret(&self, stack: StackId, secret: &SecretRef) -> Result<Option<SecretText>, StoreError> {
        let tenant = self.tenant_of_stack(stack).await?;
        let key = self.data_key(tenant).await?;
        match secret {
            SecretRef::Derived { purpose, rotation } => Ok(Some(key.derive(stack, purpose, *rotation))),
            SecretRef::Stored(name) => self.begin(tenant).await?.open_secret(&key, stack, name).await,
            SecretRef::Target(name) => match self.target_of_stack(tenant, stack).await? {
                Some(target) => self.credential_for_stacks(&target, name).await,
                None => Ok(None),
            },
        }
    }
}

#[async_trait]
impl Secrets for Store {
    async fn reveal(&self, stack: StackId, secret: &SecretRef) -> Result<SecretText, ProviderError> {
        match self.reveal_secret(stack, secret).await {
            Ok(Some(text)) => Ok(text),
            Ok(None) => Err(ProviderError::from(
                Problem::new(Code::SecretNotSet, format!("{secret} has no value")).help(match secret {
                    SecretRef::Target(_) => "give it with `freehold target add`".to_owned(),
                    SecretRef::Stored(_) | SecretRef::Derived { .. } => "set it with `freehold secret set`".to_owned(),
                }),
            )),
            Err(error) => Err(error.into()),
        }
    }

    async fn comparable(&self, stack: StackId, body: &Value) -> Result<Option<Value>, ProviderError> {
        let digests = async {
            let tenant = self.tenant_of_stack(stack).await?;
            let target = self.target_of_stack(tenant, stack).await?;
            let target = target.ok_or_else(|| StoreError::NotFound { what: "stack", name: stack.to_string() })?;
            self.digests(tenant, stack, &target).await
        };
        let digests = digests.await?;
        Ok(Some(body.comparable(&digests)))
    }
}
