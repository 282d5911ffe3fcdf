//! What a database server can tell beside what is asked of each database.

use std::collections::BTreeMap;

use freehold_engine::ProviderError;
use freehold_engine::capability::{Capacity, Finding};
use tokio::time::Instant;

use crate::catalog;
use crate::failure::Doing;
use crate::mark::Mark;
use crate::provider::{LOOK, PostgresProvider};
use crate::session::Turn;
use crate::{logins, mark, unmanaged};

impl PostgresProvider {
    /// What the server's connections are promised to.
    ///
    /// # Errors
    /// The server doesn't answer.
    pub async fn capacity(&self) -> Result<Capacity, ProviderError> {
        let doing = Doing("counting the connections of the PostgreSQL server".to_owned());
        let mut session = self.sessions.maintenance(Turn::None, &doing, Instant::now() + LOOK).await?;
        let usable: i32 = sqlx::query_scalar(
            "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
                - COALESCE(current_setting('reserved_connections', true)::int, 0)",
        )
        .fetch_one(session.connection())
        .await
        .map_err(|error| doing.failed(error))?;
        let marked = catalog::marked(&mut session, &doing).await?;
        session.finish().await;
        let mut logins = BTreeMap::new();
        for row in marked {
            let limit = row.connections.and_then(|limit| u32::try_from(limit).ok());
            let mark = Mark::parse(&row.comment).filter(|mark| !mark.values.contains_key(mark::KEY));
            if let (Some(limit), Some(mark)) = (limit, mark) {
                // Logins of several rotations take each other's place.
                let most: &mut u32 =
                    logins.entry((mark.stack, logins::without_rotation(&row.name).to_owned())).or_default();
                *most = limit.max(*most);
            }
        }
        let mut promised = BTreeMap::new();
        for ((stack, _), limit) in logins {
            *promised.entry(stack).or_default() += limit;
        }
        let usable = u32::try_from(usable).unwrap_or_default().saturating_sub(self.options.reserved_connections);
        Ok(Capacity { usable, promised })
    }

    /// What is on the server that no platform manages, where it may do harm to what is managed.
    ///
    /// # Errors
    /// The server doesn't answer.
    pub async fn unmanaged(&self) -> Result<Vec<Finding>, ProviderError> {
        let doing = Doing("listing unmanaged objects on the PostgreSQL server".to_owned());
        let mut session = self.sessions.maintenance(Turn::None, &doing, Instant::now() + LOOK).await?;
        let found = unmanaged::find(&mut session, &self.options, &doing).await?;
        session.finish().await;
        let subject = "postgresql access";
        let findings = found.into_iter().map(|found| match found.dangerous {
            true => Finding::error(subject, found.what, found.help),
            false => Finding::warning(subject, found.what, found.help),
        });
        Ok(findings.collect())
    }
}
