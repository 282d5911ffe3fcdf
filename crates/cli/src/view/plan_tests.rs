//! What plans look like, for each thing that can be in one.

use std::collections::{BTreeMap, BTreeSet};

use freehold::wire::{Action, Change, Conflict, FieldChange, Plan, PlanPurpose as Purpose, PlanResponse};
use freehold_graph::value::Special;
use freehold_graph::{
    Digest, Request, Resource, ResourceId, ResourceKind, Run, SecretRef, StackId, StackKey, StackKind, Value,
};
use uuid::Uuid;

use super::*;

fn secret() -> Value {
    Value::Special(Special::Digest(Digest("ab".repeat(16))))
}

fn body(kind: ResourceKind) -> Value {
    let text = |text: &str| Value::from(text);
    match kind {
        ResourceKind::PostgresDatabase => Value::map([("extensions", Value::from(vec!["pgcrypto"]))]),
        ResourceKind::PostgresRoles => Value::map([("connections", Value::from(20u32))]),
        ResourceKind::StoreSecret => Value::map([("generate", Value::map([("bytes", Value::from(32u32))]))]),
        ResourceKind::LocalService => Value::map([
            ("command", Value::from(vec!["guestbook", "serve"])),
            ("replicas", Value::from(1u32)),
            ("health", Value::map([("ready", text("/health/ready"))])),
        ]),
        ResourceKind::LocalSchedule => {
            Value::map([("command", Value::from(vec!["guestbook", "digest"])), ("schedule", text("0 6 * * *"))])
        }
        ResourceKind::LocalRoute => {
            let rule = |prefix: &str, timeout: u32, retries: u32| {
                Value::map([
                    ("prefix", text(prefix)),
                    ("timeout_seconds", Value::from(timeout)),
                    ("retries", Value::from(retries)),
                ])
            };
            Value::map([("paths", Value::List(vec![rule("/events", 21_600, 0), rule("/", 30, 3)]))])
        }
        _ => Value::Null,
    }
}

pub(in crate::view) fn change(id: &str, kind: ResourceKind, identity: &str, action: Action) -> Change {
    let id = ResourceId(id.to_owned());
    let resource =
        Resource { id: id.clone(), kind, identity: identity.to_owned(), body: body(kind), depends_on: BTreeSet::new() };
    Change {
        id,
        kind,
        identity: identity.to_owned(),
        action,
        fields: Vec::new(),
        reasons: Vec::new(),
        resource,
        desired: None,
        observed: None,
        fingerprint: None,
        object: None,
        depends_on: BTreeSet::new(),
        loses_data: false,
        takes: Vec::new(),
        foreign_fields: Vec::new(),
    }
}

pub(in crate::view) fn field(path: &str, before: Option<Value>, after: Option<Value>, effect: Effect) -> FieldChange {
    FieldChange { path: path.to_owned(), before, after, effect }
}

/// All of the guestbook with one action.
fn guestbook(action: Action) -> Vec<Change> {
    vec![
        change("database.main", ResourceKind::PostgresDatabase, "acme__guestbook", action.clone()),
        change("roles.main", ResourceKind::PostgresRoles, "acme__guestbook", action.clone()),
        change("secret.session-key", ResourceKind::StoreSecret, "session-key", action.clone()),
        change("service.web", ResourceKind::LocalService, "acme/web", action.clone()),
        change("route.web", ResourceKind::LocalRoute, "acme.localhost", action.clone()),
    ]
}

fn with(mut changes: Vec<Change>, id: &str, edit: impl FnOnce(&mut Change)) -> Vec<Change> {
    edit(changes.iter_mut().find(|change| change.id.0 == id).unwrap());
    changes
}

pub(in crate::view) fn answer(purpose: Purpose, revision: u64, changes: Vec<Change>, jobs: &[&str]) -> PlanResponse {
    let key = StackKey {
        target: "local".parse().unwrap(),
        app: "guestbook".parse().unwrap(),
        kind: StackKind::Tenant,
        name: "acme".parse().unwrap(),
    };
    let id = StackId(Uuid::nil());
    let run = |job: &&str| {
        let id = ResourceId::new("job", job);
        let body = Value::map([("command", Value::from(vec!["guestbook", *job]))]);
        (
            id.clone(),
            Run {
                id,
                provider: freehold_graph::ProviderName::Local,
                body,
                due: freehold_graph::Due::Revision,
                depends_on: BTreeSet::new(),
                before: BTreeSet::new(),
            },
        )
    };
    let plan = Plan {
        id: Uuid::nil(),
        stack: id,
        key: key.clone(),
        purpose,
        generation: revision - 1,
        revision,
        definition: String::new(),
        request: Request {
            key,
            id,
            tier: None,
            stage: None,
            artifacts: BTreeMap::new(),
            containers: BTreeMap::new(),
            rotations: BTreeMap::new(),
            revision: 0,
            former_ports: Default::default(),
        },
        changes: changes.into_iter().map(|change| (change.id.clone(), change)).collect(),
        runs: jobs.iter().map(run).collect(),
        outputs: BTreeMap::new(),
        layout: 0,
        not_enforced: Vec::new(),
        same: false,
        settle: true,
        notes: Vec::new(),
    };
    PlanResponse {
        noop: plan.runs.is_empty() && plan.count(&Action::NoOp) == plan.changes.len(),
        new_stack: revision == 1,
        plan,
        diagnostics: Vec::new(),
        values: Vec::new(),
        target: "local".to_owned(),
        cluster: None,
        database_server: "PostgreSQL 15".to_owned(),
        running: None,
    }
}

/// The text as it is without colours; no line of it is wider than 80 columns, but for what is copied and so never broken.
pub(in crate::view) fn shown(text: &str) -> String {
    let text = anstream::adapter::strip_str(text).to_string();
    for line in text.lines() {
        let is_copied = line.split(' ').any(|word| columns(word) + 16 > WIDTH);
        assert!(columns(line) <= WIDTH || is_copied, "{} columns: {line}", columns(line));
    }
    text
}

#[test]
fn a_new_stack_says_what_each_part_will_be() {
    let mut answer = answer(Purpose::Deploy, 1, guestbook(Action::Create), &["migrate"]);
    answer.plan.not_enforced = vec!["network policy (one machine)".to_owned()];
    insta::assert_snapshot!(shown(&render(&answer, false)));
}

#[test]
fn a_change_shows_its_fields_and_why_it_restarts_but_no_secret() {
    let changes = with(guestbook(Action::NoOp), "service.web", |web| {
        web.action = Action::Update;
        web.reasons = vec!["restarts: secret session-key changed (reads SESSION_KEY)".to_owned()];
        web.fields = vec![
            field(
                "artifact",
                Some(Value::from(format!("sha256:{}", "a1".repeat(32)))),
                Some(Value::from(format!("sha256:{}", "b2".repeat(32)))),
                Effect::Restart,
            ),
            field("env.LOG_LEVEL", Some(Value::from("info")), Some(Value::from("debug")), Effect::Restart),
            field("env.SESSION_KEY", Some(secret()), Some(secret()), Effect::Restart),
            field("env.NEW_KEY", None, Some(Value::secret(SecretRef::Stored("new".to_owned()))), Effect::Restart),
            field("env.OLD", Some(Value::from("x")), None, Effect::Restart),
            field("drain_seconds", Some(Value::from(30u32)), Some(Value::from(120u32)), Effect::InPlace),
        ];
    });
    insta::assert_snapshot!(shown(&render(&answer(Purpose::Deploy, 2, changes, &["migrate"]), false)));
}

#[test]
fn long_values_take_two_lines_and_nothing_is_cut_off() {
    let words = |extra: &str| {
        Value::from(vec!["guestbook", "serve", "--listen", "127.0.0.1", "--workers", "4", "--header", extra])
    };
    let changes = with(guestbook(Action::NoOp), "service.web", |web| {
        web.action = Action::Update;
        web.reasons = vec!["restarts: command changed".to_owned()];
        web.fields =
            vec![field("command", Some(words("x-old: yes")), Some(words("x-new: certainly")), Effect::Restart)];
    });
    let text = shown(&render(&answer(Purpose::Deploy, 2, changes, &[]), false));
    let words: Vec<&str> = text.split_whitespace().collect();
    assert!(words.join(" ").contains("--header x-new: certainly"));
    insta::assert_snapshot!(text);
}

#[test]
fn a_replacement_says_which_field_forces_it_and_that_data_is_lost() {
    let changes = with(guestbook(Action::NoOp), "database.main", |database| {
        database.action = Action::Replace;
        database.loses_data = true;
        database.fields =
            vec![field("name", Some(Value::from("acme__guestbook")), Some(Value::from("acme__book")), Effect::Replace)];
    });
    insta::assert_snapshot!(shown(&render(&answer(Purpose::Deploy, 3, changes, &["migrate"]), false)));
}

#[test]
fn a_deletion_with_data_stands_last_and_says_so() {
    let mut changes = guestbook(Action::NoOp);
    let mut gone = change("database.audit", ResourceKind::PostgresDatabase, "acme__guestbook__audit", Action::Delete);
    gone.loses_data = true;
    gone.reasons = vec!["not in the definition any more".to_owned()];
    changes.push(gone);
    changes.push(change("schedule.digest", ResourceKind::LocalSchedule, "digest", Action::Create));
    insta::assert_snapshot!(shown(&render(&answer(Purpose::Deploy, 4, changes, &["migrate"]), false)));
}

#[test]
fn an_adopted_object_is_taken_over_as_it_is() {
    let changes = with(guestbook(Action::Create), "database.main", |database| {
        database.action = Action::Adopt;
        database.fields = vec![field(
            "owner",
            Some(Value::from("alice")),
            Some(Value::from("acme__guestbook__owner")),
            Effect::InPlace,
        )];
    });
    insta::assert_snapshot!(shown(&render(&answer(Purpose::Deploy, 1, changes, &["migrate"]), false)));
}

#[test]
fn drift_is_named_as_such() {
    let changes = with(guestbook(Action::NoOp), "roles.main", |roles| {
        roles.action = Action::Update;
        roles.reasons = vec!["drift: connections was changed outside Freehold".to_owned()];
        roles.fields = vec![field("connections", Some(Value::from(500u32)), Some(Value::from(20u32)), Effect::InPlace)];
    });
    let mut answer = answer(Purpose::Deploy, 4, changes, &[]);
    answer.plan.notes = vec!["a repair: the definition has not changed since the last revision".to_owned()];
    insta::assert_snapshot!(shown(&render(&answer, false)));
}

#[test]
fn what_others_have_added_is_told_below() {
    let added = |path: String, manager: &str| Conflict { path, manager: manager.to_owned() };
    let changes = with(guestbook(Action::NoOp), "roles.main", |roles| {
        roles.foreign_fields = (0..7).map(|at| added(format!("env[V{at}]"), "kubectl-edit")).collect();
        roles.foreign_fields.push(added("labels.team".to_owned(), "kubectl-label"));
    });
    let answer = answer(Purpose::Deploy, 4, changes, &[]);
    let lines = foreign_fields(&answer.plan).join("\n");
    insta::assert_snapshot!(shown(&lines), @"
    ~ roles acme__guestbook: kubectl-edit manages env[V0], env[V1], env[V2],
      env[V3], env[V4] and 2 more, which the definition doesn't have
    ~ roles acme__guestbook: kubectl-label manages labels.team, which the
      definition doesn't have
    ");
    assert!(render(&answer, false).contains(&lines));
}

#[test]
fn a_rollback_says_what_it_goes_back_to_and_what_it_leaves_alone() {
    let changes = with(guestbook(Action::NoOp), "service.web", |web| {
        web.action = Action::Update;
        web.reasons = vec!["restarts: new artifact".to_owned()];
        web.fields = vec![field(
            "artifact",
            Some(Value::from(format!("sha256:{}", "b2".repeat(32)))),
            Some(Value::from(format!("sha256:{}", "a1".repeat(32)))),
            Effect::Restart,
        )];
    });
    let mut answer = answer(Purpose::Rollback { to: 3 }, 5, changes, &[]);
    answer.plan.notes = vec!["runs no job and touches no data; secrets keep their present values".to_owned()];
    insta::assert_snapshot!(shown(&render(&answer, false)));
}

#[test]
fn a_destruction_names_the_data_and_what_becomes_of_it() {
    let doomed = |dump| {
        let changes = with(guestbook(Action::Delete), "database.main", |database| {
            database.loses_data = true;
            database.reasons = vec!["48 MB".to_owned()];
        });
        shown(&render_destroy(&answer(Purpose::Destroy { dump }, 3, changes, &[]).plan))
    };
    insta::assert_snapshot!(doomed(true), @r"
    This deletes 5 resources of guestbook/tenant/acme, among them
      database acme__guestbook   48 MB; a dump is written and checked first
    ");
    insta::assert_snapshot!(doomed(false), @r"
    This deletes 5 resources of guestbook/tenant/acme, among them
      database acme__guestbook   48 MB; no dump is written: gone for good
    ");
}

#[test]
fn the_longest_names_stay_whole() {
    let long = "a".repeat(63);
    let mut changes = vec![
        change("database.main", ResourceKind::PostgresDatabase, &long, Action::Create),
        change("route.web", ResourceKind::LocalRoute, &format!("{long}.{long}.localhost"), Action::Update),
    ];
    changes[1].fields =
        vec![field(&format!("env.{}", "B".repeat(90)), Some(Value::from("x".repeat(200))), None, Effect::Replace)];
    changes[0].loses_data = true;
    let answer = answer(Purpose::Destroy { dump: true }, 2, changes, &[]);
    let text = shown(&render(&answer, false));
    assert!(text.contains(&format!("{long}.{long}.localhost")), "{text}");
    assert!(text.lines().any(|line| line.trim() == format!("env.{}", "B".repeat(90))), "{text}");
    shown(&render_destroy(&answer.plan));
}

#[test]
fn what_the_definition_says_otherwise_is_told_with_the_line_and_the_table_that_it_comes_from() {
    let change = |path: &str, before: Option<&str>, after: Option<&str>, layer: Option<&str>| ValueChange {
        path: path.to_owned(),
        before: before.map(str::to_owned),
        after: after.map(str::to_owned),
        line: after.map(|_| 61),
        layer: layer.map(str::to_owned),
        layer_before: None,
    };
    let mut answer = answer(Purpose::Deploy, 2, Vec::new(), &[]);
    answer.values = vec![
        change("service.web.replicas", Some("1"), Some("2"), Some("tier.pro")),
        change("service.web.env.MODE", None, Some("\"a text that goes on and on, and on and on again\""), None),
        change("service.web.drain", Some("\"10s\""), None, None),
    ];
    let text = shown(&render(&answer, false));
    let told = text.lines().skip_while(|line| !line.contains("in the definition")).take(5).collect::<Vec<_>>();
    insta::assert_snapshot!(told.join("\n"));
}
