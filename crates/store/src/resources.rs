//! The resources that exist (or may exist) by a stack's journal. Written with the journal only ([`crate::journal`]).

use freehold_graph::{Resource, ResourceId, StackId};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use thiserror::Error;
use uuid::Uuid;

use crate::document;
use crate::error::StoreError;
use crate::row::{self, read, word};
use crate::transaction::{ReadTx, TenantTx};

/// How far a resource has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResourceState {
    /// A creation or change has begun: it may exist, and may be like this.
    Pending,
    /// It exists and is like this.
    Applied,
}

/// A resource as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResource {
    /// With the body as last applied, or as it is being applied.
    pub resource: Resource,
    /// The object's identity, where there is one.
    pub object: Option<String>,
    /// How far it has got.
    pub state: ResourceState,
}

/// A resource in a list whose row can't be read: a newer release has written it, or it was damaged. It hides no other.
#[derive(Debug, Error)]
#[error("{id} of stack {stack}: {error}")]
pub struct UnreadableResource {
    /// Whose it is.
    pub stack: StackId,
    /// `service.web`.
    pub id: ResourceId,
    /// As it is stored; this release may not know it: `local.service`.
    pub kind: String,
    /// What it is called in the outside world.
    pub identity: String,
    /// Why it can't be read.
    pub error: StoreError,
}

impl TenantTx<'_> {
    /// All of a stack's resources, by id: for what must not be done without one of them, as a plan.
    ///
    /// # Errors
    /// The store doesn't answer, or a row can't be read.
    pub async fn resources(&mut self, stack: StackId) -> Result<Vec<StoredResource>, StoreError> {
        let tenant = self.tenant().0;
        let rows = sqlx::query(
            "SELECT id, type, identity, object, body::text, body_version, depends_on::text, depends_on_version, state
             FROM resources WHERE tenant_id = $1 AND stack = $2 ORDER BY id",
        )
        .bind(tenant)
        .bind(stack.0)
        .fetch_all(self.connection())
        .await
        .map_err(StoreError::from_sqlx("read a stack's resources"))?;
        rows.iter().map(resource).collect()
    }
}

impl ReadTx<'_> {
    /// The resources of these stacks, by stack and id.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn resources(
        &mut self,
        stacks: &[StackId],
    ) -> Result<Vec<Result<(StackId, StoredResource), UnreadableResource>>, StoreError> {
        let stacks: Vec<Uuid> = stacks.iter().map(|stack| stack.0).collect();
        let rows = sqlx::query(
            "SELECT stack, id, type, identity, object, body::text, body_version, depends_on::text, depends_on_version, state FROM resources
             WHERE (tenant_id, stack) IN (SELECT tenant_id, id FROM stacks WHERE id = ANY ($1)) ORDER BY stack, id",
        )
        .bind(stacks)
        .fetch_all(self.connection())
        .await
        .map_err(StoreError::from_sqlx("read the resources of stacks"))?;
        rows.iter().map(listed).collect()
    }
}

/// A row of a list.
fn listed(row: &PgRow) -> Result<Result<(StackId, StoredResource), UnreadableResource>, StoreError> {
    let stack = StackId(read(row, "stack")?);
    row::listed(resource(row).map(|resource| (stack, resource)), |error| {
        Ok(UnreadableResource {
            stack,
            id: ResourceId(read(row, "id")?),
            kind: read(row, "type")?,
            identity: read(row, "identity")?,
            error,
        })
    })
}

fn resource(row: &PgRow) -> Result<StoredResource, StoreError> {
    let what = "a resource";
    let resource = Resource {
        id: ResourceId(read(row, "id")?),
        kind: word(what, read(row, "type")?)?,
        identity: read(row, "identity")?,
        body: document::read(row, "body")?,
        depends_on: document::read(row, "depends_on")?,
    };
    Ok(StoredResource { resource, object: read(row, "object")?, state: word(what, read(row, "state")?)? })
}
