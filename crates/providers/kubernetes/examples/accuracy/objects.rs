//! Objects of all kinds that a stack consists of: what each needs, and fields that may be there or not.

use anyhow::bail;
use freehold_graph::ResourceKind;
use serde_json::{Map, Value as Json, json};

use crate::cases::Random;

/// The kinds in a namespace, without Secrets (of which a plan shows nothing but digests) and what only an operator understands.
pub(crate) const KINDS: [ResourceKind; 11] = [
    ResourceKind::ResourceQuota,
    ResourceKind::LimitRange,
    ResourceKind::ServiceAccount,
    ResourceKind::NetworkPolicy,
    ResourceKind::ConfigMap,
    ResourceKind::PersistentVolumeClaim,
    ResourceKind::Deployment,
    ResourceKind::ClusterService,
    ResourceKind::PodDisruptionBudget,
    ResourceKind::HorizontalPodAutoscaler,
    ResourceKind::HttpRoute,
];
pub(crate) const WITH_QUANTITIES: [ResourceKind; 3] =
    [ResourceKind::Deployment, ResourceKind::ResourceQuota, ResourceKind::LimitRange];
pub(crate) const WITH_LISTS: [ResourceKind; 4] =
    [ResourceKind::Deployment, ResourceKind::ClusterService, ResourceKind::NetworkPolicy, ResourceKind::CronJob];
pub(crate) const UNDER_POLICY: [ResourceKind; 3] =
    [ResourceKind::ConfigMap, ResourceKind::Deployment, ResourceKind::ClusterService];

/// How quantities are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// As the server writes them.
    Canonical,
    /// As people do.
    Any,
}

/// The same quantities: canonical first.
const SAME: [&[&str]; 6] = [
    &["100m", "0.1", "100000u"],
    &["1", "1000m", "1.0"],
    &["64Mi", "65536Ki", "67108864"],
    &["1Gi", "1024Mi", "1073741824"],
    &["1500m", "1.5"],
    &["100M", "100000k", "0.1G"],
];

/// `apiVersion` and `kind`.
pub(crate) fn api(kind: ResourceKind) -> anyhow::Result<(&'static str, &'static str)> {
    Ok(match kind {
        ResourceKind::Namespace => ("v1", "Namespace"),
        ResourceKind::ResourceQuota => ("v1", "ResourceQuota"),
        ResourceKind::LimitRange => ("v1", "LimitRange"),
        ResourceKind::ServiceAccount => ("v1", "ServiceAccount"),
        ResourceKind::NetworkPolicy => ("networking.k8s.io/v1", "NetworkPolicy"),
        ResourceKind::ConfigMap => ("v1", "ConfigMap"),
        ResourceKind::PersistentVolumeClaim => ("v1", "PersistentVolumeClaim"),
        ResourceKind::Deployment => ("apps/v1", "Deployment"),
        ResourceKind::CronJob => ("batch/v1", "CronJob"),
        ResourceKind::ClusterService => ("v1", "Service"),
        ResourceKind::PodDisruptionBudget => ("policy/v1", "PodDisruptionBudget"),
        ResourceKind::HorizontalPodAutoscaler => ("autoscaling/v2", "HorizontalPodAutoscaler"),
        ResourceKind::HttpRoute => ("gateway.networking.k8s.io/v1", "HTTPRoute"),
        other => bail!("{other:?} is not among the cases"),
    })
}

/// An object with about so many per cent of its optional fields.
pub(crate) fn some(kind: ResourceKind, random: &mut Random, percent: u64, style: Style) -> Json {
    let mut object = base(kind);
    for (path, values) in optional(kind) {
        if let (true, Some(value)) = (random.chance(percent), random.pick(&values)) {
            put(&mut object, path, value.clone());
        }
    }
    if style == Style::Any {
        reword(&mut object, random);
    }
    object
}

/// An object, and the same with some of its fields gone.
pub(crate) fn fewer(kind: ResourceKind, random: &mut Random) -> (Json, Json) {
    let (mut before, mut after) = (base(kind), base(kind));
    for (path, values) in optional(kind) {
        if let (true, Some(value)) = (random.chance(80), random.pick(&values)) {
            put(&mut before, path, value.clone());
            if random.chance(50) {
                put(&mut after, path, value.clone());
            }
        }
    }
    (before, after)
}

/// An object, and the same with its quantities in other words, or changed.
pub(crate) fn in_other_words(kind: ResourceKind, random: &mut Random) -> (Json, Json) {
    let before = some(kind, random, 90, Style::Canonical);
    let mut after = before.clone();
    reword(&mut after, random);
    let changed: &[(&str, &str)] = match kind {
        ResourceKind::Deployment => &[("/spec/template/spec/containers/0/resources/limits/memory", "2048Mi")],
        ResourceKind::ResourceQuota => &[("/spec/hard/pods", "21"), ("/spec/hard/requests.cpu", "2.5")],
        _ => &[("/spec/limits/0/default/memory", "0.5Gi")],
    };
    for (path, value) in changed {
        if random.chance(50) {
            put(&mut after, path, json!(value));
        }
    }
    (before, after)
}

/// An object with a list, and the same with items that are new, gone, changed and in another order.
pub(crate) fn lists(kind: ResourceKind, random: &mut Random) -> (Json, Json) {
    let (path, items) = list(kind);
    let mut sides = [base(kind), base(kind)];
    for side in &mut sides {
        let mut chosen: Vec<Json> = items.iter().filter_map(|versions| random.pick(versions)).cloned().collect();
        chosen.retain(|_| random.chance(70));
        if chosen.is_empty() {
            chosen.extend(items.first().and_then(|versions| versions.first()).cloned());
        }
        if random.chance(50) {
            chosen.reverse();
        }
        put(side, path, Json::Array(chosen));
    }
    let [before, after] = sides;
    (before, after)
}

/// An object, and the same with something else where nothing else can be.
pub(crate) fn immutable(number: usize, random: &mut Random) -> (ResourceKind, Json, Json) {
    let (kind, path, first, second) = match number % 4 {
        0 => (
            ResourceKind::Deployment,
            "/spec/selector/matchLabels",
            json!({"app.kubernetes.io/name": "web"}),
            json!({"app.kubernetes.io/name": "web", "tier": "front"}),
        ),
        1 => (
            ResourceKind::PersistentVolumeClaim,
            "/spec/accessModes",
            json!(["ReadWriteOnce"]),
            json!(["ReadWriteMany"]),
        ),
        2 => (ResourceKind::PersistentVolumeClaim, "/spec/storageClassName", json!("slow"), json!("fast")),
        _ => (ResourceKind::ClusterService, "/spec/clusterIP", json!("10.96.7.7"), json!("None")),
    };
    let mut before = base(kind);
    put(&mut before, path, first);
    let mut after = before.clone();
    put(&mut after, path, second);
    if kind == ResourceKind::Deployment {
        for side in [&mut before, &mut after] {
            put(side, "/spec/template/metadata/labels/tier", json!("front"));
        }
    }
    if kind == ResourceKind::ClusterService {
        // Each has its own address.
        let address = format!("10.96.7.{}", 10 + number);
        put(&mut before, path, json!(address));
    }
    if random.chance(50) {
        put(&mut after, "/metadata/annotations/example.org~1more", json!("yes"));
    }
    (kind, before, after)
}

/// A Deployment whose number of Pods goes to an autoscaler, or comes back; whether that has acted meanwhile.
pub(crate) fn autoscaled(number: usize, random: &mut Random) -> (Json, Json, bool) {
    let kind = ResourceKind::Deployment;
    let mut sides = [some(kind, random, 30, Style::Any), some(kind, random, 30, Style::Any)];
    let (on, off) = if number.is_multiple_of(2) { (1, 0) } else { (0, 1) };
    for (side, replicas) in [(on, Json::Null), (off, json!(2 + number % 3))] {
        if let Some(side) = sides.get_mut(side) {
            put(side, "/spec/replicas", replicas);
        }
    }
    let [before, after] = sides;
    (before, after, number.is_multiple_of(3) && on == 0)
}

/// What an object of a kind can't do without.
fn base(kind: ResourceKind) -> Json {
    let web = json!({"matchLabels": {"app.kubernetes.io/name": "web"}});
    let labels = json!({"app.kubernetes.io/name": "web"});
    let containers = json!([{"name": "web", "image": "example.test/web:1"}]);
    match kind {
        ResourceKind::ResourceQuota => json!({"spec": {"hard": {"pods": "20"}}}),
        ResourceKind::LimitRange => json!({"spec": {"limits": [{"type": "Container"}]}}),
        ResourceKind::NetworkPolicy => json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}),
        ResourceKind::ConfigMap => json!({"data": {"A": "1"}}),
        ResourceKind::PersistentVolumeClaim => {
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
        }
        ResourceKind::Deployment => json!({"spec": {
            "replicas": 0,
            "selector": web,
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        }}),
        ResourceKind::CronJob => json!({"spec": {
            "schedule": "0 6 * * *",
            "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": containers}}}},
        }}),
        ResourceKind::ClusterService => {
            json!({"spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}})
        }
        ResourceKind::PodDisruptionBudget => json!({"spec": {"selector": web, "maxUnavailable": 1}}),
        ResourceKind::HorizontalPodAutoscaler => {
            let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
            json!({"spec": {"scaleTargetRef": target, "maxReplicas": 3}})
        }
        ResourceKind::HttpRoute => json!({"spec": {
            "parentRefs": [{"name": "main", "namespace": "gateways"}],
            "rules": [{"backendRefs": [{"name": "web", "port": 80}]}],
        }}),
        _ => json!({}),
    }
}

/// Fields that may be there, each with some values.
fn optional(kind: ResourceKind) -> Vec<(&'static str, Vec<Json>)> {
    let mut fields = vec![("/metadata/annotations/example.org~1owner", vec![json!("ada"), json!("bob")])];
    let processor = || vec![json!("100m"), json!("1"), json!("1500m")];
    let memory = || vec![json!("64Mi"), json!("1Gi"), json!("100M")];
    fields.extend(match kind {
        ResourceKind::ResourceQuota => vec![
            ("/spec/hard/requests.cpu", processor()),
            ("/spec/hard/limits.cpu", processor()),
            ("/spec/hard/requests.memory", memory()),
            ("/spec/hard/limits.memory", memory()),
            ("/spec/hard/services", vec![json!("500"), json!("700")]),
        ],
        ResourceKind::LimitRange => vec![
            ("/spec/limits/0/default/memory", memory()),
            ("/spec/limits/0/default/cpu", vec![json!("1500m")]),
            ("/spec/limits/0/defaultRequest/cpu", vec![json!("100m"), json!("1")]),
            ("/spec/limits/0/max/cpu", vec![json!("4")]),
        ],
        ResourceKind::ServiceAccount => vec![
            ("/automountServiceAccountToken", vec![json!(false), json!(true)]),
            ("/imagePullSecrets", vec![json!([{"name": "one"}]), json!([{"name": "two"}, {"name": "one"}])]),
        ],
        ResourceKind::NetworkPolicy => of_policy(),
        ResourceKind::ConfigMap => vec![
            ("/data/LOG_LEVEL", vec![json!("info"), json!("debug")]),
            ("/data/LONG", vec![json!("line\nline\n"), json!("")]),
            ("/data/C", vec![json!("1"), json!("2")]),
        ],
        ResourceKind::PersistentVolumeClaim => Vec::new(),
        ResourceKind::Deployment => of_deployment(),
        ResourceKind::ClusterService => vec![
            ("/spec/sessionAffinity", vec![json!("ClientIP"), json!("None")]),
            ("/spec/publishNotReadyAddresses", vec![json!(true)]),
            ("/spec/internalTrafficPolicy", vec![json!("Local"), json!("Cluster")]),
            ("/spec/ports/0/appProtocol", vec![json!("http")]),
            ("/spec/ports/0/protocol", vec![json!("TCP")]),
        ],
        ResourceKind::PodDisruptionBudget => {
            vec![("/spec/unhealthyPodEvictionPolicy", vec![json!("AlwaysAllow"), json!("IfHealthyBudget")])]
        }
        ResourceKind::HorizontalPodAutoscaler => vec![
            ("/spec/minReplicas", vec![json!(1), json!(2)]),
            ("/spec/maxReplicas", vec![json!(4), json!(9)]),
            ("/spec/metrics", vec![cpu_metric(70), cpu_metric(50)]),
        ],
        ResourceKind::HttpRoute => vec![
            ("/spec/hostnames", vec![json!(["acme.example.org"]), json!(["b.example.org", "a.example.org"])]),
            ("/spec/parentRefs/0/sectionName", vec![json!("http"), json!("wildcard")]),
            ("/spec/rules/0/timeouts/request", vec![json!("30s"), json!("1m")]),
            ("/spec/rules/0/matches", vec![json!([{"path": {"type": "PathPrefix", "value": "/events"}}])]),
            ("/spec/rules/0/backendRefs/0/weight", vec![json!(1), json!(5)]),
        ],
        _ => Vec::new(),
    });
    fields
}

fn cpu_metric(percent: u32) -> Json {
    json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}}])
}

fn of_policy() -> Vec<(&'static str, Vec<Json>)> {
    let from = |team: &str| json!([{"podSelector": {"matchLabels": {"team": team}}}]);
    vec![
        ("/spec/ingress/0/from", vec![from("red"), from("blue")]),
        (
            "/spec/ingress/0/ports",
            vec![json!([{"port": 8080}]), json!([{"port": 8080, "protocol": "TCP"}, {"port": "http"}])],
        ),
        ("/spec/podSelector/matchLabels", vec![json!({"team": "green"})]),
        ("/spec/policyTypes", vec![json!(["Ingress", "Egress"]), json!(["Ingress"])]),
    ]
}

fn of_deployment() -> Vec<(&'static str, Vec<Json>)> {
    let probe = |path: &str| json!({"httpGet": {"path": path, "port": 8080}});
    vec![
        ("/spec/minReadySeconds", vec![json!(1), json!(5)]),
        ("/spec/progressDeadlineSeconds", vec![json!(60), json!(120)]),
        ("/spec/revisionHistoryLimit", vec![json!(0), json!(2)]),
        ("/spec/strategy/rollingUpdate", vec![json!({"maxSurge": 1, "maxUnavailable": 0}), json!({"maxSurge": "50%"})]),
        ("/spec/template/metadata/annotations/example.org~1config", vec![json!("one"), json!("two")]),
        ("/spec/template/spec/terminationGracePeriodSeconds", vec![json!(5), json!(60)]),
        ("/spec/template/spec/automountServiceAccountToken", vec![json!(false)]),
        ("/spec/template/spec/serviceAccountName", vec![json!("freehold"), json!("other")]),
        (
            "/spec/template/spec/securityContext",
            vec![json!({"runAsNonRoot": true}), json!({"fsGroup": 65532, "runAsUser": 65532})],
        ),
        ("/spec/template/spec/volumes", vec![json!([{"name": "tmp", "emptyDir": {}}])]),
        ("/spec/template/spec/containers/0/image", vec![json!("example.test/web:2"), json!("example.test/web")]),
        ("/spec/template/spec/containers/0/command", vec![json!(["serve"]), json!(["serve", "--quiet"])]),
        (
            "/spec/template/spec/containers/0/env",
            vec![json!([{"name": "A", "value": "1"}]), json!([{"name": "B"}, {"name": "A", "value": "2"}])],
        ),
        (
            "/spec/template/spec/containers/0/ports",
            vec![json!([{"containerPort": 8080}]), json!([{"containerPort": 8080, "name": "http", "protocol": "TCP"}])],
        ),
        ("/spec/template/spec/containers/0/readinessProbe", vec![probe("/health"), probe("/ready")]),
        (
            "/spec/template/spec/containers/0/livenessProbe",
            vec![json!({"tcpSocket": {"port": 8080}, "periodSeconds": 3})],
        ),
        ("/spec/template/spec/containers/0/lifecycle", vec![json!({"preStop": {"sleep": {"seconds": 5}}})]),
        (
            "/spec/template/spec/containers/0/securityContext",
            vec![json!({"readOnlyRootFilesystem": true}), json!({"capabilities": {"drop": ["ALL"]}})],
        ),
        ("/spec/template/spec/containers/0/resources/limits/memory", vec![json!("1Gi"), json!("1500Mi")]),
        ("/spec/template/spec/containers/0/resources/requests/memory", vec![json!("64Mi"), json!("100M")]),
        ("/spec/template/spec/containers/0/resources/requests/cpu", vec![json!("100m"), json!("1")]),
    ]
}

/// Where a kind has a list whose items are told apart by a key; its items, each in several versions.
fn list(kind: ResourceKind) -> (&'static str, Vec<Vec<Json>>) {
    let variables = || {
        let versions = |name: &str| {
            vec![json!({"name": name, "value": "1"}), json!({"name": name, "value": "2"}), json!({"name": name})]
        };
        ["ALPHA", "BETA", "GAMMA", "DELTA"].map(versions).to_vec()
    };
    match kind {
        ResourceKind::Deployment => ("/spec/template/spec/containers/0/env", variables()),
        ResourceKind::CronJob => ("/spec/jobTemplate/spec/template/spec/containers/0/env", variables()),
        ResourceKind::ClusterService => {
            let versions = |(name, port): (&str, u16)| {
                vec![json!({"name": name, "port": port}), json!({"name": name, "port": port, "targetPort": "http"})]
            };
            ("/spec/ports", [("http", 80), ("metrics", 9090), ("admin", 9091)].map(versions).to_vec())
        }
        _ => {
            let versions = |port: u16| {
                vec![json!({"ports": [{"port": port}]}), json!({"ports": [{"port": port, "protocol": "UDP"}]})]
            };
            ("/spec/ingress", [80, 8080, 9090].map(versions).to_vec())
        }
    }
}

/// Writes quantities in other words, half of the time.
fn reword(value: &mut Json, random: &mut Random) {
    match value {
        Json::Object(fields) => {
            for (name, field) in fields {
                if name != "annotations" && name != "data" {
                    reword(field, random);
                }
            }
        }
        Json::Array(items) => {
            for item in items {
                reword(item, random);
            }
        }
        Json::String(text) => {
            let same = SAME.iter().find(|same| same.first() == Some(&text.as_str()));
            if let (Some(same), true) = (same, random.chance(50))
                && let Some(other) = random.pick(same)
            {
                (*other).clone_into(text);
            }
        }
        _ => {}
    }
}

/// Puts a value where a JSON pointer says; what is missing on the way is made.
fn put(object: &mut Json, path: &str, value: Json) {
    let mut place = object;
    for step in path.split('/').skip(1) {
        let step = step.replace("~1", "/");
        if let (Json::Array(_), Ok(index)) = (&*place, step.parse::<usize>()) {
            let Json::Array(items) = place else { return };
            while items.len() <= index {
                items.push(Json::Object(Map::new()));
            }
            let Some(item) = items.get_mut(index) else { return };
            place = item;
        } else if step == "0" && place.as_object().is_some_and(Map::is_empty) {
            *place = json!([{}]);
            let Some(item) = place.get_mut(0) else { return };
            place = item;
        } else {
            let Some(fields) = place.as_object_mut() else { return };
            place = fields.entry(step).or_insert_with(|| Json::Object(Map::new()));
        }
    }
    *place = value;
}
