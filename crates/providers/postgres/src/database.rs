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
//! repeating [`apply`] completes it. A `DROP DATABASE` that was interrupted leaves a database that nobody can use; both
//! [`apply`] and [`delete`] finish it.
//!
//! Strategy: the server's default. Since 15 that is `wal_log`, which takes some 40 ms and forces no checkpoint.

use std::collections::BTreeMap;

use freehold_check::EXTENSIONS;
use freehold_engine::{Context, Lookup, Performed, ProviderError};
use freehold_graph::{Resource, StackId, Value};
use freehold_plan::Observation;
use freehold_plan::observation::Ownership;
use tokio::time::Instant;

use crate::body::{self, RoleNames};
use crate::catalog::{DatabaseRow, RoleRows};
use crate::content::{self, Content};
use crate::failure::Doing;
use crate::mark::Mark;
use crate::quote::{Identifier, Literal};
use crate::session::{Session, Sessions, Turn};

pub(crate) async fn observe(
    sessions: &Sessions,
    stack: StackId,
    lookup: &Lookup,
    deadline: Instant,
) -> Result<Option<Observation>, ProviderError> {
    let name = body::identifier(&lookup.identity)?;
    let doing = Doing::new("looking at database", name.as_str());
    let mut session = sessions.maintenance(Turn::Look(&name), &doing, deadline).await?;
    let row = DatabaseRow::read(&mut session, &name, &doing).await?;
    session.finish().await;
    let Some(row) = row else { return Ok(None) };
    let ownership = row.ownership(stack);
    let names = RoleNames::of(&lookup.body)?;
    // Nobody gets into a database that is half made or half dropped, and a foreign one isn't ours to look into.
    let content = match ownership {
        Ownership::Ours if row.connection_limit != 0 && !row.is_half_dropped() => {
            Some(Content::read(sessions, &name, &names, &doing, deadline).await?)
        }
        _ => None,
    };
    let body = comparable(&name, &names, &row, content.as_ref(), body::extensions(&lookup.body));
    Ok(Some(Observation { object: row.oid.to_string(), ownership, body, beside: Vec::new() }))
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
    let doing = Doing::new("making database", name.as_str());
    let mut session = sessions.maintenance(Turn::Change(&name), &doing, context.deadline).await?;
    let mut row = DatabaseRow::read(&mut session, &name, &doing).await?;
    let mut note = None;
    if let Some(found) = &row {
        match found.ownership(context.stack) {
            Ownership::Ours if found.is_half_dropped() => {
                session.run(&doing, context.deadline, drop_statement(&name)).await?;
                note = Some("a deletion that had been interrupted was finished, and it was made anew".to_owned());
                row = None;
            }
            Ownership::Ours => {}
            Ownership::Foreign(_) if adopt => {
                crate::adoption::take(sessions, &mut session, &name, found, &names, &doing, context.deadline).await?;
            }
            Ownership::Foreign(who) => return Err(not_ours(&name, &who, true)),
            Ownership::OtherStack(stack) => {
                return Err(not_ours(&name, &format!("it belongs to stack {stack}"), false));
            }
        }
    }
    if row.is_none() {
        check_owner(&mut session, &names, context.stack, &doing).await?;
        session.run(&doing, context.deadline, create_statement(&name, &names.owner)).await?;
    }
    let mark = Mark::new(context.stack, &resource.id);
    session.run(&doing, context.deadline, open_statements(&name, &names, row.as_ref(), &mark)).await?;
    let made = DatabaseRow::read(&mut session, &name, &doing).await?;
    session.finish().await;
    content::write(sessions, &name, &names, &wanted, &doing, context.deadline).await?;
    Ok(Performed { object: made.map(|row| row.oid.to_string()), note })
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
    if let Some(row) = DatabaseRow::read(&mut session, &name, &doing).await? {
        check_ours(&name, &row, context.stack)?;
        check_identity(&name, &row, object)?;
        remove(&mut session, &name, &row, &doing, context.deadline).await?;
    }
    // A crash in the middle of a dump's proof may have left the second one.
    if let Some(recorded) = object {
        let scratch = crate::scratch::name(recorded)?;
        crate::scratch::discard(&mut session, &scratch, context.stack, &doing, context.deadline).await?;
    }
    session.finish().await;
    Ok(Performed::default())
}

/// Drops a database that was found to be ours.
pub(crate) async fn remove(
    session: &mut Session,
    name: &Identifier,
    row: &DatabaseRow,
    doing: &Doing,
    deadline: Instant,
) -> Result<(), ProviderError> {
    let blockers = crate::blockers::of(session, row.oid, name, doing).await?;
    if !blockers.is_empty() {
        return Err(ProviderError::Rejected {
            code: "FH0804",
            message: format!("database {} can't be dropped while it is in use by others", name.as_str()),
            detail: blockers,
            help: Some("end these first, then try again".to_owned()),
        });
    }
    // As the provisioner took another's place.
    let owner = body::identifier(&row.owner)?;
    let usable: bool = sqlx::query_scalar("SELECT pg_has_role($1, 'USAGE')")
        .bind(owner.as_str())
        .fetch_one(session.connection())
        .await
        .map_err(|error| doing.failed(error))?;
    if !usable {
        session.run(doing, deadline, format!("GRANT {owner} TO CURRENT_USER")).await?;
    }
    match session.attempt(deadline, drop_statement(name)).await {
        Ok(()) => Ok(()),
        Err(None) => Err(ProviderError::Unknown { message: format!("{}: no answer within its time", doing.0) }),
        // A session that may not be ended by us, or one of the server's own workers, which ends by itself.
        Err(Some(error)) if crate::failure::sqlstate(&error).as_deref() == Some("42501") => {
            let sessions = crate::blockers::sessions(session, row.oid, doing).await?;
            if sessions.is_empty() {
                return Err(ProviderError::retryable(format!("{}: the server's own worker is busy in it", doing.0)));
            }
            let mut rejected = doing.failed(error);
            if let ProviderError::Rejected { detail, .. } = &mut rejected {
                detail.extend(sessions);
            }
            Err(rejected)
        }
        Err(Some(error)) => Err(doing.failed(error)),
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
    if rows.owner.is_some() && rows.ownership(stack) == Ownership::Ours {
        return Ok(());
    }
    let message = format!("{}: its roles are not there, or not ours", doing.0);
    Err(ProviderError::Rejected {
        code: "FH0804",
        message,
        detail: Vec::new(),
        help: Some("deploy again: the plan will show what happened to them".to_owned()),
    })
}

fn create_statement(name: &Identifier, owner: &Identifier) -> String {
    format!("CREATE DATABASE {name} OWNER {owner} TEMPLATE template0 ENCODING 'UTF8' CONNECTION LIMIT 0")
}

fn drop_statement(name: &Identifier) -> String {
    format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")
}

/// Creates a database that belongs to `owner` and that nobody but the owner's members can use.
pub(crate) fn private_statements(name: &Identifier, owner: &Identifier) -> [String; 2] {
    let open = format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC; ALTER DATABASE {name} CONNECTION LIMIT -1");
    [create_statement(name, owner), open]
}

/// One transaction that sets the rights, marks the database and opens it.
fn open_statements(name: &Identifier, names: &RoleNames, before: Option<&DatabaseRow>, mark: &Mark) -> String {
    let RoleNames { owner, migrator, app } = names;
    let given_away = before.is_some_and(|row| row.owner != owner.as_str());
    let take_back = if given_away { format!("ALTER DATABASE {name} OWNER TO {owner};\n") } else { String::new() };
    format!(
        "{take_back}REVOKE ALL ON DATABASE {name} FROM PUBLIC;\n\
         GRANT CONNECT ON DATABASE {name} TO {migrator}, {app};\n\
         COMMENT ON DATABASE {name} IS {};\n\
         ALTER DATABASE {name} CONNECTION LIMIT -1;\n",
        Literal(&mark.to_string())
    )
}

/// What is there, in the form of the desired body. What deviates and has no field there gets a field of its own.
///
/// Extensions: those of the wanted ones that are there. One that is there and isn't wanted (any more) is never dropped,
/// because data may depend on it, and doesn't count as drift: a migration may well have made it.
fn comparable(
    name: &Identifier,
    names: &RoleNames,
    row: &DatabaseRow,
    content: Option<&Content>,
    wanted: Vec<&str>,
) -> Value {
    let RoleNames { owner, migrator, app } = names;
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
    let mut deviates = |field: &str, value: Value| fields.insert(field.to_owned(), value);
    if row.owner != owner.as_str() {
        deviates("owned_by", Value::text(row.owner.clone()));
    }
    if !row.public.is_empty() {
        deviates("public_may", Value::from(row.public.clone()));
    }
    let expected = [owner.as_str(), migrator.as_str(), app.as_str()];
    let others: Vec<String> = row.connect.iter().filter(|role| !expected.contains(&role.as_str())).cloned().collect();
    if !others.is_empty() && row.owner == owner.as_str() {
        deviates("others_may_connect", Value::from(others));
    }
    match row.connection_limit {
        -1 => {}
        crate::catalog::HALF_DROPPED => drop(deviates("half_dropped", Value::Bool(true))),
        limit => drop(deviates("connection_limit", Value::Integer(limit.into()))),
    }
    if content.is_some_and(|content| !content.complete) {
        deviates("app_rights", Value::text("incomplete"));
    }
    Value::Map(fields)
}

/// # Errors
/// One that isn't on the allow-list. The check of the definition says so before; this is the last line.
fn allowed(name: &Identifier, wanted: Vec<&str>) -> Result<Vec<Identifier>, ProviderError> {
    if let Some(refused) = wanted.iter().find(|extension| !EXTENSIONS.contains(extension)) {
        return Err(ProviderError::Rejected {
            code: "FH0301",
            message: format!("extension {refused} of database {} is not on the list", name.as_str()),
            detail: Vec::new(),
            help: Some(format!("allowed are {}", EXTENSIONS.join(", "))),
        });
    }
    wanted.into_iter().map(body::identifier).collect()
}

/// # Errors
/// It bears no mark of the stack.
pub(crate) fn check_ours(name: &Identifier, row: &DatabaseRow, stack: StackId) -> Result<(), ProviderError> {
    match row.ownership(stack) {
        Ownership::Ours => Ok(()),
        Ownership::Foreign(who) => Err(not_ours(name, &who, false)),
        Ownership::OtherStack(other) => Err(not_ours(name, &format!("it belongs to stack {other}"), false)),
    }
}

/// # Errors
/// It is another one than was recorded.
fn check_identity(name: &Identifier, row: &DatabaseRow, object: Option<&str>) -> Result<(), ProviderError> {
    match object {
        Some(recorded) if recorded != row.oid.to_string() => Err(ProviderError::Rejected {
            code: "FH0804",
            message: format!(
                "database {} was made anew by somebody else: it had the oid {recorded}, and has {}",
                name.as_str(),
                row.oid
            ),
            detail: Vec::new(),
            help: Some("deploy again to see what is there now, then destroy".to_owned()),
        }),
        _ => Ok(()),
    }
}

fn not_ours(name: &Identifier, who: &str, adoptable: bool) -> ProviderError {
    let adopt = format!("adopt it with `freehold deploy --adopt database/{}`, or choose another name", name.as_str());
    ProviderError::Rejected {
        code: "FH0801",
        message: format!("database {} is not ours: {who}", name.as_str()),
        detail: Vec::new(),
        help: Some(if adoptable { adopt } else { "choose another name".to_owned() }),
    }
}
