//! Inside a stack's database: what the app may do with what the migrator makes, and the extensions.
//!
//! The app gets its rights by default privileges of the owner, so that each migration's new tables are covered without
//! anybody's doing. It may read and write rows, use sequences, call functions; it can't make, change or drop anything.
//!
//! All of this is the keeper's work ([`crate::in_database`]): what is found in there is the tenant's.

use freehold_engine::ProviderError;
use tokio::time::Instant;

use crate::body::RoleNames;
use crate::failure::{self, Doing};
use crate::quote::Identifier;
use crate::row::from_row;
use crate::session::{Entry, Sessions};

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
pub(crate) struct DatabaseContent {
    /// All extensions that are there.
    pub(crate) extensions: Vec<String>,
    /// The app has the rights that it should have by default.
    pub(crate) complete: bool,
}

/// What came of a look.
#[derive(Debug)]
pub(crate) enum Inspection {
    Seen(DatabaseContent),
    /// The keeper isn't let in: it isn't there yet, or its password or the database's rights were changed.
    Shut,
}

struct ContentRow {
    extensions: Vec<String>,
    rights: Vec<String>,
}

from_row!(ContentRow { extensions, rights });

impl DatabaseContent {
    pub(crate) async fn read(
        sessions: &Sessions,
        name: &Identifier,
        names: &RoleNames,
        doing: &Doing,
        deadline: Instant,
    ) -> Result<Inspection, ProviderError> {
        const SQL: &str = "
            SELECT ARRAY(SELECT extname::pg_catalog.text FROM pg_catalog.pg_extension ORDER BY 1) AS extensions,
                ARRAY(SELECT pg_catalog.concat(d.defaclobjtype, ' ', a.privilege_type)
                      FROM pg_catalog.pg_default_acl d CROSS JOIN pg_catalog.aclexplode(d.defaclacl) a
                      WHERE d.defaclnamespace = 0
                          AND d.defaclrole = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1)
                          AND a.grantee = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $2)) AS rights";
        let mut session = match sessions.attempt_inside(name, Entry::look(&names.keeper), doing, deadline).await? {
            Ok(session) => session,
            Err(error) if failure::is_shut_out(&error) => return Ok(Inspection::Shut),
            Err(error) => return Err(doing.connecting(error)),
        };
        let row: ContentRow = sqlx::query_as(SQL)
            .bind(names.owner.as_str())
            .bind(names.app.as_str())
            .fetch_one(session.connection())
            .await
            .map_err(|error| doing.failed(error))?;
        session.finish().await;
        let has = |kind: &str, right: &str| row.rights.iter().any(|found| *found == format!("{kind} {right}"));
        let complete = RIGHTS.iter().all(|(kind, _, rights)| rights.split(", ").all(|right| has(kind, right)));
        Ok(Inspection::Seen(Self { extensions: row.extensions, complete }))
    }
}

/// Sets the default rights and creates the extensions, in one transaction and as the owner. Repeating it changes nothing.
/// `false` if the keeper isn't let in.
pub(crate) async fn write(
    sessions: &Sessions,
    name: &Identifier,
    names: &RoleNames,
    extensions: &[Identifier],
    doing: &Doing,
    deadline: Instant,
) -> Result<bool, ProviderError> {
    let RoleNames { owner, app, keeper, .. } = names;
    let mut sql = format!("GRANT USAGE ON SCHEMA public TO {app};\n");
    for (_, objects, rights) in RIGHTS {
        sql.push_str(&format!("ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT {rights} ON {objects} TO {app};\n"));
    }
    for extension in extensions {
        // As without a schema, whatever the search path.
        sql.push_str(&format!("CREATE EXTENSION IF NOT EXISTS {extension} SCHEMA public;\n"));
    }
    let mut session = match sessions.attempt_inside(name, Entry::change(keeper, owner), doing, deadline).await? {
        Ok(session) => session,
        Err(error) if failure::is_shut_out(&error) => return Ok(false),
        Err(error) => return Err(doing.connecting(error)),
    };
    session.run(doing, deadline, sql).await?;
    session.finish().await;
    Ok(true)
}
