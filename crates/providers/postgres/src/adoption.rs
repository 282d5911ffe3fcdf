//! Takes over a database that somebody else made, with all that is in it, where that is sound.
//!
//! What is in there is as much somebody else's as a tenant's, so the keeper does the work: for that long it is a member of
//! the former owner, too.
//!
//! `REASSIGN OWNED` gives everything of a role to ours: in this database, and also all databases that the role owns. So it
//! is sound only if the role is no superuser, owns this database alone, and owns everything in it. Otherwise the adoption
//! is refused with what stands in the way. The former owner keeps no rights in the database.

use freehold_engine::ProviderError;
use freehold_problem::{Code, Problem};
use tokio::time::Instant;

use crate::body::{self, RoleNames};
use crate::catalog::DatabaseRow;
use crate::failure::Doing;
use crate::quote::Identifier;
use crate::row::from_row;
use crate::session::{Entry, Session, Sessions};

struct PreviousOwner {
    superuser: bool,
    usable: bool,
    me: String,
    elsewhere: Vec<String>,
    others: Vec<String>,
}

from_row!(PreviousOwner { superuser, usable, me, elsewhere, others });

/// Makes the owner's role the owner of a foreign database and of what is in it, and gives the app its rights in there.
pub(crate) async fn take(
    session: &mut Session,
    sessions: &Sessions,
    name: &Identifier,
    row: &DatabaseRow,
    names: &RoleNames,
    doing: &Doing,
    deadline: Instant,
) -> Result<(), ProviderError> {
    const SQL: &str = "
        SELECT r.rolsuper AS superuser, current_user::text AS me,
            pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION') OR (NOT r.rolsuper AND r.rolname !~ '^pg_' AND
                current_setting('server_version_num')::int < 160000 AND me.rolcreaterole) AS usable,
            ARRAY(SELECT 'database ' || d.datname FROM pg_database d WHERE d.datdba = r.oid AND d.oid::int8 <> $2
                  UNION ALL SELECT 'tablespace ' || t.spcname FROM pg_tablespace t WHERE t.spcowner = r.oid) AS elsewhere,
            ARRAY(SELECT DISTINCT o.rolname::text FROM pg_shdepend s JOIN pg_roles o ON o.oid = s.refobjid
                  WHERE s.dbid::int8 = $2 AND s.deptype = 'o' AND s.refobjid <> r.oid) AS others
        FROM pg_roles r, pg_roles me WHERE r.rolname = $1 AND me.rolname = CURRENT_USER";
    let former: PreviousOwner = sqlx::query_as(SQL)
        .bind(&row.owner)
        .bind(row.oid)
        .fetch_one(session.connection())
        .await
        .map_err(|error| doing.failed(error))?;
    check(name, &row.owner, &former)?;
    let old = body::identifier(&row.owner)?;
    let RoleNames { owner, keeper, .. } = names;
    session.assume(owner, &[&old], doing, deadline).await?;
    let admit = crate::statements::admit_statements(name, names);
    session.run(doing, deadline, format!("{admit}GRANT {old} TO {keeper};")).await?;
    let mut there = sessions.inside(name, Entry::change(keeper, keeper), doing, deadline).await?;
    let schemas: Vec<String> = sqlx::query_scalar(
        "SELECT nspname::pg_catalog.text FROM pg_catalog.pg_namespace
         WHERE nspname <> 'information_schema' AND nspname NOT LIKE 'pg\\_%'",
    )
    .fetch_all(there.connection())
    .await
    .map_err(|error| doing.failed(error))?;
    let mut sql = format!("REASSIGN OWNED BY {old} TO {owner};\n");
    for schema in schemas {
        let (schema, app) = (body::identifier(&schema)?, &names.app);
        sql.push_str(&format!(
            "GRANT USAGE ON SCHEMA {schema} TO {app};\n\
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {app};\n\
             GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA {schema} TO {app};\n\
             GRANT EXECUTE ON ALL ROUTINES IN SCHEMA {schema} TO {app};\n"
        ));
    }
    there.run(doing, deadline, sql).await?;
    there.finish().await;
    session.run(doing, deadline, format!("REVOKE {old} FROM {keeper}")).await?;
    session.resign(owner, &[&old], doing, deadline).await
}

/// # Errors
/// What stands in the way.
fn check(name: &Identifier, owner: &str, former: &PreviousOwner) -> Result<(), ProviderError> {
    let own = "give it to a role of its own (`ALTER DATABASE … OWNER TO`), with everything in it, then try again";
    let (why, help) = match former {
        PreviousOwner { superuser: true, .. } => (format!("its owner {owner} is a superuser"), own.to_owned()),
        PreviousOwner { usable: false, me, .. } => (
            format!("Freehold's role may not act for its owner {owner}"),
            format!("let a superuser run `GRANT {owner} TO {me} WITH ADMIN OPTION`, then try again"),
        ),
        PreviousOwner { elsewhere, .. } if !elsewhere.is_empty() => {
            (format!("its owner {owner} owns more: {}", elsewhere.join(", ")), own.to_owned())
        }
        PreviousOwner { others, .. } if !others.is_empty() => {
            (format!("other roles own objects in it: {}", others.join(", ")), own.to_owned())
        }
        _ => return Ok(()),
    };
    Err(ProviderError::from(
        Problem::new(Code::NotAdoptableAsIs, format!("database {} can't be adopted: {why}", name.as_str())).help(help),
    ))
}
