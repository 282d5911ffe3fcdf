//! What the provider is made with.

use std::collections::BTreeSet;
use std::path::PathBuf;

use freehold_graph::SecretText;
use sqlx::postgres::PgConnectOptions;

use crate::fault::Fault;
use crate::server::Binaries;

/// How to reach the server, and what to do with dumps.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// How to connect as the provisioner to a database that is there. It works in one of its own, which is made where it isn't
    /// there. See [`crate::ensure_provisioner`].
    pub provisioner: PgConnectOptions,
    /// What the passwords of Freehold's own logins in the stacks' databases follow from. The same for as long as the server has
    /// stacks.
    pub login_key: SecretText,
    /// Where dumps go.
    pub dump_directory: PathBuf,
    /// PostgreSQL's programs; without them there are no dumps.
    pub binaries: Option<Binaries>,
    /// Connections that the platform keeps for itself: the store's pools and [`crate::PostgresProvider::own_connections`].
    pub reserved_connections: u32,
    /// On a server that is the platform's alone: its own roles and databases there. Everything else that bears no mark is
    /// somebody's who has no business there.
    pub sole: Option<BTreeSet<String>>,
    /// How many steps at once. `CREATE DATABASE` writes some 7 MB: 30 tenants took 10.7 s one after the other, 5.3 s with 2 at
    /// once, 4.4 s with 4, 4.5 s with 8 (two cores, one disk).
    pub concurrency: usize,
    /// For tests: fails a statement.
    #[doc(hidden)]
    pub fault: Option<Fault>,
}
