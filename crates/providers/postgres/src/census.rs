//! What a database contains, counted: to compare a restored dump with what was dumped.

use std::collections::{BTreeMap, BTreeSet};

use freehold_engine::ProviderError;
use sqlx::AssertSqlSafe;

use crate::body;
use crate::failure::Doing;
use crate::session::Session;

/// Tables counted in one statement.
const BATCH: usize = 100;
/// How many differences to tell.
const TOLD: usize = 8;

/// The rows of each table, and the extensions.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Census {
    rows: BTreeMap<String, i64>,
    extensions: BTreeSet<String>,
}

impl Census {
    /// Counts. In a transaction at `REPEATABLE READ` it counts what its snapshot sees.
    pub(crate) async fn take(session: &mut Session, doing: &Doing) -> Result<Self, ProviderError> {
        // Partitioned tables have no rows of their own; an extension's tables are the extension's affair.
        const TABLES: &str = "
            SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
                AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                                AND d.deptype = 'e')
            ORDER BY 1, 2";
        let failed = |error| doing.failed(error);
        let tables: Vec<(String, String)> =
            sqlx::query_as(TABLES).fetch_all(session.connection()).await.map_err(failed)?;
        let mut rows = BTreeMap::new();
        for batch in tables.chunks(BATCH) {
            let mut counts = Vec::new();
            for (index, (schema, table)) in batch.iter().enumerate() {
                let (schema, table) = (body::identifier(schema)?, body::identifier(table)?);
                counts.push(format!("SELECT {index}, count(*) FROM ONLY {schema}.{table}"));
            }
            let sql = AssertSqlSafe(counts.join("\nUNION ALL "));
            let counted: Vec<(i32, i64)> =
                sqlx::query_as(sql).persistent(false).fetch_all(session.connection()).await.map_err(failed)?;
            for (index, count) in counted {
                if let Some((schema, table)) = usize::try_from(index).ok().and_then(|index| batch.get(index)) {
                    rows.insert(format!("{schema}.{table}"), count);
                }
            }
        }
        let extensions: Vec<String> = sqlx::query_scalar("SELECT extname::text FROM pg_extension")
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
