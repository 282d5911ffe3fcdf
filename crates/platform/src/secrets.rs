//! Secrets of stacks: set, rotated, listed without their values; credentials lent for a session.

use std::collections::BTreeMap;
use std::sync::Arc;

use freehold_check::{is_placeholder, test_key};
use freehold_engine::Secrets as _;
use freehold_graph::expand::names;
use freehold_graph::{SecretRef, SecretText, StackId, StackKey, StackKind, credentials};
use freehold_problem::{Code, Problem};
use freehold_spec::app::texts;
use freehold_spec::part::output::Secrecy;
use freehold_spec::{App, Name, Output, PRODUCTION, PartKind, StackName};
use freehold_store::audit::AuditEntry;
use freehold_store::{SecretSummary, Stack, TenantTx, Written};
use serde_json::{Value as Json, json};

use super::names::{parse_kind, parse_name};
use crate::Result;
use crate::actor::{Actor, Scope};
use crate::generate::generate_text;
use crate::records::Records;
use crate::request::StackSelector;
use crate::targets::Targets;
use crate::view::{DatabaseCredentials, SecretState, SecretView};

/// The longest value, in bytes: what fits into an environment variable with room to spare.
const LONGEST: usize = 64 << 10;

/// How many are set at once.
const MOST: usize = 1000;

/// Why a value is not set, without a word of it.
fn refused(name: &str, value: &SecretText, insist: bool, production: bool) -> Option<Problem> {
    let secret = match parse_name("secret", name) {
        Ok(secret) => secret,
        Err(problem) => return Some(problem),
    };
    let text = value.reveal();
    if text.is_empty() || text.len() > LONGEST || text.contains('\0') {
        let length = text.len();
        let message = format!(
            "the value of {secret} can't be used: it has {length} bytes; 1 to {LONGEST} are allowed, without NUL"
        );
        return Some(Problem::new(Code::SecretValue, message).help("put longer values into a file of the artifact"));
    }
    if !insist && is_placeholder(text) {
        let message = format!("the value of {secret} is a placeholder, and nothing was changed");
        return Some(
            Problem::new(Code::PlaceholderSecret, message).help("set the real value, or this one with --force"),
        );
    }
    let beginning = test_key(text).filter(|_| production)?;
    let message = format!("the value of {secret} begins with {beginning}: a key for tests, for a stack of production");
    Some(Problem::new(Code::TestKey, message).help("set the live key, or this one with --force"))
}

/// One reason as it is, several as lines of the first.
fn refuse_together(problems: Vec<Problem>) -> Result<()> {
    let mut problems = problems.into_iter();
    let Some(first) = problems.next() else { return Ok(()) };
    let others: Vec<String> = problems.map(|problem| problem.message).collect();
    Err(if others.is_empty() { first } else { first.lines(others) })
}

/// Secrets of stacks, and credentials that are lent.
pub struct Secrets {
    pub(crate) records: Records,
    pub(crate) targets: Arc<Targets>,
}

impl Secrets {
    /// The secrets of a stack, defined or kept, without their values.
    pub async fn list(&self, actor: &Actor, id: StackId) -> Result<Vec<SecretView>> {
        actor.require(Scope::Read)?;
        let stack = self.records.find_stack(actor, id).await?;
        let tenant = self.records.tenant_of(&stack).await?;
        let app = match &stack.definition {
            Some(_) => Some(self.records.definition_of(tenant, &stack).await?.app),
            None => None,
        };
        let mut tx = self.records.store.begin(tenant).await?;
        let kept = tx.secrets(stack.id).await?;
        let mut states: BTreeMap<String, SecretView> =
            kept.iter().map(|secret| (secret.name.clone(), describe(secret, app.as_ref()))).collect();
        for name in app.iter().flat_map(|app| app.secrets.keys()) {
            states.entry(name.to_string()).or_insert_with(|| SecretView {
                name: name.to_string(),
                version: 0,
                state: SecretState::Missing,
                set_at: None,
                readers: readers(app.as_ref(), PartKind::Secret, name.as_str()),
            });
        }
        Ok(states.into_values().collect())
    }

    /// Sets secrets, all of them or none; the stack need not exist yet. `insist`: also values that look as if nobody meant them.
    pub async fn set(
        &self,
        actor: &Actor,
        query: &StackSelector,
        values: &BTreeMap<String, SecretText>,
        insist: bool,
    ) -> Result<Vec<SecretView>> {
        actor.require(Scope::Secrets)?;
        if values.len() > MOST {
            return Err(Problem::new(
                Code::BadRequest,
                format!("{} secrets at once; {MOST} are the most", values.len()),
            ));
        }
        let stack_name: StackName = query.name.parse().map_err(|error| {
            Problem::new(Code::RequestName, format!("{:?} can't be the name of a {}: {error}", query.name, query.kind))
        })?;
        let key = StackKey {
            target: self.targets.choose(query.target.as_deref()).await?.target.name().clone(),
            app: parse_name("app", &query.app)?,
            kind: parse_kind(&query.kind)?,
            name: stack_name,
        };
        let production = !insist && self.is_of_production(actor, &key).await?;
        let refused = values.iter().filter_map(|(name, value)| refused(name, value, insist, production)).collect();
        refuse_together(refused)?;
        let tenant = self.records.enter(actor, &key).await?;
        let mut tx = self.records.store.begin(tenant).await?;
        let id = tx.name_stack(&key).await?;
        tx.commit().await?;
        self.write_secrets(actor, id, &key, values, Written::Set).await
    }

    /// Whether a stack is of the stage production, or will be unless it is deployed with another one. Of one that the actor can't see
    /// nothing is told: it is as if there were none.
    async fn is_of_production(&self, actor: &Actor, key: &StackKey) -> Result<bool> {
        let tenant = self.records.store.find_tenant(key).await?.filter(|tenant| actor.can_see(*tenant));
        let Some(tenant) = tenant else { return Ok(key.kind == StackKind::Tenant) };
        let mut tx = self.records.store.begin(tenant).await?;
        let stack = tx.stack(key).await?;
        let deployed = stack.and_then(|stack| stack.request).map(|request| request.stage_name().map(str::to_owned));
        let stage = deployed.unwrap_or_else(|| match key.kind {
            StackKind::Tenant => Some(PRODUCTION.to_owned()),
            StackKind::Stage => Some(key.name.to_string()),
            StackKind::Preview => None,
        });
        Ok(stage.as_deref() == Some(PRODUCTION))
    }

    async fn write_secrets(
        &self,
        actor: &Actor,
        id: StackId,
        key: &StackKey,
        values: &BTreeMap<String, SecretText>,
        how: Written,
    ) -> Result<Vec<SecretView>> {
        let tenant = self.records.store.tenant_of(key).await?;
        let data_key = self.records.store.data_key(tenant).await?;
        let mut tx = self.records.store.begin(tenant).await?;
        let mut written = Vec::new();
        for (name, value) in values {
            // The line of audit is the store's.
            written.push(tx.write_secret(&data_key, id, name, value, &actor.audited(), how).await?);
        }
        let stack = tx.stack_by_id(id).await?;
        tx.commit().await?;
        let app = match stack {
            Some(stack) if stack.definition.is_some() => Some(self.records.definition_of(tenant, &stack).await?.app),
            _ => None,
        };
        Ok(written.iter().map(|summary| describe(summary, app.as_ref())).collect())
    }

    /// Gives a generated secret, or a database's credentials, a new value.
    pub async fn rotate(&self, actor: &Actor, id: StackId, name: &str) -> Result<SecretView> {
        actor.require(Scope::Secrets)?;
        let stack = self.records.find_stack(actor, id).await?;
        let tenant = self.records.tenant_of(&stack).await?;
        let app = self.records.definition_of(tenant, &stack).await?.app;
        if let Some((part, name)) = part_with_credentials(name) {
            return self.rotate_credentials(actor, &stack, &app, part, &name).await;
        }
        let Some(definition) = app.secrets.get(name) else {
            let known = app.secrets.keys().map(ToString::to_string).chain(parts_with_credentials(&app));
            let known: Vec<String> = known.collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            return Err(none_such(&stack, "secret", name, &known));
        };
        let Some(generate) = definition.generate else {
            return Err(Problem::new(
                Code::SecretNotGenerated,
                format!("secret {name} is not generated, so its next value has to be set by hand"),
            )
            .help(format!(
                "set it with `freehold secret set {name} {}`, value on standard input",
                stack.key.option()
            )));
        };
        let values = BTreeMap::from([(name.to_owned(), generate_text(generate)?)]);
        let written = self.write_secrets(actor, stack.id, &stack.key, &values, Written::Rotated).await?;
        let unwritten = || Problem::new(Code::Internal, format!("secret {name} was not written"));
        written.into_iter().next().ok_or_else(unwritten)
    }

    /// Credentials of a part are derived from counters that stick to the stack: the next deploy sets them and restarts who uses them.
    async fn rotate_credentials(
        &self,
        actor: &Actor,
        stack: &Stack,
        app: &App,
        part: PartKind,
        name: &Name,
    ) -> Result<SecretView> {
        require_part(stack, app, part, name)?;
        let mut request = stack.request.clone().ok_or_else(|| super::definition::never_deployed(stack))?;
        let mut version = 0;
        for purpose in credentials(part, name) {
            let rotation = request.rotations.entry(purpose).or_default();
            *rotation += 1;
            version = *rotation;
        }
        let tenant = self.records.tenant_of(stack).await?;
        let mut tx = self.records.store.begin(tenant).await?;
        tx.set_request(stack, &request).await?;
        let subject = format!("{} {}.{name}", stack.key, part.word());
        let (action, detail) = (format!("{}.rotate", part.word()), json!({ "rotation": version }));
        audit(actor, &mut tx, stack.id, &action, &subject, &detail).await?;
        tx.commit().await?;
        Ok(SecretView {
            name: format!("{}.{name}", part.word()),
            version: version + 1,
            state: SecretState::Generated,
            set_at: Some(chrono::Utc::now()),
            readers: readers(Some(app), part, name.as_str()),
        })
    }

    /// Credentials for a session on a stack's database.
    pub async fn database_access(
        &self,
        actor: &Actor,
        id: StackId,
        database: &str,
        role: &str,
    ) -> Result<DatabaseCredentials> {
        actor.require(Scope::Secrets)?;
        if !matches!(role, "app" | "migrator") {
            return Err(Problem::new(Code::RequestName, format!("{role:?} is not a role of a database"))
                .help("app or migrator"));
        }
        let stack = self.records.find_stack(actor, id).await?;
        let tenant = self.records.tenant_of(&stack).await?;
        let name = parse_name("database", database)?;
        let app = self.records.definition_of(tenant, &stack).await?.app;
        require_part(&stack, &app, PartKind::Database, &name)?;
        let purpose = names::credential(&name, role);
        let mut tx = self.records.store.begin(tenant).await?;
        let resources = tx.resources(stack.id).await?;
        drop(tx);
        // As the logins were last made: a rotation holds from the next deploy on.
        let logins = resources.iter().filter(|stored| stored.resource.kind.row().logins.is_some());
        let secret = logins.flat_map(|stored| stored.resource.body.secrets()).find(|secret| is_for(secret, &purpose));
        let secret = secret.cloned().unwrap_or(SecretRef::Derived { purpose, rotation: 0 });
        let rotation = match &secret {
            SecretRef::Derived { rotation, .. } => *rotation,
            SecretRef::Stored(_) | SecretRef::Target(_) => 0,
        };
        let password = self.records.store.reveal(stack.id, &secret).await?;
        let runtime = self.targets.find(&stack.key.target).await?;
        let server = app.databases.get(&name).and_then(|database| database.server.name.as_ref());
        let named = server.and_then(|server| runtime.target.server_of(Some(&server.value)));
        let named = named.map(|server| (server.host.clone(), server.port));
        let place = named.or_else(|| runtime.database.as_ref().map(|place| (place.host.clone(), place.port)));
        let (host, port) = place.ok_or_else(|| {
            let message = format!("the databases of {} are in the cluster, each with a server of its own", stack.key);
            Problem::new(Code::OtherKindOfTarget, message).maybe_help(runtime.target.way_to_own_databases())
        })?;
        let mut tx = self.records.store.begin(tenant).await?;
        let subject = format!("{} database.{database}", stack.key);
        let detail = json!({ "role": role });
        audit(actor, &mut tx, stack.id, "database.access", &subject, &detail).await?;
        tx.commit().await?;
        Ok(DatabaseCredentials {
            host,
            port,
            database: names::database(&stack.key, &name),
            user: names::login(&stack.key, &name, role, rotation),
            password,
        })
    }
}

/// A stack has nothing of that name; perhaps another one was meant.
pub(super) fn none_such(stack: &Stack, what: &str, name: &str, known: &[&str]) -> Problem {
    let refusal = Problem::new(Code::NotFound, format!("{} has no {what} {name}", stack.key));
    match (freehold_spec::nearest(name, known.iter().copied()), known) {
        (Some(near), _) => refusal.help(format!("did you mean {near}?")),
        (None, []) => refusal.help(format!("its definition has no {what}")),
        (None, known) => refusal.help(format!("it has {}", known.join(", "))),
    }
}

/// Refuses a part that the definition doesn't have; perhaps another one was meant.
fn require_part(stack: &Stack, app: &App, part: PartKind, name: &Name) -> Result<()> {
    let known: Vec<&str> = app.names(part).into_iter().map(Name::as_str).collect();
    if known.contains(&name.as_str()) { Ok(()) } else { Err(none_such(stack, part.word(), name.as_str(), &known)) }
}

/// The part that is meant, if it is one with credentials: `database.main`.
fn part_with_credentials(text: &str) -> Option<(PartKind, Name)> {
    let (word, name) = text.split_once('.')?;
    let (part, name) = (PartKind::of_word(word)?, name.parse().ok()?);
    (!credentials(part, &name).is_empty()).then_some((part, name))
}

/// The parts of a definition that have credentials, as [`part_with_credentials`] reads them.
fn parts_with_credentials(app: &App) -> impl Iterator<Item = String> {
    let all = PartKind::ALL.iter().flat_map(|part| app.names(*part).into_iter().map(|name| (*part, name)));
    all.filter(|(part, name)| !credentials(*part, name).is_empty())
        .map(|(part, name)| format!("{}.{name}", part.word()))
}

/// Records in the audit log what an actor does to a stack's secrets, in the transaction that does it.
async fn audit(
    actor: &Actor,
    tx: &mut TenantTx<'_>,
    stack: StackId,
    action: &str,
    subject: &str,
    detail: &Json,
) -> Result<()> {
    let entry = AuditEntry { actor: &actor.audited(), action, stack: Some(stack), subject, operation: None, detail };
    Ok(tx.audit(&entry).await?)
}

fn is_for(secret: &SecretRef, wanted: &str) -> bool {
    matches!(secret, SecretRef::Derived { purpose, .. } if purpose == wanted)
}

fn describe(secret: &SecretSummary, app: Option<&App>) -> SecretView {
    SecretView {
        name: secret.name.clone(),
        version: secret.version,
        state: if secret.generated { SecretState::Generated } else { SecretState::Set },
        set_at: Some(secret.set_at),
        readers: readers(app, PartKind::Secret, &secret.name),
    }
}

/// The services whose variables or files, or those of their other containers, refer to a secret output of a part.
fn readers(app: Option<&App>, part: PartKind, name: &str) -> Vec<String> {
    let is_one = |(of, output): (&Name, Output)| {
        output.part() == part && of.as_str() == name && output.row().secrecy != Secrecy::Public
    };
    let reads = |service: &freehold_spec::app::Service| {
        let templates = service.programs().flat_map(|(env, files)| texts(env, files));
        let references = templates.flat_map(|template| template.references());
        references.filter_map(|reference| reference.value.output()).any(is_one)
    };
    let services = app.into_iter().flat_map(|app| &app.services);
    services.filter(|(_, service)| reads(service)).map(|(name, _)| name.to_string()).collect()
}
