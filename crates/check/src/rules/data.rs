//! Databases and their backups.

use freehold_graph::extension::{TRUSTED, is_trusted};
use freehold_problem::Code;
use freehold_spec::{PartKind, nearest};

use crate::diagnostic::Diagnostic;
use crate::scope::Scope;

pub(super) fn check(scope: &mut Scope<'_>) {
    extensions(scope);
    unused(scope);
    backups(scope);
}

/// Those that the owner of a database can't create come with the template that it is a copy of.
fn extensions(scope: &mut Scope<'_>) {
    for (name, database) in &scope.app.databases {
        // Whether it has a template may be what couldn't be read.
        if database.template.is_some() || !scope.knows(&format!("database.{name}.template")) {
            continue;
        }
        for extension in database.extensions.iter().filter(|extension| !is_trusted(extension)) {
            let message = format!("the extension {} is not on the list", extension.value);
            let diagnostic = Diagnostic::error(Code::ExtensionNotAllowed, message)
                .at(extension.span, "can't be created by a tenant's own role")
                .note("only trusted extensions are safe on a server that tenants share");
            let template = "name the template that the target's operator has prepared with it (`template = \"NAME\"`)";
            scope.report(match nearest(extension, TRUSTED) {
                Some(near) => diagnostic.help(format!("did you mean \"{near}\"? Or {template}")),
                None => diagnostic.help(format!("{template}; `freehold explain FH0301` has the list of the others")),
            });
        }
    }
}

fn unused(scope: &mut Scope<'_>) {
    // What couldn't be read may use it.
    if !scope.knows_all() {
        return;
    }
    for name in scope.unused(PartKind::Database) {
        let Some(database) = scope.app.databases.get(name) else { continue };
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
    use freehold_graph::extension::TRUSTED;

    #[test]
    fn the_page_lists_the_same_extensions_as_the_rule() {
        let page = crate::page(freehold_problem::Code::ExtensionNotAllowed);
        for extension in TRUSTED {
            assert!(page.contains(&format!("`{extension}`")), "{extension}");
        }
    }
}
