//! Claims: names of the outside world that only one stack of a target can have. The second claimant is told the first.

use std::collections::BTreeSet;

use freehold_graph::StackId;
use freehold_spec::Name;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;

use crate::error::StoreError;
use crate::row::{bigint, read};
use crate::transaction::TenantTx;

/// A name of the outside world.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// What kind of name: `host`, `database`, `role`.
    pub scope: String,
    /// The name that only one stack may hold.
    pub name: String,
}

impl TenantTx<'_> {
    /// The first of the names that another stack holds, as the error that says so. For plans: nothing is claimed.
    ///
    /// # Errors
    /// [`StoreError::ClaimTaken`]; the store doesn't answer.
    pub async fn check_claims(
        &mut self,
        target: &Name,
        stack: StackId,
        claims: &BTreeSet<Claim>,
    ) -> Result<(), StoreError> {
        if claims.is_empty() {
            return Ok(());
        }
        let (scopes, names) = columns(claims);
        let taken: Option<PgRow> = sqlx::query(
            "SELECT scope, name, stack, holder FROM claim_holders($1, $2, $3) WHERE stack <> $4 ORDER BY scope, name LIMIT 1",
        )
        .bind(target.as_str())
        .bind(scopes)
        .bind(names)
        .bind(stack.0)
        .fetch_optional(self.connection())
        .await
        .map_err(StoreError::from_sqlx("read claims"))?;
        let Some(row) = taken else { return Ok(()) };
        Err(StoreError::ClaimTaken {
            scope: read(&row, "scope")?,
            name: read(&row, "name")?,
            holder: StackId(read(&row, "stack")?),
            by: read(&row, "holder")?,
        })
    }

    /// Claims names for a revision of a stack. Those of earlier revisions stay until this one is verified.
    pub(crate) async fn claim(
        &mut self,
        target: &Name,
        stack: StackId,
        revision: u64,
        claims: &BTreeSet<Claim>,
    ) -> Result<(), StoreError> {
        if claims.is_empty() {
            return Ok(());
        }
        let tenant = self.tenant().0;
        let (scopes, names) = columns(claims);
        // In a fixed order, so that two stacks that want the same names wait for each other instead of forever.
        let claimed = sqlx::query(
            "WITH kept AS (
                 UPDATE claims SET revision = $4 FROM unnest($5::text[], $6::text[]) AS wanted (scope, name)
                 WHERE claims.tenant_id = $1 AND claims.stack = $2 AND claims.target = $3
                 AND claims.scope = wanted.scope AND claims.name = wanted.name
             )
             INSERT INTO claims (tenant_id, stack, target, scope, name, revision)
             SELECT $1, $2, $3, wanted.scope, wanted.name, $4 FROM unnest($5::text[], $6::text[]) AS wanted (scope, name)
             WHERE NOT EXISTS (SELECT FROM claims WHERE claims.tenant_id = $1 AND claims.stack = $2 AND claims.target = $3
                               AND claims.scope = wanted.scope AND claims.name = wanted.name)
             ORDER BY wanted.scope, wanted.name
             ON CONFLICT (target, scope, name) DO NOTHING",
        )
        .bind(tenant)
        .bind(stack.0)
        .bind(target.as_str())
        .bind(bigint(revision))
        .bind(scopes)
        .bind(names)
        .execute(self.connection())
        .await;
        claimed.map_err(StoreError::from_sqlx("claim names"))?;
        // What wasn't inserted because somebody else holds it shows up here, by now committed.
        self.check_claims(target, stack, claims).await
    }
}

fn columns(claims: &BTreeSet<Claim>) -> (Vec<&str>, Vec<&str>) {
    claims.iter().map(|claim| (claim.scope.as_str(), claim.name.as_str())).unzip()
}
