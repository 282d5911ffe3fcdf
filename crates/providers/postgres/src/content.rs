//! Inside a stack's database: what the app may do with what the migrator makes, and the extensions.
//!
//! The app gets its rights by default privileges of the owner, so that each migration's new tables are covered without
//! anybody's doing. It may read and write rows, use sequences, call functions; it can't make, change or drop anything.

use freehold_engine::ProviderError;
use sqlx::FromRow;
use tokio::time::Instant;

use crate::body::RoleNames;
use crate::failure::Doing;
use crate::quote::Identifier;
use crate::session::{Sessions, Turn, lock_inside};

/// What the app has by default: kind of object (as in `pg_default_acl`) and right.
const RIGHTS: [(&str, &str, &str); 5] = [
    ("r", "TABLES", "SELECT, INSERT, UPDATE, DELETE"),
    ("S", "SEQUENCES", "USAGE, SELECT, UPDATE"),
    ("f", "FUNCTIONS", "EXECUTE"),
    ("T", "TYPES", "USAGE"),
    ("n", "SCHEMAS", "USAGE"),
];

/// What is in a database.
#[derive(Debug)]
pub(crate) struct Content {
    /// All extensions that are there.
    pub(crate) extensions: Vec<String>,
    /// The app has the rights that it should have by default.
    pub(crate) complete: bool,
}

#[derive(FromRow)]
struct ContentRow {
    extensions: Vec<String>,
    rights: Vec<String>,
}

impl Content {
    pub(crate) async fn read(
        sessions: &Sessions,
        name: &Identifier,
        names: &RoleNames,
        doing: &Doing,
        deadline: Instant,
    ) -> Result<Self, ProviderError> {
        const SQL: &str = "
            SELECT ARRAY(SELECT extname::text FROM pg_extension ORDER BY 1) AS extensions,
                ARRAY(SELECT d.defaclobjtype::text || ' ' || a.privilege_type
                      FROM pg_default_acl d CROSS JOIN aclexplode(d.defaclacl) a
                      WHERE d.defaclnamespace = 0 AND d.defaclrole = (SELECT oid FROM pg_roles WHERE rolname = $1)
                          AND a.grantee = (SELECT oid FROM pg_roles WHERE rolname = $2)) AS rights";
        let mut session = sessions.database(name, None, doing, deadline).await?;
        session.take(Turn::Look(name), doing, deadline).await?;
        let row: ContentRow = sqlx::query_as(SQL)
            .bind(names.owner.as_str())
            .bind(names.app.as_str())
            .fetch_one(session.connection())
            .await
            .map_err(|error| doing.failed(error))?;
        session.finish().await;
        let has = |kind: &str, right: &str| row.rights.iter().any(|found| *found == format!("{kind} {right}"));
        let complete = RIGHTS.iter().all(|(kind, _, rights)| rights.split(", ").all(|right| has(kind, right)));
        Ok(Self { extensions: row.extensions, complete })
    }
}

/// Sets the default rights and creates the extensions, in one transaction and as the owner. Repeating it changes nothing.
pub(crate) async fn write(
    sessions: &Sessions,
    name: &Identifier,
    names: &RoleNames,
    extensions: &[Identifier],
    doing: &Doing,
    deadline: Instant,
) -> Result<(), ProviderError> {
    let RoleNames { owner, app, .. } = names;
    let mut sql = format!("{}GRANT USAGE ON SCHEMA public TO {app};\n", lock_inside(name));
    for (_, objects, rights) in RIGHTS {
        sql.push_str(&format!("ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT {rights} ON {objects} TO {app};\n"));
    }
    for extension in extensions {
        sql.push_str(&format!("CREATE EXTENSION IF NOT EXISTS {extension};\n"));
    }
    let mut session = sessions.database(name, Some(owner), doing, deadline).await?;
    session.run(doing, deadline, sql).await?;
    session.finish().await;
    Ok(())
}
