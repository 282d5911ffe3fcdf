//! The server of a database: which one of the target's, or what it is like where a database has one for itself.

use std::collections::BTreeMap;

use crate::decode::database::{ParameterName, ParameterValue};
use crate::decode::kind::{At, Few, Map};
use crate::decode::number::Whole;
use crate::decode::table::table;
use crate::decode::text::{Amount, Limits, OneOf, PartName, Text, Word};
use crate::name::Name;
use crate::quantity::{Cpu, Memory, Range, Storage};
use crate::span::{Span, Spanned};

/// What a database asks of its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseServer {
    /// Its table's header; the database's where it has none.
    pub span: Span,
    /// Which of the target's servers. Default: the one without a name.
    pub name: Option<Spanned<Name>>,
    /// The major version of PostgreSQL. Default: whichever the target has.
    pub version: Option<Spanned<PostgresVersion>>,
    /// Processor time of each copy. Default `"100m..500m"`.
    pub cpu: Spanned<Range<Cpu>>,
    /// Memory of each copy. Default `"64Mi..256Mi"`.
    pub memory: Spanned<Range<Memory>>,
    /// Size of the volume of each copy. Default `"1Gi"`.
    pub storage: Spanned<Storage>,
    /// Size of another volume for the write-ahead log. Default: it is on the same one.
    pub wal_storage: Option<Spanned<Storage>>,
    /// PostgreSQL's own parameters, by their names in lower case, as texts of its configuration.
    pub parameters: BTreeMap<String, Spanned<String>>,
    /// How many of them: one that is written to, and standbys. Default 1.
    pub copies: Spanned<u32>,
    /// Connections are shared through a pooler. Default: none.
    pub pooler: Option<Pooler>,
}

impl DatabaseServer {
    /// The keys that say what a server is like, as far as they are written: what only holds where a database has a server for itself.
    pub fn own_keys(&self) -> Vec<&'static str> {
        let written = |span: Span| span != self.span;
        let keys = [
            ("cpu", written(self.cpu.span)),
            ("memory", written(self.memory.span)),
            ("storage", written(self.storage.span)),
            ("wal_storage", self.wal_storage.is_some()),
            ("parameters", !self.parameters.is_empty()),
            ("copies", written(self.copies.span)),
            ("pooler", self.pooler.is_some()),
        ];
        keys.into_iter().filter_map(|(key, is_written)| is_written.then_some(key)).collect()
    }
}

/// PgBouncer between the app's role and the server. Migrations go past it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pooler {
    /// Where its table stands.
    pub span: Span,
    /// How many there are. Default 1.
    pub copies: Spanned<u32>,
    /// When a connection of the server is another client's turn. Default `"transaction"`.
    pub mode: PoolMode,
    /// The most clients of each. Default 1000.
    pub clients: Spanned<u32>,
}

/// For how long a client has a connection of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    /// For a transaction.
    Transaction,
    /// Until it goes.
    Session,
}

impl PoolMode {
    /// As PgBouncer calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transaction => "transaction",
            Self::Session => "session",
        }
    }
}

impl Word for PoolMode {
    const WORDS: &'static [(&'static str, Self)] = &[("transaction", Self::Transaction), ("session", Self::Session)];
}

/// A major version of PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PostgresVersion(pub u32);

impl Word for PostgresVersion {
    const WORDS: &'static [(&'static str, Self)] =
        &[("15", Self(15)), ("16", Self(16)), ("17", Self(17)), ("18", Self(18))];
}

table! {
    /// The server of a database: which one of the target's, or what it is like where a database has one for itself.
    "database-server" DatabaseServerTable -> DatabaseServer { span:
        /// Which of the target's servers, by the name that its operator has given it. Without it, the one without a name.
        name: optional At<Text<PartName>>;
        /// The major version of PostgreSQL: "18". A server that is there has to be as new.
        version: optional At<Text<OneOf<PostgresVersion>>>;
        /// Processor time of each copy, request..limit, where it is a server of its own (a CloudNativePG cluster).
        cpu: default At<Text<Limits<Cpu>>> = "\"100m..500m\"";
        /// Memory of each copy, request..limit.
        memory: default At<Text<Limits<Memory>>> = "\"64Mi..256Mi\"";
        /// Size of the volume of each copy. Can only grow.
        storage: default At<Text<Amount<Storage>>> = "\"1Gi\"";
        /// Size of another volume for the write-ahead log.
        wal_storage: optional At<Text<Amount<Storage>>>;
        /// PostgreSQL's own parameters: { work_mem = "32MB", autovacuum = false }.
        parameters: default Few<Map<ParameterName, At<ParameterValue>>, 200> = "{}";
        /// How many: one that is written to, and standbys of which one takes over.
        copies: default At<Whole<u32, 1, 9>> = "1";
        /// Connections of the app's role are shared through PgBouncer.
        pooler: optional PoolerTable;
    }
}

table! {
    /// PgBouncer between the app's role and the server. Migrations go past it.
    "pooler" PoolerTable -> Pooler { span:
        /// How many there are. They share the database's `connections`.
        copies: default At<Whole<u32, 1, 9>> = "1";
        /// For how long a client has a connection of the server: "transaction" or "session".
        mode: default Text<OneOf<PoolMode>> = "\"transaction\"";
        /// The most clients that each takes.
        clients: default At<Whole<u32, 1, 10000>> = "1000";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(keys: &str) -> DatabaseServer {
        let source = format!("[app]\nname = \"a\"\n[database.one]\n{keys}\n");
        crate::decode(&source).unwrap().databases["one"].server.clone()
    }

    #[test]
    fn only_what_is_written_is_asked_of_a_server() {
        assert_eq!(server("").own_keys(), Vec::<&str>::new());
        assert_eq!(server("server = { version = \"16\", name = \"reports\" }").own_keys(), Vec::<&str>::new());
        let all = "server = { cpu = \"1\", memory = \"1Gi\", storage = \"2Gi\", wal_storage = \"1Gi\", copies = 2, pooler = {}, \
                   parameters = { jit = false } }";
        let keys = ["cpu", "memory", "storage", "wal_storage", "parameters", "copies", "pooler"];
        assert_eq!(server(all).own_keys(), keys);
    }

    #[test]
    fn parameters_are_texts_as_the_configuration_has_them() {
        let parameters =
            "server.parameters = { jit = false, work_mem = \"32MB\", max_connections = 2_00, seq_page_cost = 1.50 }";
        let parameters = server(parameters).parameters;
        let texts: Vec<&str> = parameters.values().map(|value| value.value.as_str()).collect();
        assert_eq!(texts, ["off", "200", "1.5", "32MB"]);
    }
}
