//! A fence around a database: nobody whom Freehold gave a password can log in or goes on writing, so that a dump taken behind it holds all
//! that was ever acknowledged. What is needed to let them in again stays: passwords, limits, grants.
//!
//! It covers all roles that bear the mark of the database's roles, those of rotations too, but for Freehold's own logins. The transaction
//! that shuts a login says so in its mark. So only what this fence shut is opened again: a login that was closed before, after a
//! rotation or because the database filled the disk, stays closed. Whoever closes a database ([`crate::usage::suspend`]) waits for nobody,
//! not for a fence either: what its owner's mark says after the logins were opened decides.

use std::time::Duration;

use freehold_engine::{Context, Lookup, Performed, ProviderError};
use freehold_graph::{Resource, Value};
use freehold_problem::Code;
use tokio::time::Instant;

use crate::body;
use crate::catalog::RoleRows;
use crate::failure::Doing;
use crate::logins::{self, LoginRow};
use crate::mark::Mark;
use crate::quote::{Identifier, Literal};
use crate::roles::{LockedRoles, lock_roles};
use crate::session::{Session, Sessions};
use crate::usage;

/// The field of a login's mark that says that a fence shut it.
const FENCED: &str = "fenced";
/// Sessions that are just being let in: in their first transaction, and among the others only once that is over. Whoever gets so far after
/// the logins were shut is turned away.
const ARRIVING: &str = "
    SELECT l.pid, l.virtualtransaction FROM pg_catalog.pg_locks l
    LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) l.pid
    WHERE l.locktype OPERATOR(pg_catalog.=) 'virtualxid' AND l.granted AND a.usesysid IS NULL AND a.datid IS NULL";
/// How often it is looked whether they are through.
const LOOK: Duration = Duration::from_millis(10);

/// Shuts the logins and ends their sessions. Done only when none is left.
pub(crate) async fn raise(
    sessions: &Sessions,
    context: &Context,
    lookup: &Lookup,
    object: Option<&str>,
) -> Result<Performed, ProviderError> {
    let what = "shutting the logins of";
    let LockedRoles { mut session, names, doing, .. } =
        lock_roles(sessions, context, what, (&lookup.body, &lookup.identity), object).await?;
    let (stack, deadline) = (context.stack, context.deadline);
    let logins = logins::of_database(&mut session, stack, &lookup.id, &doing).await?;
    let mut sql = String::new();
    for (row, mut mark) in logins.iter().filter(|row| row.can_log_in).filter_map(marked) {
        mark.values.insert(FENCED.to_owned(), Value::Bool(true));
        sql.push_str(&switch(row, "NOLOGIN", &mark)?);
    }
    if !sql.is_empty() {
        session.run(&doing, deadline, sql).await?;
    }
    let identifiers: Vec<Identifier> =
        logins.iter().map(|row| body::identifier(row.name())).collect::<Result<_, _>>()?;
    let oids: Vec<i64> = logins.iter().map(LoginRow::oid).collect();
    if !oids.is_empty() {
        logins::end_sessions(&mut session, &names.owner, &identifiers, &oids, &doing, deadline).await?;
        await_arrivals(&mut session, &doing, deadline).await?;
        logins::end_sessions(&mut session, &names.owner, &identifiers, &oids, &doing, deadline).await?;
    }
    let left: i64 = sqlx::query_scalar(
        "SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity
         WHERE usesysid::pg_catalog.int8 OPERATOR(pg_catalog.=) ANY ($1)",
    )
    .bind(&oids)
    .fetch_one(session.connection())
    .await
    .map_err(|error| doing.failed(error))?;
    session.finish().await;
    if left > 0 {
        return Err(ProviderError::retryable(Code::NotNow, format!("{}: {left} sessions have not ended yet", doing.0)));
    }
    Ok(Performed::default())
}

/// Waits until all who are being let in at this moment are in, or were turned away: they may have been found fit before the logins were shut.
/// Nobody can keep it up for longer than the server's `authentication_timeout`.
async fn await_arrivals(session: &mut Session, doing: &Doing, deadline: Instant) -> Result<(), ProviderError> {
    let mut earlier: Option<Vec<(i32, String)>> = None;
    loop {
        let mut arriving: Vec<(i32, String)> =
            sqlx::query_as(ARRIVING).fetch_all(session.connection()).await.map_err(|error| doing.failed(error))?;
        if let Some(earlier) = &earlier {
            arriving.retain(|one| earlier.contains(one));
        }
        if arriving.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let left = arriving.len();
            return Err(ProviderError::retryable(
                Code::NotNow,
                format!("{}: {left} sessions are still connecting", doing.0),
            ));
        }
        earlier = Some(arriving);
        tokio::time::sleep(LOOK).await;
    }
}

/// Opens the logins that a fence shut, however far it got; those of a database that was closed stay shut.
pub(crate) async fn lift(
    sessions: &Sessions,
    context: &Context,
    resource: &Resource,
    object: Option<&str>,
) -> Result<Performed, ProviderError> {
    let what = "opening the logins of";
    let LockedRoles { mut session, names, rows, doing } =
        lock_roles(sessions, context, what, (&resource.body, &resource.identity), object).await?;
    let deadline = context.deadline;
    let logins = logins::of_database(&mut session, context.stack, &resource.id, &doing).await?;
    let word = if closed(&rows).is_some() { "NOLOGIN" } else { "LOGIN" };
    let mut sql = String::new();
    for (row, mut mark) in logins.iter().filter_map(marked) {
        if mark.values.remove(FENCED).is_some() {
            sql.push_str(&switch(row, word, &mark)?);
        }
    }
    if !sql.is_empty() {
        session.run(&doing, deadline, sql).await?;
    }
    let rows = RoleRows::read(&mut session, &names, &doing).await?;
    let mut note = None;
    if let Some(why) = closed(&rows) {
        let logins = logins::of_database(&mut session, context.stack, &resource.id, &doing).await?;
        let open: Vec<&LoginRow> = logins.iter().filter(|row| row.can_log_in).collect();
        let open_names: Vec<Identifier> =
            open.iter().map(|row| body::identifier(row.name())).collect::<Result<_, _>>()?;
        if !open.is_empty() {
            let shut = open_names.iter().map(|role| format!("ALTER ROLE {role} NOLOGIN;\n")).collect();
            session.run(&doing, deadline, shut).await?;
            let oids: Vec<i64> = open.iter().map(|row| row.oid()).collect();
            logins::end_sessions(&mut session, &names.owner, &open_names, &oids, &doing, deadline).await?;
        }
        note = Some(format!("the database was closed, so its logins stay shut: {why}"));
    }
    session.finish().await;
    Ok(Performed { object: Some(rows.object()), note, ..Performed::default() })
}

/// Why the database was closed to its programs and people, if it was.
fn closed(rows: &RoleRows) -> Option<String> {
    let mark = rows.owner.as_ref()?.mark()?;
    usage::closed(&mark).map(str::to_owned)
}

fn marked(row: &LoginRow) -> Option<(&LoginRow, Mark)> {
    row.mark().map(|mark| (row, mark))
}

/// Statements for a transaction.
fn switch(row: &LoginRow, word: &str, mark: &Mark) -> Result<String, ProviderError> {
    let role = body::identifier(row.name())?;
    let mark = mark.to_string();
    Ok(format!("ALTER ROLE {role} {word};\nCOMMENT ON ROLE {role} IS {};\n", Literal(&mark)))
}
