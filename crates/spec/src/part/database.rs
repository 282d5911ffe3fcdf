//! One PostgreSQL database and its roles for each stack.

use crate::collation::Collation;
use crate::decode::database::CollationName;
use crate::decode::kind::{At, List};
use crate::decode::table::table;
use crate::decode::text::{Amount, Duration, OneOf, PartName, Plain, Text, Word};
use crate::name::Name;
use crate::part::Connections;
use crate::part::database_server::{DatabaseServer, DatabaseServerTable};
use crate::part::output::{OutputRow, Reach, Readers, Secrecy};
use crate::quantity::{Seconds, Storage};
use crate::span::{Span, Spanned};

/// One PostgreSQL database and its roles for each stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The table's header.
    pub span: Span,
    /// Extensions: from the list of trusted ones, or what its template has.
    pub extensions: Vec<Spanned<String>>,
    /// The database that it is a copy of at first, by the name that the server's operator has given it.
    pub template: Option<Spanned<Name>>,
    /// How its texts are sorted. Default: as its server does.
    pub collation: Option<Spanned<Collation>>,
    /// How its texts are encoded. Default `"UTF8"`.
    pub encoding: Option<Spanned<CharacterSet>>,
    /// The most connections of the app's role. Default 10.
    pub connections: Spanned<u32>,
    /// `statement_timeout` of the app's role. Default 30 s.
    pub statement_timeout: Seconds,
    /// `lock_timeout` of the migrator's role. Default 10 s.
    pub lock_timeout: Seconds,
    /// What it may take of the disk of Freehold's own server before it is closed. Default: no limit.
    pub max_size: Option<Spanned<Storage>>,
    /// What its server has to be like, or is like where it has one for itself.
    pub server: DatabaseServer,
}

/// How a database's texts are encoded, by the name that PostgreSQL has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CharacterSet(&'static str);

impl CharacterSet {
    /// `UTF8`
    pub const UTF8: Self = Self("UTF8");

    /// As PostgreSQL calls it: `LATIN1`.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

macro_rules! character_sets {
    ($($name:literal)+) => {
        impl Word for CharacterSet {
            const WORDS: &'static [(&'static str, Self)] = &[$(($name, Self($name))),+];
        }
    };
}

// Those that a server can have: <https://www.postgresql.org/docs/current/multibyte.html>.
character_sets! {
    "UTF8" "SQL_ASCII" "EUC_CN" "EUC_JIS_2004" "EUC_JP" "EUC_KR" "EUC_TW" "ISO_8859_5" "ISO_8859_6" "ISO_8859_7" "ISO_8859_8" "KOI8R" "KOI8U"
    "LATIN1" "LATIN2" "LATIN3" "LATIN4" "LATIN5" "LATIN6" "LATIN7" "LATIN8" "LATIN9" "LATIN10" "WIN866" "WIN874" "WIN1250" "WIN1251" "WIN1252"
    "WIN1253" "WIN1254" "WIN1255" "WIN1256" "WIN1257" "WIN1258"
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
        /// Extensions to create in it, from the list of trusted ones; with a template those that it has, too.
        extensions: default List<At<Text<Plain>>, 0> = "[]";
        /// The database that it is a copy of at first, which the server's operator has prepared: "reporting" for freehold_template_reporting.
        template: optional At<Text<PartName>>;
        /// How its texts are sorted: a locale of the C library ("C", "en_US.UTF-8") or a language of ICU ("icu:de-AT"). Chosen once.
        collation: optional At<Text<CollationName>>;
        /// How its texts are encoded, in PostgreSQL's words. Chosen once.
        encoding: optional At<Text<OneOf<CharacterSet>>>;
        /// The most connections that the app's role may have open, all processes together.
        connections: default Connections = "10";
        /// The longest that a statement of the app's role may take. Migrations have no limit.
        statement_timeout: default Text<Duration<1, 1>> = "\"30s\"";
        /// The longest that a statement of a migration may wait for a lock. All who come after it wait behind it.
        lock_timeout: default Text<Duration<1, 1>> = "\"10s\"";
        /// The most that it may take of the disk of Freehold's own server on one machine. A larger one is closed until the next deploy.
        max_size: optional At<Text<Amount<Storage>>>;
        /// What its server has to be like, or is like where it has one for itself.
        server: default DatabaseServerTable = "{}";
    }
}
