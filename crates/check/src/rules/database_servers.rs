//! Servers of databases: PostgreSQL's parameters, what they need, and how texts are encoded.

use freehold_graph::kind::MIGRATOR_CONNECTIONS;
use freehold_problem::Code;
use freehold_spec::app::{CharacterSet, Collation, Database};
use freehold_spec::{Name, Spanned, nearest};

use crate::diagnostic::Diagnostic;
use crate::parameters::{self, Fault};
use crate::scope::Scope;

/// What the operator of a cluster keeps of a server's connections for itself: superusers, replication, poolers.
const KEPT: u32 = 10;

pub(super) fn check(scope: &mut Scope<'_>) {
    for (name, database) in &scope.app.databases {
        parameters_of(scope, name, database);
        memory(scope, name, database);
        connections(scope, name, database);
        encoding(scope, name, database);
    }
}

fn parameters_of(scope: &mut Scope<'_>, name: &Name, database: &Database) {
    let version = database.server.version.as_ref().map(|version| version.value);
    for (parameter, value) in &database.server.parameters {
        let Some(fault) = parameters::fault(parameter, &value.value, version) else { continue };
        scope.report(match fault {
            Fault::Operators => {
                let message = format!("{parameter} is for the operator of the server of database {name} to set");
                Diagnostic::error(Code::OperatorsParameter, message)
                    .at(value.span, "not a definition's")
                    .note("it runs programs, loads libraries, names files, or says who gets in or how the server recovers")
                    .help("leave it out")
            }
            Fault::Unknown(versions) if versions.is_empty() => {
                let message = format!("PostgreSQL has no parameter {parameter}");
                let diagnostic = Diagnostic::error(Code::UnknownParameter, message).at(value.span, "of this one");
                match nearest(parameter, parameters::names()) {
                    Some(near) => diagnostic.help(format!("did you mean {near}?")),
                    None => diagnostic.help("its names: https://www.postgresql.org/docs/current/runtime-config.html"),
                }
            }
            Fault::Unknown(versions) => {
                let asked = version.map_or_else(String::new, |version| format!(" {}", version.0));
                let versions: Vec<String> = versions.iter().map(u32::to_string).collect();
                let message = format!("PostgreSQL{asked} has no parameter {parameter}");
                Diagnostic::error(Code::UnknownParameter, message)
                    .at(value.span, "of this one")
                    .note(format!("it is one of PostgreSQL {}", versions.join(", ")))
                    .help("leave it out, or choose another `version`")
            }
            Fault::Value(expected) => {
                let message = format!("{parameter} can't be {:?}", value.value);
                Diagnostic::error(Code::ParameterValue, message)
                    .at(value.span, "no such value")
                    .help(format!("it is {expected}"))
            }
        });
    }
}

/// Buffers that don't fit into what the server is sure to have: CloudNativePG refuses such a one, and others don't start.
fn memory(scope: &mut Scope<'_>, name: &Name, database: &Database) {
    let server = &database.server;
    let Some(buffers) = server.parameters.get("shared_buffers") else { return };
    if !scope.knows(&format!("database.{name}.server.memory")) {
        return;
    }
    let Some(bytes) = parameters::bytes("shared_buffers", &buffers.value) else { return };
    // Sizes of memory are far below what a fraction of 53 bits tells apart.
    #[allow(clippy::cast_precision_loss, reason = "only compared")]
    let memory = server.memory.value.request.0 as f64;
    if bytes <= memory {
        return;
    }
    let message = format!("shared_buffers is more than the server of database {name} has");
    let diagnostic = Diagnostic::error(Code::ServerTooSmall, message)
        .at(buffers.span, "more than its memory")
        .at(server.memory.span, format!("{} is what it is sure to have", server.memory.value.request))
        .help("about a quarter of the memory is usual: raise `server.memory`, or lower shared_buffers");
    scope.report(diagnostic);
}

/// Fewer connections than the app's role is promised.
fn connections(scope: &mut Scope<'_>, name: &Name, database: &Database) {
    let Some(most) = database.server.parameters.get("max_connections") else { return };
    let Ok(number) = most.value.parse::<u32>() else { return };
    let needed = database.connections.value.saturating_add(MIGRATOR_CONNECTIONS).saturating_add(KEPT);
    if number >= needed || !scope.knows(&format!("database.{name}.connections")) {
        return;
    }
    let message = format!("max_connections is less than database {name} needs");
    let diagnostic = Diagnostic::error(Code::ServerTooSmall, message)
        .at(most.span, format!("{needed} are needed"))
        .at(database.connections.span, "of the app's role")
        .note(format!("{MIGRATOR_CONNECTIONS} more are for migrations, and {KEPT} are kept for superusers, standbys and the operator"))
        .help(format!("raise max_connections to {needed}, or lower `connections`"));
    scope.report(diagnostic);
}

/// A locale for another encoding than the database's.
fn encoding(scope: &mut Scope<'_>, name: &Name, database: &Database) {
    let path = |key: &str| format!("database.{name}.{key}");
    if !scope.knows(&path("encoding")) || !scope.knows(&path("collation")) {
        return;
    }
    let Some(collation) = &database.collation else { return };
    let encoding = database.encoding.as_ref().map_or(CharacterSet::UTF8, |encoding| encoding.value);
    let Some(expected) = foreign(collation, encoding) else { return };
    let message =
        format!("the collation {} of database {name} is not for texts in {}", collation.value, encoding.as_str());
    let diagnostic =
        Diagnostic::error(Code::CollationEncoding, message).at(collation.span, format!("it is for {expected}"));
    scope.report(diagnostic.help(format!("choose a collation for {}, or another `encoding`", encoding.as_str())));
}

/// What a collation is for, if that is something else.
fn foreign(collation: &Spanned<Collation>, encoding: CharacterSet) -> Option<String> {
    match &collation.value {
        // ICU has no words for texts of no encoding.
        Collation::Icu(_) => (encoding.as_str() == "SQL_ASCII").then(|| "texts whose encoding is known".to_owned()),
        Collation::Libc(locale) => {
            // `en_US.UTF-8@euro`: what stands behind the dot is the encoding that the locale is for.
            let (_, codeset) = locale.split_once('.')?;
            let codeset = codeset.split('@').next().unwrap_or_default();
            // Byte by byte, whichever encoding that is: PostgreSQL takes it.
            let any = encoding.as_str() == "SQL_ASCII";
            (!any && plain(codeset) != plain(encoding.as_str())).then(|| codeset.to_owned())
        }
    }
}

/// Names of encodings as they can be compared: `UTF-8` is `UTF8`, `ISO-8859-1` is `LATIN1`, `CP1252` is `WIN1252`.
fn plain(name: &str) -> String {
    const LATIN: [(&str, &str); 10] = [
        ("ISO88591", "LATIN1"),
        ("ISO88592", "LATIN2"),
        ("ISO88593", "LATIN3"),
        ("ISO88594", "LATIN4"),
        ("ISO88599", "LATIN5"),
        ("ISO885910", "LATIN6"),
        ("ISO885913", "LATIN7"),
        ("ISO885914", "LATIN8"),
        ("ISO885915", "LATIN9"),
        ("ISO885916", "LATIN10"),
    ];
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_uppercase();
    let name = name.strip_prefix("CP").map(|page| format!("WIN{page}")).unwrap_or(name);
    LATIN.iter().find_map(|(iso, latin)| (*iso == name).then(|| (*latin).to_owned())).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn an_encoding_is_known_by_its_other_name() {
        for (one, other) in [
            ("UTF-8", "UTF8"),
            ("utf8", "UTF8"),
            ("ISO-8859-1", "LATIN1"),
            ("ISO8859-15", "LATIN9"),
            ("CP1252", "WIN1252"),
            ("KOI8-R", "KOI8R"),
        ] {
            assert_eq!(plain(one), plain(other));
        }
        assert_ne!(plain("ISO-8859-2"), plain("LATIN1"));
    }
}
