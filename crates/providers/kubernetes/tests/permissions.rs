//! What is generated for `freehold target rbac` is enough for every kind of object, from the first plan to the end.

use std::collections::BTreeSet;

use freehold_engine::capability::Level;
use freehold_engine::{Deletion, Lookup, Provider, ProviderError};
use freehold_graph::kind::KubernetesKind;
use freehold_graph::{Resource, ResourceKind};
use freehold_problem::{Code, Problem};
use freehold_provider_kubernetes::{ADOPTABLE, Cluster, check, rbac};
use freehold_testkit::kubernetes::ControlPlane;
use serde_json::{Value as Json, json};

use crate::fixture::{ACCESS_KINDS, SOON, access};
use crate::stage::Stage;

/// One object of each kind but the namespace: API version, kind, and the rest of the manifest.
fn rest(kind: ResourceKind, stage: &Stage) -> ((&'static str, &'static str), Json) {
    let gateway = "gateway.networking.k8s.io/v1";
    let containers = json!([{"name": "web", "image": "example.test/web:1"}]);
    match kind {
        ResourceKind::ResourceQuota => (("v1", "ResourceQuota"), json!({"spec": {"hard": {"requests.cpu": "2"}}})),
        ResourceKind::LimitRange => (
            ("v1", "LimitRange"),
            json!({"spec": {"limits": [{"type": "Container", "defaultRequest": {"cpu": "100m"}}]}}),
        ),
        ResourceKind::NetworkPolicy => (
            ("networking.k8s.io/v1", "NetworkPolicy"),
            json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}}),
        ),
        ResourceKind::ServiceAccount => (("v1", "ServiceAccount"), json!({"automountServiceAccountToken": false})),
        ResourceKind::ClusterSecret => {
            (("v1", "Secret"), json!({"type": "Opaque", "data": {"KEY": {"$secret": {"stored": "key"}}}}))
        }
        ResourceKind::ConfigMap => (("v1", "ConfigMap"), json!({"data": {"A": "1"}})),
        ResourceKind::PersistentVolumeClaim => (
            ("v1", "PersistentVolumeClaim"),
            json!({"spec": {"accessModes": ["ReadWriteOnce"], 
                "resources": {"requests": {"storage": "1Gi"}}}}),
        ),
        ResourceKind::CloudNativePg => {
            (("postgresql.cnpg.io/v1", "Cluster"), json!({"spec": {"instances": 1, "storage": {"size": "1Gi"}}}))
        }
        ResourceKind::CloudNativePgPooler => (
            ("postgresql.cnpg.io/v1", "Pooler"),
            json!({"spec": {"cluster": {"name": "main"}, "pgbouncer": {"poolMode": "session"}}}),
        ),
        ResourceKind::CronJob => (
            ("batch/v1", "CronJob"),
            json!({"spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": {"spec":
                {"restartPolicy": "Never", "containers": containers}}}}}}),
        ),
        ResourceKind::ClusterService => {
            (("v1", "Service"), json!({"spec": {"selector": stage.labels(), "ports": [{"port": 80, "name": "http"}]}}))
        }
        ResourceKind::PodDisruptionBudget => (
            ("policy/v1", "PodDisruptionBudget"),
            json!({"spec": {"maxUnavailable": 1, "selector": {"matchLabels": stage.labels()}}}),
        ),
        ResourceKind::HorizontalPodAutoscaler => (
            ("autoscaling/v2", "HorizontalPodAutoscaler"),
            json!({"spec": {"minReplicas": 1, "maxReplicas": 3, "scaleTargetRef":
                {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}}),
        ),
        ResourceKind::KubernetesObject => (("v1", "ConfigMap"), json!({"data": {"A": "1"}})),
        ResourceKind::Certificate => (
            ("cert-manager.io/v1", "Certificate"),
            json!({"spec": {"secretName": "tls", "dnsNames": ["a.example.org"], "issuerRef": {"name": "main"}}}),
        ),
        ResourceKind::ListenerSet => (
            (gateway, "ListenerSet"),
            json!({"spec": {"parentRef": {"name": "main"}, "listeners":
                [{"name": "a", "hostname": "a.example.org", "port": 443, "protocol": "HTTP"}]}}),
        ),
        ResourceKind::SecurityPolicy => (
            ("gateway.envoyproxy.io/v1alpha1", "SecurityPolicy"),
            json!({"spec": {"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "main"}],
                "authorization": {"defaultAction": "Deny"}}}),
        ),
        ResourceKind::BackendTrafficPolicy => (
            ("gateway.envoyproxy.io/v1alpha1", "BackendTrafficPolicy"),
            json!({"spec": {"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "main"}],
                "requestBuffer": {"limit": "1Mi"}}}),
        ),
        ResourceKind::HttpRouteFilter => (
            ("gateway.envoyproxy.io/v1alpha1", "HTTPRouteFilter"),
            json!({"spec": {"directResponse": {"statusCode": 403}}}),
        ),
        ResourceKind::HttpRoute => (
            (gateway, "HTTPRoute"),
            json!({"spec": {"parentRefs": [{"name": "main"}], "hostnames": ["a.example.org"]}}),
        ),
        other => panic!("{other:?} is no object in a namespace"),
    }
}

fn resource(stage: &Stage, kind: ResourceKind) -> Resource {
    match kind {
        ResourceKind::Namespace => {
            let mut namespace = stage.namespace_resource();
            let mut body: Json = serde_json::to_value(&namespace.body).unwrap();
            body["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = json!("restricted");
            namespace.body = serde_json::from_value(body).unwrap();
            namespace
        }
        ResourceKind::Deployment => stage.deployment("web", |_| {}),
        kind => {
            let (api, rest) = rest(kind, stage);
            let name = if kind == ResourceKind::KubernetesObject { "delivered" } else { "web" };
            stage.resource(kind, api, name, &rest)
        }
    }
}

#[tokio::test]
async fn the_plan_of_a_deletion_names_what_would_go_along_and_which_kinds_may_not_be_looked_at() {
    let test = "the_plan_of_a_deletion_names_what_would_go_along_and_which_kinds_may_not_be_looked_at";
    let Some(stage) = Stage::settled(test).await else { return };
    let name = ControlPlane::unique("freehold");
    stage.control.apply(&rbac(&name, &name, &BTreeSet::new())).unwrap();
    let limited = stage.as_user(&access(&stage.control.service_account(&name, &name).unwrap()));
    stage.deploy(&stage.config_map("ours", &json!({"A": "1"}))).await;
    let namespace = Lookup::from(&stage.namespace_resource());
    assert_eq!(stage.provider.preview_deletion(stage.stack, &namespace).await.unwrap(), Deletion::default());

    // Kinds that no stack consists of.
    for (api, kind, rest) in [
        ("coordination.k8s.io/v1", "Lease", json!({})),
        ("cert-manager.io/v1", "Issuer", json!({"spec": {"selfSigned": {}}})),
    ] {
        let mut theirs = rest;
        (theirs["apiVersion"], theirs["kind"]) = (json!(api), json!(kind));
        theirs["metadata"] = json!({"name": "theirs", "namespace": stage.namespace});
        stage.control.apply(&theirs.to_string()).unwrap();
    }
    let refused = stage.provider.preview_deletion(stage.stack, &namespace).await.unwrap_err();
    let ProviderError::Rejected(Problem { code, lines: detail, .. }) = &refused else { panic!("{refused:?}") };
    assert_eq!(
        (*code, detail.join(", ").as_str()),
        (Code::NamespaceShared, "issuer.cert-manager.io theirs, lease.coordination.k8s.io theirs")
    );
    let uid = stage.observe(&stage.namespace_resource()).await.unwrap().object;
    let kept = stage.delete(&stage.namespace_resource(), Some(&uid)).await.unwrap_err();
    assert_eq!(kept, refused, "the deletion looks again");

    let notes = limited.provider.preview_deletion(stage.stack, &namespace).await.unwrap();
    let [note] = notes.remarks.as_slice() else { panic!("{notes:?}") };
    assert!(note.contains(&format!("in namespace {}", stage.namespace)), "{note}");
    assert!(note.contains("issuers.cert-manager.io") && note.ends_with(" more"), "{note}");

    stage.kubectl(&["create", "configmap", "settings"]);
    let refused = limited.provider.preview_deletion(stage.stack, &namespace).await.unwrap_err();
    assert!(
        matches!(&refused, ProviderError::Rejected(Problem { code: Code::NamespaceShared, lines: detail, .. }) if *detail == ["configmap settings"]),
        "{refused:?}"
    );
    stage.control.kubectl(&["delete", "namespace", &stage.namespace, &name, "--wait=false"]).unwrap();
    // What is going already isn't held up.
    assert_eq!(limited.provider.preview_deletion(stage.stack, &namespace).await.unwrap(), Deletion::default());
    stage.control.kubectl(&["delete", ACCESS_KINDS, &name]).unwrap();
}

#[tokio::test]
async fn the_plan_of_a_deletion_names_a_namespace_that_was_adopted() {
    let Some(stage) = Stage::new("the_plan_of_a_deletion_names_a_namespace_that_was_adopted").await else { return };
    stage.control.kubectl(&["create", "namespace", &stage.namespace]).unwrap();
    stage.deploy_as(&stage.namespace_resource(), true).await;
    let notes = stage.provider.preview_deletion(stage.stack, &Lookup::from(&stage.namespace_resource())).await.unwrap();
    let told = "was adopted (kubectl-create made it) and holds nothing but the stack: it is deleted, too";
    assert_eq!(notes.remarks, [format!("namespace {} {told}", stage.namespace)]);
}

#[tokio::test]
async fn every_kind_of_object_comes_and_goes_with_the_generated_permissions_alone() {
    let test = "every_kind_of_object_comes_and_goes_with_the_generated_permissions_alone";
    let Some(stage) = Stage::new(test).await else { return };
    let name = ControlPlane::unique("freehold");
    stage.control.apply(&rbac(&name, &name, &BTreeSet::new())).unwrap();
    let account = stage.control.service_account(&name, &name).unwrap();
    let (administrator, stage) = (&stage, stage.as_user(&access(&account)));
    stage.secrets.set("key", "s3cret");
    let all: Vec<Resource> = KubernetesKind::ALL.iter().map(|kind| resource(&stage, kind.kind())).collect();
    // Before there is a namespace: tried out in the scratch namespace.
    for resource in &all {
        let planned = stage.try_plan(resource, false).await;
        let planned = planned.unwrap_or_else(|error| panic!("{}: {error}", resource.id));
        assert!(planned.observed.is_none(), "{}", resource.id);
    }
    let mut uids = Vec::new();
    for resource in &all {
        let planned = stage.plan(resource).await;
        let performed = stage.apply(resource, &planned).await;
        let performed = performed.unwrap_or_else(|error| panic!("{}: {error}", resource.id));
        stage.observe(resource).await.expect("it was made");
        uids.push(performed.object);
    }
    assert!(stage.owned().await.len() >= all.len());
    // Whoever may look at every kind finds nothing either that the cluster's controllers didn't make for these.
    let everything = administrator.provider.preview_deletion(stage.stack, &(&stage.namespace_resource()).into()).await;
    assert_eq!(everything.unwrap(), Deletion::default());
    for (resource, uid) in all.iter().zip(&uids).rev() {
        let deleted = stage.delete(resource, uid.as_deref()).await;
        deleted.unwrap_or_else(|error| panic!("{}: {error}", resource.id));
        assert!(stage.observe(resource).await.is_none(), "{}", resource.id);
    }
    assert!(stage.owned().await.is_empty());
    stage.control.kubectl(&["delete", "namespace", &name, "--wait=false"]).unwrap();
    stage.control.kubectl(&["delete", ACCESS_KINDS, &name]).unwrap();
}

/// What the token of our account is tried with: who has it wants the cluster. Each a manifest, and how it is sent.
fn takeovers(ours: &str, theirs: &str) -> Vec<(&'static str, Vec<&'static str>, Json)> {
    let mark = json!({"freehold.dev/stack": "0197c0de-0000-7000-8000-000000000001"});
    let restricted = json!({"freehold.dev/stack": "0197c0de-0000-7000-8000-000000000001",
        "pod-security.kubernetes.io/enforce": "restricted"});
    let create = || vec!["create"];
    let apply = || vec!["apply", "--server-side", "--field-manager=freehold", "--force-conflicts"];
    let object = |api: &str, kind: &str, namespace: &str, rest: Json| {
        let mut object = rest;
        (object["apiVersion"], object["kind"]) = (json!(api), json!(kind));
        object["metadata"]["name"] = json!("takeover");
        object["metadata"]["namespace"] = json!(namespace);
        object
    };
    let namespace = |name: &str, labels: &Json| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    let pods = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
    let deployment = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": pods}});
    let account = json!({"metadata": {"annotations": {"kubernetes.io/service-account.name": "default"}},
        "type": "kubernetes.io/service-account-token"});
    vec![
        ("a Secret in kube-system", create(), object("v1", "Secret", "kube-system", json!({}))),
        ("a Deployment in kube-system", create(), object("apps/v1", "Deployment", "kube-system", deployment.clone())),
        ("a Deployment in a namespace of somebody else", create(), object("apps/v1", "Deployment", theirs, deployment)),
        ("a Secret in the default namespace", create(), object("v1", "Secret", "default", json!({}))),
        ("a token in a namespace of ours", create(), object("v1", "Secret", ours, account)),
        (
            "another host's address for a service of ours",
            create(),
            object("v1", "Service", ours, json!({"spec": {"ports": [{"port": 443}], "externalIPs": ["203.0.113.7"]}})),
        ),
        ("a namespace without a mark", create(), namespace("takeover-unmarked", &json!({}))),
        ("a namespace whose Pods may do everything", create(), namespace("takeover-privileged", &mark)),
        ("a mark on a namespace of somebody else", apply(), namespace(theirs, &restricted)),
        ("a mark on kube-system", apply(), namespace("kube-system", &restricted)),
        ("leave to take over kube-system", apply(), namespace("kube-system", &json!({ADOPTABLE: "true"}))),
        ("another stack's mark on a namespace of ours", apply(), namespace(ours, &restricted)),
        (
            "a namespace of ours, freed of the Pods' restrictions",
            apply(),
            namespace(ours, &json!({"pod-security.kubernetes.io/enforce": "privileged"})),
        ),
    ]
}

#[tokio::test]
async fn whoever_has_our_token_can_write_in_no_namespace_but_those_of_stacks() {
    let Some(stage) = Stage::settled("whoever_has_our_token_can_write_in_no_namespace_but_those_of_stacks").await
    else {
        return;
    };
    let name = ControlPlane::unique("freehold");
    stage.control.apply(&rbac(&name, &name, &BTreeSet::new())).unwrap();
    let account = access(&stage.control.service_account(&name, &name).unwrap());
    let cluster = Cluster::connect(&account).await.unwrap();
    let confinement = async || {
        let findings = check(&cluster, &crate::facts::facts(&cluster)).await;
        findings.into_iter().find(|finding| finding.subject == "confinement").unwrap()
    };
    // The API server takes a moment to see a new policy.
    let limit = tokio::time::Instant::now() + SOON;
    while confinement().await.level != Level::Ok {
        assert!(tokio::time::Instant::now() < limit, "{:?}", confinement().await);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    let theirs = ControlPlane::unique("theirs");
    stage.control.kubectl(&["create", "namespace", &theirs]).unwrap();
    stage
        .control
        .kubectl(&["label", "namespace", &stage.namespace, "pod-security.kubernetes.io/enforce=restricted"])
        .unwrap();
    let user = format!("--as=system:serviceaccount:{name}:{name}");
    let attempt = |how: &[&str], manifest: &Json| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), manifest.to_string()).unwrap();
        let path = file.path().to_str().unwrap();
        let arguments: Vec<&str> = how.iter().copied().chain(["--dry-run=server", &user, "--filename", path]).collect();
        stage.control.kubectl(&arguments)
    };
    for (what, how, manifest) in takeovers(&stage.namespace, &theirs) {
        let refused = attempt(&how, &manifest).expect_err(what).to_string();
        assert!(refused.contains("Freehold's account may"), "{what}: {refused}");
    }
    let refused = stage.control.kubectl(&["delete", "namespace", &theirs, "--dry-run=server", &user]).unwrap_err();
    assert!(refused.to_string().contains("change and delete only namespaces"), "{refused}");

    // An administrator may let one be taken over.
    stage.control.kubectl(&["label", "namespace", &theirs, &format!("{ADOPTABLE}=true")]).unwrap();
    let (_, how, adoption) = takeovers(&stage.namespace, &theirs)
        .into_iter()
        .find(|(what, ..)| what.starts_with("a mark on a namespace"))
        .unwrap();
    let mut labelled = adoption;
    labelled["metadata"]["labels"][ADOPTABLE] = json!("true");
    attempt(&how, &labelled).unwrap();

    // The control: without the policy, each of them succeeds with the permissions alone.
    stage.control.kubectl(&["delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", &name]).unwrap();
    let limit = tokio::time::Instant::now() + SOON;
    while confinement().await.level != Level::Warning {
        assert!(tokio::time::Instant::now() < limit, "{:?}", confinement().await);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    for (what, how, manifest) in takeovers(&stage.namespace, &theirs) {
        attempt(&how, &manifest).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    let told = confinement().await;
    assert!(told.message.contains("whoever has its credentials has the cluster"), "{told:?}");
    assert!(told.help.is_some_and(|fix| fix.contains("freehold target rbac")));
    stage.control.kubectl(&["delete", "namespace", &name, &theirs, "--wait=false"]).unwrap();
    stage.control.kubectl(&["delete", "clusterrole,clusterrolebinding", &name]).unwrap();
}
