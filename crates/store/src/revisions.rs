//! Revisions: what was deployed. Written when the operation that makes one begins ([`crate::enqueue`]), marked as verified
//! when it ends well ([`crate::finish`]), never changed otherwise.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use freehold_engine::OperationId;
use freehold_graph::{Digest, Graph, Request, StackId};
use sqlx::postgres::PgRow;
use thiserror::Error;

use crate::document;
use crate::error::StoreError;
use crate::row::{self, bigint, number, read};
use crate::transaction::TenantTx;

/// What was deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Counts from 1 within the stack.
    pub number: u64,
    /// The hash of the definition.
    pub definition: String,
    /// The request, complete.
    pub request: Request,
    /// The expanded graph that was applied.
    pub graph: Graph,
    /// The secrets' digests at that time, by name.
    pub secrets: BTreeMap<String, Digest>,
    /// The operation that made it.
    pub operation: OperationId,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// When it was ready.
    pub verified_at: Option<DateTime<Utc>>,
}

/// A revision in a list whose row can't be read: a newer release has written it, or it was damaged. It hides no other.
#[derive(Debug, Error)]
#[error("revision {number}: {error}")]
pub struct UnreadableRevision {
    /// Counts from 1 within the stack.
    pub number: u64,
    /// The hash of the definition.
    pub definition: String,
    /// The operation that made it.
    pub operation: OperationId,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// When it was ready.
    pub verified_at: Option<DateTime<Utc>>,
    /// Why it can't be read.
    pub error: StoreError,
}

macro_rules! select_revisions {
    ($rest:literal) => {
        concat!(
            "SELECT number, definition, request::text, request_version, graph::text, graph_version, secrets::text, secrets_version, operation,
                    created_at, verified_at
             FROM revisions ",
            $rest
        )
    };
}

impl TenantTx<'_> {
    /// A stack's revisions, newest first.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn revisions(
        &mut self,
        stack: StackId,
        limit: u32,
    ) -> Result<Vec<Result<Revision, UnreadableRevision>>, StoreError> {
        let tenant = self.tenant().0;
        let rows = sqlx::query(select_revisions!("WHERE tenant_id = $1 AND stack = $2 ORDER BY number DESC LIMIT $3"))
            .bind(tenant)
            .bind(stack.0)
            .bind(i64::from(limit))
            .fetch_all(self.connection())
            .await
            .map_err(StoreError::from_sqlx("list the revisions"))?;
        rows.iter().map(listed).collect()
    }

    /// One revision of a stack.
    ///
    /// # Errors
    /// The store doesn't answer, or a row can't be read.
    pub async fn revision(&mut self, stack: StackId, number: u64) -> Result<Option<Revision>, StoreError> {
        let tenant = self.tenant().0;
        let row = sqlx::query(select_revisions!("WHERE tenant_id = $1 AND stack = $2 AND number = $3"))
            .bind(tenant)
            .bind(stack.0)
            .bind(bigint(number))
            .fetch_optional(self.connection())
            .await
            .map_err(StoreError::from_sqlx("read a revision"))?;
        row.as_ref().map(revision).transpose()
    }
}

/// A row of a list.
fn listed(row: &PgRow) -> Result<Result<Revision, UnreadableRevision>, StoreError> {
    row::listed(revision(row), |error| {
        Ok(UnreadableRevision {
            number: number(row, "number")?,
            definition: read(row, "definition")?,
            operation: OperationId(read(row, "operation")?),
            created_at: read(row, "created_at")?,
            verified_at: read(row, "verified_at")?,
            error,
        })
    })
}

fn revision(row: &PgRow) -> Result<Revision, StoreError> {
    Ok(Revision {
        number: number(row, "number")?,
        definition: read(row, "definition")?,
        request: document::read(row, "request")?,
        graph: document::read(row, "graph")?,
        secrets: document::read(row, "secrets")?,
        operation: OperationId(read(row, "operation")?),
        created_at: read(row, "created_at")?,
        verified_at: read(row, "verified_at")?,
    })
}
