//! What a tenant's roles try on the server that its database shares with others'.

use crate::attack::{Attack, Boundary::Sql, inside};

pub(crate) const ATTACKS: &[Attack] = &[
    inside(
        "enters another tenant's database",
        Sql,
        "sql(MIGRATOR, 'SELECT 1', database=P['victim_database']); broken()",
    ),
    inside(
        "enters another tenant's database as the app",
        Sql,
        "sql(APP, 'SELECT 1', database=P['victim_database']); broken()",
    ),
    inside("enters the platform's store", Sql, "sql(MIGRATOR, 'SELECT 1', database='freehold'); broken()"),
    inside("enters the database postgres", Sql, "sql(MIGRATOR, 'SELECT 1', database='postgres'); broken()"),
    inside(
        "writes into the template of all databases",
        Sql,
        "sql(MIGRATOR, 'BEGIN; CREATE TABLE public.attack (); ROLLBACK', database='template1'); broken()",
    ),
    inside("becomes another tenant's owner", Sql, "sql(MIGRATOR, f'SET ROLE \"{P[\"victim_owner\"]}\"'); broken()"),
    inside(
        "becomes a member of another tenant's owner",
        Sql,
        "sql(MIGRATOR, f'BEGIN; GRANT \"{P[\"victim_owner\"]}\" TO CURRENT_USER; ROLLBACK'); broken()",
    ),
    inside(
        "becomes any role that isn't its own",
        Sql,
        r#"
for role in sql(MIGRATOR, "SELECT rolname FROM pg_roles").split("\n"):
    # That one is whoever owns the database: nothing more.
    if not role.startswith(P["own_database"]) and role != "pg_database_owner":
        try:
            sql(MIGRATOR, f'SET ROLE "{role}"')
        except PermissionError:
            continue
        broken(role)
"#,
    ),
    inside("becomes the superuser's session", Sql, "sql(MIGRATOR, 'SET SESSION AUTHORIZATION postgres'); broken()"),
    inside("makes itself a superuser", Sql, "sql(MIGRATOR, 'ALTER ROLE CURRENT_USER SUPERUSER'); broken()"),
    inside(
        "gives itself the right to make roles",
        Sql,
        "sql(MIGRATOR, 'ALTER ROLE CURRENT_USER CREATEROLE'); broken()",
    ),
    inside(
        "gives itself a way around row security",
        Sql,
        "sql(MIGRATOR, 'ALTER ROLE CURRENT_USER BYPASSRLS'); broken()",
    ),
    inside(
        "lifts its limit of connections",
        Sql,
        "sql(MIGRATOR, 'ALTER ROLE CURRENT_USER CONNECTION LIMIT -1'); broken()",
    ),
    inside("makes a role", Sql, "sql(MIGRATOR, 'BEGIN; CREATE ROLE attack LOGIN SUPERUSER; ROLLBACK'); broken()"),
    inside(
        "makes a database",
        Sql,
        "sql(MIGRATOR, f'CREATE DATABASE \"attack{os.getpid()}\"'); INSIDE or sql(MIGRATOR, f'DROP DATABASE \"attack{os.getpid()}\"'); broken()",
    ),
    inside(
        "takes the right to run programs",
        Sql,
        "sql(MIGRATOR, 'BEGIN; GRANT pg_execute_server_program TO CURRENT_USER; ROLLBACK'); broken()",
    ),
    inside(
        "takes the right to read the server's files",
        Sql,
        "sql(MIGRATOR, 'BEGIN; GRANT pg_read_server_files TO CURRENT_USER; ROLLBACK'); broken()",
    ),
    inside(
        "takes the right to signal sessions",
        Sql,
        "sql(MIGRATOR, 'BEGIN; GRANT pg_signal_backend TO CURRENT_USER; ROLLBACK'); broken()",
    ),
    inside(
        "takes the right to read all data",
        Sql,
        "sql(MIGRATOR, 'BEGIN; GRANT pg_read_all_data TO CURRENT_USER; ROLLBACK'); broken()",
    ),
    inside("runs a program by COPY", Sql, "sql(MIGRATOR, \"COPY (SELECT 1) TO PROGRAM 'cat >/dev/null'\"); broken()"),
    inside(
        "reads a file of the server by COPY",
        Sql,
        "sql(MIGRATOR, \"BEGIN; CREATE TABLE attack (line text); COPY attack FROM '/etc/passwd'; ROLLBACK\"); broken()",
    ),
    inside("writes a file of the server by COPY", Sql, "sql(MIGRATOR, \"COPY (SELECT 1) TO '/dev/null'\"); broken()"),
    inside(
        "reads a file of the server by a function",
        Sql,
        "sql(MIGRATOR, \"SELECT pg_read_file('/etc/passwd')\"); broken()",
    ),
    inside("lists the server's folder", Sql, "sql(MIGRATOR, \"SELECT pg_ls_dir('.')\"); broken()"),
    inside(
        "reads a file of the server as a large object",
        Sql,
        "sql(MIGRATOR, \"BEGIN; SELECT lo_import('/etc/passwd'); ROLLBACK\"); broken()",
    ),
    inside(
        "installs an extension that reads files",
        Sql,
        "sql(MIGRATOR, 'BEGIN; CREATE EXTENSION file_fdw; ROLLBACK'); broken()",
    ),
    inside(
        "installs an extension that opens connections",
        Sql,
        "sql(MIGRATOR, 'BEGIN; CREATE EXTENSION dblink; ROLLBACK'); broken()",
    ),
    inside(
        "makes a function of the server's own code",
        Sql,
        "sql(MIGRATOR, \"BEGIN; CREATE FUNCTION public.attack(text) RETURNS text AS 'pg_read_file_all' LANGUAGE internal; ROLLBACK\"); broken()",
    ),
    inside(
        "makes an event trigger",
        Sql,
        r#"
sql(MIGRATOR, """BEGIN; CREATE FUNCTION public.attack() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER attack ON ddl_command_end EXECUTE FUNCTION public.attack(); ROLLBACK""")
broken()
"#,
    ),
    inside(
        "makes a subscription, which runs as its owner",
        Sql,
        "sql(MIGRATOR, \"BEGIN; CREATE SUBSCRIPTION attack CONNECTION 'dbname=x' PUBLICATION x WITH (connect = false); ROLLBACK\"); broken()",
    ),
    inside(
        "changes the server's settings",
        Sql,
        "sql(MIGRATOR, \"ALTER SYSTEM SET log_statement_sample_rate = 1\"); INSIDE or sql(MIGRATOR, 'ALTER SYSTEM RESET log_statement_sample_rate'); broken()",
    ),
    inside(
        "switches constraints and triggers off",
        Sql,
        "sql(MIGRATOR, 'SET session_replication_role = replica'); broken()",
    ),
    inside(
        "lets libraries into its sessions",
        Sql,
        "sql(MIGRATOR, \"SET session_preload_libraries = 'auto_explain'\"); broken()",
    ),
    inside("loads a library", Sql, "sql(MIGRATOR, \"LOAD 'auto_explain'\"); broken()"),
    inside("lifts the limit of its temporary files", Sql, "sql(APP, 'SET temp_file_limit = -1'); broken()"),
    inside(
        "writes temporary files without a limit",
        Sql,
        "sql(APP, 'SHOW temp_file_limit') != '-1' and INSIDE or broken()",
    ),
    inside("reads the passwords' verifiers", Sql, "sql(MIGRATOR, 'SELECT rolpassword FROM pg_authid'); broken()"),
    inside("reads the passwords' verifiers in a view", Sql, "sql(MIGRATOR, 'SELECT passwd FROM pg_shadow'); broken()"),
    inside("reads the rules of access", Sql, "sql(MIGRATOR, 'SELECT * FROM pg_hba_file_rules'); broken()"),
    inside(
        "sees what others ask the server",
        Sql,
        r#"
others = "SELECT query FROM pg_stat_activity WHERE usename <> current_user AND coalesce(query, '') NOT IN ('', '<insufficient privilege>')"
own = f" AND usename NOT LIKE '{P['own_database']}%'"
sql(MIGRATOR, others + (own if INSIDE else "")) and broken()
"#,
    ),
    inside(
        "cancels what others do",
        Sql,
        r#"
sql(MIGRATOR, """SELECT pg_cancel_backend(pid) FROM pg_stat_activity
WHERE usename <> current_user AND state IS DISTINCT FROM 'active' AND backend_type = 'client backend' LIMIT 1""") and broken()
"#,
    ),
    inside(
        "asks for a copy of the whole server",
        Sql,
        "sql(MIGRATOR, 'IDENTIFY_SYSTEM', extra='replication=database'); broken()",
    ),
    inside(
        "changes the schema as the app",
        Sql,
        "sql(APP, 'BEGIN; CREATE TABLE public.attack (); ROLLBACK'); broken()",
    ),
    inside("drops a table as the app", Sql, "sql(APP, 'BEGIN; DROP TABLE public.notes; ROLLBACK'); broken()"),
    inside("becomes its own owner as the app", Sql, "sql(APP, f'SET ROLE \"{P[\"own_owner\"]}\"'); broken()"),
    inside(
        "changes another tenant's password",
        Sql,
        "sql(MIGRATOR, f'BEGIN; ALTER ROLE \"{P[\"victim_role\"]}\" PASSWORD $$attack$$; ROLLBACK'); broken()",
    ),
    inside(
        "takes what another tenant owns",
        Sql,
        "sql(MIGRATOR, f'BEGIN; REASSIGN OWNED BY \"{P[\"victim_owner\"]}\" TO CURRENT_USER; ROLLBACK'); broken()",
    ),
    inside(
        "opens another tenant's database to all",
        Sql,
        "sql(MIGRATOR, f'BEGIN; GRANT CONNECT ON DATABASE \"{P[\"victim_database\"]}\" TO PUBLIC; ROLLBACK'); broken()",
    ),
    inside(
        "sets what sessions of another tenant begin with",
        Sql,
        "sql(MIGRATOR, f'BEGIN; ALTER ROLE \"{P[\"victim_role\"]}\" SET search_path = attack; ROLLBACK'); broken()",
    ),
    inside(
        "writes into the catalog",
        Sql,
        "sql(MIGRATOR, 'BEGIN; UPDATE pg_database SET datallowconn = true; ROLLBACK'); broken()",
    ),
    inside(
        "logs in as the superuser without a password",
        Sql,
        r#"
if not INSIDE:
    sql(P["superuser"], "SELECT 1")
    broken()
folders = ["/var/run/postgresql", "/tmp", P["data"] + "/postgres", P["data"] + "/postgres/run", P["data"] + "/run"]
urls = [in_database(as_role(APP, "postgres"), "postgres")]
for url in urls + [f"postgresql:///postgres?user=postgres&host={folder}" for folder in folders]:
    try:
        sql(url, "SELECT 1")
    except PermissionError:
        continue
    broken()
"#,
    ),
    inside(
        "logs in as another tenant's role with its own password",
        Sql,
        r#"
if not INSIDE:
    sql(P["victim_url"], "SELECT 1")
    broken()
sql(in_database(as_role(APP, P["victim_role"], password_of(APP)), P["victim_database"]), "SELECT 1")
broken()
"#,
    ),
];
