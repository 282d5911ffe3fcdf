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
    /// How one of its roles connects.
    Connection(Role, Connection),
    /// The database's name on the server.
    Name,
    /// libpq's `sslmode` of its connections: `verify-full`, `verify-ca`, `require`, `prefer` or `disable`.
    Sslmode,
    /// The path of the file with the authority that the server's certificate is from; empty where there is none.
    CaFile,
}

/// The roles that log in to a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads and writes, and can't change the schema.
    App,
    /// Owns the schema.
    Migrator,
}

/// How a role connects: a URL in one of three forms, or a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// `postgresql://…`
    Url,
    /// The host, or as libpq has it the folder of a Unix socket.
    Host,
    /// The port; also a part of a socket's name.
    Port,
    /// The role's name on the server.
    User,
    /// Its password, as it is.
    Password,
    /// `jdbc:postgresql://…`
    JdbcUrl,
    /// libpq's keywords: `host=… port=…`.
    KeywordUrl,
}

impl Role {
    /// Its name: the last part of the role's name on the server.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Migrator => "migrator",
        }
    }
}

impl Output {
    pub(super) const ALL: &'static [Self] = &[
        Self::Connection(Role::App, Connection::Url),
        Self::Connection(Role::Migrator, Connection::Url),
        Self::Name,
        Self::Connection(Role::App, Connection::Host),
        Self::Connection(Role::App, Connection::Port),
        Self::Connection(Role::App, Connection::User),
        Self::Connection(Role::App, Connection::Password),
        Self::Sslmode,
        Self::CaFile,
        Self::Connection(Role::App, Connection::JdbcUrl),
        Self::Connection(Role::App, Connection::KeywordUrl),
        Self::Connection(Role::Migrator, Connection::Host),
        Self::Connection(Role::Migrator, Connection::Port),
        Self::Connection(Role::Migrator, Connection::User),
        Self::Connection(Role::Migrator, Connection::Password),
        Self::Connection(Role::Migrator, Connection::JdbcUrl),
        Self::Connection(Role::Migrator, Connection::KeywordUrl),
    ];

    pub(super) const fn row(self) -> OutputRow {
        let public = OutputRow {
            field: "name",
            what: "the name of a database",
            secrecy: Secrecy::Public,
            reach: Reach::Part,
            readers: Readers::All,
            follows_references: false,
        };
        match self {
            Self::Name => public,
            Self::Sslmode => OutputRow { field: "sslmode", what: "a TLS mode", ..public },
            Self::CaFile => OutputRow { field: "ca_file", what: "the path of a file", ..public },
            Self::Connection(role, connection) => {
                let (secret, secrecy) = match connection {
                    Connection::Url | Connection::JdbcUrl | Connection::KeywordUrl => {
                        (true, Secrecy::Secret("this URL has a password in it"))
                    }
                    Connection::Password => (true, Secrecy::Secret("this is a password")),
                    Connection::Host | Connection::Port | Connection::User => (false, Secrecy::Public),
                };
                let readers = match role {
                    Role::Migrator if secret => Readers::Jobs,
                    Role::Migrator | Role::App => Readers::All,
                };
                OutputRow { field: connection.field(role), what: connection.what(), secrecy, readers, ..public }
            }
        }
    }
}

impl Connection {
    const fn field(self, role: Role) -> &'static str {
        match (role, self) {
            (Role::App, Self::Url) => "url",
            (Role::App, Self::Host) => "host",
            (Role::App, Self::Port) => "port",
            (Role::App, Self::User) => "user",
            (Role::App, Self::Password) => "password",
            (Role::App, Self::JdbcUrl) => "jdbc_url",
            (Role::App, Self::KeywordUrl) => "keyword_url",
            (Role::Migrator, Self::Url) => "migration_url",
            (Role::Migrator, Self::Host) => "migration_host",
            (Role::Migrator, Self::Port) => "migration_port",
            (Role::Migrator, Self::User) => "migration_user",
            (Role::Migrator, Self::Password) => "migration_password",
            (Role::Migrator, Self::JdbcUrl) => "migration_jdbc_url",
            (Role::Migrator, Self::KeywordUrl) => "migration_keyword_url",
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Url | Self::JdbcUrl | Self::KeywordUrl => "a URL",
            Self::Host => "a host",
            Self::Port => "a port",
            Self::User => "the name of a role",
            Self::Password => "a password",
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
