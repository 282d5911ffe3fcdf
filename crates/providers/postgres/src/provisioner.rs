//! The role that Freehold works with on a server: not a superuser, may make roles and databases.

use std::time::Duration;

use freehold_engine::ProviderError;
use freehold_graph::SecretText;
use sqlx::postgres::PgConnectOptions;
use tokio::time::Instant;

use crate::body;
use crate::failure::Doing;
use crate::mark::PREFIX;
use crate::quote::Literal;
use crate::roles::verifier;
use crate::session::{Sessions, Turn};

/// Makes the provisioner, or sets its password and attributes.
///
/// Beyond CREATEDB and CREATEROLE it gets BYPASSRLS, so that dumps contain the rows of tables under forced row-level
/// security, and `pg_signal_backend`, so that the server's own workers don't keep a database from being dropped. The roles
/// that bear a mark of Freehold it may manage, whoever made them: since PostgreSQL 16 that takes a grant.
///
/// # Errors
/// `admin` can't be used to connect, or is no superuser.
pub async fn ensure_provisioner(
    admin: &PgConnectOptions,
    name: &str,
    password: &SecretText,
) -> Result<(), ProviderError> {
    let doing = Doing::new("making the role", name);
    let deadline = Instant::now() + Duration::from_secs(15);
    let role = body::identifier(name)?;
    let sessions = Sessions::new(admin.clone(), 1);
    let mut session = sessions.maintenance(Turn::Change(&role), &doing, deadline).await?;
    let (exists, database): (bool, String) =
        sqlx::query_as("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1), current_database()::text")
            .bind(role.as_str())
            .fetch_one(session.connection())
            .await
            .map_err(|error| doing.failed(error))?;
    let verb = if exists { "ALTER" } else { "CREATE" };
    let database = body::identifier(&database)?;
    let sql = format!(
        "{verb} ROLE {role} LOGIN INHERIT NOSUPERUSER NOREPLICATION CREATEDB CREATEROLE BYPASSRLS PASSWORD {};\n\
         GRANT pg_signal_backend TO {role};\n\
         GRANT CONNECT ON DATABASE {database} TO {role};\n",
        Literal(&verifier(password))
    );
    session.run(&doing, deadline, sql).await?;
    let unmanaged: Vec<String> = sqlx::query_scalar(
        "SELECT rolname::text FROM pg_roles
         WHERE starts_with(shobj_description(oid, 'pg_authid'), $1) AND NOT pg_has_role($2, oid, 'USAGE WITH ADMIN OPTION')",
    )
    .bind(PREFIX)
    .bind(role.as_str())
    .fetch_all(session.connection())
    .await
    .map_err(|error| doing.failed(error))?;
    for managed in unmanaged {
        let sql = format!("GRANT {} TO {role} WITH ADMIN OPTION", body::identifier(&managed)?);
        session.run(&doing, deadline, sql).await?;
    }
    // Not given back but closed with the sessions.
    drop(session);
    Ok(())
}
