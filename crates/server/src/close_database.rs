//! Closing a database that takes from others what all share. Its data stays, and the next deploy of its stack opens it again; until then
//! `status`, `list` and `doctor` show it as failed, and why.

use freehold_provider_postgres::usage::{self, Usage};
use sqlx::postgres::PgConnectOptions;
use tracing::error;

/// Closes it, for a reason that follows "database X is closed: ". Says whether it is closed now.
pub(crate) async fn close(admin: &PgConnectOptions, usage: &Usage, why: &str) -> bool {
    let database = &usage.database;
    match usage::suspend(admin, usage, why).await {
        Ok(()) => {
            error!("database {database} is closed: {why}. Its data is kept; the next deploy of its stack opens it");
            true
        }
        Err(failure) => {
            error!("database {database} can't be closed, although {why}: {failure}");
            false
        }
    }
}
