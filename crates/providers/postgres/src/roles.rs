//! `postgres.roles`: the three roles of a database.
//!
//! ```text
//! owner     NOLOGIN                             owns the database and everything in it
//! migrator  LOGIN, member of owner, role=owner  so that all it makes belongs to the owner
//! app       LOGIN, member of nothing            reads and writes; limited in connections and time
//! ```
//!
//! All three, their passwords and their marks are made or changed in one transaction: there is never one without the
//! others or without its mark. Passwords reach the server as SCRAM verifiers only. What the server doesn't tell (which
//! password a role has) is remembered in the role's mark, by its digest; a password that a superuser changed by hand
//! is therefore the one thing that doesn't show as drift. Everything else is read from the catalogs; what deviates and
//! has no field in the body shows as a field of its own (`app_memberships`, `migrator_login`), which the next apply mends.
//!
//! The provisioner is made a member of all three: it has to be to make and drop the database, and to end sessions.

use std::collections::BTreeMap;

use freehold_engine::{Context, Lookup, Performed, ProviderError, Revealed};
use freehold_graph::{Resource, SecretText, StackId, Value};
use freehold_plan::Observation;
use freehold_plan::observation::Ownership;
use tokio::time::Instant;

use crate::body::{self, RoleNames};
use crate::catalog::{RoleRow, RoleRows};
use crate::failure::Doing;
use crate::mark::Mark;
use crate::quote::{Identifier, Literal};
use crate::session::{Session, Sessions, Turn};

/// How many connections a migrator may have: one migrates, the others are for people who look after it.
pub(crate) const MIGRATOR_CONNECTIONS: i32 = 5;

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
    session.finish().await;
    if rows.existing().next().is_none() {
        return Ok(None);
    }
    let body = comparable(&names, &rows);
    Ok(Some(Observation { object: rows.object(), ownership: rows.ownership(stack), body, beside: Vec::new() }))
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
    let verifiers = Verifiers::make(context, &resource.body).await?;
    let mut session = sessions.maintenance(Turn::Change(&names.owner), &doing, context.deadline).await?;
    let rows = RoleRows::read(&mut session, &names, &doing).await?;
    check_ownership(&rows, context.stack, adopt)?;
    let marks = Marks::new(context.stack, resource, desired);
    let sql = statements(&names, &rows, &resource.body, &verifiers, &marks)?;
    session.run(&doing, context.deadline, sql).await?;
    let rows = RoleRows::read(&mut session, &names, &doing).await?;
    session.finish().await;
    check_memberships(&names, &rows)?;
    Ok(Performed { object: Some(rows.object()), note: None })
}

pub(crate) async fn delete(
    sessions: &Sessions,
    context: &Context,
    lookup: &Lookup,
    object: Option<&str>,
) -> Result<Performed, ProviderError> {
    let names = RoleNames::of(&lookup.body)?;
    let doing = Doing::new("dropping the roles of", &lookup.identity);
    let mut session = sessions.maintenance(Turn::Change(&names.owner), &doing, context.deadline).await?;
    let rows = RoleRows::read(&mut session, &names, &doing).await?;
    check_ownership(&rows, context.stack, false)?;
    check_identity(&rows, object)?;
    let existing: Vec<&RoleRow> = rows.existing().collect();
    if existing.is_empty() {
        session.finish().await;
        return Ok(Performed::default());
    }
    gain_membership(&mut session, &existing, &doing, context.deadline).await?;
    end_sessions(&mut session, &existing, &doing, context.deadline).await?;
    crate::holdings::release(sessions, &mut session, &existing, &doing, context.deadline).await?;
    let list = listed(&existing)?;
    session.run(&doing, context.deadline, format!("DROP ROLE {list}")).await?;
    session.finish().await;
    Ok(Performed::default())
}

/// What is there, in the form of the desired body.
fn comparable(names: &RoleNames, rows: &RoleRows) -> Value {
    let mut fields = BTreeMap::new();
    let mut set = |name: String, value: Value| fields.insert(name, value);
    for (word, name, row) in roles(names, rows) {
        set(word.to_owned(), Value::text(name.as_str()));
        let Some(row) = row else {
            set(format!("{word}_exists"), Value::Bool(false));
            continue;
        };
        if row.rolcanlogin != (word != "owner") {
            set(format!("{word}_login"), Value::Bool(row.rolcanlogin));
        }
        if !row.powers.is_empty() {
            set(format!("{word}_attributes"), Value::from(row.powers.clone()));
        }
        if row.memberships != expected_memberships(word, names) {
            set(format!("{word}_memberships"), Value::from(row.memberships.clone()));
        }
        if !row.usable {
            set(format!("{word}_usable_by_freehold"), Value::Bool(false));
        }
        if let Some(password) = row.mark().and_then(|mark| mark.values.get("password").cloned()) {
            set(format!("{word}_password"), password);
        }
    }
    if let Some(app) = &rows.app {
        set("connections".to_owned(), Value::Integer(app.rolconnlimit.into()));
        set("statement_timeout_seconds".to_owned(), seconds(app.setting("statement_timeout")));
    }
    if let Some(migrator) = &rows.migrator {
        if migrator.rolconnlimit != MIGRATOR_CONNECTIONS {
            set("migrator_connections".to_owned(), Value::Integer(migrator.rolconnlimit.into()));
        }
        if migrator.setting("role") != Some(names.owner.as_str()) {
            set("migrator_acts_as".to_owned(), Value::text(migrator.setting("role").unwrap_or("itself")));
        }
    }
    Value::Map(fields)
}

fn roles<'a>(names: &'a RoleNames, rows: &'a RoleRows) -> [(&'static str, &'a Identifier, Option<&'a RoleRow>); 3] {
    [
        ("owner", &names.owner, rows.owner.as_ref()),
        ("migrator", &names.migrator, rows.migrator.as_ref()),
        ("app", &names.app, rows.app.as_ref()),
    ]
}

fn expected_memberships(word: &str, names: &RoleNames) -> Vec<String> {
    if word == "migrator" { vec![names.owner.as_str().to_owned()] } else { Vec::new() }
}

/// A setting with a unit, in seconds where that is a whole number.
fn seconds(setting: Option<&str>) -> Value {
    let Some(text) = setting else { return Value::Null };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim();
    let unit = text.get(digits.len()..).unwrap_or_default().trim();
    let milliseconds = match unit {
        "" | "ms" => Some(1),
        "s" => Some(1_000),
        "min" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let total = digits.parse::<i64>().ok().zip(milliseconds).map(|(number, unit)| number.saturating_mul(unit));
    match total {
        Some(total) if total % 1000 == 0 => Value::Integer(total / 1000),
        _ => Value::text(text),
    }
}

/// # Errors
/// One of them exists and isn't ours.
fn check_ownership(rows: &RoleRows, stack: StackId, adopt: bool) -> Result<(), ProviderError> {
    let who = match rows.ownership(stack) {
        Ownership::Ours => return Ok(()),
        Ownership::Foreign(_) if adopt => return check_harmless(rows),
        Ownership::Foreign(who) => who,
        Ownership::OtherStack(other) => format!("it belongs to stack {other}"),
    };
    let names: Vec<&str> = rows.existing().map(|row| row.rolname.as_str()).collect();
    Err(ProviderError::Rejected {
        code: "FH0801",
        message: format!("the roles {} are not ours: {who}", names.join(", ")),
        detail: Vec::new(),
        help: Some("choose another name, or have a superuser rename or drop them".to_owned()),
    })
}

/// # Errors
/// A role that is to be adopted can do what none of ours may.
fn check_harmless(rows: &RoleRows) -> Result<(), ProviderError> {
    match rows.existing().find(|row| !row.powers.is_empty()) {
        None => Ok(()),
        Some(row) => Err(ProviderError::Rejected {
            code: "FH0801",
            message: format!("role {} can't be adopted: it is {}", row.rolname, row.powers.join(", ")),
            detail: Vec::new(),
            help: Some("take these attributes from it first".to_owned()),
        }),
    }
}

/// # Errors
/// A role is still a member of one that it shouldn't be a member of: since PostgreSQL 16 only who granted it, or a
/// superuser, can revoke it, and the server leaves it at a warning.
fn check_memberships(names: &RoleNames, rows: &RoleRows) -> Result<(), ProviderError> {
    for (word, name, row) in roles(names, rows) {
        let Some(row) = row else { continue };
        let expected = expected_memberships(word, names);
        if let Some(group) = row.memberships.iter().find(|group| !expected.contains(group)) {
            return Err(ProviderError::Rejected {
                code: "FH0804",
                message: format!("role {} is a member of {group}, and Freehold can't change that", name.as_str()),
                detail: Vec::new(),
                help: Some(format!("let a superuser run: REVOKE {} FROM {name}", body::identifier(group)?)),
            });
        }
    }
    Ok(())
}

/// # Errors
/// A role is another one than was recorded.
fn check_identity(rows: &RoleRows, object: Option<&str>) -> Result<(), ProviderError> {
    let Some(recorded) = object else { return Ok(()) };
    let now = rows.object();
    let differs = recorded.split('/').zip(now.split('/')).any(|(then, now)| then != now && then != "0" && now != "0");
    if differs {
        return Err(ProviderError::Rejected {
            code: "FH0804",
            message: format!("the roles were made anew by somebody else: they had the oids {recorded}, and have {now}"),
            detail: Vec::new(),
            help: Some("deploy again to see what is there now, then destroy".to_owned()),
        });
    }
    Ok(())
}

/// The verifiers of the two passwords.
struct Verifiers {
    migrator: String,
    app: String,
}

impl Verifiers {
    async fn make(context: &Context, body: &Value) -> Result<Self, ProviderError> {
        let revealed = Revealed::all(context, body).await?;
        // Thousands of rounds of hashing each: beside each other, and not on a thread that others wait for.
        let verifier = |field: &str| {
            let password = revealed.text(body.get(field).unwrap_or(&Value::Null))?;
            Ok::<_, ProviderError>(tokio::task::spawn_blocking(move || verifier(&password)))
        };
        let (migrator, app) = (verifier("migrator_password")?, verifier("app_password")?);
        let lost = |error: tokio::task::JoinError| ProviderError::retryable(format!("hashing a password: {error}"));
        Ok(Self { migrator: migrator.await.map_err(lost)?, app: app.await.map_err(lost)? })
    }
}

/// What the server stores in the place of a password.
pub(crate) fn verifier(password: &SecretText) -> String {
    postgres_protocol::password::scram_sha_256(password.reveal().as_bytes())
}

struct Marks {
    owner: Mark,
    migrator: Mark,
    app: Mark,
}

impl Marks {
    fn new(stack: StackId, resource: &Resource, desired: &Value) -> Self {
        let mark = Mark::new(stack, &resource.id);
        Self {
            owner: mark.clone(),
            migrator: mark.clone().with("password", desired.get("migrator_password")),
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
) -> Result<String, ProviderError> {
    let connections = body::number(body, "connections")?;
    let timeout = body::number(body, "statement_timeout_seconds")?.saturating_mul(1000);
    let RoleNames { owner, migrator, app } = names;
    let mut sql = String::new();
    for (_, name, row) in roles(names, rows) {
        if row.is_none() {
            sql.push_str(&format!("CREATE ROLE {name};\n"));
        }
        for group in row.into_iter().flat_map(|row| &row.memberships).filter(|group| *group != owner.as_str()) {
            sql.push_str(&format!("REVOKE {} FROM {name};\n", body::identifier(group)?));
        }
    }
    if rows.app.as_ref().is_some_and(|row| row.memberships.iter().any(|group| group == owner.as_str())) {
        sql.push_str(&format!("REVOKE {owner} FROM {app};\n"));
    }
    sql.push_str(&format!(
        "ALTER ROLE {owner} NOLOGIN NOCREATEDB NOCREATEROLE CONNECTION LIMIT -1;\n\
         ALTER ROLE {migrator} LOGIN NOCREATEDB NOCREATEROLE CONNECTION LIMIT {MIGRATOR_CONNECTIONS} \
         VALID UNTIL 'infinity' PASSWORD {};\n\
         ALTER ROLE {app} LOGIN NOCREATEDB NOCREATEROLE CONNECTION LIMIT {connections} \
         VALID UNTIL 'infinity' PASSWORD {};\n\
         GRANT {owner} TO {migrator};\n\
         ALTER ROLE {migrator} SET role = {};\n\
         ALTER ROLE {app} SET statement_timeout = {timeout};\n",
        Literal(&verifiers.migrator),
        Literal(&verifiers.app),
        Literal(owner.as_str()),
    ));
    if !roles(names, rows).iter().all(|(_, _, row)| row.is_some_and(|row| row.usable)) {
        sql.push_str(&format!("GRANT {} TO CURRENT_USER;\n", names.list()));
    }
    for (name, mark) in [(owner, &marks.owner), (migrator, &marks.migrator), (app, &marks.app)] {
        sql.push_str(&format!("COMMENT ON ROLE {name} IS {};\n", Literal(&mark.to_string())));
    }
    Ok(sql)
}

/// A provisioner that took another's place has to become a member first.
async fn gain_membership(
    session: &mut Session,
    rows: &[&RoleRow],
    doing: &Doing,
    deadline: Instant,
) -> Result<(), ProviderError> {
    let missing: Vec<&RoleRow> = rows.iter().filter(|row| !row.usable).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    session.run(doing, deadline, format!("GRANT {} TO CURRENT_USER", listed(&missing)?)).await
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
    sqlx::query("SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE usesysid::int8 = ANY($1)")
        .bind(oids)
        .execute(session.connection())
        .await
        .map_err(|error| doing.failed(error))?;
    Ok(())
}

fn listed(rows: &[&RoleRow]) -> Result<String, ProviderError> {
    let names: Result<Vec<String>, ProviderError> =
        rows.iter().map(|row| Ok(body::identifier(&row.rolname)?.to_string())).collect();
    Ok(names?.join(", "))
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

    #[test]
    fn a_role_made_anew_by_somebody_else_is_noticed_and_a_missing_one_is_not_held_against_us() {
        let rows = |object: &str| {
            let oids: Vec<i64> = object.split('/').map(|oid| oid.parse().unwrap()).collect();
            let row = |oid: i64| {
                (oid != 0).then(|| RoleRow {
                    oid,
                    rolname: "r".to_owned(),
                    rolcanlogin: false,
                    rolconnlimit: -1,
                    powers: Vec::new(),
                    comment: None,
                    memberships: Vec::new(),
                    settings: Vec::new(),
                    usable: true,
                })
            };
            RoleRows { owner: row(oids[0]), migrator: row(oids[1]), app: row(oids[2]) }
        };
        assert!(check_identity(&rows("1/2/3"), Some("1/2/3")).is_ok());
        assert!(check_identity(&rows("1/2/0"), Some("1/2/3")).is_ok());
        assert!(check_identity(&rows("1/2/4"), Some("1/2/3")).is_err());
        assert!(check_identity(&rows("1/2/4"), None).is_ok());
    }
}
