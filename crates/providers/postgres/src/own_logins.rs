//! Keeper and dumper, Freehold's own logins in a stack's database ([`crate::in_database`] says what for): made with the database's roles, made
//! anew whenever code of the tenant's ran in a session of theirs.

use std::collections::BTreeMap;

use freehold_engine::ProviderError;
use freehold_graph::{StackId, Value};
use freehold_problem::Code;
use tokio::time::Instant;

use crate::body::RoleNames;
use crate::catalog::{RoleRow, RoleRows};
use crate::failure::Doing;
use crate::in_database;
use crate::logins::{self, LoginSpec};
use crate::mark::{KEY, Mark};
use crate::provisioner::LET_DUMP;
use crate::quote::{Identifier, Literal};
use crate::roles::check_ownership;
use crate::session::{Session, Sessions};
use crate::verifier::verifier_of_key;

/// How dumpers come by BYPASSRLS, which only who has it can give, and up to 15 only a superuser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bypass {
    /// By the function that a superuser has made for it; see [`crate::provisioner`].
    Function,
    /// The provisioner may: a superuser, or since 16 one that has it.
    Provisioner,
    /// Not at all: tables under forced row-level security can't be dumped.
    Nobody,
}

impl Bypass {
    pub(crate) async fn read(session: &mut Session, doing: &Doing) -> Result<Self, ProviderError> {
        let (function, own): (bool, bool) = sqlx::query_as(
            "SELECT COALESCE(has_function_privilege(to_regprocedure($1), 'EXECUTE'), false),
                rolsuper OR (rolbypassrls AND rolcreaterole AND current_setting('server_version_num')::int >= 160000)
             FROM pg_roles WHERE rolname = CURRENT_USER",
        )
        .bind(LET_DUMP)
        .fetch_one(session.connection())
        .await
        .map_err(|error| doing.failed(error))?;
        Ok(match (function, own) {
            (true, _) => Self::Function,
            (false, true) => Self::Provisioner,
            (false, false) => Self::Nobody,
        })
    }

    /// Takes place after the dumper bears its mark.
    fn statement(self, dumper: &Identifier) -> String {
        match self {
            Self::Function => format!("SELECT freehold.let_dump({});\n", Literal(dumper.as_str())),
            Self::Provisioner => format!("ALTER ROLE {dumper} BYPASSRLS;\n"),
            Self::Nobody => String::new(),
        }
    }
}

/// Makes keeper and dumper what they should be, from the marks of the roles that are there: where an older release made the
/// others, and after code of the tenant's ran in a session of theirs, which may have changed the password.
///
/// # Errors
/// The owner isn't there or isn't the stack's, or somebody else's role has the name of one of them.
pub(crate) async fn renew(
    sessions: &Sessions,
    session: &mut Session,
    names: &RoleNames,
    stack: StackId,
    doing: &Doing,
    deadline: Instant,
) -> Result<(), ProviderError> {
    let rows = RoleRows::read(session, names, doing).await?;
    check_ownership(&rows, stack, false)?;
    let Some(mark) = rows.owner.as_ref().and_then(RoleRow::mark) else {
        let message = format!("{}: its owner {} is gone", doing.0, names.owner.as_str());
        return Err(ProviderError::rejected(Code::ChangedExternally, message));
    };
    let bypass = Bypass::read(session, doing).await?;
    let verifier = |login| verifier_of_key(&sessions.password(login));
    let verifiers = [verifier(&names.keeper)?, verifier(&names.dumper)?];
    let marks = [&names.keeper, &names.dumper].map(|login| login_mark(sessions, login, &mark));
    let sql = statements(names, &rows, [&verifiers[0], &verifiers[1]], [&marks[0], &marks[1]], bypass)?;
    session.run(doing, deadline, sql).await
}

/// Ends the sessions of keeper and dumper, whoever opened them.
pub(crate) async fn end_sessions(session: &mut Session, names: &RoleNames, doing: &Doing) -> Result<(), ProviderError> {
    sqlx::query("SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE usename = ANY($1)")
        .bind(vec![names.keeper.as_str(), names.dumper.as_str()])
        .execute(session.connection())
        .await
        .map_err(|error| doing.failed(error))?;
    Ok(())
}

/// The mark of keeper or dumper, from that of the database's other roles.
pub(crate) fn login_mark(sessions: &Sessions, login: &Identifier, mark: &Mark) -> Mark {
    Mark { values: BTreeMap::new(), ..mark.clone() }.with(KEY, Some(&Value::text(sessions.digest(login))))
}

/// Keeper and dumper, in this order.
pub(crate) fn statements(
    names: &RoleNames,
    rows: &RoleRows,
    verifiers: [&str; 2],
    marks: [&Mark; 2],
    bypass: Bypass,
) -> Result<String, ProviderError> {
    let logins = [
        (&names.keeper, &rows.keeper, in_database::KEEPER_CONNECTIONS),
        (&names.dumper, &rows.dumper, in_database::DUMPER_CONNECTIONS),
    ];
    let mut sql = String::new();
    for (((login, row, limit), verifier), mark) in logins.into_iter().zip(verifiers).zip(marks) {
        sql.push_str(&logins::statements(&LoginSpec {
            login,
            existing: row.as_ref().map(|row| &*row.memberships),
            acts_as: &names.owner,
            switches: false,
            connections: limit.into(),
            verifier,
            settings: &[],
            mark,
        })?);
    }
    if rows.dumper.as_ref().is_none_or(|dumper| !dumper.rolbypassrls) {
        sql.push_str(&bypass.statement(&names.dumper));
    }
    Ok(sql)
}
