//! Connections of a target's database server: what is promised to whom. A promise is made in the transaction that begins the operation, so
//! that two deploys at once don't get the same ones.
//!
//! A stack has what its last verified revision was promised, or what its roles on the server are limited to, if that is more (as for stacks
//! from before promises were kept). It is refused only when it asks for more than it has and more than is left.

use std::collections::BTreeMap;

use freehold_graph::StackId;
use freehold_spec::Name;
use uuid::Uuid;

use crate::error::StoreError;
use crate::row::read;
use crate::transaction::TenantTx;

/// What a stack asks for.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionRequest<'a> {
    /// How many, of all its roles together.
    pub wanted: u32,
    /// How many the server has for stacks.
    pub usable: u32,
    /// What the roles that are on the server are limited to, for each stack.
    pub limits: &'a BTreeMap<StackId, u32>,
}

impl TenantTx<'_> {
    /// Promises connections to a stack, whose row is locked.
    ///
    /// # Errors
    /// [`StoreError::ConnectionsTaken`]; the store doesn't answer.
    pub(crate) async fn promise_connections(
        &mut self,
        target: &Name,
        stack: StackId,
        subject: &str,
        asked: ConnectionRequest<'_>,
    ) -> Result<(), StoreError> {
        if asked.wanted == 0 {
            return self.write_promise(stack, 0).await;
        }
        // One at a time for each target, until the end of the transaction: who comes next sees this one's promise.
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('connections of ' || $1, 0))")
            .bind(target.as_str())
            .execute(self.connection())
            .await
            .map_err(StoreError::from_sqlx("promise connections"))?;
        let rows = sqlx::query("SELECT stack, connections FROM connection_promises($1)")
            .bind(target.as_str())
            .fetch_all(self.connection())
            .await
            .map_err(StoreError::from_sqlx("read promised connections"))?;
        let mut promised = asked.limits.clone();
        for row in &rows {
            let id = StackId(read::<Uuid, _>(row, "stack")?);
            let connections = read::<i32, _>(row, "connections")?.unsigned_abs();
            promised.entry(id).and_modify(|known| *known = connections.max(*known)).or_insert(connections);
        }
        let has = promised.remove(&stack).unwrap_or_default();
        let others = promised.into_values().fold(0, u32::saturating_add);
        let left = asked.usable.saturating_sub(others);
        if asked.wanted > left.max(has) {
            let (subject, target) = (subject.to_owned(), target.to_string());
            return Err(StoreError::ConnectionsTaken { subject, target, wanted: asked.wanted, left, has });
        }
        self.write_promise(stack, asked.wanted).await
    }

    async fn write_promise(&mut self, stack: StackId, wanted: u32) -> Result<(), StoreError> {
        let tenant = self.tenant().0;
        sqlx::query("UPDATE stacks SET connections_wanted = $3 WHERE tenant_id = $1 AND id = $2")
            .bind(tenant)
            .bind(stack.0)
            .bind(i32::try_from(wanted).unwrap_or(i32::MAX))
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(StoreError::from_sqlx("promise connections"))
    }
}
