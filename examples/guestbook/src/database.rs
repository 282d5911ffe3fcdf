//! The database as the program uses it: a small pool that opens connections when they are needed, and the statements.
//!
//! A request survives a restart of the database server: what failed because a connection could not be had, or was lost,
//! is tried again for a few seconds. That is safe for writing too, because each entry has a key under which it is
//! written at most once.

use std::time::{Duration, Instant};

use deadpool_postgres::{Manager, ManagerConfig, Pool, PoolError, QueueMode, RecyclingMethod, Runtime};
use thiserror::Error;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, NoTls, Row};

use crate::entry::{Draft, Entry};
use crate::log;

/// With the one that listens for notifications ([`crate::feed`]), a process has at most five connections.
const CONNECTIONS: usize = 4;
/// A connection that was not used for this long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// How long a request waits for a database that can't be reached.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one try to get a connection may take.
const WAIT: Duration = Duration::from_secs(3);

type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Why the database gave no answer.
#[derive(Debug, Error)]
pub enum DatabaseError {
    /// It may work in a moment.
    #[error("the database can't be reached: {0}")]
    Unavailable(String),
    /// It won't work by trying again.
    #[error("{0}")]
    Refused(String),
    /// The key was used before, for another entry.
    #[error("this Idempotency-Key was used before, with another author or message")]
    KeyReused,
}

impl From<tokio_postgres::Error> for DatabaseError {
    fn from(error: tokio_postgres::Error) -> Self {
        let transient = [
            &SqlState::ADMIN_SHUTDOWN,
            &SqlState::CRASH_SHUTDOWN,
            &SqlState::CANNOT_CONNECT_NOW,
            &SqlState::TOO_MANY_CONNECTIONS,
        ];
        match error.as_db_error() {
            Some(refusal) if transient.contains(&refusal.code()) => Self::Unavailable(refusal.message().to_owned()),
            Some(refusal) => Self::Refused(describe(refusal)),
            None => Self::Unavailable(log::causes(&error)),
        }
    }
}

/// What the server said: message, detail and hint.
fn describe(refusal: &tokio_postgres::error::DbError) -> String {
    let more = [refusal.detail(), refusal.hint()];
    more.into_iter().flatten().fold(refusal.message().to_owned(), |text, part| format!("{text}; {part}"))
}

impl From<PoolError> for DatabaseError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => error.into(),
            other => Self::Unavailable(log::causes(&other)),
        }
    }
}

/// Which entries to read.
#[derive(Debug, Clone, Copy)]
pub enum Page {
    /// The newest ones, newest first; those below an id, if there is one.
    Newest { before: Option<i64> },
    /// Those above an id, in the order in which they became visible.
    After(i64),
}

/// An entry that was asked for, and whether it stood there already.
#[derive(Debug)]
pub struct Written {
    pub entry: Entry,
    /// The key was used before, for the same entry: nothing was written now.
    pub repeated: bool,
}

/// What the readiness check wants to know.
#[derive(Debug)]
pub struct Probe {
    pub latency: Duration,
    /// The last migration that was applied; none where there is no table of migrations.
    pub schema: Option<i32>,
}

/// The connections.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
}

const COLUMNS: &str = r#"id, author, message,
    to_char(created_at AT TIME ZONE 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS created_at"#;

impl Database {
    /// Opens no connection yet.
    pub fn new(config: Config) -> Result<Self, DatabaseError> {
        let recycling_method = RecyclingMethod::Fast;
        let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method });
        let builder = Pool::builder(manager)
            .max_size(CONNECTIONS)
            // The connection used last comes first, so that the others grow idle.
            .queue_mode(QueueMode::Lifo)
            .wait_timeout(Some(WAIT))
            .create_timeout(Some(WAIT))
            .recycle_timeout(Some(WAIT))
            .runtime(Runtime::Tokio1);
        let pool = builder.build().map_err(|error| DatabaseError::Refused(log::causes(&error)))?;
        Ok(Self { pool })
    }

    /// Closes idle connections, for as long as the program runs.
    pub async fn close_idle_connections(self) {
        loop {
            tokio::time::sleep(IDLE / 2).await;
            drop(self.pool.retain(|_, metrics| metrics.last_used() < IDLE));
        }
    }

    async fn try_rows(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, DatabaseError> {
        let client = self.pool.get().await?;
        let statement = client.prepare_cached(sql).await?;
        Ok(client.query(&statement, parameters).await?)
    }

    /// Runs a statement that may be run twice.
    async fn rows(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, DatabaseError> {
        let begin = Instant::now();
        let mut pause = Duration::from_millis(20);
        loop {
            match self.try_rows(sql, parameters).await {
                Err(DatabaseError::Unavailable(reason)) if begin.elapsed() + pause < PATIENCE => {
                    log::debug("waiting for the database", serde_json::json!({ "reason": reason }));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(500));
                }
                outcome => return outcome,
            }
        }
    }

    /// One try: does it answer, and is its schema there?
    pub async fn probe(&self) -> Result<Probe, DatabaseError> {
        let client = self.pool.get().await?;
        let begin = Instant::now();
        let statement = client.prepare_cached("SELECT to_regclass('guestbook_migrations') IS NOT NULL").await?;
        let there: bool = client.query_one(&statement, &[]).await?.try_get(0)?;
        let latency = begin.elapsed();
        if !there {
            return Ok(Probe { latency, schema: None });
        }
        let statement = client.prepare_cached("SELECT max(version) FROM guestbook_migrations").await?;
        let schema = client.query_one(&statement, &[]).await?.try_get(0)?;
        Ok(Probe { latency, schema })
    }

    /// Entries. `session` tells which are its own.
    pub async fn entries(&self, page: Page, limit: i64, session: Option<&str>) -> Result<Vec<Entry>, DatabaseError> {
        let (condition, id) = match page {
            Page::Newest { before } => ("id < $1 ORDER BY id DESC", before.unwrap_or(i64::MAX)),
            Page::After(id) => ("id > $1 ORDER BY id", id),
        };
        let sql = format!(
            "SELECT {COLUMNS}, coalesce(visitor = digest($3::text, 'sha256'), false) AS own
             FROM entries WHERE {condition} LIMIT $2"
        );
        let rows = self.rows(&sql, &[&id, &limit, &session]).await?;
        rows.iter().map(|row| entry(row, row.try_get("own")?)).collect()
    }

    /// The highest id there is, 0 where there is no entry.
    pub async fn newest_id(&self) -> Result<i64, DatabaseError> {
        let rows = self.rows("SELECT coalesce(max(id), 0) FROM entries", &[]).await?;
        Ok(rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or_default())
    }

    /// Writes an entry, unless one was written under this key.
    pub async fn write(&self, draft: &Draft, key: &str, session: &str) -> Result<Written, DatabaseError> {
        let insert = format!(
            "INSERT INTO entries (author, message, visitor, idempotency_key)
             VALUES ($1, $2, digest($3::text, 'sha256'), $4)
             ON CONFLICT (idempotency_key) DO NOTHING RETURNING {COLUMNS}"
        );
        let rows = self.rows(&insert, &[&draft.author, &draft.message, &session, &key]).await?;
        if let Some(row) = rows.first() {
            return Ok(Written { entry: entry(row, true)?, repeated: false });
        }
        let select = format!("SELECT {COLUMNS} FROM entries WHERE idempotency_key = $1");
        let rows = self.rows(&select, &[&key]).await?;
        let row = rows.first().ok_or_else(|| DatabaseError::Refused("the entry was removed meanwhile".to_owned()))?;
        let entry = entry(row, true)?;
        match entry.author == draft.author && entry.message == draft.message {
            true => Ok(Written { entry, repeated: true }),
            false => Err(DatabaseError::KeyReused),
        }
    }

    /// Entries and visitors of the last 24 hours, entries altogether, and who wrote most.
    pub async fn day(&self) -> Result<Day, DatabaseError> {
        let counts = "SELECT count(*) FILTER (WHERE recent), count(DISTINCT visitor) FILTER (WHERE recent), count(*)
             FROM (SELECT visitor, created_at > now() - interval '24 hours' AS recent FROM entries) AS entries";
        let rows = self.rows(counts, &[]).await?;
        let row = rows.first().ok_or_else(|| DatabaseError::Refused("no row where one was expected".to_owned()))?;
        let authors = "SELECT author, count(*) FROM entries WHERE created_at > now() - interval '24 hours'
             GROUP BY author ORDER BY count(*) DESC, author LIMIT 3";
        let authors = self.rows(authors, &[]).await?;
        Ok(Day {
            entries: row.try_get(0)?,
            visitors: row.try_get(1)?,
            altogether: row.try_get(2)?,
            authors: authors
                .iter()
                .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
                .collect::<Result<_, tokio_postgres::Error>>()?,
        })
    }
}

/// What happened in a day.
pub struct Day {
    pub entries: i64,
    pub visitors: i64,
    pub altogether: i64,
    /// Who wrote most, with how many entries.
    pub authors: Vec<(String, i64)>,
}

fn entry(row: &Row, own: bool) -> Result<Entry, DatabaseError> {
    Ok(Entry {
        id: row.try_get("id")?,
        author: row.try_get("author")?,
        message: row.try_get("message")?,
        created_at: row.try_get("created_at")?,
        own,
    })
}
