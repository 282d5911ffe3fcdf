//! What stacks' databases take of the private server's disk, and how one is kept from taking more.
//!
//! Asked of the catalogs as the superuser, in the maintenance database: no stack's database is entered. What is closed are
//! the logins that programs and people come with; their data stays, Freehold's own logins go on, and a deploy opens them again
//! (they show as drift until then). Why it was closed stands in the mark of its owner, which the next deploy writes anew, so that everybody
//! who looks at the database is told.

use std::collections::BTreeMap;
use std::time::Duration;

use freehold_engine::ProviderError;
use freehold_graph::{StackId, Value};
use sqlx::postgres::PgConnectOptions;
use tokio::time::Instant;

use crate::body;
use crate::failure::Doing;
use crate::logins;
use crate::mark::{Mark, PREFIX};
use crate::quote::Literal;
use crate::row::from_row;
use crate::session::single;

/// The field of the owner's mark that says what its database may take: the owner can't change it.
pub(crate) const LIMIT: &str = "max_bytes";
/// The field of the owner's mark that says why its database was closed.
const CLOSED: &str = "closed";
/// How long the server may take to say.
const LOOK: Duration = Duration::from_secs(30);

/// A stack's database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The stack that it belongs to.
    pub stack: StackId,
    /// Its name on the server.
    pub database: String,
    /// Its number there.
    pub oid: i64,
    /// What it takes, with what its sessions keep in temporary files, in bytes.
    pub bytes: u64,
    /// What it may take, in bytes, where the definition says so.
    pub most: Option<u64>,
    /// The role that owns it, and that role's mark.
    owner: String,
    mark: Mark,
    /// Whether any of its logins is open.
    pub open: bool,
}

struct UsageRow {
    database: String,
    oid: i64,
    owner: String,
    mark: String,
    /// Null of a database that was dropped meanwhile.
    bytes: Option<i64>,
    open: bool,
}

from_row!(UsageRow { database, oid, owner, mark, bytes, open });

/// All databases of stacks.
///
/// # Errors
/// The server doesn't answer.
pub async fn usage(admin: &PgConnectOptions) -> Result<Vec<Usage>, ProviderError> {
    const SQL: &str = "
        WITH temporary AS (
            SELECT a.datid, sum(t.size) AS bytes FROM pg_catalog.pg_ls_tmpdir() t
            JOIN pg_catalog.pg_stat_activity a ON pg_catalog.starts_with(t.name, 'pgsql_tmp' || a.pid || '.') GROUP BY 1
        ), marked AS (
            SELECT r.oid, r.rolname, r.rolcanlogin, pg_catalog.shobj_description(r.oid, 'pg_authid') AS mark FROM pg_catalog.pg_roles r
        ), logins AS (
            SELECT pg_catalog.split_part(mark, ' v1 ', 1) AS whose, bool_or(rolcanlogin) AS open FROM marked
            WHERE pg_catalog.starts_with(mark, $1) AND mark LIKE '%\"password\"%' GROUP BY 1
        )
        SELECT d.datname::pg_catalog.text AS database, d.oid::pg_catalog.int8 AS oid, o.rolname::pg_catalog.text AS owner, o.mark,
            (pg_catalog.pg_database_size(d.oid) + COALESCE(t.bytes, 0))::pg_catalog.int8 AS bytes,
            COALESCE(l.open, false) AS open
        FROM pg_catalog.pg_database d JOIN marked o ON o.oid = d.datdba
        LEFT JOIN temporary t ON t.datid = d.oid LEFT JOIN logins l ON l.whose = pg_catalog.split_part(o.mark, ' v1 ', 1)
        WHERE pg_catalog.starts_with(o.mark, $1) AND d.datallowconn";
    let doing = Doing("asking what the stacks' databases take of the disk".to_owned());
    let mut session = single(admin, &doing, Instant::now() + LOOK).await?;
    let rows = sqlx::query_as(SQL).bind(PREFIX).fetch_all(session.connection()).await;
    let rows: Vec<UsageRow> = rows.map_err(|error| doing.failed(error))?;
    session.finish().await;
    Ok(rows.into_iter().filter_map(of_row).collect())
}

fn of_row(row: UsageRow) -> Option<Usage> {
    let mark = Mark::parse(&row.mark)?;
    let bytes = u64::try_from(row.bytes?).unwrap_or_default();
    let most = mark.values.get(LIMIT).and_then(Value::as_integer).and_then(|most| u64::try_from(most).ok());
    Some(Usage {
        stack: mark.stack,
        database: row.database,
        oid: row.oid,
        bytes,
        most,
        owner: row.owner,
        mark,
        open: row.open,
    })
}

/// Closes a database to its programs and people, and ends their sessions. `why` is what everybody who looks at it is told, after its name.
///
/// # Errors
/// The server doesn't answer.
pub async fn suspend(admin: &PgConnectOptions, usage: &Usage, why: &str) -> Result<(), ProviderError> {
    let doing = Doing::new("closing database", &usage.database);
    let deadline = Instant::now() + LOOK;
    let mut session = single(admin, &doing, deadline).await?;
    let rows = logins::of_database(&mut session, usage.stack, &usage.mark.resource, &doing).await?;
    // As it is now: a deploy may have changed it since the look.
    let mark = rows.iter().find(|row| row.name() == usage.owner).and_then(logins::LoginRow::mark);
    let mark = mark.unwrap_or_else(|| usage.mark.clone()).with(CLOSED, Some(&Value::text(why)));
    let owner = body::identifier(&usage.owner)?;
    let mut sql = format!("COMMENT ON ROLE {owner} IS {};\n", Literal(&mark.to_string()));
    for row in &rows {
        sql.push_str(&format!("ALTER ROLE {} NOLOGIN;\n", body::identifier(row.name())?));
    }
    session.run(&doing, deadline, sql).await?;
    sqlx::query(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
         WHERE usesysid::pg_catalog.int8 OPERATOR(pg_catalog.=) ANY ($1)",
    )
    .bind(rows.iter().map(logins::LoginRow::oid).collect::<Vec<i64>>())
    .execute(session.connection())
    .await
    .map_err(|error| doing.failed(error))?;
    session.finish().await;
    Ok(())
}

/// Why a database was closed, by the mark of its owner, if it was.
pub(crate) fn closed(mark: &Mark) -> Option<&str> {
    mark.values.get(CLOSED).and_then(Value::as_text)
}

impl Usage {
    /// Whether it takes more than it may, and isn't closed for it yet.
    pub fn is_over(&self) -> bool {
        self.open && self.most.is_some_and(|most| self.bytes > most)
    }
}

/// Which database fills the disk: of those that are open, the one that has grown most, if it has grown by `least` bytes.
pub fn culprit<'a>(before: &BTreeMap<String, u64>, now: &'a [Usage], least: u64) -> Option<&'a Usage> {
    let grown = |usage: &Usage| usage.bytes.saturating_sub(before.get(&usage.database).copied().unwrap_or_default());
    let most = now.iter().filter(|usage| usage.open).max_by_key(|usage| grown(usage))?;
    (grown(most) >= least.max(1)).then_some(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use freehold_graph::ResourceId;

    fn usage(database: &str, bytes: u64, open: bool) -> Usage {
        let stack = StackId(uuid::Uuid::from_u128(1));
        Usage {
            stack,
            database: database.to_owned(),
            oid: 1,
            bytes,
            most: None,
            owner: "owner".to_owned(),
            mark: Mark::new(stack, &ResourceId::new("roles", "main")),
            open,
        }
    }

    #[test]
    fn the_database_that_grew_most_is_closed_and_no_other() {
        let before = BTreeMap::from([("big".to_owned(), 900), ("greedy".to_owned(), 10), ("idle".to_owned(), 20)]);
        let now = [usage("big", 910, true), usage("greedy", 500, true), usage("idle", 20, true)];
        assert_eq!(culprit(&before, &now, 100).map(|usage| usage.database.as_str()), Some("greedy"));
        // Something else fills the disk.
        assert_eq!(culprit(&before, &now, 1000), None);
        // It is closed already: the next one, if there is one.
        let now = [usage("big", 910, true), usage("greedy", 500, false)];
        assert_eq!(culprit(&before, &now, 100), None);
        assert_eq!(culprit(&before, &now, 10).map(|usage| usage.database.as_str()), Some("big"));
        assert_eq!(culprit(&before, &[], 0), None);
    }
}
