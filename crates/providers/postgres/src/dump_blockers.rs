//! What keeps a database from being dumped, found before anything is deleted for which a dump was promised.
//!
//! The keeper looks ([`crate::in_database`]), and changes nothing. What only a restore finds out (an index that calls a function
//! which isn't there then) isn't seen here.

use freehold_engine::{Lookup, ProviderError};
use freehold_graph::StackId;
use freehold_plan::observation::Ownership;
use freehold_problem::{Code, Problem};
use tokio::time::Instant;

use crate::body::{self, RoleNames};
use crate::catalog::{DatabaseRow, RoleRows};
use crate::census;
use crate::drop_blockers;
use crate::failure::{self, Doing};
use crate::options::PostgresOptions;
use crate::own_logins::Bypass;
use crate::programs;
use crate::quote::Identifier;
use crate::row::from_row;
use crate::session::{Entry, Session, Sessions, Turn};

/// How many tables to name.
const NAMED: usize = 8;

/// Looks whether a dump can be had.
///
/// # Errors
/// What stands in the way, and the way out.
pub(crate) async fn check(
    sessions: &Sessions,
    options: &PostgresOptions,
    stack: StackId,
    lookup: &Lookup,
    deadline: Instant,
) -> Result<(), ProviderError> {
    let name = body::identifier(&lookup.identity)?;
    let names = RoleNames::of(&lookup.body)?;
    let doing = Doing::new("dumping database", name.as_str());
    let mut session = sessions.maintenance(Turn::Look(&name), &doing, deadline).await?;
    programs::programs(options, &mut session, &doing).await?;
    let row = DatabaseRow::read(&mut session, &name, &doing).await?;
    let rows = RoleRows::read(&mut session, &names, &doing).await?;
    let bypass = Bypass::read(&mut session, &doing).await?;
    session.finish().await;
    let whole = |row: &DatabaseRow| !row.is_half_dropped() && row.ownership(stack) == Ownership::Ours;
    if !row.is_some_and(|row| whole(&row)) {
        return Ok(());
    }
    let sees_all = bypass != Bypass::Nobody || rows.dumper.is_some_and(|dumper| dumper.rolbypassrls);
    let mut there = match sessions.attempt_inside(&name, Entry::look(&names.keeper), &doing, deadline).await? {
        Ok(there) => there,
        // The dump itself lets it in, or says why not.
        Err(error) if failure::is_shut_out(&error) => return Ok(()),
        Err(error) if failure::sqlstate(&error).as_deref() == Some("53300") => return Ok(()),
        Err(error) => return Err(doing.connecting(error)),
    };
    check_dumpable(&mut there, &name, &names, sees_all, &doing).await?;
    let holders = drop_blockers::holders(&mut there, &doing).await?;
    there.finish().await;
    if holders.is_empty() { Ok(()) } else { Err(census::held(&doing, holders)) }
}

/// Looks for rows that a dump would lack.
///
/// # Errors
/// There are some.
pub(crate) async fn check_dumpable(
    session: &mut Session,
    database: &Identifier,
    names: &RoleNames,
    sees_all: bool,
    doing: &Doing,
) -> Result<(), ProviderError> {
    HiddenTables::read(session, doing).await?.check(database, names, sees_all)
}

/// Tables whose rows a dump may lack.
#[derive(Debug)]
struct HiddenTables {
    /// Under forced row-level security.
    forced: Vec<String>,
    /// That somebody else owns.
    foreign_tables: Vec<String>,
}

from_row!(HiddenTables { forced, foreign_tables });

impl HiddenTables {
    async fn read(session: &mut Session, doing: &Doing) -> Result<Self, ProviderError> {
        const SQL: &str = "
            WITH tables AS (
                SELECT c.oid, c.relnamespace, pg_catalog.concat(n.nspname, '.', c.relname) AS name,
                    c.relrowsecurity AND c.relforcerowsecurity AS forced
                FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
                    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                                    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
                                    AND d.deptype = 'e')
            )
            SELECT ARRAY(SELECT name FROM tables WHERE forced ORDER BY 1) AS forced,
                ARRAY(SELECT name FROM tables WHERE NOT pg_catalog.has_table_privilege(oid, 'SELECT')
                      OR NOT pg_catalog.has_schema_privilege(relnamespace, 'USAGE') ORDER BY 1) AS foreign_tables";
        let row = sqlx::query_as(SQL).fetch_one(session.connection()).await;
        row.map_err(|error| doing.failed(error))
    }

    fn check(&self, database: &Identifier, names: &RoleNames, sees_all: bool) -> Result<(), ProviderError> {
        let (tables, why, help) = if !self.foreign_tables.is_empty() {
            let help = format!("give them to role {} (`ALTER TABLE … OWNER TO`)", names.owner.as_str());
            (&self.foreign_tables, "tables in it are not its owner's", help)
        } else if !sees_all && !self.forced.is_empty() {
            let help = format!("let a superuser run `ALTER ROLE {} BYPASSRLS`", names.dumper);
            (
                &self.forced,
                "tables in it are under forced row-level security, and no role of Freehold's sees all rows",
                help,
            )
        } else {
            return Ok(());
        };
        Err(ProviderError::from(
            Problem::new(Code::DumpNotProved, format!("database {} can't be dumped: {why}", database.as_str()))
                .lines(tables.iter().take(NAMED).map(|table| format!("table {table}")).collect())
                .help(format!("{help}; or, if the data isn't needed: --no-dump")),
        ))
    }
}
