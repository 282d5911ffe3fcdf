//! One PostgreSQL database and its roles for each stack.

use crate::decode::kind::{At, List};
use crate::decode::table::table;
use crate::decode::text::{Amount, Duration, Plain, Text};
use crate::part::Connections;
use crate::part::output::{OutputRow, Reach, Readers, Secrecy};
use crate::quantity::{Seconds, Storage};
use crate::span::{Span, Spanned};

/// One PostgreSQL database and its roles for each stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The table's header.
    pub span: Span,
    /// Extensions, from the platform's allow-list.
    pub extensions: Vec<Spanned<String>>,
    /// The most connections of the app's role. Default 10.
    pub connections: Spanned<u32>,
    /// `statement_timeout` of the app's role. Default 30 s.
    pub statement_timeout: Seconds,
    /// `lock_timeout` of the migrator's role. Default 10 s.
    pub lock_timeout: Seconds,
    /// What it may take of the disk of Freehold's own server before it is closed. Default: no limit.
    pub max_size: Option<Spanned<Storage>>,
    /// Size of its volume where it is a server of its own (CloudNativePG). Default `"1Gi"`.
    pub storage: Spanned<Storage>,
}

/// What others may refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// The URL for the app's role: it reads and writes, and can't change the schema.
    Url,
    /// The URL for the migrator's role: it owns the schema.
    MigrationUrl,
    /// The database's name on the server.
    Name,
}

impl Output {
    pub(super) const ALL: &'static [Self] = &[Self::Url, Self::MigrationUrl, Self::Name];

    pub(super) const fn row(self) -> OutputRow {
        let url = OutputRow {
            field: "url",
            what: "a URL",
            secrecy: Secrecy::Secret("this URL has a password in it"),
            reach: Reach::Part,
            readers: Readers::All,
            follows_references: false,
        };
        match self {
            Self::Url => url,
            Self::MigrationUrl => OutputRow { field: "migration_url", readers: Readers::Jobs, ..url },
            Self::Name => OutputRow { field: "name", what: "the name of a database", secrecy: Secrecy::Public, ..url },
        }
    }
}

table! {
    /// One PostgreSQL database and its roles for each stack.
    "database" DatabaseTable -> Database { span:
        /// Extensions to create in it, from the list of trusted ones.
        extensions: default List<At<Text<Plain>>, 0> = "[]";
        /// The most connections that the app's role may have open, all processes together.
        connections: default Connections = "10";
        /// The longest that a statement of the app's role may take. Migrations have no limit.
        statement_timeout: default Text<Duration<1, 1>> = "\"30s\"";
        /// The longest that a statement of a migration may wait for a lock. All who come after it wait behind it.
        lock_timeout: default Text<Duration<1, 1>> = "\"10s\"";
        /// The most that it may take of the disk of Freehold's own server on one machine. A larger one is closed until the next deploy.
        max_size: optional At<Text<Amount<Storage>>>;
        /// Size of its volume where it is a server of its own (a CloudNativePG cluster).
        storage: default At<Text<Amount<Storage>>> = "\"1Gi\"";
    }
}
