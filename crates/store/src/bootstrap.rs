//! Prepares a server for the store: database, roles, schema. Idempotent; two processes may do it at once.
//!
//! The database comes first and is closed at once, for the lock on everything else is held in there: in one that tenants
//! get into (`postgres`, on a server that was given) any of them could hold it, and no platform would start.
//!
//! The roles' passwords are derived from the master key, so nothing has to be kept. They reach the server as SCRAM
//! verifiers, computed here: the text of a password is never in a statement, and so never in the server's log.

use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row, SqlSafeStr};

use crate::error::StoreError;
use crate::keys::{KeyCheck, MasterKey};
use crate::names::StoreNames;
use crate::quote;

/// The migrations in their order: version, description, text. One that a release has run never changes; new ones are appended. A list and not
/// sqlx's macro, which alone would have its crates built twice (docs/adr/0016-what-a-dependency-costs.md).
const MIGRATIONS: [(i64, &str, &str); 9] = [
    (1, "store", include_str!("../migrations/0001_store.sql")),
    (2, "targets", include_str!("../migrations/0002_targets.sql")),
    (3, "bounds", include_str!("../migrations/0003_bounds.sql")),
    (4, "artifacts", include_str!("../migrations/0004_artifacts.sql")),
    (5, "retention", include_str!("../migrations/0005_retention.sql")),
    (6, "guards", include_str!("../migrations/0006_guards.sql")),
    (7, "versions", include_str!("../migrations/0007_versions.sql")),
    (8, "files", include_str!("../migrations/0008_files.sql")),
    (9, "once", include_str!("../migrations/0009_once.sql")),
];

/// Locks out other bootstraps of the same store. (`freehold` in ASCII.)
const BOOTSTRAP_LOCK: i64 = 0x6672_6565_686f_6c64;
/// How long to wait for another bootstrap, or for anybody else's lock.
const LOCK_TIMEOUT: &str = "60s";

/// How the parts of Freehold reach PostgreSQL, each in a role of its own.
#[derive(Clone)]
pub struct Connections {
    /// The owner of the schema.
    pub owner: PgConnectOptions,
    /// The role of request work, under forced row-level security: [`crate::TenantTx`].
    pub tenant: PgConnectOptions,
    /// The role of the engine, with policies of its own: [`crate::EngineStore`].
    pub engine: PgConnectOptions,
    /// For the postgres provider: makes the stacks' databases and roles (CREATEDB, CREATEROLE). Connected to the
    /// maintenance database, not to the store's.
    pub provisioner: PgConnectOptions,
}

impl std::fmt::Debug for Connections {
    /// Without the options: sqlx's own `Debug` shows passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections")
            .field("database", &self.owner.get_database())
            .field("tenant", &self.tenant.get_username())
            .field("engine", &self.engine.get_username())
            .finish_non_exhaustive()
    }
}

/// What the store knows of its master key; `None` if there is no store yet, or none that was ever sealed.
///
/// # Errors
/// The server doesn't answer or lets `admin` not in.
pub async fn key_check(admin: &PgConnectOptions, names: &StoreNames) -> Result<Option<KeyCheck>, StoreError> {
    let failed = "check whether the store exists";
    let mut connection = connect(admin).await?;
    if !exists(&mut connection, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", &names.database).await? {
        return Ok(None);
    }
    connection.close().await.map_err(StoreError::from_sqlx(failed))?;
    let mut connection = connect(&admin.clone().database(&names.database)).await?;
    let made = "SELECT to_regclass('public.' || $1) IS NOT NULL";
    let check = if exists(&mut connection, made, "master_key").await? {
        sqlx::query_scalar("SELECT check_value FROM public.master_key")
            .fetch_optional(&mut connection)
            .await
            .map_err(StoreError::from_sqlx(failed))?
            .map(KeyCheck)
    } else {
        None
    };
    connection.close().await.map_err(StoreError::from_sqlx(failed))?;
    Ok(check)
}

/// Prepares the server. `admin` is a superuser, or a role with CREATEDB and CREATEROLE, connected to a database that is
/// there (`postgres`).
///
/// # Errors
/// [`StoreError::TooOld`], [`StoreError::MasterKeyWrong`], [`StoreError::Migration`], or the server doesn't answer.
pub async fn bootstrap(
    admin: &PgConnectOptions,
    names: &StoreNames,
    master: &MasterKey,
) -> Result<Connections, StoreError> {
    names.check()?;
    let connections = connections(admin, names, master);
    let mut connection = connect(admin).await?;
    refuse_old(&mut connection).await?;
    make_database(&mut connection, names).await?;
    connection.close().await.map_err(StoreError::from_sqlx("close the connection"))?;
    let mut connection =
        connect(&admin.clone().database(&names.database).options([("lock_timeout", LOCK_TIMEOUT)])).await?;
    // A session's lock: it ends with the connection, however that ends.
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(BOOTSTRAP_LOCK)
        .execute(&mut connection)
        .await
        .map_err(StoreError::from_sqlx("lock out other bootstraps"))?;
    // Before the roles' passwords are changed to those of a wrong key.
    if let Some(check) = key_check(admin, names).await?
        && check != master.check()
    {
        return Err(StoreError::MasterKeyWrong);
    }
    make_roles(&mut connection, names, master).await?;
    give_database(&mut connection, names).await?;
    migrate(&connections.owner, names, master).await?;
    connection.close().await.map_err(StoreError::from_sqlx("close the connection"))?;
    Ok(connections)
}

fn connections(admin: &PgConnectOptions, names: &StoreNames, master: &MasterKey) -> Connections {
    let role = |role: &String| {
        let password = master.password(&format!("role {role}"));
        admin.clone().username(role).password(password.reveal())
    };
    Connections {
        owner: role(&names.owner).database(&names.database),
        tenant: role(&names.tenant).database(&names.database),
        engine: role(&names.engine).database(&names.database),
        provisioner: role(&names.provisioner),
    }
}

/// Connects, and waits a little for a server that is starting up or has no connection to spare.
async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let options = options.clone().log_statements(tracing::log::LevelFilter::Off);
    let connect = tokio::time::timeout(Duration::from_secs(10), options.connect()).await;
    let connect = connect.map_err(|_| StoreError::Unavailable("no connection within 10 s".to_owned()))?;
    connect.map_err(StoreError::from_sqlx("connect"))
}

async fn exists(connection: &mut PgConnection, query: &'static str, name: &str) -> Result<bool, StoreError> {
    sqlx::query_scalar(query).bind(name).fetch_one(connection).await.map_err(StoreError::from_sqlx("read what exists"))
}

async fn refuse_old(connection: &mut PgConnection) -> Result<(), StoreError> {
    let row = sqlx::query("SELECT current_setting('server_version_num')::int, current_setting('server_version')")
        .fetch_one(connection)
        .await
        .map_err(StoreError::from_sqlx("read the server's version"))?;
    let number: i32 = row.try_get(0).map_err(StoreError::from_sqlx("read the server's version"))?;
    let found: String = row.try_get(1).map_err(StoreError::from_sqlx("read the server's version"))?;
    if number < 150_000 { Err(StoreError::TooOld { found }) } else { Ok(()) }
}

/// Makes the roles that are missing and sets the passwords of all: whatever they were, they are the derived ones now.
async fn make_roles(connection: &mut PgConnection, names: &StoreNames, master: &MasterKey) -> Result<(), StoreError> {
    let known = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)";
    for (role, attributes) in [
        (&names.owner, "LOGIN"),
        (&names.tenant, "LOGIN"),
        (&names.engine, "LOGIN"),
        (&names.provisioner, "LOGIN CREATEDB CREATEROLE"),
    ] {
        let password = master.password(&format!("role {role}"));
        let verifier = postgres_protocol::password::scram_sha_256(password.reveal().as_bytes());
        let (role_name, verifier) = (quote::identifier(role), quote::literal(&verifier));
        let verb = if exists(connection, known, role).await? { "ALTER" } else { "CREATE" };
        execute(connection, "make a role", format!("{verb} ROLE {role_name} {attributes} PASSWORD {verifier}")).await?;
    }
    let superuser: bool = sqlx::query_scalar("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        .fetch_one(&mut *connection)
        .await
        .map_err(StoreError::from_sqlx("read the administrator's role"))?;
    if !superuser {
        // To give away a database, and to read the check of the master key, one has to be a member.
        let grant = format!("GRANT {} TO CURRENT_USER", quote::identifier(&names.owner));
        execute(connection, "become a member of the owner", grant).await?;
    }
    Ok(())
}

/// Closed to all but who made it.
async fn make_database(connection: &mut PgConnection, names: &StoreNames) -> Result<(), StoreError> {
    let database = quote::identifier(&names.database);
    let known = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)";
    if exists(connection, known, &names.database).await? {
        return Ok(());
    }
    let create = format!("CREATE DATABASE {database} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'");
    let created = connection.execute(AssertSqlSafe(create)).await;
    let by_another = |error: &sqlx::Error| {
        let code = error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
        matches!(code.as_deref(), Some("42P04" | "23505"))
    };
    match created {
        Ok(_) => close_database(connection, &database).await,
        // It closes it, too.
        Err(error) if by_another(&error) => Ok(()),
        Err(error) => Err(StoreError::from_sqlx("create the store's database")(error)),
    }
}

async fn close_database(connection: &mut PgConnection, database: &str) -> Result<(), StoreError> {
    let revoke = format!("REVOKE CONNECT, TEMPORARY ON DATABASE {database} FROM PUBLIC");
    execute(connection, "close the store's database", revoke).await
}

/// To its owner, for the roles that work in it.
async fn give_database(connection: &mut PgConnection, names: &StoreNames) -> Result<(), StoreError> {
    let (database, owner) = (quote::identifier(&names.database), quote::identifier(&names.owner));
    let give = format!("ALTER DATABASE {database} OWNER TO {owner}");
    execute(connection, "give the store's database to its owner", give).await?;
    close_database(connection, &database).await?;
    let (tenant, engine) = (quote::identifier(&names.tenant), quote::identifier(&names.engine));
    let grant = format!("GRANT CONNECT ON DATABASE {database} TO {tenant}, {engine}");
    execute(connection, "open the store's database to its roles", grant).await
}

/// Brings the schema up to date as its owner, and writes down which master key it is sealed under.
async fn migrate(owner: &PgConnectOptions, names: &StoreNames, master: &MasterKey) -> Result<(), StoreError> {
    let mut connection = connect(owner).await?;
    // The checksums are those of the text as it was written, so that they don't depend on the roles' names.
    let migrations = MIGRATIONS.into_iter().map(|(version, description, text)| Migration {
        sql: AssertSqlSafe(names.put_into(text)).into_sql_str(),
        ..Migration::new(version, description.into(), MigrationType::Simple, text.into_sql_str(), false)
    });
    let migrator = Migrator::with_migrations(migrations.collect());
    migrator.run_direct(None, &mut connection, false).await.map_err(|error| {
        if let sqlx::migrate::MigrateError::VersionMissing(version) = error {
            return StoreError::Migration(format!("a newer release of Freehold has brought it to version {version}"));
        }
        StoreError::Migration(error.to_string())
    })?;
    sqlx::query("INSERT INTO master_key (check_value) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(master.check().0)
        .execute(&mut connection)
        .await
        .map_err(StoreError::from_sqlx("write down the master key's check"))?;
    let check: String = sqlx::query_scalar("SELECT check_value FROM master_key")
        .fetch_one(&mut connection)
        .await
        .map_err(StoreError::from_sqlx("check the master key"))?;
    connection.close().await.map_err(StoreError::from_sqlx("close the connection"))?;
    if check == master.check().0 { Ok(()) } else { Err(StoreError::MasterKeyWrong) }
}

/// Runs a statement that takes no parameters; what it is made of went through [`quote`].
async fn execute(connection: &mut PgConnection, doing: &'static str, statement: String) -> Result<(), StoreError> {
    connection.execute(AssertSqlSafe(statement)).await.map(|_| ()).map_err(StoreError::from_sqlx(doing))
}

/// Parses the address of a server that is there already (`--database-url`).
///
/// # Errors
/// [`StoreError::Name`] if it is no `postgres://` URL. The URL isn't told, for it may hold a password.
pub fn admin_from_url(url: &str) -> Result<PgConnectOptions, StoreError> {
    PgConnectOptions::from_str(url).map_err(|_| StoreError::Name("the database URL".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_is_run() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        let mut files: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let listed = MIGRATIONS.map(|(version, description, _)| format!("{version:04}_{description}.sql"));
        assert_eq!(files, listed);
    }

    /// SHA-384, as sqlx keeps them in `_sqlx_migrations`: of one that is another than it was when it was run, it refuses the store.
    #[test]
    fn no_migration_is_another_than_when_it_was_released() {
        let released = [
            "1d638509cd851b282feeb9112e671fa4ad89585a592efb3daa95eec35215b92f9e3c38823a707bef7b23827497e9f986",
            "fc44522a6a31def00ebd611366c44c396387fd45afa8959e1f549c6bd7413ea1f14e2921372582f185cfdc947390faf3",
            "320df2d7839f7f528c27166b6cc1319a4f90a492b72e87bac5f14a6510ff3cf7b4050a64cf8940ea1ce740edd90f9f7e",
            "4ca3a64eca7def87bf27bf50ffd8ada605eaeeb5341810cc1905cb6b09ecf1a469814928a4206c05cb834b5017068935",
            "2c92cc0eec7485cdd1f95f2b698a930a779ea2538d118cd6ba15622b2b1d6f5530ed41f21caffba0cb87b36fe1174df9",
            "195b774e608de53b3e8438df2c823efed3122669c08831238652608e56d33cef1467f3536365d8a50ea8769a979fff34",
            "9d81af6db5c08e59398b1485c2b87570c75b993449310301883dc4848e0c8d337f1675bb1af966ba48dfcff5c3ea4999",
            "5b1f05e27142cf184aea6bb09c4e1f0c6d8a55f31ae105adb3ce99d9de0476313e59bbc86d31b085856b6f7a2531d17f",
            "5634c1e2246b2d2936bc28b0942f9d7274de1d125ec8750fb1cc066356dcc0ddb020bbe01f136ec4240c68888167d656",
        ];
        let checksum = |(version, _, text): (i64, &str, &'static str)| {
            let migration = Migration::new(version, "".into(), MigrationType::Simple, text.into_sql_str(), false);
            migration.checksum.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        assert_eq!(MIGRATIONS.map(checksum).as_slice(), released);
    }
}
