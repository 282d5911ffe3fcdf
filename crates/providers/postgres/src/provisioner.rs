//! The role that Freehold works with on a server: not a superuser, may make roles and databases, sees nobody's rows.
//!
//! Dumpers need BYPASSRLS, which up to 15 only a superuser gives. The provisioner is not to have it itself, so a superuser
//! leaves a function in the provisioner's database that gives it to such roles and to no others.

use std::time::Duration;

use freehold_engine::ProviderError;
use freehold_graph::SecretText;
use sqlx::postgres::PgConnectOptions;
use tokio::time::Instant;

use crate::body;
use crate::failure::Doing;
use crate::mark::KEY;
use crate::mark::PREFIX;
use crate::own_database;
use crate::quote::{Identifier, Literal};
use crate::session::{Session, Turn, single};
use crate::verifier::verifier;

/// The function that gives a dumper BYPASSRLS.
pub(crate) const LET_DUMP: &str = "freehold.let_dump(name)";

/// Makes the provisioner, or sets its password and attributes; and its own database.
///
/// Beyond CREATEDB and CREATEROLE it gets `pg_signal_backend`, so that the server's own workers don't keep a database from
/// being dropped. The roles that bear a mark of Freehold it may manage, whoever made them: since PostgreSQL 16 that takes
/// a grant. It has the rights of none of them.
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
    let home = own_database::name(name)?;
    let mut session = single(admin, &doing, deadline).await?;
    session.make_home(name, &doing, deadline).await?;
    session.finish().await;
    let mut session = single(&admin.clone().database(home.as_str()), &doing, deadline).await?;
    session.take(Turn::Change(&role), &doing, deadline).await?;
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)")
        .bind(role.as_str())
        .fetch_one(session.connection())
        .await
        .map_err(|error| doing.failed(error))?;
    let verb = if exists { "ALTER" } else { "CREATE" };
    let sql = format!(
        "{verb} ROLE {role} LOGIN INHERIT NOSUPERUSER NOREPLICATION CREATEDB CREATEROLE NOBYPASSRLS PASSWORD {};\n\
         GRANT pg_signal_backend TO {role};\n\
         ALTER DATABASE {home} OWNER TO CURRENT_USER;\n\
         GRANT CONNECT ON DATABASE {home} TO {role};\n{}",
        Literal(&verifier(password)),
        let_dump(&role)
    );
    session.run(&doing, deadline, sql).await?;
    manage(&mut session, &role, &doing, deadline).await?;
    session.finish().await;
    Ok(())
}

/// Makes it what it should be to the roles that bear a mark: able to alter them, a member of none.
async fn manage(
    session: &mut Session,
    role: &Identifier,
    doing: &Doing,
    deadline: Instant,
) -> Result<(), ProviderError> {
    const SQL: &str = "
        SELECT r.rolname::text, current_setting('server_version_num')::int >= 160000
        FROM pg_roles r WHERE starts_with(shobj_description(r.oid, 'pg_authid'), $1) AND r.rolname !~ '^pg_'
            AND NOT (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication) AND r.rolname <> $2
            AND CASE WHEN current_setting('server_version_num')::int < 160000
                THEN EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles me ON me.oid = m.member
                             WHERE m.roleid = r.oid AND me.rolname = $2)
                ELSE pg_has_role($2, r.oid, 'USAGE') OR NOT pg_has_role($2, r.oid, 'MEMBER WITH ADMIN OPTION') END";
    let roles: Vec<(String, bool)> = sqlx::query_as(SQL)
        .bind(PREFIX)
        .bind(role.as_str())
        .fetch_all(session.connection())
        .await
        .map_err(|error| doing.failed(error))?;
    for (managed, by_grant) in roles {
        let managed = body::identifier(&managed)?;
        let sql = if by_grant {
            format!("GRANT {managed} TO {role} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")
        } else {
            format!("REVOKE {managed} FROM {role}")
        };
        session.run(doing, deadline, sql).await?;
    }
    Ok(())
}

/// The function that lets dumpers pass by row-level security, for `provisioner` alone.
///
/// It takes a plain role that bears the mark of a dumper, has no members but the provisioner, and is itself a member of
/// nothing but plain roles that bear a mark and can't log in.
fn let_dump(provisioner: &Identifier) -> String {
    format!(
        "CREATE SCHEMA IF NOT EXISTS freehold;
        ALTER SCHEMA freehold OWNER TO CURRENT_USER;
        REVOKE ALL ON SCHEMA freehold FROM PUBLIC;
        GRANT USAGE ON SCHEMA freehold TO {provisioner};
        CREATE OR REPLACE FUNCTION freehold.let_dump(dumper name) RETURNS void
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
        BEGIN
            PERFORM FROM pg_catalog.pg_roles r
            WHERE r.rolname = dumper AND r.rolname !~ '^pg_'
                AND NOT (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication)
                AND pg_catalog.shobj_description(r.oid, 'pg_authid') LIKE 'freehold stack=% v1 {{%\"{KEY}\":%'
                AND NOT EXISTS (
                    SELECT FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles g ON g.oid = m.member
                    WHERE m.roleid = r.oid AND g.rolname <> SESSION_USER)
                AND NOT EXISTS (
                    SELECT FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles g ON g.oid = m.roleid
                    WHERE m.member = r.oid AND (
                        g.rolcanlogin OR g.rolsuper OR g.rolcreaterole OR g.rolcreatedb OR g.rolreplication
                        OR g.rolbypassrls OR g.rolname ~ '^pg_'
                        OR EXISTS (SELECT FROM pg_catalog.pg_auth_members up WHERE up.member = g.oid)
                        OR COALESCE(pg_catalog.shobj_description(g.oid, 'pg_authid') NOT LIKE 'freehold stack=%', true)));
            IF NOT FOUND THEN
                RAISE EXCEPTION 'role % is not one that may read all rows of a stack', dumper USING ERRCODE = '42501';
            END IF;
            EXECUTE pg_catalog.format('ALTER ROLE %I BYPASSRLS', dumper);
        END $function$;
        ALTER FUNCTION {LET_DUMP} OWNER TO CURRENT_USER;
        REVOKE ALL ON FUNCTION {LET_DUMP} FROM PUBLIC;
        GRANT EXECUTE ON FUNCTION {LET_DUMP} TO {provisioner};"
    )
}
