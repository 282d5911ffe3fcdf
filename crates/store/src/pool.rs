//! Pools of connections to the store.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgPool};

/// How long a connection that was just used is taken to be alive without asking.
const SURELY_ALIVE: Duration = Duration::from_millis(250);

pub(crate) fn pool(options: PgConnectOptions, size: u32) -> PgPool {
    PgPoolOptions::new()
        .min_connections(0)
        .max_connections(size)
        .acquire_timeout(Duration::from_secs(10))
        .idle_timeout(Duration::from_secs(60))
        // One that was used a moment ago was found alive when it was given back.
        .test_before_acquire(false)
        .before_acquire(|connection, kept| {
            Box::pin(async move { Ok(kept.idle_for < SURELY_ALIVE || connection.ping().await.is_ok()) })
        })
        .connect_lazy_with(options)
}
