//! Clusters as targets: what is found out, what is missing, what may be done, and what is left.

use std::collections::BTreeSet;
use std::time::Duration;

use freehold_engine::Readiness;
use freehold_engine::capability::{Finding, Level, Scan as _};
use freehold_graph::expand::{ClusterDatabases, KubernetesTarget};
use freehold_graph::{ResourceKind, StackId};
use freehold_provider_kubernetes::{
    Cluster, ClusterError, Requirements, SCRATCH_NAMESPACE, check, discover, prepare, rbac, release, scan_all_groups,
};
use freehold_testkit::kubernetes::{ControlPlane, Options};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::fixture::{ACCESS_KINDS, Fixture, SOON, access, facts, server, words};

fn wanted(namespace: &str) -> Requirements {
    Requirements {
        name: "prod".parse().unwrap(),
        domain: "apps.example.org".to_owned(),
        gateway: (namespace.to_owned(), "main".to_owned()),
        listener: None,
        port: None,
        data_plane_namespace: None,
        databases: server(),
        issuer: None,
        external_dns: false,
        storage_class: None,
        cache_image: None,
        registry_credentials: false,
        allowed_kinds: BTreeSet::new(),
    }
}

fn gateway(fixture: &Fixture) {
    let all = json!({"namespaces": {"from": "All"}});
    let spec = json!({"gatewayClassName": "none", "listeners": [
        {"name": "http", "port": 8080, "protocol": "HTTP", "allowedRoutes": all},
        {"name": "https", "port": 8443, "protocol": "HTTPS", "hostname": "*.apps.example.org", "allowedRoutes": all,
            "tls": {"certificateRefs": [{"name": "wildcard"}]}},
    ]});
    fixture.put("gateway.networking.k8s.io/v1", "Gateway", "main", &json!({"spec": spec}));
}

fn unfit(result: Result<KubernetesTarget, ClusterError>) -> (String, String) {
    match result {
        Err(ClusterError::Unfit { why, help }) => (why, help),
        other => panic!("it is fit: {other:?}"),
    }
}

fn find<'a>(findings: &'a [Finding], subject: &str) -> Vec<&'a Finding> {
    findings.iter().filter(|finding| finding.subject == subject).collect()
}

#[tokio::test]
async fn what_a_target_needs_is_found_out() {
    let Some(fixture) = Fixture::new("what_a_target_needs_is_found_out").await else { return };
    let cluster = fixture.provider.cluster().await.unwrap();
    gateway(&fixture);
    // As Envoy Gateway labels its Pods, which are in its own namespace.
    let envoy = ControlPlane::unique("envoy");
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": envoy}});
    fixture.control.apply(&namespace.to_string()).unwrap();
    fixture
        .control
        .wait("the service account", SOON, || {
            Ok(fixture.control.kubectl(&["get", "serviceaccount", "default", "--namespace", &envoy]).is_ok())
        })
        .unwrap();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "envoy", "namespace": envoy, "labels": {
            "gateway.envoyproxy.io/owning-gateway-name": "main",
            "gateway.envoyproxy.io/owning-gateway-namespace": fixture.namespace,
        }},
        "spec": {"containers": [{"name": "envoy", "image": "example.test/envoy:1"}]},
    });
    fixture.control.apply(&pod.to_string()).unwrap();

    let found = discover(&cluster, &wanted(&fixture.namespace)).await.unwrap();
    assert_eq!(found.cluster, cluster.identity());
    assert!(found.version.starts_with("v1."), "{}", found.version);
    let chosen = &found.gateway;
    assert_eq!((chosen.listener.as_deref(), chosen.https, chosen.port), (Some("https"), true, 8443));
    assert_eq!(chosen.data_plane_namespace, envoy);
    assert!(chosen.listener_sets, "the definitions of 1.6 have it");
    assert!(!chosen.retries, "the standard channel of 1.6 has none");
    assert_eq!(found.architectures.iter().map(String::as_str).collect::<Vec<_>>(), ["amd64"]);
    assert_eq!(found.scratch_namespace, None);

    let plain = Requirements { listener: Some("http".to_owned()), port: Some(80), ..wanted(&fixture.namespace) };
    let found = discover(&cluster, &plain).await.unwrap();
    assert_eq!((found.gateway.https, found.gateway.port), (false, 80));
    fixture.control.kubectl(&["delete", "namespace", &envoy, "--wait=false"]).unwrap();
}

#[tokio::test]
async fn everything_that_is_missing_is_told_together_each_with_its_fix() {
    let Some(fixture) = Fixture::new("everything_that_is_missing_is_told_together_each_with_its_fix").await else {
        return;
    };
    let cluster = fixture.provider.cluster().await.unwrap();
    let wanted = Requirements {
        issuer: Some("letsencrypt".to_owned()),
        storage_class: Some("nothing-of-that-name".to_owned()),
        ..wanted(&fixture.namespace)
    };
    let (why, help) = unfit(discover(&cluster, &wanted).await);
    assert!(why.contains(&format!("gateway {}/main: it does not exist", fixture.namespace)), "{why}");
    assert!(why.contains("issuer letsencrypt: there is no such ClusterIssuer"), "{why}");
    assert!(why.contains("storage class: there is no storage class nothing-of-that-name"), "{why}");
    assert!(help.contains("kubectl get gateways") && help.contains("ClusterIssuer"), "{help}");

    // With a gateway that keeps its listeners to itself.
    gateway(&fixture);
    let (why, help) = unfit(discover(&cluster, &wanted).await);
    assert!(why.contains("but it lets no namespace in"), "{why}");
    assert!(help.contains("spec.allowedListeners.namespaces.from: All"), "{help}");

    let elsewhere = Requirements { domain: "example.com".to_owned(), listener: Some("https".to_owned()), ..wanted };
    let (why, _) = unfit(discover(&cluster, &elsewhere).await);
    assert!(why.contains("listener https: is for *.apps.example.org, which does not cover"), "{why}");
}

#[tokio::test]
async fn a_cluster_without_definitions_is_told_what_to_install_and_its_scratch_namespace_comes_and_goes() {
    let name = "a_cluster_without_definitions_is_told_what_to_install_and_its_scratch_namespace_comes_and_goes";
    if let Some(reason) = ControlPlane::missing() {
        println!("skipped: {name}: kubernetes: {reason}");
        return;
    }
    let options = Options { bare: true, ..Options::default() };
    let control = ControlPlane::start_with(&options).unwrap();
    let cluster = Cluster::connect(&access(control.admin())).await.unwrap();
    let databases = ClusterDatabases::CloudNativePg { operator_namespace: "cnpg-system".to_owned() };
    let (why, help) = unfit(discover(&cluster, &Requirements { databases, ..wanted("gateways") }).await);
    assert!(why.contains("gateway api: the Gateway API is not installed"), "{why}");
    assert!(why.contains("cloudnative-pg: CloudNativePG is not installed"), "{why}");
    assert!(help.contains("gateway-api.sigs.k8s.io"), "{help}");

    let mut facts = facts(&cluster);
    let scratch = |findings: &[Finding]| {
        find(findings, "scratch namespace").first().map(|found| (found.level, found.message.clone())).unwrap()
    };
    assert_eq!(scratch(&check(&cluster, &facts).await).0, Level::Warning);
    prepare(&cluster, &mut facts).await.unwrap();
    prepare(&cluster, &mut facts).await.unwrap();
    assert_eq!(facts.scratch_namespace.as_deref(), Some(SCRATCH_NAMESPACE));
    assert_eq!(scratch(&check(&cluster, &facts).await), (Level::Ok, SCRATCH_NAMESPACE.to_owned()));
    let limits = control.get(&["limitrange", "freehold", "--namespace", SCRATCH_NAMESPACE]).unwrap();
    assert_eq!(limits.pointer("/spec/limits/0/type"), Some(&json!("Container")));
    release(&cluster, &facts).await.unwrap();
    control.kubectl(&["get", "namespace", SCRATCH_NAMESPACE]).unwrap_err();
    release(&cluster, &facts).await.unwrap();
    assert_eq!(scratch(&check(&cluster, &facts).await).0, Level::Error);

    // Shared by another target, and by another platform.
    let other_target = KubernetesTarget { name: "other".parse().unwrap(), ..facts.clone() };
    let other_platform = KubernetesTarget { platform: Some(Uuid::new_v4()), ..facts.clone() };
    let users = [facts.clone(), other_target, other_platform];
    for user in &users {
        prepare(&cluster, &mut user.clone()).await.unwrap();
    }
    for (at, user) in users.iter().enumerate() {
        control.kubectl(&["get", "namespace", SCRATCH_NAMESPACE]).unwrap_or_else(|_| panic!("gone before user {at}"));
        release(&cluster, user).await.unwrap();
    }
    control.kubectl(&["get", "namespace", SCRATCH_NAMESPACE]).unwrap_err();

    // Somebody else's, of the same name.
    control.kubectl(&["create", "namespace", SCRATCH_NAMESPACE]).unwrap();
    let refused = prepare(&cluster, &mut facts).await.unwrap_err();
    assert!(refused.to_string().contains("exists and is unmanaged; it will not be used"), "{refused}");
    let refused = release(&cluster, &facts).await.unwrap_err();
    assert!(refused.to_string().contains("will not be used"), "{refused}");
    control.kubectl(&["get", "namespace", SCRATCH_NAMESPACE]).unwrap();
    assert_eq!(scratch(&check(&cluster, &facts).await).0, Level::Error);
}

/// A service account with exactly what is generated.
fn account(control: &ControlPlane) -> (String, freehold_testkit::kubernetes::Access) {
    let name = ControlPlane::unique("freehold");
    control.apply(&rbac(&name, &name, &BTreeSet::new())).unwrap();
    (name.clone(), control.service_account(&name, &name).unwrap())
}

#[tokio::test]
async fn a_missing_permission_is_named_once_with_what_it_is_for() {
    let Some(control) = ControlPlane::for_test("a_missing_permission_is_named_once_with_what_it_is_for") else {
        return;
    };
    let (name, account) = account(control);
    let cluster = Cluster::connect(&access(&account)).await.unwrap();
    let facts = KubernetesTarget { issuer: Some("main".to_owned()), ..facts(&cluster) };
    let findings = check(&cluster, &facts).await;
    let permissions = find(&findings, "permissions");
    assert_eq!((permissions.len(), permissions[0].level), (1, Level::Ok), "{permissions:?}");

    let role = control.get(&["clusterrole", &name]).unwrap();
    let rules = role["rules"].as_array().unwrap().iter().map(|rule| {
        let mut rule = rule.clone();
        if rule["resources"] == json!(["deployments"]) {
            rule["verbs"] = json!(["get", "list", "create"]);
        }
        if rule["resources"] == json!(["pods/log"]) {
            rule["resources"] = json!(["pods/nothing"]);
        }
        rule
    });
    let patch = json!({"rules": rules.collect::<Vec<Json>>()}).to_string();
    control.kubectl(&["patch", "clusterrole", &name, "--type=merge", "--patch", &patch]).unwrap();
    let mut told = Vec::new();
    // The API server takes a moment to see the new rules.
    let limit = tokio::time::Instant::now() + SOON;
    while told.len() != 2 {
        assert!(tokio::time::Instant::now() < limit, "{told:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
        let findings = check(&cluster, &facts).await;
        let errors = find(&findings, "permissions").into_iter().filter(|finding| finding.level == Level::Error);
        told = errors.cloned().collect();
    }
    assert_eq!(told[0].message, "may not delete, patch, watch deployments.apps (what stacks consist of)");
    assert_eq!(told[1].message, "may not get pods/log (logs)");
    assert!(told.iter().all(|finding| finding.help.as_deref().is_some_and(|fix| fix.contains("freehold target rbac"))));
    control.kubectl(&["delete", "namespace", &name, "--wait=false"]).unwrap();
    control.kubectl(&["delete", ACCESS_KINDS, &name]).unwrap();
}

#[tokio::test]
async fn reasons_runs_and_checks_need_no_more_than_the_generated_permissions() {
    let name = "reasons_runs_and_checks_need_no_more_than_the_generated_permissions";
    let Some(control) = ControlPlane::for_test(name) else { return };
    let (name, account) = account(control);
    let fixture = Fixture::with(control, &access(&account)).await;
    gateway(&fixture);
    let cluster = fixture.provider.cluster().await.unwrap();
    let facts = discover(&cluster, &wanted(&fixture.namespace)).await.unwrap();
    let findings = check(&cluster, &facts).await;
    let errors: Vec<&Finding> = findings.iter().filter(|finding| finding.level == Level::Error).collect();
    assert!(errors.is_empty(), "{errors:?}");

    for way in ["not-ready", "crash-loop", "image-pull"] {
        let container = json!({"env": [{"name": "FREEHOLD_TEST_FAIL", "value": way}]});
        control.apply(&fixture.deployment(&container).to_string()).unwrap();
        fixture
            .until(ResourceKind::Deployment, "web", |told| {
                words(told).contains(match way {
                    "not-ready" => "Readiness probe failed",
                    "crash-loop" => "keeps failing",
                    _ => "can't be pulled",
                })
            })
            .await;
    }
    let spec = json!({"spec": {"selector": fixture.labels("web", "service"), "ports": [{"port": 80}]}});
    fixture.put("v1", "Service", "web", &spec);
    fixture.until(ResourceKind::ClusterService, "web", |told| *told != Readiness::Ready).await;
    let claim = json!({"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none",
        "resources": {"requests": {"storage": "1Gi"}}}});
    fixture.put("v1", "PersistentVolumeClaim", "data", &claim);
    assert!(words(&fixture.readiness(ResourceKind::PersistentVolumeClaim, "data").await).contains("no storage class"));
    let parent = json!([{"name": "main"}]);
    fixture.put("gateway.networking.k8s.io/v1", "HTTPRoute", "web", &json!({"spec": {"parentRefs": parent}}));
    assert!(words(&fixture.readiness(ResourceKind::HttpRoute, "web").await).contains("not accepted"));
    let certificate =
        json!({"spec": {"secretName": "tls", "dnsNames": ["a.example.org"], "issuerRef": {"name": "main"}}});
    fixture.put("cert-manager.io/v1", "Certificate", "web", &certificate);
    assert!(words(&fixture.readiness(ResourceKind::Certificate, "web").await).contains("cert-manager"));

    fixture.perform(&fixture.run("example.test/migrate:1", "ask", 60), 1).await.unwrap();
    fixture.perform(&fixture.run("example.test/fail-image-pull:1", "ask", 60), 2).await.unwrap_err();
    control.kubectl(&["delete", "namespace", &name, "--wait=false"]).unwrap();
    control.kubectl(&["delete", ACCESS_KINDS, &name]).unwrap();
}

#[tokio::test]
async fn a_namespace_says_which_platform_its_stack_is_of() {
    let Some(fixture) = Fixture::new("a_namespace_says_which_platform_its_stack_is_of").await else { return };
    assert_eq!(fixture.provider.platforms().await.unwrap().get(&fixture.stack), None);
    let platform = Uuid::new_v4();
    let mark = format!("freehold.dev/platform={platform}");
    fixture.control.kubectl(&["annotate", "namespace", &fixture.namespace, &mark]).unwrap();
    assert_eq!(fixture.provider.platforms().await.unwrap().get(&fixture.stack), Some(&platform));
}

#[tokio::test]
async fn a_scan_of_all_groups_finds_what_bears_a_mark_of_whatever_kind() {
    let Some(fixture) = Fixture::new("a_scan_of_all_groups_finds_what_bears_a_mark_of_whatever_kind").await else {
        return;
    };
    let cluster = fixture.provider.cluster().await.unwrap();
    gateway(&fixture);
    fixture.put("v1", "ConfigMap", "web", &json!({}));
    fixture.control.apply(&fixture.deployment(&json!({})).to_string()).unwrap();
    fixture.until(ResourceKind::Deployment, "web", |told| *told == Readiness::Ready).await;
    // A kind that Freehold never makes.
    fixture.put(
        "networking.k8s.io/v1",
        "Ingress",
        "web",
        &json!({"spec": {"defaultBackend":
        {"service": {"name": "web", "port": {"number": 80}}}}}),
    );
    let found = scan_all_groups(&cluster, Some(fixture.stack)).await.unwrap();
    assert!(found.iter().all(|object| object.stack == fixture.stack));
    let has = |kind: &str, name: &str| found.iter().any(|object| object.kind == kind && object.name == name);
    let within = |name: &str| format!("{}/{name}", fixture.namespace);
    assert!(has("namespace", &fixture.namespace), "{found:?}");
    assert!(has("configmap", &within("web")) && has("deployment.apps", &within("web")), "{found:?}");
    assert!(has("ingress.networking.k8s.io", &within("web")), "{found:?}");
    assert!(has("gateway.gateway.networking.k8s.io", &within("main")), "{found:?}");
    assert!(found.iter().any(|object| object.kind == "pod"), "{found:?}");
    let all = scan_all_groups(&cluster, None).await.unwrap();
    assert!(found.iter().filter(|object| object.kind != "pod").all(|object| all.contains(object)));
    let nobody = scan_all_groups(&cluster, Some(StackId(Uuid::new_v4()))).await.unwrap();
    assert!(nobody.is_empty(), "{nobody:?}");
}
