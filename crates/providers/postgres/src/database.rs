//! `postgres.database`: a database for a stack.
//!
//! ```text
//! CREATE DATABASE … OWNER owner CONNECTION LIMIT 0     ours from its first moment (the owner's role bears the mark),
//!                                                      and closed to everybody
//! one transaction: rights, mark, open                  PUBLIC never gets in
//! one transaction in the new database: what app may    see `content`
//! ```
//!
//! `CREATE DATABASE` is not transactional, so a crash may come between any two of these. Whatever was done before,
//! repeating [`apply`] completes it. A limit of 0 says nothing about what is in a database: its owner can set it, too. A `DROP DATABASE` that was interrupted leaves a database that nobody can use; both
//! [`apply`] and [`delete`] finish it.
//!
//! Strategy: the server's default. Since 15 that is `wal_log`, which takes some 40 ms and forces no checkpoint.

use std::collections::BTreeMap;
use std::time::Duration;

use freehold_engine::{Context, Lookup, Performed, ProviderError};
use freehold_graph::extension::TRUSTED;
use freehold_graph::{Effect, Resource, ResourceKind, StackId, Value};
use freehold_plan::observation::Ownership;
use freehold_plan::{Observation, diff};
use freehold_problem::{Code, Problem};
use tokio::time::Instant;

use crate::body::{self, RoleNames};
use crate::catalog::{DatabaseRow, RoleRows};
use crate::content::{self, DatabaseContent, Inspection};
use crate::failure::Doing;
use crate::in_database;
use crate::mark::Mark;
use crate::origin::Origin;
use crate::quote::Identifier;
use crate::removal::{check_ours, foreign, remove};
use crate::session::{Session, Sessions, Turn};
use crate::statements::{create_statement, drop_statement, open_statements};
use crate::{own_logins, roles};

/// How long to wait for an earlier call.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often to look whether it is done.
const POLL: Duration = Duration::from_millis(10);

pub(crate) async fn observe(
    sessions: &Sessions,
    stack: StackId,
    lookup: &Lookup,
    deadline: Instant,
) -> Result<Option<Observation>, ProviderError> {
    let name = body::identifier(&lookup.identity)?;
    let doing = Doing::new("looking at database", name.as_str());
    let mut session = sessions.maintenance(Turn::Look(&name), &doing, deadline).await?;
    let names = RoleNames::of(&lookup.body)?;
    settle(&mut session, &name, &names, &doing, deadline).await?;
    let Some(row) = DatabaseRow::read(&mut session, &name, &doing).await? else {
        session.finish().await;
        return Ok(None);
    };
    let ownership = row.ownership(stack);
    // Nobody gets into a database that is half made or half dropped, and a foreign one isn't ours to look into.
    let open = row.owner == names.owner.as_str() && row.connection_limit != 0 && !row.is_half_dropped();
    let content = match ownership {
        Ownership::Ours if open => Some(DatabaseContent::read(sessions, &name, &names, &doing, deadline).await?),
        Ownership::Ours | Ownership::Foreign(_) | Ownership::OtherStack(_) => None,
    };
    session.finish().await;
    let body =
        comparable(&name, &names, &row, content.as_ref(), (body::extensions(&lookup.body), &Origin::of(&lookup.body)?));
    Ok(Some(Observation { object: row.oid.to_string(), ownership, body, foreign_fields: Vec::new() }))
}

pub(crate) async fn apply(
    sessions: &Sessions,
    context: &Context,
    resource: &Resource,
    adopt: bool,
) -> Result<Performed, ProviderError> {
    let name = body::identifier(&resource.identity)?;
    let names = RoleNames::of(&resource.body)?;
    let wanted = allowed(&name, body::extensions(&resource.body))?;
    let origin = Origin::of(&resource.body)?;
    let doing = Doing::new("making database", name.as_str());
    let mut session = sessions.maintenance(Turn::Change(&name), &doing, context.deadline).await?;
    settle(&mut session, &name, &names, &doing, context.deadline).await?;
    let mut row = DatabaseRow::read(&mut session, &name, &doing).await?;
    let mut note = None;
    if let Some(found) = &row {
        match found.ownership(context.stack) {
            Ownership::Ours if found.is_half_dropped() => {
                let owner = body::identifier(&found.owner)?;
                session.assume(&names.owner, &[&owner], &doing, context.deadline).await?;
                session.run(&doing, context.deadline, drop_statement(&name)).await?;
                session.resign(&names.owner, &[&owner], &doing, context.deadline).await?;
                note = Some("finished an interrupted deletion and recreated the database".to_owned());
                row = None;
            }
            Ownership::Ours => {}
            Ownership::Foreign(_) if adopt => {
                crate::adoption::take(&mut session, sessions, &name, found, &names, &doing, context.deadline).await?;
            }
            Ownership::Foreign(who) => return Err(foreign(&name, &who, true)),
            other @ Ownership::OtherStack(_) => return Err(foreign(&name, &other.to_string(), false)),
        }
    }
    check_owner(&mut session, &names, context.stack, &doing).await?;
    // Whom it was given to, if it was.
    let former = row.as_ref().map(|row| body::identifier(&row.owner)).transpose()?;
    let mut owners = vec![&names.owner];
    owners.extend(former.as_ref().filter(|former| **former != names.owner));
    session.assume(&names.owner, &owners, &doing, context.deadline).await?;
    let is_new = row.is_none();
    if is_new {
        origin.check(&mut session, &name, &doing).await?;
        session.run(&doing, context.deadline, create_statement(&name, &names.owner, &origin)).await?;
    }
    let mark = Mark::new(context.stack, &resource.id);
    let open = open_statements(&name, &names, row.as_ref(), &mark);
    session.resign_after(&open, &names.owner, &owners, &doing, context.deadline).await?;
    let made = DatabaseRow::read(&mut session, &name, &doing).await?;
    if !content::write(sessions, &name, &names, &wanted, &doing, context.deadline).await? {
        own_logins::renew(sessions, &mut session, &names, context.stack, &doing, context.deadline).await?;
        if !content::write(sessions, &name, &names, &wanted, &doing, context.deadline).await? {
            return Err(ProviderError::retryable(
                Code::NotNow,
                format!("{}: role {} cannot connect yet", doing.0, names.keeper.as_str()),
            ));
        }
    }
    if is_new && let Some(made) = &made {
        refuse_what_it_is_not(sessions, &mut session, (&name, made), &names, &origin, (&doing, context.deadline))
            .await?;
    }
    session.finish().await;
    Ok(Performed { object: made.map(|row| row.oid.to_string()), note, ..Performed::default() })
}

/// A database that was just made, and isn't what was asked for, is dropped again: nothing is in it yet, and what it is made of can't be
/// changed.
async fn refuse_what_it_is_not(
    sessions: &Sessions,
    session: &mut Session,
    (name, made): (&Identifier, &DatabaseRow),
    names: &RoleNames,
    origin: &Origin,
    (doing, deadline): (&Doing, Instant),
) -> Result<(), ProviderError> {
    let extensions = match DatabaseContent::read(sessions, name, names, doing, deadline).await? {
        Inspection::Seen(content) => content.extensions,
        Inspection::Shut => return Ok(()),
    };
    let Some(problem) = origin.refusal(made, &extensions, name) else { return Ok(()) };
    remove(session, name, names, made, doing, deadline).await?;
    Err(problem.into())
}

/// Whether it is to be made, or made anew.
pub(crate) fn would_be_made(observed: Option<&Observation>, desired: &Value) -> bool {
    let row = ResourceKind::PostgresDatabase.row();
    observed
        .is_none_or(|there| diff::fields(row, &there.body, desired).iter().any(|field| field.effect == Effect::Replace))
}

/// Looks whether a database can be made as it is asked for, before anything is done about it.
pub(crate) async fn preview(sessions: &Sessions, resource: &Resource, deadline: Instant) -> Result<(), ProviderError> {
    let name = body::identifier(&resource.identity)?;
    let doing = Doing::new("looking at what is to be made of database", name.as_str());
    let origin = Origin::of(&resource.body)?;
    let mut session = sessions.maintenance(Turn::None, &doing, deadline).await?;
    origin.check(&mut session, &name, &doing).await?;
    session.finish().await;
    Ok(())
}

pub(crate) async fn delete(
    sessions: &Sessions,
    context: &Context,
    lookup: &Lookup,
    object: Option<&str>,
) -> Result<Performed, ProviderError> {
    let name = body::identifier(&lookup.identity)?;
    let doing = Doing::new("dropping database", name.as_str());
    let mut session = sessions.maintenance(Turn::Delete(&name), &doing, context.deadline).await?;
    let names = RoleNames::of(&lookup.body)?;
    if let Some(row) = DatabaseRow::read(&mut session, &name, &doing).await? {
        check_ours(&name, &row, context.stack)?;
        check_identity(&name, &row, object)?;
        remove(&mut session, &name, &names, &row, &doing, context.deadline).await?;
    }
    // A crash in the middle of a dump's proof may have left the second one.
    if let Some(recorded) = object {
        let scratch = crate::scratch::name(recorded)?;
        crate::scratch::discard(&mut session, &scratch, &names, context.stack, &doing, context.deadline).await?;
    }
    session.finish().await;
    Ok(Performed::default())
}

/// Waits for what an earlier call has begun in a database and given up: the server goes on with it until it is done. It is
/// found by its name, for a lock in there could be held by the tenant.
async fn settle(
    session: &mut Session,
    name: &Identifier,
    names: &RoleNames,
    doing: &Doing,
    deadline: Instant,
) -> Result<(), ProviderError> {
    const SQL: &str = "SELECT EXISTS (SELECT FROM pg_stat_activity
        WHERE datname = $1 AND usename = $2 AND application_name = $3)";
    let patience = deadline.min(Instant::now() + PATIENCE);
    loop {
        let busy: bool = sqlx::query_scalar(SQL)
            .bind(name.as_str())
            .bind(names.keeper.as_str())
            .bind(in_database::CHANGING)
            .fetch_one(session.connection())
            .await
            .map_err(|error| doing.failed(error))?;
        if !busy {
            return Ok(());
        }
        if Instant::now() >= patience {
            return Err(ProviderError::retryable(
                Code::NotNow,
                format!("{}: an earlier call about it is still at work", doing.0),
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A database is ours by its owner's mark, so the owner has to have it before there is a database.
async fn check_owner(
    session: &mut Session,
    names: &RoleNames,
    stack: StackId,
    doing: &Doing,
) -> Result<(), ProviderError> {
    let rows = RoleRows::read(session, names, doing).await?;
    roles::check_ownership(&rows, stack, false)?;
    if rows.owner.is_some() {
        return Ok(());
    }
    let message = format!("{}: its owner {} is gone", doing.0, names.owner.as_str());
    Err(ProviderError::from(
        Problem::new(Code::ChangedExternally, message).help("deploy again: the plan will show what happened to them"),
    ))
}

/// What is there, in the form of the desired body. What deviates and has no field there gets a field of its own.
///
/// Extensions: those of the wanted ones that are there. One that is there and isn't wanted (any more) is never dropped,
/// because data may depend on it, and doesn't count as drift: a migration may well have made it.
fn comparable(
    name: &Identifier,
    names: &RoleNames,
    row: &DatabaseRow,
    content: Option<&Inspection>,
    (wanted, origin): (Vec<&str>, &Origin),
) -> Value {
    let RoleNames { owner, migrator, app, keeper, dumper } = names;
    let shut = matches!(content, Some(Inspection::Shut));
    let content = content.and_then(|look| match look {
        Inspection::Seen(content) => Some(content),
        Inspection::Shut => None,
    });
    let connects = |role: &Identifier| match row.connect.iter().any(|grantee| grantee == role.as_str()) {
        true => Value::text(role.as_str()),
        false => Value::Null,
    };
    let present = |extension: &&str| content.is_some_and(|content| content.extensions.iter().any(|e| e == extension));
    let mut fields = BTreeMap::from([
        ("name".to_owned(), Value::text(name.as_str())),
        ("owner".to_owned(), Value::text(owner.as_str())),
        ("migrator".to_owned(), connects(migrator)),
        ("app".to_owned(), connects(app)),
        ("extensions".to_owned(), Value::from(wanted.into_iter().filter(present).collect::<Vec<_>>())),
    ]);
    let extensions = content.map(|content| content.extensions.as_slice());
    fields.extend(origin.comparable(row, extensions).into_iter().map(|(field, value)| (field.to_owned(), value)));
    let mut deviates = |field: &str, value: Value| fields.insert(field.to_owned(), value);
    if row.owner != owner.as_str() {
        deviates("owned_by", Value::text(row.owner.clone()));
    }
    if !row.public.is_empty() {
        deviates("public_may", Value::from(row.public.clone()));
    }
    let connects = |role: &Identifier| row.connect.iter().any(|grantee| grantee == role.as_str());
    if shut || !connects(keeper) || !connects(dumper) {
        deviates("open_to_freehold", Value::Bool(false));
    }
    if !row.temporary.iter().any(|role| role == app.as_str()) {
        deviates("app_temporary_tables", Value::Bool(false));
    }
    let expected = names.all().map(Identifier::as_str);
    let others: Vec<String> = row.connect.iter().filter(|role| !expected.contains(&role.as_str())).cloned().collect();
    if !others.is_empty() && row.owner == owner.as_str() {
        deviates("others_may_connect", Value::from(others));
    }
    match row.connection_limit {
        -1 => {}
        crate::catalog::HALF_DROPPED => drop(deviates("half_dropped", Value::Bool(true))),
        limit => drop(deviates("connection_limit", Value::Integer(limit.into()))),
    }
    if !row.allows_connections && !row.is_half_dropped() {
        deviates("allows_connections", Value::Bool(false));
    }
    if content.is_some_and(|content| !content.complete) {
        deviates("app_rights", Value::text("incomplete"));
    }
    Value::Map(fields)
}

/// # Errors
/// One that isn't on the allow-list. The check of the definition says so before; this is the last line.
fn allowed(name: &Identifier, wanted: Vec<&str>) -> Result<Vec<Identifier>, ProviderError> {
    if let Some(refused) = wanted.iter().find(|extension| !TRUSTED.contains(extension)) {
        return Err(ProviderError::from(
            Problem::new(
                Code::ExtensionNotAllowed,
                format!("extension {refused} of database {} is not on the list", name.as_str()),
            )
            .help(format!("allowed are {}", TRUSTED.join(", "))),
        ));
    }
    wanted.into_iter().map(body::identifier).collect()
}

/// # Errors
/// It is another one than was recorded.
fn check_identity(name: &Identifier, row: &DatabaseRow, object: Option<&str>) -> Result<(), ProviderError> {
    match object {
        Some(recorded) if recorded != row.oid.to_string() => Err(ProviderError::from(
            Problem::new(
                Code::ChangedExternally,
                format!("database {} was recreated outside Freehold (oid {recorded}, now {})", name.as_str(), row.oid),
            )
            .help("deploy again to see what is there now, then destroy"),
        )),
        _ => Ok(()),
    }
}
