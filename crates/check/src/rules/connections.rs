//! Pools of connections against the connections of their database.

use std::collections::{BTreeMap, BTreeSet};

use freehold_problem::Code;
use freehold_spec::part::output::Readers;
use freehold_spec::{Name, PartKind, Reference, Segment, Span, Template};

use crate::diagnostic::Diagnostic;
use crate::scope::{Program, Scope};

/// Variables that are the size of a pool of connections to the one database that a program has.
const POOLS: [&str; 22] = [
    "DATABASE_CONNECTION_LIMIT",
    "DATABASE_MAX_CONNECTIONS",
    "DATABASE_MAX_POOL_SIZE",
    "DATABASE_POOL_MAX",
    "DATABASE_POOL_SIZE",
    "DB_CONNECTION_LIMIT",
    "DB_MAX_CONNECTIONS",
    "DB_MAX_OPEN_CONNS",
    "DB_MAX_POOL_SIZE",
    "DB_POOL_MAX",
    "DB_POOL_SIZE",
    "PG_MAX_CONNECTIONS",
    "PG_POOL_MAX",
    "PG_POOL_SIZE",
    "PGPOOL_MAX",
    "PGPOOL_SIZE",
    "POSTGRES_MAX_CONNECTIONS",
    "POSTGRES_POOL_MAX",
    "POSTGRES_POOL_SIZE",
    "SPRING_DATASOURCE_HIKARI_MAXIMUM_POOL_SIZE",
    "SQLALCHEMY_POOL_SIZE",
    "SQLX_MAX_CONNECTIONS",
];
/// The same in a URL: of pgx, Prisma, Hikari.
const PARAMETERS: [&str; 3] = ["pool_max_conns=", "connection_limit=", "maximumPoolSize="];

/// The pool of a program.
struct Pool<'a> {
    who: String,
    database: &'a Name,
    size: u32,
    copies: u32,
    span: Span,
}

pub(super) fn check(scope: &mut Scope<'_>) {
    if !scope.knows_all() {
        return;
    }
    let mut pools: BTreeMap<&Name, Vec<Pool<'_>>> = BTreeMap::new();
    for pool in scope.programs().iter().filter_map(pool) {
        pools.entry(pool.database).or_default().push(pool);
    }
    for (database, pools) in pools {
        let Some(defined) = scope.app.databases.get(database) else { continue };
        // That many programs share few connections is what a pooler is for.
        if defined.server.pooler.is_some() {
            continue;
        }
        let connections = &defined.connections;
        let sum = pools.iter().map(|pool| pool.size.saturating_mul(pool.copies)).fold(0, u32::saturating_add);
        if sum <= connections.value {
            continue;
        }
        let Some(largest) = pools.iter().max_by_key(|pool| pool.size.saturating_mul(pool.copies)) else { continue };
        let message = format!("pools of {sum} connections to the database {database}, which has {}", connections.value);
        let diagnostic = Diagnostic::warning(Code::PoolsTooLarge, message)
            .at(largest.span, "the size of a pool")
            .at(connections.span, "the most, all processes together");
        let terms = pools.iter().map(|pool| match pool.copies {
            1 => format!("{} of {}", pool.size, pool.who),
            copies => format!("{copies} × {} of {}", pool.size, pool.who),
        });
        let diagnostic = diagnostic.note(format!("{} = {sum}", terms.collect::<Vec<_>>().join(" + ")));
        scope.report(diagnostic.help(format!(
            "raise `connections` to {sum}, and to more if old and new copies may be there at once, or make the pools smaller"
        )));
    }
}

/// The pool of a program that says how large it is.
fn pool<'a>(program: &Program<'a>) -> Option<Pool<'a>> {
    let service = program.service.filter(|_| matches!(program.word, "service" | "sidecar"))?;
    let databases: BTreeSet<&Name> = program
        .env
        .values()
        .flat_map(|value| value.references())
        .filter_map(|reference| of_app(&reference.value))
        .collect();
    // Of two databases it would be unclear whose the pool is.
    let [database] = databases.into_iter().collect::<Vec<_>>()[..] else { return None };
    let sizes = program.env.iter().filter_map(|(name, value)| {
        let size = if POOLS.contains(&name.as_str()) { whole(value) } else { parameter(value) };
        Some((size?, value.span))
    });
    // The pool in the URL is the one that is asked for.
    let (size, span) = sizes.max_by_key(|(size, _)| *size)?;
    let most = service.autoscale.as_ref().map_or(0, |autoscale| autoscale.max.value);
    let copies = service.replicas.value.max(most);
    let who = format!("{} {}", program.word, program.name);
    Some(Pool { who, database, size, copies, span })
}

/// The database to which a reference gives the app's role a connection.
fn of_app(reference: &Reference) -> Option<&Name> {
    let (name, output) = reference.output()?;
    let row = output.row();
    (output.part() == PartKind::Database && row.readers == Readers::All && row.secrecy.is_secret()).then_some(name)
}

/// A figure without anything else.
fn whole(value: &Template) -> Option<u32> {
    match value.segments.as_slice() {
        [Segment::Text(text)] => text.trim().parse().ok(),
        _ => None,
    }
}

/// The figure of a parameter that stands behind a database's URL.
fn parameter(value: &Template) -> Option<u32> {
    let [Segment::Reference(reference), Segment::Text(text)] = value.segments.as_slice() else { return None };
    of_app(&reference.value)?;
    text.split(['?', '&']).find_map(|pair| PARAMETERS.iter().find_map(|name| pair.strip_prefix(name))?.parse().ok())
}
