//! What is asked of production: that its data is backed up, and that one copy of a service may fall.

use freehold_problem::Code;

use crate::diagnostic::Diagnostic;
use crate::scope::Scope;

pub(super) fn check(scope: &mut Scope<'_>) {
    if scope.production {
        backups(scope);
        copies(scope);
    }
}

/// Databases that nothing backs up.
fn backups(scope: &mut Scope<'_>) {
    let app = scope.app;
    let (None, Some((name, database))) = (&app.backup, app.databases.first_key_value()) else { return };
    if !scope.knows("backup") {
        return;
    }
    let message = match app.databases.len() {
        1 => format!("production has no backup of its database {name}"),
        count => format!("production has no backup of its {count} databases"),
    };
    let diagnostic = Diagnostic::warning(Code::NoBackup, message)
        .at(database.span, "in no backup")
        .note("a dump is made before a database is deleted, and at no other time");
    scope.report(diagnostic.help("this version makes no backups by itself: dump it on a schedule of your own, and say so with `# freehold:allow FH0213: REASON`"));
}

/// Services that the world asks and that have one copy.
fn copies(scope: &mut Scope<'_>) {
    let app = scope.app;
    for (name, service) in &app.services {
        let routed = app.routes.values().any(|route| route.services().any(|other| other.value == *name));
        // A volume is used by one copy at a time.
        let known =
            ["replicas", "autoscale", "volumes"].iter().all(|key| scope.knows(&format!("service.{name}.{key}")));
        if !routed || !known || service.replicas.value != 1 || !service.volumes.is_empty() {
            continue;
        }
        let message = format!("production has one copy of {name}, to which a route leads");
        let diagnostic = Diagnostic::warning(Code::OneCopy, message)
            .at(service.replicas.span, "one copy")
            .note("when it falls, or its node is drained, requests are answered 503 until another is ready");
        let written = service.replicas.span != service.span;
        let here = if written { "raise it, or say" } else { "say" };
        scope.report(diagnostic.help(format!("{here} `service.{name}.replicas = 2` in `[stage.production]`")));
    }
}
