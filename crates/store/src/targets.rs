//! Targets: the clusters that stacks are deployed to, with what is known of them and the credentials for them.
//!
//! They are the operator's: reached in transactions of the platform's tenant only. Credentials are sealed under that tenant's data key,
//! each for its own row and purpose. Of all of them a stack's bodies may only refer to the registry's.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use freehold_graph::{SecretText, StackId, Target};
use freehold_spec::Name;
use serde_json::{Value as Json, json};
use sqlx::postgres::PgRow;
use thiserror::Error;

use crate::audit::AuditEntry;
use crate::document::{self, TargetSettings};
use crate::error::StoreError;
use crate::row::{self, read, word};
use crate::signal::Signal;
use crate::store::Store;
use crate::tenant_id::{PLATFORM, TenantId};
use crate::transaction::{ReadTx, TenantTx};

/// What a credential of a target is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Credential {
    /// To reach the cluster.
    Kubeconfig,
    /// An administrator's URL of the server that its stacks' databases are on.
    Database,
    /// For images: a `config.json` of Docker.
    Registry,
}

impl Credential {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Kubeconfig, Self::Database, Self::Registry];

    /// As it is kept, and as [`freehold_graph::SecretRef::Target`] names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kubeconfig => "kubeconfig",
            Self::Database => "database",
            Self::Registry => "registry",
        }
    }
}

/// A target as it is recorded, without its credentials.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredTarget {
    /// Unique; this machine is `local`.
    pub name: Name,
    /// What is known of it.
    pub facts: Target,
    /// What was asked for.
    pub settings: Json,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When it, or a credential of it, was last changed.
    pub changed_at: DateTime<Utc>,
}

/// A target in a list whose row can't be read: a newer release has written it, or it was damaged. It hides no other.
#[derive(Debug, Error)]
#[error("target {name}: {error}")]
pub struct UnreadableTarget {
    /// Unique among targets, and never `local`.
    pub name: Name,
    /// As it is stored: `kubernetes`.
    pub kind: String,
    /// Why it can't be read.
    pub error: StoreError,
}

/// A target to be kept: one that is there is changed.
#[derive(Debug)]
pub struct NewTarget<'a> {
    /// What is known of it; also its name.
    pub facts: &'a Target,
    /// What was asked for, without credentials.
    pub settings: &'a Json,
    /// All its credentials: those that are left out are forgotten.
    pub credentials: &'a BTreeMap<Credential, SecretText>,
    /// Who asked for it.
    pub by: &'a str,
}

impl Store {
    /// Keeps a target with its credentials. Tells whether it is a new one.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn put_target(&self, new: &NewTarget<'_>) -> Result<bool, StoreError> {
        let failed = "keep a target";
        let name = new.facts.name().as_str();
        let key = self.data_key(PLATFORM).await?;
        let mut tx = self.begin(PLATFORM).await?;
        // `xmax` is 0 for a row that this statement has made.
        let is_new: bool = sqlx::query_scalar(
            "INSERT INTO targets (name, kind, facts, facts_version, settings, settings_version)
             VALUES ($1, $2, $3::json, $4, $5::json, $6)
             ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, facts = excluded.facts,
                facts_version = excluded.facts_version, settings = excluded.settings,
                settings_version = excluded.settings_version, changed_at = clock_timestamp()
             RETURNING xmax = 0",
        )
        .bind(name)
        .bind(kind(new.facts))
        .bind(document::json(new.facts)?)
        .bind(document::written::<Target>())
        .bind(row::json("a target's settings", new.settings)?)
        .bind(document::written::<TargetSettings>())
        .fetch_one(tx.connection())
        .await
        .map_err(StoreError::from_sqlx(failed))?;
        sqlx::query("DELETE FROM target_credentials WHERE target = $1")
            .bind(name)
            .execute(tx.connection())
            .await
            .map_err(StoreError::from_sqlx(failed))?;
        for (credential, text) in new.credentials {
            sqlx::query("INSERT INTO target_credentials (target, purpose, sealed) VALUES ($1, $2, $3)")
                .bind(name)
                .bind(credential.as_str())
                .bind(key.seal_credential(name, credential.as_str(), text)?)
                .execute(tx.connection())
                .await
                .map_err(StoreError::from_sqlx(failed))?;
        }
        let kept: Vec<&str> = new.credentials.keys().map(|credential| credential.as_str()).collect();
        let detail = json!({ "settings": new.settings, "credentials": kept });
        let action = if is_new { "target.add" } else { "target.change" };
        tx.audit_target(name, action, new.by, &detail).await?;
        self.commit_and_tell(tx, Signal::Targets).await?;
        Ok(is_new)
    }

    /// Forgets a target and its credentials. Whether there was one.
    ///
    /// # Errors
    /// [`StoreError::TargetInUse`] while stacks are on it; the store doesn't answer.
    pub async fn remove_target(&self, name: &Name, by: &str) -> Result<bool, StoreError> {
        let failed = "remove a target";
        let mut tx = self.begin(PLATFORM).await?;
        // Locked first: a stack that is just being made on it is waited for, and seen by the next statement.
        let locked = sqlx::query("SELECT name FROM targets WHERE name = $1 FOR UPDATE")
            .bind(name.as_str())
            .fetch_optional(tx.connection())
            .await
            .map_err(StoreError::from_sqlx(failed))?;
        if locked.is_none() {
            return Ok(false);
        }
        sqlx::query("SELECT set_config('freehold.operator', 'on', true)")
            .execute(tx.connection())
            .await
            .map_err(StoreError::from_sqlx("name the operator"))?;
        let stacks: Vec<String> = sqlx::query_scalar(
            "SELECT concat_ws('/', app, kind, name) FROM stacks WHERE target = $1 AND generation > 0 ORDER BY 1",
        )
        .bind(name.as_str())
        .fetch_all(tx.connection())
        .await
        .map_err(StoreError::from_sqlx(failed))?;
        if !stacks.is_empty() {
            return Err(StoreError::TargetInUse { target: name.to_string(), stacks });
        }
        sqlx::query("DELETE FROM targets WHERE name = $1")
            .bind(name.as_str())
            .execute(tx.connection())
            .await
            .map_err(StoreError::from_sqlx(failed))?;
        tx.audit_target(name.as_str(), "target.remove", by, &json!({})).await?;
        self.commit_and_tell(tx, Signal::Targets).await?;
        Ok(true)
    }

    /// A credential of a target; `None` if it has none of that kind.
    ///
    /// # Errors
    /// [`StoreError::Tampered`] if it doesn't open; the store doesn't answer.
    pub async fn target_credential(
        &self,
        target: &Name,
        credential: Credential,
    ) -> Result<Option<SecretText>, StoreError> {
        let (name, purpose) = (target.as_str(), credential.as_str());
        let mut tx = self.begin(PLATFORM).await?;
        let sealed: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT sealed FROM target_credentials WHERE target = $1 AND purpose = $2")
                .bind(name)
                .bind(purpose)
                .fetch_optional(tx.connection())
                .await
                .map_err(StoreError::from_sqlx("read a target's credential"))?;
        drop(tx);
        let Some(sealed) = sealed else { return Ok(None) };
        self.data_key(PLATFORM).await?.open_credential(name, purpose, &sealed).map(Some)
    }

    /// What a stack's body may refer to by this name: the credentials of its own target that are meant for stacks.
    pub(crate) async fn credential_for_stacks(
        &self,
        target: &Name,
        name: &str,
    ) -> Result<Option<SecretText>, StoreError> {
        // Anything else would let a definition's expansion carry the platform's own keys into a tenant's namespace.
        if name != Credential::Registry.as_str() {
            return Ok(None);
        }
        self.target_credential(target, Credential::Registry).await
    }

    /// The target that a stack is on.
    pub(crate) async fn target_of_stack(&self, tenant: TenantId, stack: StackId) -> Result<Option<Name>, StoreError> {
        let mut tx = self.begin(tenant).await?;
        let target: Option<String> = sqlx::query_scalar("SELECT target FROM stacks WHERE tenant_id = $1 AND id = $2")
            .bind(tenant.0)
            .bind(stack.0)
            .fetch_optional(tx.connection())
            .await
            .map_err(StoreError::from_sqlx("look up a stack's target"))?;
        target.map(|target| word("a stack's target", target)).transpose()
    }
}

impl TenantTx<'_> {
    async fn audit_target(&mut self, name: &str, action: &str, by: &str, detail: &Json) -> Result<(), StoreError> {
        let subject = format!("target {name}");
        self.audit(&AuditEntry { actor: by, action, stack: None, subject: &subject, operation: None, detail }).await
    }
}

impl ReadTx<'_> {
    /// All targets but this machine, by name.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn targets(&mut self) -> Result<Vec<Result<StoredTarget, UnreadableTarget>>, StoreError> {
        let rows =
            sqlx::query("SELECT name, kind, facts::text, facts_version, settings::text, settings_version, created_at, changed_at FROM targets ORDER BY name")
                .fetch_all(self.connection())
                .await
                .map_err(StoreError::from_sqlx("list the targets"))?;
        let listed = |row: &PgRow| {
            row::listed(stored(row), |error| {
                let name = word("a target", read(row, "name")?)?;
                Ok(UnreadableTarget { name, kind: read(row, "kind")?, error })
            })
        };
        rows.iter().map(listed).collect()
    }

    /// A target as it is kept, without its credentials; `None` if there is none of that name.
    ///
    /// # Errors
    /// The store doesn't answer, or the row can't be read.
    pub async fn target(&mut self, name: &Name) -> Result<Option<StoredTarget>, StoreError> {
        let row = sqlx::query(
            "SELECT name, facts::text, facts_version, settings::text, settings_version, created_at, changed_at FROM targets WHERE name = $1",
        )
        .bind(name.as_str())
        .fetch_optional(self.connection())
        .await
        .map_err(StoreError::from_sqlx("read a target"))?;
        row.as_ref().map(stored).transpose()
    }

    /// When each target was last changed: a cheap look at whether there is anything new.
    ///
    /// # Errors
    /// The store doesn't answer, or a row can't be read.
    pub async fn target_changes(&mut self) -> Result<BTreeMap<Name, DateTime<Utc>>, StoreError> {
        let rows = sqlx::query("SELECT name, changed_at FROM targets")
            .fetch_all(self.connection())
            .await
            .map_err(StoreError::from_sqlx("list the targets"))?;
        rows.iter().map(|row| Ok((word("a target", read(row, "name")?)?, read(row, "changed_at")?))).collect()
    }

    /// How many stacks were deployed to each target.
    ///
    /// # Errors
    /// The store doesn't answer, or a row can't be read.
    pub async fn stacks_of_targets(&mut self) -> Result<BTreeMap<Name, usize>, StoreError> {
        let rows = sqlx::query("SELECT target, count(*) AS stacks FROM stacks WHERE generation > 0 GROUP BY target")
            .fetch_all(self.connection())
            .await
            .map_err(StoreError::from_sqlx("count the stacks"))?;
        let count = |row: &PgRow| Ok(usize::try_from(row::number(row, "stacks")?).unwrap_or(usize::MAX));
        rows.iter().map(|row| Ok((word("a target", read(row, "target")?)?, count(row)?))).collect()
    }
}

fn kind(facts: &Target) -> &'static str {
    match facts {
        // The schema refuses it: this machine is never kept.
        Target::Local(_) => "local",
        Target::Kubernetes(_) => "kubernetes",
    }
}

fn stored(row: &PgRow) -> Result<StoredTarget, StoreError> {
    Ok(StoredTarget {
        name: word("a target", read(row, "name")?)?,
        facts: document::read(row, "facts")?,
        settings: document::read::<TargetSettings>(row, "settings")?.0,
        created_at: read(row, "created_at")?,
        changed_at: read(row, "changed_at")?,
    })
}
