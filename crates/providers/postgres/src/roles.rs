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
//! has no field in the body shows as a field of its own (`app_memberships`, `migrator_login`), which the next apply mends.
//!
//! The provisioner is a member of none of them, but for the moments in which it makes or drops the database or ends
//! sessions ([`Session::assume`]).

use std::collections::BTreeMap;

use freehold_engine::{Context, Lookup, Performed, ProviderError, Revealed};
use freehold_graph::{Resource, SecretText, StackId, Value};
use freehold_plan::Observation;
use freehold_plan::observation::Ownership;
use tokio::time::Instant;

use crate::body::{self, RoleNames};
use crate::catalog::{RoleRow, RoleRows};
use crate::failure::Doing;
use crate::inside;
use crate::logins::{self, LoginRow, Logins, Wanted};
use crate::mark::Mark;
use crate::provisioner::LET_DUMP;
use crate::quote::{Identifier, Literal};
use crate::session::{self, Session, Sessions, Turn};
use crate::usage;

/// How many connections a migrator may have: one migrates, the others are for people who look after it.
pub(crate) const MIGRATOR_CONNECTIONS: i32 = 5;
/// How often a statement of a migration looks whether its client is still there, in milliseconds: what a run that was ended has
/// begun must not wait for its lock, and change something when nobody expects it any more.
const CLIENT_CHECK: i64 = 1000;
/// The field of a mark that says which password one of Freehold's own logins has. Only their marks have it.
pub(crate) const KEY: &str = "key";

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
    crate::holdings::release(sessions, &mut session, &existing, &doing, context.deadline).await?;
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

/// Whether a role is for Freehold's own use: in no body, and mended without anybody's asking for it.
fn is_freeholds(word: &str) -> bool {
    matches!(word, "keeper" | "dumper")
}

/// The limits that no body says.
fn connections_of(word: &str) -> Option<i32> {
    match word {
        "migrator" => Some(MIGRATOR_CONNECTIONS),
        "keeper" => Some(inside::KEEPER_CONNECTIONS),
        "dumper" => Some(inside::DUMPER_CONNECTIONS),
        _ => None,
    }
}

fn roles<'a>(names: &'a RoleNames, rows: &'a RoleRows) -> [(&'static str, &'a Identifier, Option<&'a RoleRow>); 5] {
    [
        ("owner", &names.owner, rows.owner.as_ref()),
        ("migrator", &names.migrator, rows.migrator.as_ref()),
        ("app", &names.app, rows.app.as_ref()),
        ("keeper", &names.keeper, rows.keeper.as_ref()),
        ("dumper", &names.dumper, rows.dumper.as_ref()),
    ]
}

fn expected_memberships(word: &str, names: &RoleNames) -> Vec<String> {
    if matches!(word, "owner" | "app") { Vec::new() } else { vec![names.owner.as_str().to_owned()] }
}

/// A setting with a unit, in seconds where that is a whole number.
pub(crate) fn seconds(setting: Option<&str>) -> Value {
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
pub(crate) fn check_ownership(rows: &RoleRows, stack: StackId, adopt: bool) -> Result<(), ProviderError> {
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
    match rows.existing().find(|row| row.rolbypassrls || !row.powers.is_empty()) {
        None => Ok(()),
        Some(row) => Err(ProviderError::Rejected {
            code: "FH0811",
            message: format!(
                "role {} can't be adopted: it is {}",
                row.rolname,
                row.powers.first().map_or("bypassrls", String::as_str)
            ),
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
pub(crate) fn check_identity(rows: &RoleRows, object: Option<&str>) -> Result<(), ProviderError> {
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
        let (keeper, dumper) = (hash(sessions.password(&names.keeper)), hash(sessions.password(&names.dumper)));
        let lost = |error: tokio::task::JoinError| ProviderError::retryable(format!("hashing a password: {error}"));
        Ok(Self {
            migrator: migrator.await.map_err(lost)?,
            app: app.await.map_err(lost)?,
            keeper: keeper.await.map_err(lost)?,
            dumper: dumper.await.map_err(lost)?,
        })
    }
}

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

/// What the server stores in the place of a password.
pub(crate) fn verifier(password: &SecretText) -> String {
    postgres_protocol::password::scram_sha_256(password.reveal().as_bytes())
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
                let wanted = Wanted { login, acts_as, connections: limit, verifier, settings, mark };
                sql.push_str(&logins::statements(&wanted, login_rows)?);
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
    sql.push_str(&login_statements(names, rows, verifiers, [&marks.keeper, &marks.dumper], bypass)?);
    Ok(sql)
}

/// Makes keeper and dumper what they should be, from the marks of the roles that are there: where an older release made the
/// others, and after code of the tenant's ran in a session of theirs, which may have changed the password.
///
/// # Errors
/// The owner isn't there or isn't the stack's, or somebody else's role has the name of one of them.
pub(crate) async fn renew_logins(
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
        return Err(ProviderError::rejected("FH0804", message));
    };
    let bypass = Bypass::read(session, doing).await?;
    let lost = |error: tokio::task::JoinError| ProviderError::retryable(format!("hashing a password: {error}"));
    let hash = |password: SecretText| tokio::task::spawn_blocking(move || verifier(&password));
    let (keeper, dumper) = (hash(sessions.password(&names.keeper)), hash(sessions.password(&names.dumper)));
    let verifiers = [keeper.await.map_err(lost)?, dumper.await.map_err(lost)?];
    let marks = [&names.keeper, &names.dumper].map(|login| login_mark(sessions, login, &mark));
    let sql = login_statements(names, &rows, [&verifiers[0], &verifiers[1]], [&marks[0], &marks[1]], bypass)?;
    session.run(doing, deadline, sql).await
}

/// Ends the sessions of keeper and dumper, whoever opened them.
pub(crate) async fn end_login_sessions(
    session: &mut Session,
    names: &RoleNames,
    doing: &Doing,
) -> Result<(), ProviderError> {
    sqlx::query("SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE usename = ANY($1)")
        .bind(vec![names.keeper.as_str(), names.dumper.as_str()])
        .execute(session.connection())
        .await
        .map_err(|error| doing.failed(error))?;
    Ok(())
}

fn login_mark(sessions: &Sessions, login: &Identifier, mark: &Mark) -> Mark {
    Mark { values: BTreeMap::new(), ..mark.clone() }.with(KEY, Some(&Value::text(sessions.digest(login))))
}

/// Keeper and dumper, in this order.
fn login_statements(
    names: &RoleNames,
    rows: &RoleRows,
    verifiers: [&str; 2],
    marks: [&Mark; 2],
    bypass: Bypass,
) -> Result<String, ProviderError> {
    let owner = &names.owner;
    let logins = [
        (&names.keeper, &rows.keeper, inside::KEEPER_CONNECTIONS),
        (&names.dumper, &rows.dumper, inside::DUMPER_CONNECTIONS),
    ];
    let mut sql = String::new();
    for (((login, row, limit), verifier), mark) in logins.into_iter().zip(verifiers).zip(marks) {
        if row.is_none() {
            sql.push_str(&format!("CREATE ROLE {login};\n"));
        }
        for group in row.iter().flat_map(|row| &row.memberships).filter(|group| *group != owner.as_str()) {
            sql.push_str(&format!("REVOKE {} FROM {login};\n", body::identifier(group)?));
        }
        sql.push_str(&format!(
            "ALTER ROLE {login} LOGIN INHERIT NOCREATEDB NOCREATEROLE CONNECTION LIMIT {limit} \
             VALID UNTIL 'infinity' PASSWORD {};\n\
             ALTER ROLE {login} RESET ALL;\n\
             GRANT {owner} TO {login};\n\
             COMMENT ON ROLE {login} IS {};\n",
            Literal(verifier),
            Literal(&mark.to_string())
        ));
    }
    if rows.dumper.as_ref().is_none_or(|dumper| !dumper.rolbypassrls) {
        sql.push_str(&bypass.statement(&names.dumper));
    }
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
    sqlx::query("SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE usesysid::int8 = ANY($1)")
        .bind(oids)
        .execute(session.connection())
        .await
        .map_err(|error| doing.failed(error))?;
    Ok(())
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
                    rolbypassrls: false,
                    powers: Vec::new(),
                    comment: None,
                    memberships: Vec::new(),
                    settings: Vec::new(),
                    usable: true,
                })
            };
            RoleRows { owner: row(oids[0]), migrator: row(oids[1]), app: row(oids[2]), keeper: row(4), dumper: None }
        };
        assert!(check_identity(&rows("1/2/3"), Some("1/2/3")).is_ok());
        assert!(check_identity(&rows("1/2/0"), Some("1/2/3")).is_ok());
        assert!(check_identity(&rows("1/2/4"), Some("1/2/3")).is_err());
        assert!(check_identity(&rows("1/2/4"), None).is_ok());
    }
}
