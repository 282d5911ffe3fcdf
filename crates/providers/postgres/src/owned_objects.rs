//! What roles hold in databases: rights are taken back wherever they are, what they own is never dropped silently.
//!
//! Any tenant can give another one's roles rights in their own database. They are taken back there by that database's keeper.

use freehold_engine::ProviderError;
use freehold_problem::{Code, Problem};
use tokio::time::Instant;

use crate::body;
use crate::catalog::{DatabaseRow, RoleRow};
use crate::failure::Doing;
use crate::quote::Identifier;
use crate::row::from_row;
use crate::session::{Entry, Session, Sessions, listed};

/// What the roles hold in one database.
#[derive(Debug)]
struct Holding {
    /// `None`: objects that belong to no database (databases themselves, tablespaces).
    database: Option<String>,
    /// How many objects they own there.
    owned: i64,
    /// How many rights they have there.
    rights: i64,
}

from_row!(Holding { database, owned, rights });

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
        return Err(ProviderError::from(
            Problem::new(
                Code::UsedByOthers,
                format!("{}: they still own something that is not Freehold's to drop", doing.0),
            )
            .lines(owning)
            .help("give it to another role (`REASSIGN OWNED`) or drop it, then try again"),
        ));
    }
    let held = holdings.iter().filter(|holding| holding.rights > 0);
    let roles = rows.iter().map(|row| body::identifier(&row.rolname)).collect::<Result<Vec<_>, _>>()?;
    let roles: Vec<&Identifier> = roles.iter().collect();
    for holding in held {
        match &holding.database {
            None => shared(session, rows, &roles, doing, deadline).await?,
            Some(database) => inside(sessions, session, database, &roles, doing, deadline).await?,
        }
    }
    Ok(())
}

/// Rights on databases themselves, and on what belongs to none.
async fn shared(
    session: &mut Session,
    rows: &[&RoleRow],
    roles: &[&Identifier],
    doing: &Doing,
    deadline: Instant,
) -> Result<(), ProviderError> {
    const SQL: &str = "
        SELECT d.datname::text FROM pg_database d
        WHERE EXISTS (SELECT FROM aclexplode(d.datacl) a WHERE a.grantee::int8 = ANY($1))";
    let oids: Vec<i64> = rows.iter().map(|row| row.oid).collect();
    let databases: Vec<String> = sqlx::query_scalar(SQL)
        .bind(oids)
        .fetch_all(session.connection())
        .await
        .map_err(|error| doing.failed(error))?;
    for database in databases {
        let name = body::identifier(&database)?;
        let Some(owner) = owner_of_ours(session, &name, doing).await? else { continue };
        session.assume(&owner, &[&owner], doing, deadline).await?;
        session.run(doing, deadline, format!("REVOKE ALL ON DATABASE {name} FROM {}", listed(roles))).await?;
        session.resign(&owner, &[&owner], doing, deadline).await?;
    }
    session.run(doing, deadline, format!("DROP OWNED BY {}", listed(roles))).await
}

/// Rights inside another database. What isn't a stack's is nothing to enter; dropping the roles says so then.
async fn inside(
    sessions: &Sessions,
    session: &mut Session,
    database: &str,
    roles: &[&Identifier],
    doing: &Doing,
    deadline: Instant,
) -> Result<(), ProviderError> {
    let name = body::identifier(database)?;
    let Some(owner) = owner_of_ours(session, &name, doing).await? else { return Ok(()) };
    let keeper = body::login_name(&owner, "keeper")?;
    let mut there = match sessions.attempt_inside(&name, Entry::change(&keeper, &keeper), doing, deadline).await? {
        Ok(there) => there,
        Err(_) => return Ok(()),
    };
    let roles = listed(roles);
    // For so long only. These roles are worth nothing any more, and are dropped next.
    session.run(doing, deadline, format!("GRANT {roles} TO {keeper}")).await?;
    let released = there.run(doing, deadline, format!("DROP OWNED BY {roles}")).await;
    session.run(doing, deadline, format!("REVOKE {roles} FROM {keeper}")).await?;
    there.finish().await;
    released
}

/// The owner of a database that belongs to a stack of any platform.
async fn owner_of_ours(
    session: &mut Session,
    name: &Identifier,
    doing: &Doing,
) -> Result<Option<Identifier>, ProviderError> {
    let row = DatabaseRow::read(session, name, doing).await?;
    row.filter(|row| row.mark().is_some()).map(|row| body::identifier(&row.owner)).transpose()
}

impl Holding {
    fn owned(&self) -> String {
        match &self.database {
            Some(database) => format!("{} objects in database {database}", self.owned),
            None => format!("{} databases or tablespaces", self.owned),
        }
    }
}
