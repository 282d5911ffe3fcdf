//! Databases and their backups.

use freehold_problem::Code;
use freehold_spec::{PartKind, nearest};

use crate::diagnostic::Diagnostic;
use crate::scope::Scope;

/// The extensions that a definition may ask for, sorted: those that PostgreSQL 15 marks as trusted (they give nobody more
/// rights than the owner of the database has) and that bring in no other language, and pgvector, which is marked so too.
/// <https://www.postgresql.org/docs/15/contrib.html>
pub const EXTENSIONS: [&str; 22] = [
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

pub(super) fn check(scope: &mut Scope<'_>) {
    extensions(scope);
    unused(scope);
    backups(scope);
}

fn extensions(scope: &mut Scope<'_>) {
    for database in scope.app.databases.values() {
        for extension in database.extensions.iter().filter(|extension| !EXTENSIONS.contains(&extension.as_str())) {
            let message = format!("the extension {} is not on the list", extension.value);
            let diagnostic = Diagnostic::error(Code::ExtensionNotAllowed, message)
                .at(extension.span, "can't be created by a tenant's own role")
                .note("only trusted extensions are safe on a server that tenants share");
            scope.report(match nearest(extension, EXTENSIONS) {
                Some(near) => diagnostic.help(format!("did you mean \"{near}\"?")),
                None => diagnostic.help("`freehold explain FH0301` has the list"),
            });
        }
    }
}

fn unused(scope: &mut Scope<'_>) {
    // What couldn't be read may use it.
    if !scope.knows_all() {
        return;
    }
    let used = scope.used(PartKind::Database);
    for (name, database) in scope.app.databases.iter().filter(|(name, _)| !used.contains(name)) {
        let diagnostic = Diagnostic::warning(Code::UnusedDatabase, format!("nothing uses the database {name}"))
            .at(database.span, "")
            .help(format!("set a variable to `${{database.{name}.url}}`, or leave the database out"));
        scope.report(diagnostic);
    }
}

fn backups(scope: &mut Scope<'_>) {
    if let Some(backup) = &scope.app.backup {
        let message = "backups are not made on their schedule by this version";
        let diagnostic = Diagnostic::warning(Code::BackupNotMadeYet, message)
            .at(backup.schedule.span, "read, and not acted upon")
            .note("a database is dumped before it is deleted, whatever stands here");
        scope.report(diagnostic.help("until then, run pg_dump on a schedule of your own"));
    }
}

#[cfg(test)]
mod tests {
    use super::EXTENSIONS;

    #[test]
    fn the_page_lists_the_same_extensions_as_the_rule() {
        let page = crate::page(freehold_problem::Code::ExtensionNotAllowed);
        for extension in EXTENSIONS {
            assert!(page.contains(&format!("`{extension}`")), "{extension}");
        }
    }
}
