//! What roles hold in databases: rights are taken back wherever they are, what they own is never dropped silently.

use freehold_engine::ProviderError;
use sqlx::FromRow;
use tokio::time::Instant;

use crate::body;
use crate::catalog::RoleRow;
use crate::failure::Doing;
use crate::session::{Session, Sessions};

/// What the roles hold in one database.
#[derive(Debug, FromRow)]
struct Holding {
    /// `None`: objects that belong to no database (databases themselves, tablespaces).
    database: Option<String>,
    /// How many objects they own there.
    owned: i64,
    /// How many rights they have there.
    rights: i64,
}

/// Takes back all the rights of roles that are about to be dropped.
///
/// # Errors
/// They own something: their own database is gone by now, so it is in somebody else's and may hold data.
pub(crate) async fn release(
    sessions: &Sessions,
    session: &mut Session,
    rows: &[&RoleRow],
    doing: &Doing,
    deadline: Instant,
) -> Result<(), ProviderError> {
    const SQL: &str = "
        SELECT d.datname::text AS database,
            count(*) FILTER (WHERE s.deptype = 'o') AS owned, count(*) FILTER (WHERE s.deptype <> 'o') AS rights
        FROM pg_shdepend s LEFT JOIN pg_database d ON d.oid = s.dbid
        WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid::int8 = ANY($1) AND (s.dbid = 0 OR d.oid IS NOT NULL)
        GROUP BY d.datname";
    let oids: Vec<i64> = rows.iter().map(|row| row.oid).collect();
    let holdings: Vec<Holding> =
        sqlx::query_as(SQL).bind(oids).fetch_all(session.connection()).await.map_err(|error| doing.failed(error))?;
    let owning: Vec<String> = holdings.iter().filter(|holding| holding.owned > 0).map(Holding::owned).collect();
    if !owning.is_empty() {
        return Err(ProviderError::Rejected {
            code: "FH0804",
            message: format!("{}: they still own something that is not Freehold's to drop", doing.0),
            detail: owning,
            help: Some("give it to another role (`REASSIGN OWNED`) or drop it, then try again".to_owned()),
        });
    }
    let mut names = Vec::new();
    for row in rows {
        names.push(body::identifier(&row.rolname)?.to_string());
    }
    let sql = format!("DROP OWNED BY {}", names.join(", "));
    for holding in holdings.iter().filter(|holding| holding.rights > 0) {
        match &holding.database {
            None => session.run(doing, deadline, sql.clone()).await?,
            Some(database) => {
                let mut there = sessions.database(&body::identifier(database)?, None, doing, deadline).await?;
                there.run(doing, deadline, sql.clone()).await?;
                there.finish().await;
            }
        }
    }
    Ok(())
}

impl Holding {
    fn owned(&self) -> String {
        match &self.database {
            Some(database) => format!("{} objects in database {database}", self.owned),
            None => format!("{} databases or tablespaces", self.owned),
        }
    }
}
