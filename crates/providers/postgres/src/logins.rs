//! Logins: who comes as a database's app or migrator.
//!
//! ```text
//! before any rotation   app, migrator              log in themselves
//! rotation n            app_rn        member of app,   role=app     so that rights, policies and what is made stay with app
//!                       migrator_rn   member of owner, role=owner
//! ```
//!
//! A rotation makes new logins and leaves the old ones alone: what serves goes on with them, and goes on if the deploy fails.
//! `postgres.logins` closes the old ones after everything that used them has switched: app and migrator lose their password and
//! their right to log in, those of rotations are dropped; sessions end. The mark of a login is that of its database's roles.

use std::collections::{BTreeMap, BTreeSet};

use freehold_engine::{Context, Lookup, Performed, ProviderError};
use freehold_graph::{Resource, ResourceId, StackId, Value};
use freehold_plan::Observation;
use freehold_plan::observation::Ownership;
use freehold_problem::Code;
use tokio::time::Instant;

use crate::body;
use crate::catalog::{RoleRow, RoleRows};
use crate::failure::Doing;
use crate::mark::{KEY, Mark};
use crate::quote::{Identifier, Literal};
use crate::row::from_row;
use crate::session::{Session, Sessions, Turn};
use crate::setting::seconds;

/// The logins of the present rotation, where there was one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logins {
    pub(crate) migrator: Option<Identifier>,
    pub(crate) app: Option<Identifier>,
}

impl Logins {
    /// As the body of `postgres.roles` names them.
    pub(crate) fn of(body: &Value) -> Result<Self, ProviderError> {
        let name = |field: &str| body.get(field).and_then(Value::as_text).map(body::identifier).transpose();
        Ok(Self { migrator: name("migrator_user")?, app: name("app_user")? })
    }

    /// What there is of them; nothing is asked where no rotation made one.
    pub(crate) async fn read(
        &self,
        session: &mut Session,
        stack: StackId,
        roles: &ResourceId,
        doing: &Doing,
    ) -> Result<Vec<LoginRow>, ProviderError> {
        match self {
            Self { migrator: None, app: None } => Ok(Vec::new()),
            _ => of_database(session, stack, roles, doing).await,
        }
    }

    /// The one that comes as `app` or `migrator`, if it isn't that role itself.
    pub(crate) fn instead_of(&self, word: &str) -> Option<&Identifier> {
        match word {
            "app" => self.app.as_ref(),
            "migrator" => self.migrator.as_ref(),
            _ => None,
        }
    }
}

/// A login as the catalogs have it.
#[derive(Debug, Clone)]
pub(crate) struct LoginRow {
    oid: i64,
    name: String,
    pub(crate) limit: i32,
    pub(crate) can_log_in: bool,
    comment: String,
    pub(crate) memberships: Vec<String>,
    settings: Vec<String>,
}

from_row!(LoginRow { oid, name, limit, can_log_in, comment, memberships, settings });

impl LoginRow {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn oid(&self) -> i64 {
        self.oid
    }

    pub(crate) fn mark(&self) -> Option<Mark> {
        Mark::parse(&self.comment)
    }

    fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().find_map(|setting| setting.strip_prefix(name)?.strip_prefix('='))
    }

    /// Where it differs from what [`statements`] made, and with it what the body says of it.
    fn fields(&self, word: &str, acts_as: &Identifier) -> BTreeMap<String, Value> {
        let mut fields = BTreeMap::new();
        let mut set = |name: String, value: Value| fields.insert(name, value);
        set(format!("{word}_user"), if self.can_log_in { Value::text(self.name.as_str()) } else { Value::Null });
        if let Some(password) = self.mark().and_then(|mark| mark.values.get("password").cloned()) {
            set(format!("{word}_password"), password);
        }
        if self.memberships != [acts_as.as_str()] || self.setting("role") != Some(acts_as.as_str()) {
            set(format!("{word}_user_acts_as"), Value::from(self.memberships.clone()));
        }
        match word {
            "app" => {
                set("connections".to_owned(), Value::Integer(self.limit.into()));
                set("statement_timeout_seconds".to_owned(), seconds(self.setting("statement_timeout")));
            }
            _ => drop(set("lock_timeout_seconds".to_owned(), seconds(self.setting("lock_timeout")))),
        }
        fields
    }
}

/// The roles that were made for a database of a stack and may log in, or could: all that bear the mark of its roles, but those
/// for Freehold's own use and the owner.
pub(crate) async fn of_database(
    session: &mut Session,
    stack: StackId,
    roles: &ResourceId,
    doing: &Doing,
) -> Result<Vec<LoginRow>, ProviderError> {
    const SQL: &str = "
        SELECT r.oid::pg_catalog.int8 AS oid, r.rolname::pg_catalog.text AS name, r.rolconnlimit AS limit,
            r.rolcanlogin AS can_log_in, pg_catalog.shobj_description(r.oid, 'pg_authid') AS comment,
            ARRAY(SELECT DISTINCT g.rolname::pg_catalog.text FROM pg_catalog.pg_auth_members m
                  JOIN pg_catalog.pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid ORDER BY 1) AS memberships,
            COALESCE((SELECT ARRAY(SELECT pg_catalog.left(c, 200) FROM pg_catalog.unnest(s.setconfig) c
                          ORDER BY pg_catalog.split_part(c, '=', 1) <> ALL ('{role,statement_timeout,lock_timeout}') LIMIT 50)
                      FROM pg_catalog.pg_db_role_setting s WHERE s.setrole = r.oid AND s.setdatabase = 0), '{}') AS settings
        FROM pg_catalog.pg_roles r
        WHERE pg_catalog.starts_with(pg_catalog.shobj_description(r.oid, 'pg_authid'), $1) ORDER BY 2";
    let mark = Mark::new(stack, roles).to_string();
    let words: Vec<&str> = mark.split(' ').take(3).collect();
    let rows: Vec<LoginRow> = sqlx::query_as(SQL)
        .bind(format!("{} ", words.join(" ")))
        .fetch_all(session.connection())
        .await
        .map_err(|error| doing.failed(error))?;
    let is_login = |row: &LoginRow| row.mark().is_some_and(|mark| !mark.values.contains_key(KEY));
    Ok(rows.into_iter().filter(is_login).collect())
}

/// The logins that rotations made, as roles that are about to be dropped.
pub(crate) async fn others(
    session: &mut Session,
    stack: StackId,
    roles: &ResourceId,
    known: &RoleRows,
    doing: &Doing,
) -> Result<Vec<RoleRow>, ProviderError> {
    let rows = of_database(session, stack, roles, doing).await?;
    let known: BTreeSet<i64> = known.existing().map(|row| row.oid).collect();
    let names: Vec<&str> = rows.iter().filter(|row| !known.contains(&row.oid)).map(|row| row.name.as_str()).collect();
    match names.is_empty() {
        true => Ok(Vec::new()),
        false => RoleRow::named(session, &names, doing).await,
    }
}

/// What the body of `postgres.roles` says of the logins of rotations, as it is.
pub(crate) fn comparable(
    logins: &Logins,
    rows: &[LoginRow],
    owner: &Identifier,
    app: &Identifier,
) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::new();
    for (word, acts_as) in [("app", app), ("migrator", owner)] {
        let Some(login) = logins.instead_of(word) else { continue };
        match rows.iter().find(|row| row.name == login.as_str()) {
            Some(row) => fields.extend(row.fields(word, acts_as)),
            None => drop(fields.insert(format!("{word}_user"), Value::Null)),
        }
    }
    fields
}

/// A login, as it is wanted.
pub(crate) struct LoginSpec<'a> {
    pub(crate) login: &'a Identifier,
    /// What it is a member of, if it is there.
    pub(crate) existing: Option<&'a [String]>,
    /// The only role that it is to be a member of.
    pub(crate) acts_as: &'a Identifier,
    /// Its sessions are that role's from the start; else they are its own, without any settings.
    pub(crate) switches: bool,
    pub(crate) connections: i64,
    pub(crate) verifier: &'a str,
    /// Settings in milliseconds.
    pub(crate) settings: &'a [(&'static str, i64)],
    pub(crate) mark: &'a Mark,
}

/// Makes a login what it should be, whatever it is; for the transaction that makes the roles.
pub(crate) fn statements(wanted: &LoginSpec<'_>) -> Result<String, ProviderError> {
    let LoginSpec { login, existing, acts_as, switches, connections, verifier, settings, mark } = wanted;
    let mut sql = if existing.is_none() { format!("CREATE ROLE {login};\n") } else { String::new() };
    for group in existing.iter().copied().flatten().filter(|group| *group != acts_as.as_str()) {
        sql.push_str(&format!("REVOKE {} FROM {login};\n", body::identifier(group)?));
    }
    sql.push_str(&format!(
        "ALTER ROLE {login} LOGIN INHERIT NOCREATEDB NOCREATEROLE CONNECTION LIMIT {connections} VALID UNTIL 'infinity' \
         PASSWORD {};\n\
         GRANT {acts_as} TO {login};\n",
        Literal(verifier),
    ));
    match switches {
        true => sql.push_str(&format!("ALTER ROLE {login} SET role = {};\n", Literal(acts_as.as_str()))),
        false => sql.push_str(&format!("ALTER ROLE {login} RESET ALL;\n")),
    }
    for (name, milliseconds) in *settings {
        sql.push_str(&format!("ALTER ROLE {login} SET {name} = {milliseconds};\n"));
    }
    sql.push_str(&format!("COMMENT ON ROLE {login} IS {};\n", Literal(&mark.to_string())));
    Ok(sql)
}

/// The role that a login stands for, as far as its name says so: `acme__app` for `acme__app_r7`.
pub(crate) fn without_rotation(login: &str) -> &str {
    let number = |number: &str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    login.rsplit_once("_r").filter(|(_, rest)| number(rest)).map_or(login, |(role, _)| role)
}

/// The roles whose logins these are: `roles.main` for `logins.main`.
fn roles_of(logins: &ResourceId) -> ResourceId {
    ResourceId(format!("roles.{}", logins.name()))
}

/// Those that are to go on.
fn open(body: &Value) -> BTreeSet<&str> {
    let listed = body.get("open").and_then(Value::as_list).unwrap_or_default();
    listed.iter().filter_map(Value::as_text).collect()
}

/// What is open: those that are to go on, whether or not they are made yet, and all others.
pub(crate) async fn observe(
    sessions: &Sessions,
    stack: StackId,
    lookup: &Lookup,
    deadline: Instant,
) -> Result<Option<Observation>, ProviderError> {
    let owner = body::identifier(lookup.body.get("owner").and_then(Value::as_text).unwrap_or_default())?;
    let doing = Doing::new("looking at the logins of", &lookup.identity);
    let mut session = sessions.maintenance(Turn::Look(&owner), &doing, deadline).await?;
    let rows = of_database(&mut session, stack, &roles_of(&lookup.id), &doing).await?;
    session.finish().await;
    let found = rows.iter().filter(|row| row.can_log_in).map(|row| row.name.as_str());
    let open: BTreeSet<&str> = open(&lookup.body).into_iter().chain(found).collect();
    let mut body = match &lookup.body {
        Value::Map(fields) => fields.clone(),
        _ => BTreeMap::new(),
    };
    body.insert("open".to_owned(), Value::from(open.into_iter().map(str::to_owned).collect::<Vec<_>>()));
    let object = owner.as_str().to_owned();
    Ok(Some(Observation { object, ownership: Ownership::Ours, body: Value::Map(body), foreign_fields: Vec::new() }))
}

/// Closes all that are not to go on.
pub(crate) async fn apply(
    sessions: &Sessions,
    context: &Context,
    resource: &Resource,
) -> Result<Performed, ProviderError> {
    let name = |field: &str| body::identifier(resource.body.get(field).and_then(Value::as_text).unwrap_or_default());
    let (owner, app, migrator) = (name("owner")?, name("app")?, name("migrator")?);
    let doing = Doing::new("closing the former logins of", &resource.identity);
    let (stack, deadline) = (context.stack, context.deadline);
    let mut session = sessions.maintenance(Turn::Change(&owner), &doing, deadline).await?;
    let roles = roles_of(&resource.id);
    let open = open(&resource.body);
    let permanent = [app.as_str(), migrator.as_str(), owner.as_str()];
    let rows = of_database(&mut session, stack, &roles, &doing).await?;
    let (kept, dropped): (Vec<&LoginRow>, Vec<&LoginRow>) = rows
        .iter()
        .filter(|row| !open.contains(row.name.as_str()))
        .partition(|row| permanent.contains(&row.name.as_str()));
    let kept: Vec<&LoginRow> = kept.into_iter().filter(|row| row.can_log_in).collect();
    let mut closed = Vec::new();
    let mut sql = String::new();
    for row in &kept {
        let role = body::identifier(&row.name)?;
        let mark = Mark::new(stack, &roles);
        sql.push_str(&format!(
            "ALTER ROLE {role} NOLOGIN PASSWORD NULL;\nCOMMENT ON ROLE {role} IS {};\n",
            Literal(&mark.to_string())
        ));
        closed.push(role);
    }
    for row in &dropped {
        let role = body::identifier(&row.name)?;
        sql.push_str(&format!("ALTER ROLE {role} NOLOGIN;\n"));
        closed.push(role);
    }
    if !closed.is_empty() {
        session.run(&doing, deadline, sql).await?;
        let oids: Vec<i64> = kept.iter().chain(&dropped).map(|row| row.oid).collect();
        end_sessions(&mut session, &owner, &closed, &oids, &doing, deadline).await?;
    }
    drop_logins(&mut session, &dropped, &doing, deadline).await?;
    session.finish().await;
    let names: Vec<&str> = closed.iter().map(Identifier::as_str).collect();
    let note = (!names.is_empty()).then(|| format!("closed {}", names.join(", ")));
    Ok(Performed { object: Some(owner.as_str().to_owned()), note, ..Performed::default() })
}

/// Neither `NOLOGIN` nor `DROP ROLE` ends a session that is there.
pub(crate) async fn end_sessions(
    session: &mut Session,
    owner: &Identifier,
    roles: &[Identifier],
    oids: &[i64],
    doing: &Doing,
    deadline: Instant,
) -> Result<(), ProviderError> {
    let roles: Vec<&Identifier> = roles.iter().collect();
    session.assume(owner, &roles, doing, deadline).await?;
    terminate(session, oids, doing).await?;
    session.resign(owner, &roles, doing, deadline).await
}

/// Ends the sessions of roles; the rights to do so are there.
pub(crate) async fn terminate(session: &mut Session, oids: &[i64], doing: &Doing) -> Result<(), ProviderError> {
    sqlx::query(
        "SELECT pg_catalog.pg_terminate_backend(pid, 1000) FROM pg_catalog.pg_stat_activity
         WHERE usesysid::pg_catalog.int8 OPERATOR(pg_catalog.=) ANY ($1)",
    )
    .bind(oids)
    .execute(session.connection())
    .await
    .map(drop)
    .map_err(|error| doing.failed(error))
}

/// Drops logins of former rotations. One that owns something is only closed: it goes with the database.
async fn drop_logins(
    session: &mut Session,
    rows: &[&LoginRow],
    doing: &Doing,
    deadline: Instant,
) -> Result<(), ProviderError> {
    for row in rows {
        let sql = format!("DROP ROLE {}", body::identifier(&row.name)?);
        match session.attempt(deadline, sql).await {
            Ok(()) => {}
            Err(None) => {
                return Err(ProviderError::unknown(
                    Code::PostgresUnreachable,
                    format!("{}: no answer in time", doing.0),
                ));
            }
            Err(Some(error)) if crate::failure::sqlstate(&error).as_deref() == Some("2BP01") => {}
            Err(Some(error)) => return Err(doing.failed(error)),
        }
    }
    Ok(())
}
