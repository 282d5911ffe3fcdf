//! Every kind that a stack can consist of, first tried out in the scratch namespace, then made, then changed, then deleted.

use freehold_graph::kind::KubernetesKind;
use freehold_graph::{Resource, ResourceKind};
use serde_json::{Value as Json, json};

use crate::stage::{Stage, json as shown};

/// An object, and what changes in it: a JSON pointer and the new value.
struct Case {
    kind: ResourceKind,
    api: (&'static str, &'static str),
    body: Json,
    change: (&'static str, Json),
}

fn case(kind: ResourceKind, api: (&'static str, &'static str), body: Json, at: &'static str, to: Json) -> Case {
    Case { kind, api, body, change: (at, to) }
}

fn pod() -> Json {
    json!({
        "restartPolicy": "OnFailure",
        "containers": [{"name": "job", "image": "example.test/job:1", "command": ["run"], "envFrom": [{"configMapRef": {"name": "job"}}]}],
    })
}

fn cases() -> Vec<Case> {
    vec![
        case(
            ResourceKind::ResourceQuota,
            ("v1", "ResourceQuota"),
            json!({"spec": {"hard": {"requests.cpu": "2000m", "pods": "10"}}}),
            "/spec/hard/pods",
            json!("12"),
        ),
        case(
            ResourceKind::LimitRange,
            ("v1", "LimitRange"),
            json!({"spec": {"limits": [{"type": "Container", "default": {"memory": "64Mi"}, "defaultRequest": {"cpu": "50m"}}]}}),
            "/spec/limits/0/default/memory",
            json!("96Mi"),
        ),
        case(
            ResourceKind::NetworkPolicy,
            ("networking.k8s.io/v1", "NetworkPolicy"),
            json!({"spec": {
                "podSelector": {},
                "policyTypes": ["Ingress", "Egress"],
                "egress": [{"to": [{"namespaceSelector": {}}], "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}]}],
            }}),
            "/spec/egress/0/ports/1/port",
            json!(5353),
        ),
        case(
            ResourceKind::ServiceAccount,
            ("v1", "ServiceAccount"),
            json!({"automountServiceAccountToken": false, "imagePullSecrets": [{"name": "freehold-registry"}]}),
            "/automountServiceAccountToken",
            json!(true),
        ),
        case(
            ResourceKind::ClusterSecret,
            ("v1", "Secret"),
            json!({"type": "Opaque", "data": {"KEY": {"$secret": {"stored": "key"}}, "PLAIN": "text"}}),
            "/data/PLAIN",
            json!("other"),
        ),
        case(ResourceKind::ConfigMap, ("v1", "ConfigMap"), json!({"data": {"A": "1", "B": ""}}), "/data/B", json!("2")),
        case(
            ResourceKind::PersistentVolumeClaim,
            ("v1", "PersistentVolumeClaim"),
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}}}),
            "/metadata/annotations",
            json!({"freehold.dev/key": "guestbook/tenant/acme"}),
        ),
        case(
            ResourceKind::CloudNativePg,
            ("postgresql.cnpg.io/v1", "Cluster"),
            json!({"spec": {
                "instances": 1,
                "imageName": "ghcr.io/cloudnative-pg/postgresql:18",
                "storage": {"size": "1Gi"},
                "walStorage": {"size": "1Gi"},
                "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "4Gi"}},
                "postgresql": {"parameters": {"work_mem": "32MB"}, "shared_preload_libraries": ["pg_stat_statements"]},
                "certificates": {"serverAltDNSNames": ["main-pooler", "main-pooler.acme.svc"]},
                "bootstrap": {"initdb": {
                    "database": "app",
                    "owner": "app",
                    "encoding": "UTF8",
                    "localeProvider": "icu",
                    "icuLocale": "de-AT",
                    "localeCollate": "C",
                    "localeCType": "C",
                    "postInitApplicationSQL": ["CREATE EXTENSION IF NOT EXISTS \"pg_trgm\""],
                }},
                "managed": {"roles": [{"name": "app", "ensure": "present", "login": true, "inherit": true, "connectionLimit": 10}]},
            }}),
            "/spec/instances",
            json!(2),
        ),
        case(
            ResourceKind::CloudNativePgPooler,
            ("postgresql.cnpg.io/v1", "Pooler"),
            json!({"spec": {
                "cluster": {"name": "main"},
                "instances": 1,
                "type": "rw",
                "pgbouncer": {"poolMode": "transaction", "parameters": {"default_pool_size": "20"}},
                "template": {"spec": {"containers": [{"name": "pgbouncer", "resources": {"limits": {"cpu": "500m"}}}]}},
            }}),
            "/spec/instances",
            json!(2),
        ),
        case(
            ResourceKind::CronJob,
            ("batch/v1", "CronJob"),
            json!({"spec": {
                "schedule": "0 3 * * *",
                "concurrencyPolicy": "Forbid",
                "jobTemplate": {"spec": {"backoffLimit": 0, "template": {"spec": pod()}}},
            }}),
            "/spec/schedule",
            json!("0 4 * * *"),
        ),
        case(
            ResourceKind::ClusterService,
            ("v1", "Service"),
            json!({"spec": {"selector": {"a": "b"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}}),
            "/spec/ports/0/targetPort",
            json!(8080),
        ),
        case(
            ResourceKind::PodDisruptionBudget,
            ("policy/v1", "PodDisruptionBudget"),
            json!({"spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"a": "b"}}}}),
            "/spec/maxUnavailable",
            json!("50%"),
        ),
        case(
            ResourceKind::HorizontalPodAutoscaler,
            ("autoscaling/v2", "HorizontalPodAutoscaler"),
            json!({"spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "minReplicas": 2,
                "maxReplicas": 5,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}],
            }}),
            "/spec/maxReplicas",
            json!(7),
        ),
        case(
            ResourceKind::HttpRoute,
            ("gateway.networking.k8s.io/v1", "HTTPRoute"),
            json!({"spec": {
                "parentRefs": [{"name": "main", "namespace": "gateways", "sectionName": "https"}],
                "hostnames": ["acme.example.org"],
                "rules": [{
                    "matches": [{"path": {"type": "PathPrefix", "value": "/events"}}],
                    "backendRefs": [{"name": "web", "port": 80}],
                    "timeouts": {"request": "60s"},
                }],
            }}),
            "/spec/rules/0/timeouts/request",
            json!("90s"),
        ),
        case(
            ResourceKind::ListenerSet,
            ("gateway.networking.k8s.io/v1", "ListenerSet"),
            json!({"spec": {
                "parentRef": {"name": "main", "namespace": "gateways"},
                "listeners": [{
                    "name": "web", "hostname": "acme.example.org", "port": 443, "protocol": "HTTPS",
                    "tls": {"certificateRefs": [{"name": "web-tls"}]},
                }],
            }}),
            "/spec/listeners/0/hostname",
            json!("shop.example.org"),
        ),
        case(
            ResourceKind::SecurityPolicy,
            ("gateway.envoyproxy.io/v1alpha1", "SecurityPolicy"),
            json!({"spec": {
                "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "web"}],
                "basicAuth": {"users": {"group": "", "kind": "Secret", "name": "web"}},
                "authorization": {
                    "defaultAction": "Deny",
                    "rules": [{"action": "Allow", "principal": {"clientCIDRs": ["192.0.2.0/24"]}}],
                },
            }}),
            "/spec/authorization/rules/0/principal/clientCIDRs/0",
            json!("198.51.100.0/24"),
        ),
        case(
            ResourceKind::BackendTrafficPolicy,
            ("gateway.envoyproxy.io/v1alpha1", "BackendTrafficPolicy"),
            json!({"spec": {
                "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "web"}],
                "requestBuffer": {"limit": "10Mi"},
                "rateLimit": {"type": "Local", "local": {"rules": [{
                    "clientSelectors": [{"sourceCIDR": {"type": "Distinct", "value": "0.0.0.0/0"}}],
                    "limit": {"requests": 300, "unit": "Minute"},
                }]}},
            }}),
            "/spec/requestBuffer/limit",
            json!("20Mi"),
        ),
        case(
            ResourceKind::HttpRouteFilter,
            ("gateway.envoyproxy.io/v1alpha1", "HTTPRouteFilter"),
            json!({"spec": {"directResponse": {
                "statusCode": 403, "contentType": "text/plain", "body": {"type": "Inline", "inline": "not from here"},
            }}}),
            "/spec/directResponse/statusCode",
            json!(404),
        ),
        case(
            ResourceKind::KubernetesObject,
            ("coordination.k8s.io/v1", "Lease"),
            json!({"spec": {"holderIdentity": "a", "leaseDurationSeconds": 30}}),
            "/spec/holderIdentity",
            json!("b"),
        ),
        case(
            ResourceKind::Certificate,
            ("cert-manager.io/v1", "Certificate"),
            json!({"spec": {
                "secretName": "web-tls", "dnsNames": ["acme.example.org"],
                "issuerRef": {"kind": "ClusterIssuer", "name": "letsencrypt"},
            }}),
            "/spec/dnsNames/0",
            json!("shop.example.org"),
        ),
    ]
}

fn set(body: &mut Json, pointer: &str, value: &Json) {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    match body.pointer_mut(parent) {
        Some(Json::Array(items)) => items[last.parse::<usize>().unwrap()] = value.clone(),
        Some(parent) => parent[last] = value.clone(),
        None => body["metadata"] = json!({last: value}),
    }
}

/// The paths of all fields in which two bodies differ, not below those that differ as a whole.
fn leaves(path: &str, before: &Json, after: &Json, found: &mut Vec<String>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Json::Object(old), Json::Object(new)) => {
            let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let (old, new) = (old.get(key).unwrap_or(&Json::Null), new.get(key).unwrap_or(&Json::Null));
                leaves(&format!("{path}.{key}"), old, new, found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

#[tokio::test]
async fn every_kind_is_made_changed_and_deleted_as_the_plan_says() {
    let Some(stage) = Stage::new("every_kind_is_made_changed_and_deleted").await else { return };
    stage.secrets.set("key", "hunter2");
    let mut cases = cases();
    let deployment = shown(&stage.deployment("web", |_| {}).body);
    let body = json!({"spec": deployment["spec"]});
    cases.push(case(ResourceKind::Deployment, ("apps/v1", "Deployment"), body, "/spec/minReadySeconds", json!(3)));
    assert_eq!(cases.len() + 1, KubernetesKind::ALL.len(), "all but the namespace itself");

    let mut made: Vec<(Resource, crate::stage::Planned)> = Vec::new();
    for case in &cases {
        let resource = stage.resource(case.kind, case.api, "web", &case.body);
        let plan = stage.plan(&resource).await;
        let untried = plan.preview.notes.iter().find(|note| !note.contains("no default storage class"));
        assert_eq!(untried, None, "{} was tried out", resource.id);
        made.push((resource, plan));
    }
    stage.deploy(&stage.namespace_resource()).await;
    for (resource, plan) in &made {
        stage.apply(resource, plan).await.unwrap();
        let seen = stage.observe(resource).await.unwrap();
        let mut wrong = Vec::new();
        leaves("", &shown(&plan.preview.body), &shown(&seen.body), &mut wrong);
        assert_eq!(wrong, Vec::<String>::new(), "{} came out as it was foretold", resource.id);
        assert_eq!(stage.plan(resource).await.fields(), Vec::<&str>::new(), "{} is settled", resource.id);
    }
    for case in &cases {
        let mut body = case.body.clone();
        set(&mut body, case.change.0, &case.change.1);
        let resource = stage.resource(case.kind, case.api, "web", &body);
        let plan = stage.deploy(&resource).await;
        assert_eq!(plan.preview.immutable, Vec::<String>::new(), "{}", resource.id);
        assert_eq!(plan.fields().len(), 1, "{}: {:?}", resource.id, plan.fields());
    }
    for (resource, _) in made.iter().rev() {
        let uid = stage.observe(resource).await.unwrap().object;
        stage.remove(resource, &uid).await;
        assert!(stage.observe(resource).await.is_none(), "{} is gone", resource.id);
    }
    assert_eq!(stage.owned().await, ["namespace NS"]);
}
