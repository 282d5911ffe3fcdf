//! `postgres.roles`: the roles of a database.
//!
//! ```text
//! owner     NOLOGIN                             owns the database and everything in it
//! migrator  LOGIN, member of owner, role=owner  so that all it makes belongs to the owner
//! app       LOGIN, member of nothing            reads and writes; limited in connections and time
//! keeper    LOGIN, member of owner              Freehold's own way in (see `inside`)
//! dumper    LOGIN, member of owner, BYPASSRLS   Freehold's own, for dumps
//! ```
//!
//! All of them, their passwords and their marks are made or changed in one transaction: there is never one without the
//! others or without its mark. Passwords reach the server as SCRAM verifiers only. What the server doesn't tell (which
//! password a role has) is remembered in the role's mark, by its digest; a password that a superuser changed by hand
//! is therefore the one thing that doesn't show as drift. Everything else is read from the catalogs; what deviates and
//! has no field in the body shows as a field of its own (`app_memberships`, `migrator_login`), which the next apply reverts.
//!
//! The provisioner is a member of none of them, but for the moments in which it makes or drops the database or ends
//! sessions ([`Session::assume`]).

mod checks;
mod list;

use std::collections::BTreeMap;

use freehold_engine::{Context, Lookup, Performed, ProviderError, Revealed};
use freehold_graph::{Resource, SecretText, StackId, Value};
use freehold_plan::Observation;
use freehold_problem::Code;
use tokio::time::Instant;

use crate::body::{self, RoleNames};
use crate::catalog::{RoleRow, RoleRows};
use crate::failure::Doing;
use crate::in_database;
use crate::logins::{self, LoginRow, LoginSpec, Logins};
use crate::mark::KEY;
use crate::mark::Mark;
use crate::own_logins::{self, Bypass, login_mark};
use crate::quote::{Identifier, Literal};
use crate::session::{self, Session, Sessions, Turn};
use crate::setting::seconds;
use crate::usage;
use crate::verifier::{verifier, verifier_of_key};

pub(crate) use checks::check_ownership;
use checks::{check_identity, check_memberships};
use list::{expected_memberships, roles};

/// [`freehold_graph::kind::MIGRATOR_CONNECTIONS`] as SQL has it.
const MIGRATOR_CONNECTIONS: i32 = freehold_graph::kind::MIGRATOR_CONNECTIONS.cast_signed();
/// How often a statement of a migration looks whether its client is still there, in milliseconds: what a run that was ended has
/// begun must not wait for its lock, and change something when nobody expects it any more.
const CLIENT_CHECK: i64 = 1000;

pub(crate) async fn observe(
    sessions: &Sessions,
    stack: StackId,
    lookup: &Lookup,
    deadline: Instant,
) -> Result<Option<Observation>, ProviderError> {
    let names = RoleNames::of(&lookup.body)?;
    let doing = Doing::new("looking at the roles of", &lookup.identity);
    let mut session = sessions.maintenance(Turn::Look(&names.owner), &doing, deadline).await?;
    let rows = RoleRows::read(&mut session, &names, &doing).await?;
    let bypass = Bypass::read(&mut session, &doing).await?;
    let logins = Logins::of(&lookup.body)?;
    let login_rows = logins.read(&mut session, stack, &lookup.id, &doing).await?;
    session.finish().await;
    if rows.existing().next().is_none() {
        return Ok(None);
    }
    let mut body = comparable(sessions, &names, &rows, bypass, &logins);
    body.extend(logins::comparable(&logins, &login_rows, &names.owner, &names.app));
    let body = Value::Map(body);
    Ok(Some(Observation { object: rows.object(), ownership: rows.ownership(stack), body, foreign_fields: Vec::new() }))
}

pub(crate) async fn apply(
    sessions: &Sessions,
    context: &Context,
    resource: &Resource,
    desired: &Value,
    adopt: bool,
) -> Result<Performed, ProviderError> {
    let names = RoleNames::of(&resource.body)?;
    let doing = Doing::new("making the roles of", &resource.identity);
    let verifiers = Verifiers::make(sessions, &names, context, &resource.body).await?;
    let mut session = sessions.maintenance(Turn::Change(&names.owner), &doing, context.deadline).await?;
    let rows = RoleRows::read(&mut session, &names, &doing).await?;
    check_ownership(&rows, context.stack, adopt)?;
    let bypass = Bypass::read(&mut session, &doing).await?;
    let marks = Marks::new(sessions, &names, context.stack, resource, desired);
    let logins = Logins::of(&resource.body)?;
    let login_rows = logins.read(&mut session, context.stack, &resource.id, &doing).await?;
    let sql = statements(&names, &rows, &resource.body, &verifiers, &marks, bypass, (&logins, &login_rows))?;
    session.run(&doing, context.deadline, sql).await?;
    let rows = RoleRows::read(&mut session, &names, &doing).await?;
    session.finish().await;
    check_memberships(&names, &rows)?;
    Ok(Performed { object: Some(rows.object()), note: None, ..Performed::default() })
}

/// The roles of a database as they are, all of them the stack's, and a session beside which nobody else changes them.
pub(crate) struct LockedRoles {
    pub(crate) session: Session,
    pub(crate) names: RoleNames,
    pub(crate) rows: RoleRows,
    pub(crate) doing: Doing,
}

/// # Errors
/// They are not the stack's, or others than were recorded.
pub(crate) async fn lock_roles(
    sessions: &Sessions,
    context: &Context,
    what: &str,
    (body, identity): (&Value, &str),
    object: Option<&str>,
) -> Result<LockedRoles, ProviderError> {
    let names = RoleNames::of(body)?;
    let doing = Doing::new(what, identity);
    let mut session = sessions.maintenance(Turn::Change(&names.owner), &doing, context.deadline).await?;
    let rows = RoleRows::read(&mut session, &names, &doing).await?;
    check_ownership(&rows, context.stack, false)?;
    check_identity(&rows, object)?;
    Ok(LockedRoles { session, names, rows, doing })
}

pub(crate) async fn delete(
    sessions: &Sessions,
    context: &Context,
    lookup: &Lookup,
    object: Option<&str>,
) -> Result<Performed, ProviderError> {
    let what = "dropping the roles of";
    let LockedRoles { mut session, names, rows, doing } =
        lock_roles(sessions, context, what, (&lookup.body, &lookup.identity), object).await?;
    let of_rotations = logins::others(&mut session, context.stack, &lookup.id, &rows, &doing).await?;
    let existing: Vec<&RoleRow> = rows.existing().chain(&of_rotations).collect();
    if existing.is_empty() {
        session.finish().await;
        return Ok(Performed::default());
    }
    let identifiers = identifiers(&existing)?;
    let listed = session::listed(&identifiers.iter().collect::<Vec<_>>());
    session.assume(&names.owner, &identifiers.iter().collect::<Vec<_>>(), &doing, context.deadline).await?;
    end_sessions(&mut session, &existing, &doing, context.deadline).await?;
    crate::owned_objects::release(sessions, &mut session, &existing, &doing, context.deadline).await?;
    session.run(&doing, context.deadline, format!("DROP ROLE {listed}")).await?;
    session.finish().await;
    Ok(Performed::default())
}

/// What is there, in the form of the desired body.
fn comparable(
    sessions: &Sessions,
    names: &RoleNames,
    rows: &RoleRows,
    bypass: Bypass,
    logins: &Logins,
) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::new();
    let mut set = |name: String, value: Value| fields.insert(name, value);
    for (word, name, row) in roles(names, rows) {
        if !is_freeholds(word) {
            set(word.to_owned(), Value::text(name.as_str()));
        }
        let Some(row) = row else {
            set(format!("{word}_exists"), Value::Bool(false));
            continue;
        };
        let comes_itself = logins.instead_of(word).is_none();
        if row.rolcanlogin != (word != "owner") && comes_itself {
            set(format!("{word}_login"), Value::Bool(row.rolcanlogin));
        }
        let mut powers = row.powers.clone();
        powers.extend((row.rolbypassrls && word != "dumper").then(|| "bypassrls".to_owned()));
        if !powers.is_empty() {
            set(format!("{word}_attributes"), Value::from(powers));
        }
        if row.memberships != expected_memberships(word, names) {
            set(format!("{word}_memberships"), Value::from(row.memberships.clone()));
        }
        if !row.usable {
            set(format!("{word}_usable_by_freehold"), Value::Bool(false));
        }
        let marked = row.mark().and_then(|mark| mark.values.get(KEY).cloned());
        if is_freeholds(word) && marked != Some(Value::text(sessions.digest(name))) {
            set(format!("{word}_password"), Value::text("another key's"));
        }
        if connections_of(word).is_some_and(|limit| limit != row.rolconnlimit) {
            set(format!("{word}_connections"), Value::Integer(row.rolconnlimit.into()));
        }
        if is_freeholds(word) && !row.settings.is_empty() {
            set(format!("{word}_settings"), Value::from(row.settings.clone()));
        }
        if let Some(password) = row.mark().and_then(|mark| mark.values.get("password").cloned())
            && comes_itself
        {
            set(format!("{word}_password"), password);
        }
    }
    if let Some(most) =
        rows.owner.as_ref().and_then(RoleRow::mark).and_then(|mark| mark.values.get(usage::LIMIT).cloned())
    {
        set(usage::LIMIT.to_owned(), most);
    }
    if let Some(app) = rows.app.as_ref().filter(|_| logins.app.is_none()) {
        set("connections".to_owned(), Value::Integer(app.rolconnlimit.into()));
        set("statement_timeout_seconds".to_owned(), seconds(app.setting("statement_timeout")));
    }
    if let Some(migrator) = &rows.migrator {
        if migrator.setting("role") != Some(names.owner.as_str()) {
            set("migrator_acts_as".to_owned(), Value::text(migrator.setting("role").unwrap_or("itself")));
        }
        if logins.migrator.is_none() {
            set("lock_timeout_seconds".to_owned(), seconds(migrator.setting("lock_timeout")));
        }
    }
    if rows.dumper.as_ref().is_some_and(|dumper| !dumper.rolbypassrls) && bypass != Bypass::Nobody {
        set("dumper_bypasses_row_security".to_owned(), Value::Bool(false));
    }
    fields
}

/// Whether a role is for Freehold's own use: in no body, and repaired without being asked.
fn is_freeholds(word: &str) -> bool {
    matches!(word, "keeper" | "dumper")
}

/// The limits that no body says.
fn connections_of(word: &str) -> Option<i32> {
    match word {
        "migrator" => Some(MIGRATOR_CONNECTIONS),
        "keeper" => Some(in_database::KEEPER_CONNECTIONS),
        "dumper" => Some(in_database::DUMPER_CONNECTIONS),
        _ => None,
    }
}

/// The verifiers of the passwords.
struct Verifiers {
    migrator: String,
    app: String,
    keeper: String,
    dumper: String,
}

impl Verifiers {
    async fn make(
        sessions: &Sessions,
        names: &RoleNames,
        context: &Context,
        body: &Value,
    ) -> Result<Self, ProviderError> {
        let revealed = Revealed::all(context, body).await?;
        // Thousands of rounds of hashing each: beside each other, and not on a thread that others wait for.
        let hash = |password: SecretText| tokio::task::spawn_blocking(move || verifier(&password));
        let field = |field: &str| Ok::<_, ProviderError>(hash(revealed.text(body.get(field).unwrap_or(&Value::Null))?));
        let (migrator, app) = (field("migrator_password")?, field("app_password")?);
        let lost = |error: tokio::task::JoinError| {
            ProviderError::retryable(Code::NotNow, format!("hashing a password: {error}"))
        };
        Ok(Self {
            migrator: migrator.await.map_err(lost)?,
            app: app.await.map_err(lost)?,
            keeper: verifier_of_key(&sessions.password(&names.keeper))?,
            dumper: verifier_of_key(&sessions.password(&names.dumper))?,
        })
    }
}

struct Marks {
    owner: Mark,
    /// Of a role that nobody logs in as.
    plain: Mark,
    migrator: Mark,
    app: Mark,
    keeper: Mark,
    dumper: Mark,
}

impl Marks {
    fn new(sessions: &Sessions, names: &RoleNames, stack: StackId, resource: &Resource, desired: &Value) -> Self {
        let mark = Mark::new(stack, &resource.id);
        Self {
            owner: mark.clone().with(usage::LIMIT, desired.get(usage::LIMIT)),
            migrator: mark.clone().with("password", desired.get("migrator_password")),
            plain: mark.clone(),
            keeper: login_mark(sessions, &names.keeper, &mark),
            dumper: login_mark(sessions, &names.dumper, &mark),
            app: mark.with("password", desired.get("app_password")),
        }
    }
}

/// One transaction that makes the roles what they should be, whatever they are.
fn statements(
    names: &RoleNames,
    rows: &RoleRows,
    body: &Value,
    verifiers: &Verifiers,
    marks: &Marks,
    bypass: Bypass,
    (logins, login_rows): (&Logins, &[LoginRow]),
) -> Result<String, ProviderError> {
    let connections = body::number(body, "connections")?;
    let of_app = [("statement_timeout", body::number(body, "statement_timeout_seconds")?.saturating_mul(1000))];
    let of_migrator = [
        ("lock_timeout", body::number(body, "lock_timeout_seconds")?.saturating_mul(1000)),
        ("client_connection_check_interval", CLIENT_CHECK),
    ];
    let RoleNames { owner, migrator, app, .. } = names;
    let mut sql = String::new();
    for (word, name, row) in roles(names, rows).into_iter().filter(|(word, _, _)| !is_freeholds(word)) {
        if row.is_none() {
            sql.push_str(&format!("CREATE ROLE {name};\n"));
        }
        if row.is_some_and(|row| row.rolbypassrls) {
            // Up to 15 only a superuser may; then that is said.
            sql.push_str(&format!("ALTER ROLE {name} NOBYPASSRLS;\n"));
        }
        let expected = expected_memberships(word, names);
        for group in row.into_iter().flat_map(|row| &row.memberships).filter(|group| !expected.contains(group)) {
            sql.push_str(&format!("REVOKE {} FROM {name};\n", body::identifier(group)?));
        }
    }
    sql.push_str(&format!(
        "ALTER ROLE {owner} NOLOGIN NOCREATEDB NOCREATEROLE CONNECTION LIMIT -1;\n\
         ALTER ROLE {migrator} NOCREATEDB NOCREATEROLE CONNECTION LIMIT {MIGRATOR_CONNECTIONS} VALID UNTIL 'infinity';\n\
         ALTER ROLE {app} NOCREATEDB NOCREATEROLE VALID UNTIL 'infinity';\n\
         GRANT {owner} TO {migrator};\n\
         ALTER ROLE {migrator} SET role = {};\n\
         COMMENT ON ROLE {owner} IS {};\n",
        Literal(owner.as_str()),
        Literal(&marks.owner.to_string()),
    ));
    for (role, instead, acts_as, limit, verifier, settings, mark) in [
        (
            migrator,
            &logins.migrator,
            owner,
            MIGRATOR_CONNECTIONS.into(),
            &verifiers.migrator,
            &of_migrator[..],
            &marks.migrator,
        ),
        (app, &logins.app, app, connections, &verifiers.app, &of_app[..], &marks.app),
    ] {
        match instead {
            // The role itself is left as it is: what serves may log in as it.
            Some(login) => {
                let row = login_rows.iter().find(|row| row.name() == login.as_str());
                let existing = row.map(|row| &*row.memberships);
                let wanted = LoginSpec {
                    login,
                    existing,
                    acts_as,
                    switches: true,
                    connections: limit,
                    verifier,
                    settings,
                    mark,
                };
                sql.push_str(&logins::statements(&wanted)?);
                sql.push_str(&format!("COMMENT ON ROLE {role} IS {};\n", Literal(&marks.plain.to_string())));
            }
            None => {
                sql.push_str(&format!(
                    "ALTER ROLE {role} LOGIN CONNECTION LIMIT {limit} PASSWORD {};\n",
                    Literal(verifier)
                ));
                for (setting, value) in settings {
                    sql.push_str(&format!("ALTER ROLE {role} SET {setting} = {value};\n"));
                }
                sql.push_str(&format!("COMMENT ON ROLE {role} IS {};\n", Literal(&mark.to_string())));
            }
        }
    }
    let verifiers = [verifiers.keeper.as_str(), verifiers.dumper.as_str()];
    sql.push_str(&own_logins::statements(names, rows, verifiers, [&marks.keeper, &marks.dumper], bypass)?);
    Ok(sql)
}

/// Neither `NOLOGIN` nor `DROP ROLE` ends a session that is there.
async fn end_sessions(
    session: &mut Session,
    rows: &[&RoleRow],
    doing: &Doing,
    deadline: Instant,
) -> Result<(), ProviderError> {
    let mut sql = String::new();
    for row in rows {
        sql.push_str(&format!("ALTER ROLE {} NOLOGIN;\n", body::identifier(&row.rolname)?));
    }
    session.run(doing, deadline, sql).await?;
    let oids: Vec<i64> = rows.iter().map(|row| row.oid).collect();
    logins::terminate(session, &oids, doing).await
}

fn identifiers(rows: &[&RoleRow]) -> Result<Vec<Identifier>, ProviderError> {
    rows.iter().map(|row| body::identifier(&row.rolname)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_with_and_without_unit() {
        assert_eq!(seconds(Some("30000")), Value::Integer(30));
        assert_eq!(seconds(Some("30s")), Value::Integer(30));
        assert_eq!(seconds(Some("2 min")), Value::Integer(120));
        assert_eq!(seconds(Some("1500")), Value::text("1500"));
        assert_eq!(seconds(Some("garbage")), Value::text("garbage"));
        assert_eq!(seconds(None), Value::Null);
    }
}
