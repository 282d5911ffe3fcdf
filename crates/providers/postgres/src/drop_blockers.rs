//! What keeps a database from being dropped, in words for people.

use freehold_engine::ProviderError;

use crate::failure::Doing;
use crate::quote::Identifier;
use crate::session::Session;

/// What `DROP DATABASE … WITH (FORCE)` doesn't get past: prepared transactions, active replication slots, subscriptions.
pub(crate) async fn of(
    session: &mut Session,
    oid: i64,
    name: &Identifier,
    doing: &Doing,
) -> Result<Vec<String>, ProviderError> {
    const SQL: &str = "
        SELECT 'prepared transaction ' || gid || ' of role ' || owner FROM pg_prepared_xacts WHERE database = $2
        UNION ALL
        SELECT 'replication slot ' || slot_name || ', in use by process ' || active_pid
        FROM pg_replication_slots WHERE database = $2 AND active
        UNION ALL
        SELECT 'subscription ' || subname FROM pg_subscription WHERE subdbid::int8 = $1
        ORDER BY 1";
    let found = sqlx::query_scalar(SQL).bind(oid).bind(name.as_str()).fetch_all(session.connection()).await;
    found.map_err(|error| doing.failed(error))
}

/// Who holds tables of the database that a session is in so that they can't be read, or waits for that.
pub(crate) async fn holders(session: &mut Session, doing: &Doing) -> Result<Vec<String>, ProviderError> {
    const SQL: &str = "
        SELECT pg_catalog.concat('table ', n.nspname, '.', c.relname, ' is ',
            CASE WHEN l.granted THEN 'locked' ELSE 'wanted' END, ' by session ', l.pid, ' of role ', a.usename,
            CASE WHEN a.application_name <> '' THEN pg_catalog.concat(' (', a.application_name, ')') END)
        FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND c.relkind IN ('r', 'p')
            AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
        ORDER BY 1 LIMIT 8";
    let found = sqlx::query_scalar(SQL).fetch_all(session.connection()).await;
    found.map_err(|error| doing.failed(error))
}

/// The sessions in a database; the server's own workers have no name. (What kind a process is, only members may see.)
pub(crate) async fn sessions(session: &mut Session, oid: i64, doing: &Doing) -> Result<Vec<String>, ProviderError> {
    const SQL: &str = "
        SELECT 'session ' || pid || ' of role ' || usename
            || CASE WHEN application_name <> '' THEN ' (' || application_name || ')' ELSE '' END
        FROM pg_stat_activity WHERE datid::int8 = $1 AND usename IS NOT NULL ORDER BY 1";
    let found = sqlx::query_scalar(SQL).bind(oid).fetch_all(session.connection()).await;
    found.map_err(|error| doing.failed(error))
}
