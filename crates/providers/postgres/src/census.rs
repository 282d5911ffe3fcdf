//! What a database contains, counted: to compare a restored dump with what was dumped.
//!
//! Tables are held before they are counted, and then looked at again: a view in a table's place would be the tenant's code.

use std::collections::{BTreeMap, BTreeSet};

use freehold_engine::ProviderError;
use freehold_problem::{Code, Problem};
use sqlx::AssertSqlSafe;

use tokio::time::Instant;

use crate::body::identifier;
use crate::drop_blockers;
use crate::failure::{self, Doing};
use crate::row::from_row;
use crate::session::Session;

/// Tables in one statement.
const BATCH: usize = 100;
/// How many differences to tell.
const TOLD: usize = 8;

/// A table whose rows count, or one that is made up of such.
#[derive(Debug)]
struct Table {
    oid: i64,
    schema: String,
    name: String,
    has_rows: bool,
}

from_row!(Table { oid, schema, name, has_rows });

impl Table {
    fn quoted(&self) -> Result<String, ProviderError> {
        Ok(format!("{}.{}", identifier(&self.schema)?, identifier(&self.name)?))
    }
}

/// The tables of a database, held: nobody drops or renames one, or puts something else in its place, until the end of the
/// transaction.
#[derive(Debug)]
pub(crate) struct Tables(Vec<Table>);

impl Tables {
    /// Finds and holds them. In a transaction at `REPEATABLE READ`, those that its snapshot sees.
    ///
    /// # Errors
    /// One is locked by somebody else, or was put in the place of the one that the snapshot sees.
    pub(crate) async fn hold(session: &mut Session, doing: &Doing, deadline: Instant) -> Result<Self, ProviderError> {
        // An extension's tables are the extension's affair.
        const TABLES: &str = "
            SELECT c.oid::pg_catalog.int8 AS oid, n.nspname::pg_catalog.text AS schema,
                c.relname::pg_catalog.text AS name, c.relkind = 'r' AS has_rows
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
                AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                                WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
                                AND d.deptype = 'e')
            ORDER BY 2, 3";
        // The place that a name leads to now, whatever the snapshot sees.
        const MOVED: &str = "
            SELECT t.name FROM unnest($1::pg_catalog.text[], $2::pg_catalog.int8[]) AS t (name, oid)
            WHERE pg_catalog.to_regclass(t.name)::pg_catalog.oid::pg_catalog.int8 IS DISTINCT FROM t.oid LIMIT 1";
        // As `pg_dump` does where the server has it: no view is ever followed.
        const NO_VIEWS: &str = "
            SELECT pg_catalog.set_config(name, 'view, foreign-table', false) FROM pg_catalog.pg_settings
            WHERE name = 'restrict_nonsystem_relation_kind'";
        let failed = |error| doing.failed(error);
        let _: Option<String> =
            sqlx::query_scalar(NO_VIEWS).fetch_optional(session.connection()).await.map_err(failed)?;
        let tables: Vec<Table> = sqlx::query_as(TABLES).fetch_all(session.connection()).await.map_err(failed)?;
        for batch in tables.chunks(BATCH) {
            let names = batch.iter().map(Table::quoted).collect::<Result<Vec<_>, _>>()?;
            let lock = format!("LOCK TABLE ONLY {} IN ACCESS SHARE MODE", names.join(", ONLY "));
            match session.attempt(deadline, lock).await {
                Ok(()) => {}
                Err(Some(error)) if failure::sqlstate(&error).as_deref() == Some("55P03") => {
                    session.run(doing, deadline, "ROLLBACK".to_owned()).await?;
                    return Err(held(doing, drop_blockers::holders(session, doing).await?));
                }
                Err(Some(error)) => return Err(doing.failed(error)),
                Err(None) => {
                    return Err(ProviderError::retryable(
                        Code::PostgresUnreachable,
                        format!("{}: no answer within its time", doing.0),
                    ));
                }
            }
            let oids: Vec<i64> = batch.iter().map(|table| table.oid).collect();
            let moved: Option<String> = sqlx::query_scalar(MOVED)
                .bind(names)
                .bind(oids)
                .fetch_optional(session.connection())
                .await
                .map_err(failed)?;
            if let Some(moved) = moved {
                let message = format!("{}: {moved} was put in another table's place meanwhile", doing.0);
                return Err(ProviderError::retryable(Code::PostgresUnreachable, message));
            }
        }
        Ok(Self(tables))
    }
}

/// Locks keep tables from being read.
pub(crate) fn held(doing: &Doing, holders: Vec<String>) -> ProviderError {
    ProviderError::from(
        Problem::new(Code::DumpNotProved, format!("{}: tables are locked by others", doing.0))
            .lines(holders)
            .help("end these sessions or wait for them, then try again"),
    )
}

/// The rows of each table, and the extensions.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Census {
    rows: BTreeMap<String, i64>,
    extensions: BTreeSet<String>,
}

impl Census {
    /// Counts what is held.
    pub(crate) async fn take(session: &mut Session, tables: &Tables, doing: &Doing) -> Result<Self, ProviderError> {
        let failed = |error| doing.failed(error);
        // Partitioned tables have no rows of their own.
        let tables: Vec<&Table> = tables.0.iter().filter(|table| table.has_rows).collect();
        let mut rows = BTreeMap::new();
        for batch in tables.chunks(BATCH) {
            let mut counts = Vec::new();
            for (index, table) in batch.iter().enumerate() {
                counts.push(format!("SELECT {index}, pg_catalog.count(*) FROM ONLY {}", table.quoted()?));
            }
            let sql = AssertSqlSafe(counts.join("\nUNION ALL "));
            let counted: Vec<(i32, i64)> =
                sqlx::query_as(sql).persistent(false).fetch_all(session.connection()).await.map_err(failed)?;
            for (index, count) in counted {
                if let Some(table) = usize::try_from(index).ok().and_then(|index| batch.get(index)) {
                    rows.insert(table.quoted()?, count);
                }
            }
        }
        let extensions: Vec<String> =
            sqlx::query_scalar("SELECT extname::pg_catalog.text FROM pg_catalog.pg_extension")
                .fetch_all(session.connection())
                .await
                .map_err(failed)?;
        Ok(Self { rows, extensions: extensions.into_iter().collect() })
    }

    /// What is different in `other`, a line each.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let tables: BTreeSet<&String> = self.rows.keys().chain(other.rows.keys()).collect();
        let shown = |rows: Option<&i64>| rows.map_or("no such table".to_owned(), |rows| format!("{rows} rows"));
        let tables = tables.into_iter().filter_map(|table| {
            let (before, after) = (self.rows.get(table), other.rows.get(table));
            (before != after).then(|| format!("table {table}: {}, restored: {}", shown(before), shown(after)))
        });
        let extensions = self.extensions.symmetric_difference(&other.extensions);
        let extensions = extensions.map(|extension| format!("extension {extension} is on one side only"));
        tables.chain(extensions).take(TOLD).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_rows_tables_and_extensions_are_told() {
        let census = |rows: &[(&str, i64)], extensions: &[&str]| Census {
            rows: rows.iter().map(|(table, count)| ((*table).to_owned(), *count)).collect(),
            extensions: extensions.iter().map(|name| (*name).to_owned()).collect(),
        };
        let before = census(&[("public.a", 3), ("public.b", 1)], &["pgcrypto"]);
        let after = census(&[("public.a", 2)], &[]);
        assert_eq!(
            before.differences(&after),
            [
                "table public.a: 3 rows, restored: 2 rows",
                "table public.b: 1 rows, restored: no such table",
                "extension pgcrypto is on one side only"
            ]
        );
        assert!(before.differences(&before).is_empty());
    }
}
