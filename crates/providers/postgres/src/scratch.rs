//! The database that a dump is restored into, to prove that it can be.
//!
//! Its name follows from the oid of the dumped one, so that a repeated dump finds what a crash has left. It belongs to
//! the same owner's role, so it bears the stack's mark from its first moment, and the scan for orphans sees it.

use freehold_engine::ProviderError;
use freehold_graph::StackId;
use tokio::time::Instant;

use crate::body::{self, RoleNames};
use crate::catalog::DatabaseRow;
use crate::failure::Doing;
use crate::origin::Origin;
use crate::quote::Identifier;
use crate::session::Session;
use crate::{removal, statements};

/// The name for the database with this oid.
pub(crate) fn name(oid: &str) -> Result<Identifier, ProviderError> {
    body::identifier(&format!("freehold_restore_{oid}"))
}

/// Makes it, as the dumped one was made.
pub(crate) async fn make(
    session: &mut Session,
    name: &Identifier,
    (names, origin): (&RoleNames, &Origin),
    doing: &Doing,
    deadline: Instant,
) -> Result<(), ProviderError> {
    session.assume(&names.owner, &[&names.owner], doing, deadline).await?;
    for sql in statements::private_statements(name, names, origin) {
        session.run(doing, deadline, sql).await?;
    }
    session.resign(&names.owner, &[&names.owner], doing, deadline).await
}

/// Drops it if it is there.
///
/// # Errors
/// It isn't ours.
pub(crate) async fn discard(
    session: &mut Session,
    name: &Identifier,
    names: &RoleNames,
    stack: StackId,
    doing: &Doing,
    deadline: Instant,
) -> Result<(), ProviderError> {
    match DatabaseRow::read(session, name, doing).await? {
        Some(row) => {
            removal::check_ours(name, &row, stack)?;
            removal::remove(session, name, names, &row, doing, deadline).await
        }
        None => Ok(()),
    }
}
