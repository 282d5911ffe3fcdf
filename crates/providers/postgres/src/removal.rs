//! Dropping a database that was found to be the stack's.

use std::time::Duration;

use freehold_engine::ProviderError;
use freehold_graph::StackId;
use freehold_plan::observation::Ownership;
use freehold_problem::{Code, Problem};
use tokio::time::Instant;

use crate::body::{self, RoleNames};
use crate::catalog::{DatabaseRow, RoleRows};
use crate::drop_blockers;
use crate::failure::{self, Doing};
use crate::quote::Identifier;
use crate::session::Session;
use crate::statements::drop_statement;

/// How long sessions that Freehold may not end are waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait before a database is dropped once more: each refusal is a line in the server's log.
const BETWEEN_DROPS: Duration = Duration::from_millis(250);

/// Drops a database that was found to be ours.
pub(crate) async fn remove(
    session: &mut Session,
    name: &Identifier,
    names: &RoleNames,
    row: &DatabaseRow,
    doing: &Doing,
    deadline: Instant,
) -> Result<(), ProviderError> {
    let blockers = drop_blockers::of(session, row.oid, name, doing).await?;
    if !blockers.is_empty() {
        return Err(ProviderError::from(
            Problem::new(
                Code::UsedByOthers,
                format!("database {} can't be dropped while it is in use by others", name.as_str()),
            )
            .lines(blockers)
            .help("end these first, then try again"),
        ));
    }
    // The owner's to drop it, and those of all whose sessions end with it.
    let owner = body::identifier(&row.owner)?;
    let rows = RoleRows::read(session, names, doing).await?;
    let mut roles = vec![&owner];
    let theirs = names.all().into_iter().filter(|name| rows.existing().any(|row| row.rolname == name.as_str()));
    roles.extend(theirs.filter(|name| **name != owner));
    session.assume(&names.owner, &roles, doing, deadline).await?;
    drop_when_left(session, name, row.oid, doing, deadline).await?;
    session.resign(&names.owner, &roles, doing, deadline).await
}

/// Drops a database. Sessions that Freehold may not end (a superuser's, the server's own workers') get as long to leave as the server
/// gives anybody's without FORCE: 5 s (`CountOtherDBBackends` in procarray.c). An agent that measures each database comes and goes.
async fn drop_when_left(
    session: &mut Session,
    name: &Identifier,
    oid: i64,
    doing: &Doing,
    deadline: Instant,
) -> Result<(), ProviderError> {
    let patience = deadline.min(Instant::now() + PATIENCE);
    loop {
        let error = match session.attempt(deadline, drop_statement(name)).await {
            Ok(()) => return Ok(()),
            Err(None) => {
                return Err(ProviderError::unknown(
                    Code::PostgresUnreachable,
                    format!("{}: no answer within its time", doing.0),
                ));
            }
            Err(Some(error)) => error,
        };
        if failure::sqlstate(&error).as_deref() != Some("42501") {
            return Err(doing.failed(error));
        }
        if Instant::now() < patience {
            tokio::time::sleep(BETWEEN_DROPS).await;
            continue;
        }
        let sessions = drop_blockers::sessions(session, oid, doing).await?;
        if sessions.is_empty() {
            return Err(ProviderError::retryable(
                Code::NotNow,
                format!("{}: the server's own worker is busy in it", doing.0),
            ));
        }
        let mut rejected = doing.failed(error);
        if let ProviderError::Rejected(Problem { lines, .. }) = &mut rejected {
            lines.extend(sessions);
        }
        return Err(rejected);
    }
}

/// # Errors
/// It bears no mark of the stack.
pub(crate) fn check_ours(name: &Identifier, row: &DatabaseRow, stack: StackId) -> Result<(), ProviderError> {
    match row.ownership(stack) {
        Ownership::Ours => Ok(()),
        owner @ (Ownership::Foreign(_) | Ownership::OtherStack(_)) => Err(foreign(name, &owner.to_string(), false)),
    }
}

/// That a database is another's; `adoptable`: nobody has marked it, so a deploy may adopt it.
pub(crate) fn foreign(name: &Identifier, who: &str, adoptable: bool) -> ProviderError {
    let adopt = format!("adopt it with `freehold deploy --adopt database/{}`, or choose another name", name.as_str());
    ProviderError::from(
        Problem::new(Code::NotOwned, format!("database {} is not managed by this stack: {who}", name.as_str()))
            .help(if adoptable { adopt } else { "choose another name".to_owned() }),
    )
}
