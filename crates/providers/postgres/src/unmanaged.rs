//! What is unmanaged on a server, where it concerns Freehold: roles, memberships, rights, settings, tablespaces,
//! databases. Reads the catalogs that all databases share, and trusts no mark but those on roles.
//!
//! On a server that is the platform's alone, everything that is neither its own nor marked is unmanaged. On a server that was
//! given, others have their own affairs: there it is what touches roles or databases of ours.

use freehold_engine::ProviderError;

use crate::failure::Doing;
use crate::mark::PREFIX;
use crate::options::PostgresOptions;
use crate::own_database;
use crate::row::from_row;
use crate::session::Session;

/// A role, setting, tablespace or database that no owner mark of Freehold's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unmanaged {
    /// Whether it can do harm by itself.
    pub dangerous: bool,
    /// What it is, in words.
    pub what: String,
    /// What to do about it.
    pub help: String,
}

from_row!(Unmanaged { dangerous, what, help });

/// Views of the catalogs that all questions share. $1: what marks begin with, $2: the platform's own names, $3: whether the server
/// is the platform's alone, $4: the provisioner's database.
const COMMON: &str = "
    WITH roles AS (
        SELECT r.oid, r.rolname::text AS name, r.rolname ~ '^pg_' AS predefined, r.rolsuper, r.rolcanlogin, r.rolbypassrls,
            r.rolcreaterole OR r.rolcreatedb OR r.rolreplication AS powerful, r.rolname = CURRENT_USER AS me,
            r.oid = 10 OR r.rolname = CURRENT_USER OR r.rolname::text = ANY($2) AS own,
            substring(m.comment from '^freehold stack=([0-9a-f-]+) ') AS stack,
            COALESCE(m.comment LIKE '% v1 {%\"key\":%', false) AS login_of_ours
        FROM pg_roles r LEFT JOIN LATERAL (
            SELECT c AS comment FROM shobj_description(r.oid, 'pg_authid') c WHERE starts_with(c, $1)) m ON true
    ), databases AS (
        SELECT d.oid, d.datname::text AS name, d.datallowconn, d.datacl, d.datdba, o.stack,
            d.datname IN ('template0', 'template1', 'postgres') OR d.datname::text = ANY($2) OR d.datname::text = $4 AS own
        FROM pg_database d JOIN roles o ON o.oid = d.datdba
    ), found AS (";

/// A question each: whether it is dangerous, what it is, what to do about it.
const QUESTIONS: [&str; 8] = [
    // A role of nobody's.
    "SELECT true, format('role %I is unmanaged', name),
        format('see what it may do and who uses it, then: DROP ROLE %I', name)
     FROM roles WHERE $3 AND NOT own AND NOT predefined AND stack IS NULL",
    // A role of a stack that can do more than any of ours.
    "SELECT true, format('role %I of stack %s can do what none of a stack''s may', name, stack),
        format('ALTER ROLE %I NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS', name)
     FROM roles WHERE stack IS NOT NULL AND (rolsuper OR powerful OR rolbypassrls AND NOT login_of_ours)",
    // A membership, unless it is that of a stack's role in its own owner, or what the provisioner needs.
    "SELECT true, format('role %I is a member of %I, which nothing of Freehold made so', m.name, g.name),
        format('REVOKE %I FROM %I', g.name, m.name)
     FROM pg_auth_members a JOIN roles g ON g.oid = a.roleid JOIN roles m ON m.oid = a.member
     WHERE NOT (g.stack IS NOT NULL AND m.stack IS NOT DISTINCT FROM g.stack 
            AND (NOT g.rolcanlogin OR regexp_replace(m.name, '_r[0-9]+$', '') = g.name))
        AND NOT (m.me AND (g.name = 'pg_signal_backend' OR g.stack IS NOT NULL))
        AND NOT (g.predefined AND m.predefined) AND NOT m.rolsuper
        AND (g.stack IS NOT NULL OR m.stack IS NOT NULL OR m.me OR g.me OR $3 AND NOT (g.own AND m.own))",
    // Settings of roles and databases that Freehold's own sessions start with.
    "SELECT false, concat('settings are made for ', CASE WHEN s.setrole <> 0 THEN format('role %I ', r.name) END,
        CASE WHEN s.setdatabase <> 0 THEN format('database %I ', d.name) END, 'that nothing of Freehold made: ',
        array_to_string(s.setconfig, ', ')),
        concat('ALTER ', CASE WHEN s.setrole <> 0 THEN format('ROLE %I ', r.name) END, CASE WHEN s.setdatabase <> 0
            THEN format(CASE WHEN s.setrole <> 0 THEN 'IN DATABASE %I ' ELSE 'DATABASE %I ' END, d.name) END, 'RESET ALL')
     FROM pg_db_role_setting s LEFT JOIN roles r ON r.oid = s.setrole LEFT JOIN databases d ON d.oid = s.setdatabase
     WHERE (r.me OR r.login_of_ours OR $3 AND r.own OR d.name = $4 OR $3 AND d.own OR $3 AND s.setrole = 0 AND s.setdatabase = 0)
        AND NOT ($3 AND r.oid IS NULL AND d.oid IS NULL AND s.setrole <> 0)",
    // A tablespace.
    "SELECT false, format('tablespace %I is not one of Freehold''s', spcname), format('DROP TABLESPACE %I', spcname)
     FROM pg_tablespace WHERE $3 AND spcname NOT IN ('pg_default', 'pg_global')",
    // A database of nobody's.
    "SELECT true, format('database %I belongs to no role of a stack, and nothing of Freehold made it', name),
        format('see what is in it, then: DROP DATABASE %I', name)
     FROM databases WHERE $3 AND NOT own AND stack IS NULL",
    // Databases that every tenant's roles get into.
    "SELECT bool_or(name = $4 OR stack IS NOT NULL), concat(CASE count(*) WHEN 1 THEN 'database ' ELSE 'databases ' END,
            string_agg(format('%I', name), ', ' ORDER BY name), ': every role may connect, those of tenants included'),
        concat('REVOKE CONNECT, TEMPORARY ON DATABASE ', string_agg(format('%I', name), ', ' ORDER BY name), ' FROM PUBLIC')
     FROM databases WHERE datallowconn AND EXISTS (
        SELECT FROM aclexplode(COALESCE(datacl, acldefault('d', datdba))) a
        WHERE a.grantee = 0 AND a.privilege_type = 'CONNECT') HAVING count(*) > 0",
    // Rights of a stack's role in a database that isn't the stack's.
    "SELECT DISTINCT false, format('role %I of stack %s has rights in database %I, which is not the stack''s', r.name, r.stack, d.name),
        format('in database %I: REVOKE them, or DROP OWNED BY %I', d.name, r.name)
     FROM pg_shdepend s JOIN roles r ON r.oid = s.refobjid AND s.refclassid = 'pg_authid'::regclass
        JOIN databases d ON d.oid = s.dbid OR s.dbid = 0 AND s.classid = 'pg_database'::regclass AND d.oid = s.objid
     WHERE r.stack IS NOT NULL AND d.stack IS DISTINCT FROM r.stack",
];

/// Finds them, the dangerous ones first.
pub(crate) async fn find(
    session: &mut Session,
    options: &PostgresOptions,
    doing: &Doing,
) -> Result<Vec<Unmanaged>, ProviderError> {
    let own: Vec<String> = options.sole.iter().flatten().cloned().collect();
    let home = own_database::name(options.provisioner.get_username())?;
    let sql = format!(
        "{COMMON}{}) SELECT dangerous, what, help FROM found AS f (dangerous, what, help) ORDER BY 1 DESC, 2",
        QUESTIONS.join(" UNION ALL ")
    );
    let found = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(PREFIX)
        .bind(own)
        .bind(options.sole.is_some())
        .bind(home.as_str())
        .fetch_all(session.connection())
        .await;
    found.map_err(|error| doing.failed(error))
}
