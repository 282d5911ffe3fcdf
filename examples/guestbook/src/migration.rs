//! The schema: numbered SQL files, built into the program, each applied once and only forwards.
//!
//! Each is applied in a transaction of its own together with its record, so after a failure the database stands
//! between two of them, and the next run goes on from there. Two runs at once wait for each other.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tokio_postgres::{Client, NoTls};

use crate::database::DatabaseError;
use crate::fault::Fault;
use crate::settings::Migrate;

struct Migration {
    version: i32,
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: [Migration; 3] = [
    Migration { version: 1, name: "entries", sql: include_str!("../migrations/0001_entries.sql") },
    Migration { version: 2, name: "commit_order", sql: include_str!("../migrations/0002_commit_order.sql") },
    Migration { version: 3, name: "idempotency_keys", sql: include_str!("../migrations/0003_idempotency_keys.sql") },
];

/// The schema that this program needs. It works with every later one too: migrations only add.
pub const NEEDED: i32 = MIGRATIONS.len() as i32;

/// Fails as a careless migration would.
const WRONG: Migration =
    Migration { version: 9999, name: "fault", sql: "ALTER TABLE entries ADD COLUMN author text NOT NULL" };

/// Why the schema was not brought up to date.
#[derive(Debug, Error)]
pub enum MigrationError {
    #[error("the database can't be reached for the migration: {0}")]
    Connect(DatabaseError),
    #[error("the record of migrations can't be read or made: {0}")]
    Record(DatabaseError),
    #[error("migration {version} ({name}) failed and left nothing behind: {cause}")]
    Failed { version: i32, name: &'static str, cause: DatabaseError },
    #[error(
        "migration {version} ({name}) was changed after it had been applied to this database; write a new one instead"
    )]
    Changed { version: i32, name: &'static str },
}

/// Applies what was not applied yet, and says what that was.
pub async fn migrate(settings: &Migrate) -> Result<(), MigrationError> {
    let connected = settings.database.connect(NoTls).await;
    let (mut client, connection) = connected.map_err(|error| MigrationError::Connect(error.into()))?;
    // The connection's own end shows in the client's errors.
    tokio::spawn(connection);

    let applied = record(&client).await.map_err(|error| MigrationError::Record(error.into()))?;
    let mut count = 0;
    let fault = (settings.fault == Fault::FailMigration).then_some(WRONG);
    for migration in MIGRATIONS.into_iter().chain(fault) {
        let digest = digest(migration.sql);
        let (version, name) = (migration.version, migration.name);
        match applied.get(&version) {
            Some(known) if *known == digest => continue,
            Some(_) => return Err(MigrationError::Changed { version, name }),
            None => {}
        }
        let outcome = apply(&mut client, &migration, &digest).await;
        outcome.map_err(|error| MigrationError::Failed { version, name, cause: error.into() })?;
        println!("applied {version:04} {name}");
        count += 1;
    }
    let newest = applied.keys().copied().max().unwrap_or_default().max(NEEDED);
    match (count, newest) {
        (0, NEEDED) => println!("nothing to apply: the schema is at {NEEDED}"),
        (0, newest) => println!("nothing to apply: the schema is at {newest}, made by a later version than this one"),
        (_, _) => println!("the schema is at {newest}"),
    }
    Ok(())
}

/// What was applied before: versions with the digests of their SQL. Nobody else migrates until the connection ends.
async fn record(client: &Client) -> Result<BTreeMap<i32, String>, tokio_postgres::Error> {
    let sql = "SET client_min_messages = warning;
        SET lock_timeout = '60s';
        SELECT pg_advisory_lock(7236591, 2);
        CREATE TABLE IF NOT EXISTS guestbook_migrations (
            version    integer PRIMARY KEY,
            name       text NOT NULL,
            digest     text NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT now()
        )";
    client.batch_execute(sql).await?;
    let rows = client.query("SELECT version, digest FROM guestbook_migrations", &[]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

async fn apply(client: &mut Client, migration: &Migration, digest: &str) -> Result<(), tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(migration.sql).await?;
    let insert = "INSERT INTO guestbook_migrations (version, name, digest) VALUES ($1, $2, $3)";
    transaction.execute(insert, &[&migration.version, &migration.name, &digest]).await?;
    transaction.commit().await
}

fn digest(sql: &str) -> String {
    Sha256::digest(sql).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_without_a_gap() {
        let versions: Vec<i32> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        assert_eq!(versions, (1..=NEEDED).collect::<Vec<_>>());
    }

    #[test]
    fn no_migration_ends_its_transaction_or_takes_something_away() {
        for migration in MIGRATIONS {
            let sql = migration.sql.to_uppercase();
            for word in ["COMMIT;", "ROLLBACK", "DROP TABLE", "DROP COLUMN", "TRUNCATE", "CONCURRENTLY"] {
                assert!(!sql.contains(word), "{}: {word}", migration.name);
            }
        }
    }
}
