//! What a plan for a cluster looks like: a whole tenant of the guestbook, and what may happen to it.

use freehold::wire::{Effect, PlanPurpose as Purpose, PlanResponse};
use freehold_graph::value::Special;
use freehold_graph::{Digest, Run};
use serde_json::json;

use super::*;
use crate::view::plan::render;
use crate::view::plan::tests::{answer, change, field, shown};

fn value(json: serde_json::Value) -> Value {
    serde_json::from_value(json).unwrap()
}

const IMAGE: &str = "registry.example.org/acme/guestbook";

fn image(digit: &str) -> String {
    format!("{IMAGE}@sha256:{}", digit.repeat(32))
}

fn pod(command: &[&str]) -> serde_json::Value {
    json!({ "containers": [{
        "name": "web", "image": image("a1"), "args": command,
        "readinessProbe": { "httpGet": { "path": "/health/ready", "port": 8080 } },
    }] })
}

/// Everything that one tenant of the guestbook is in a cluster.
fn guestbook(action: Action) -> Vec<Change> {
    let objects = [
        (
            "namespace.main",
            ResourceKind::Namespace,
            json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "restricted" } } }),
        ),
        (
            "resourcequota.main",
            ResourceKind::ResourceQuota,
            json!({ "spec": { "hard": { "limits.cpu": "4", "limits.memory": "8Gi", "pods": 20 } } }),
        ),
        ("limitrange.main", ResourceKind::LimitRange, json!({})),
        ("serviceaccount.main", ResourceKind::ServiceAccount, json!({})),
        ("networkpolicy.deny-all", ResourceKind::NetworkPolicy, json!({ "spec": {} })),
        ("networkpolicy.allow-dns", ResourceKind::NetworkPolicy, json!({ "spec": { "egress": [{}] } })),
        ("networkpolicy.web", ResourceKind::NetworkPolicy, json!({ "spec": { "ingress": [{}], "egress": [{}] } })),
        ("networkpolicy.job-migrate", ResourceKind::NetworkPolicy, json!({ "spec": { "egress": [{}] } })),
        ("configmap.web", ResourceKind::ConfigMap, json!({ "data": { "LOG_LEVEL": "info", "HOST": "acme" } })),
        (
            "credentials.web",
            ResourceKind::ClusterSecret,
            json!({ "data": { "DATABASE_URL": { "$unknown": null }, "SESSION_KEY": { "$unknown": null } } }),
        ),
        ("configmap.job-migrate", ResourceKind::ConfigMap, json!({ "data": { "LOG_LEVEL": "info" } })),
        (
            "credentials.job-migrate",
            ResourceKind::ClusterSecret,
            json!({ "data": { "DATABASE_URL": { "$unknown": null } } }),
        ),
        ("credentials.registry", ResourceKind::ClusterSecret, json!({ "data": {} })),
        (
            "deployment.web",
            ResourceKind::Deployment,
            json!({ "spec": { "replicas": 2, "template": { "spec": pod(&["guestbook", "serve"]) } } }),
        ),
        ("service.web", ResourceKind::ClusterService, json!({ "spec": { "ports": [{ "port": 80 }] } })),
        ("poddisruptionbudget.web", ResourceKind::PodDisruptionBudget, json!({ "spec": { "maxUnavailable": 1 } })),
        (
            "cronjob.digest",
            ResourceKind::CronJob,
            json!({ "spec": { "schedule": "0 6 * * *", "timeZone": "Etc/UTC", "jobTemplate": { "spec": { "template": {
                "spec": pod(&["guestbook", "digest"])
            } } } } }),
        ),
        (
            "httproute.web",
            ResourceKind::HttpRoute,
            json!({ "spec": { "hostnames": ["acme.example.org"], "rules": [
                { "matches": [{ "path": { "value": "/events" } }], "timeouts": { "request": "6h" } },
                { "matches": [
                    { "path": { "value": "/" }, "method": "GET" }, { "path": { "value": "/" }, "method": "HEAD" },
                ], "timeouts": { "request": "30s" }, "retry": { "attempts": 3 } },
                { "matches": [{ "path": { "value": "/" } }], "timeouts": { "request": "30s" } },
            ] } }),
        ),
    ];
    let namespace = "acme--guestbook";
    let mut changes: Vec<Change> = objects
        .into_iter()
        .map(|(id, kind, body)| {
            let name = match id.split_once('.').unwrap().1 {
                "main" => "freehold",
                name => name,
            };
            let identity = match kind {
                ResourceKind::Namespace => namespace.to_owned(),
                _ => format!("{namespace}/{name}"),
            };
            let mut change = change(id, kind, &identity, action.clone());
            change.resource.body = value(body);
            change.desired = Some(change.resource.body.clone());
            change
        })
        .collect();
    changes.push(change("database.main", ResourceKind::PostgresDatabase, "acme__guestbook", action.clone()));
    changes.push(change("roles.main", ResourceKind::PostgresRoles, "acme__guestbook", action.clone()));
    changes.push(change("secret.session-key", ResourceKind::StoreSecret, "session-key", action.clone()));
    changes
}

fn plan(revision: u64, changes: Vec<Change>) -> PlanResponse {
    let mut answer = answer(Purpose::Deploy, revision, changes, &[]);
    let id = ResourceId::new("job", "migrate");
    let run = Run {
        id: id.clone(),
        provider: ProviderName::Kubernetes,
        body: value(json!({ "manifest": { "spec": { "template": { "spec": pod(&["guestbook", "migrate"]) } } } })),
        due: freehold_graph::Due::Revision,
        depends_on: BTreeSet::new(),
        before: BTreeSet::new(),
    };
    answer.plan.runs.insert(id, run);
    answer.target = "prod".to_owned();
    answer.cluster = Some("Kubernetes v1.36.3".to_owned());
    answer.database_server = "PostgreSQL 17".to_owned();
    answer
}

fn edited(mut changes: Vec<Change>, id: &str, edit: impl FnOnce(&mut Change)) -> Vec<Change> {
    edit(changes.iter_mut().find(|change| change.id.0 == id).unwrap());
    changes
}

#[test]
fn a_new_tenant_is_a_handful_of_lines() {
    let text = shown(&render(&plan(1, guestbook(Action::Create)), false));
    insta::assert_snapshot!(text);
}

#[test]
fn every_object_has_a_line_when_asked_for() {
    let text = shown(&render(&plan(1, guestbook(Action::Create)), true));
    insta::assert_snapshot!(text);
}

#[test]
fn a_changed_variable_restarts_its_service_and_is_named() {
    let digest = |digit: &str| Some(Value::Special(Special::Digest(Digest(digit.repeat(32)))));
    let text = |text: &str| Some(Value::from(text));
    let annotation = |name: &str| format!("spec.template.metadata.annotations.freehold.dev/{name}");
    let changes = edited(guestbook(Action::NoOp), "configmap.web", |config| {
        config.action = Action::Update;
        config.fields = vec![field("data.LOG_LEVEL", text("info"), text("debug"), Effect::InPlace)];
    });
    let changes = edited(changes, "credentials.web", |credentials| {
        credentials.action = Action::Update;
        credentials.fields = vec![field("data.SESSION_KEY", digest("a"), digest("b"), Effect::InPlace)];
    });
    let changes = edited(changes, "deployment.web", |web| {
        web.action = Action::Update;
        let causes =
            [annotation("config"), annotation("credentials"), "spec.template.spec.containers[web].image".into()];
        let causes: Vec<String> = causes.iter().map(|path| format!("{path} changed")).collect();
        web.reasons = vec![format!("restarts: {}", causes.join(", "))];
        web.fields = vec![
            field(&annotation("config"), text("1f2e"), text("3d4c"), Effect::Restart),
            field(&annotation("credentials"), digest("c"), digest("d"), Effect::Restart),
            field("spec.template.spec.containers[web].image", text(&image("a1")), text(&image("b2")), Effect::Restart),
        ];
    });
    let text = shown(&render(&plan(2, changes), false));
    insta::assert_snapshot!(text);
}

#[test]
fn what_is_replaced_taken_unknown_or_gone_is_never_folded() {
    let text = |text: &str| Some(Value::from(text));
    let unknown = Some(Value::Special(Special::Unknown(())));
    let changes = edited(guestbook(Action::NoOp), "service.web", |service| {
        service.action = Action::Replace;
        service.fields = vec![
            field("spec.clusterIP", text("10.0.0.7"), unknown.clone(), Effect::Replace),
            field("metadata.labels.team", None, unknown, Effect::InPlace),
        ];
    });
    let changes = edited(changes, "networkpolicy.web", |policy| {
        policy.action = Action::Adopt;
        policy.reasons = vec!["takes spec.ingress from kubectl-edit".to_owned()];
        policy.fields = vec![field("spec.ingress[0].ports[0].port", text("80"), text("8080"), Effect::InPlace)];
    });
    let changes = edited(changes, "poddisruptionbudget.web", |budget| {
        budget.action = Action::Delete;
        budget.reasons = vec!["not in the definition any more".to_owned()];
    });
    let changes = edited(changes, "limitrange.main", |limits| {
        limits.action = Action::Create;
        limits.reasons = vec!["drift: it was deleted outside Freehold".to_owned()];
    });
    let text = shown(&render(&plan(3, changes), false));
    insta::assert_snapshot!(text);
}

#[test]
fn what_several_objects_have_in_common_is_said_once_with_their_names() {
    let mut changes = guestbook(Action::Create);
    let note = "not tried out: webhook policy.example.org declares side effects";
    for change in changes.iter_mut().filter(|change| {
        matches!(change.kind, ResourceKind::NetworkPolicy | ResourceKind::Deployment | ResourceKind::HttpRoute)
    }) {
        change.reasons.push(note.to_owned());
    }
    let changes = edited(changes, "limitrange.main", |limits| {
        limits.reasons.push("webhook limits.example.org adds spec.limits[1]".to_owned());
    });
    let text = shown(&render(&plan(1, changes), false));
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains(&format!("~ {note} (deployment web, route acme.example.org, netpolicy allow-dns")), "{text}");
    assert_eq!(flat.matches(note).count(), 1, "{text}");
    assert!(flat.contains("+ limits freehold defaults for containers; webhook limits.example.org adds"), "{text}");
}
