//! The extensions of PostgreSQL that a database may have.

/// Those that the owner of a database may create on a server that tenants share, sorted: those that PostgreSQL 15 marks as trusted (they
/// give nobody more rights than the owner of the database has) and that bring in no other language, and pgvector, which is marked so too.
/// <https://www.postgresql.org/docs/15/contrib.html>
pub const TRUSTED: [&str; 22] = [
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "dict_int",
    "fuzzystrmatch",
    "hstore",
    "intarray",
    "isn",
    "lo",
    "ltree",
    "pg_trgm",
    "pgcrypto",
    "plpgsql",
    "seg",
    "tablefunc",
    "tcn",
    "tsm_system_rows",
    "tsm_system_time",
    "unaccent",
    "uuid-ossp",
    "vector",
];

/// Those that only a superuser creates, and that are safe on a server that a stack has for itself: they lead neither to its files nor to
/// other programs or hosts. Sorted.
const OWN_SERVER: [&str; 15] = [
    "amcheck",
    "bloom",
    "hypopg",
    "pageinspect",
    "pg_buffercache",
    "pg_cron",
    "pg_freespacemap",
    "pg_partman",
    "pg_prewarm",
    "pg_stat_statements",
    "pg_visibility",
    "pgrowlocks",
    "pgstattuple",
    "postgis",
    "timescaledb",
];

/// Those that do nothing, or can't be created, unless the server loads a library when it starts; sorted.
const PRELOADED: [&str; 4] = ["pg_cron", "pg_stat_statements", "pgaudit", "timescaledb"];

/// Whether a tenant's own role creates it.
pub fn is_trusted(extension: &str) -> bool {
    TRUSTED.contains(&extension)
}

/// Whether the operator of a cluster creates it, with a server that is the stack's own.
pub fn fits_own_server(extension: &str) -> bool {
    is_trusted(extension) || OWN_SERVER.contains(&extension)
}

/// The library that the server has to load for it at its start.
pub fn library(extension: &str) -> Option<&'static str> {
    PRELOADED.into_iter().find(|library| *library == extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted_and_have_nothing_in_common() {
        assert!(TRUSTED.is_sorted() && OWN_SERVER.is_sorted() && PRELOADED.is_sorted());
        assert!(OWN_SERVER.iter().all(|extension| !is_trusted(extension)));
    }

    #[test]
    fn what_leads_out_of_the_database_is_in_no_list() {
        for dangerous in
            ["dblink", "file_fdw", "postgres_fdw", "plpython3u", "plperlu", "adminpack", "pg_read_server_files"]
        {
            assert!(!fits_own_server(dangerous), "{dangerous}");
        }
    }
}
