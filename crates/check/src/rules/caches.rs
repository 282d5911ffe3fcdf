//! Caches.

use freehold_problem::Code;
use freehold_spec::PartKind;

use crate::diagnostic::Diagnostic;
use crate::scope::Scope;

pub(super) fn check(scope: &mut Scope<'_>) {
    volumes(scope);
    unused(scope);
}

/// A volume that there isn't, or that is full before the memory is.
fn volumes(scope: &mut Scope<'_>) {
    for (name, cache) in &scope.app.caches {
        let Some(storage) = &cache.storage else { continue };
        // Whether it persists may be what couldn't be read.
        if !cache.persist.value && scope.knows(&format!("cache.{name}.persist")) {
            let message = format!("the cache {name} keeps nothing, so there is nothing for its `storage`");
            let diagnostic = Diagnostic::error(Code::StorageNotKept, message).at(storage.span, "of no volume");
            scope.report(
                diagnostic.help("set `persist = true` if its data has to outlast the server, or leave `storage` out"),
            );
        } else if cache.persist.value && storage.value < cache.least_volume() {
            let least = cache.least_volume();
            let message = format!("the volume of the cache {name} would be full before its memory is");
            let diagnostic = Diagnostic::error(Code::VolumeTooSmall, message)
                .at(storage.span, "its volume")
                .at(cache.memory.span, "its data in memory")
                .note("the log of changes is written anew beside the old one, which has grown meanwhile");
            scope.report(diagnostic.help(format!("raise `storage` to \"{least}\", or leave it out")));
        }
    }
}

fn unused(scope: &mut Scope<'_>) {
    // What couldn't be read may use it.
    if !scope.knows_all() {
        return;
    }
    for name in scope.unused(PartKind::Cache) {
        let Some(cache) = scope.app.caches.get(name) else { continue };
        let diagnostic = Diagnostic::warning(Code::UnusedCache, format!("nothing uses the cache {name}"))
            .at(cache.span, "")
            .help(format!("set a variable to `${{cache.{name}.url}}`, or leave the cache out"));
        scope.report(diagnostic);
    }
}
