//! What is generated for `freehold target rbac` is enough for every kind of object, from the first plan to the end.

use freehold_engine::{Lookup, Provider, ProviderError};
use freehold_graph::{Resource, ResourceType};
use freehold_provider_kubernetes::rbac;
use freehold_testkit::kubernetes::ControlPlane;
use serde_json::{Value as Json, json};

use crate::ground::access;
use crate::stage::Stage;

/// One object of each kind but the namespace: API version, kind, and the rest of the manifest.
fn rest(kind: ResourceType, stage: &Stage) -> ((&'static str, &'static str), Json) {
    let gateway = "gateway.networking.k8s.io/v1";
    let containers = json!([{"name": "web", "image": "example.test/web:1"}]);
    match kind {
        ResourceType::ResourceQuota => (("v1", "ResourceQuota"), json!({"spec": {"hard": {"requests.cpu": "2"}}})),
        ResourceType::LimitRange => (
            ("v1", "LimitRange"),
            json!({"spec": {"limits": [{"type": "Container", "defaultRequest": {"cpu": "100m"}}]}}),
        ),
        ResourceType::NetworkPolicy => (
            ("networking.k8s.io/v1", "NetworkPolicy"),
            json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}}),
        ),
        ResourceType::ServiceAccount => (("v1", "ServiceAccount"), json!({"automountServiceAccountToken": false})),
        ResourceType::ClusterSecret => {
            (("v1", "Secret"), json!({"type": "Opaque", "data": {"KEY": {"$secret": {"stored": "key"}}}}))
        }
        ResourceType::ConfigMap => (("v1", "ConfigMap"), json!({"data": {"A": "1"}})),
        ResourceType::PersistentVolumeClaim => (
            ("v1", "PersistentVolumeClaim"),
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none",
                "resources": {"requests": {"storage": "1Gi"}}}}),
        ),
        ResourceType::CloudNativePg => {
            (("postgresql.cnpg.io/v1", "Cluster"), json!({"spec": {"instances": 1, "storage": {"size": "1Gi"}}}))
        }
        ResourceType::CronJob => (
            ("batch/v1", "CronJob"),
            json!({"spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": {"spec":
                {"restartPolicy": "Never", "containers": containers}}}}}}),
        ),
        ResourceType::ClusterService => {
            (("v1", "Service"), json!({"spec": {"selector": stage.labels(), "ports": [{"port": 80, "name": "http"}]}}))
        }
        ResourceType::PodDisruptionBudget => (
            ("policy/v1", "PodDisruptionBudget"),
            json!({"spec": {"maxUnavailable": 1, "selector": {"matchLabels": stage.labels()}}}),
        ),
        ResourceType::HorizontalPodAutoscaler => (
            ("autoscaling/v2", "HorizontalPodAutoscaler"),
            json!({"spec": {"minReplicas": 1, "maxReplicas": 3, "scaleTargetRef":
                {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}}),
        ),
        ResourceType::Certificate => (
            ("cert-manager.io/v1", "Certificate"),
            json!({"spec": {"secretName": "tls", "dnsNames": ["a.example.org"], "issuerRef": {"name": "main"}}}),
        ),
        ResourceType::ListenerSet => (
            (gateway, "ListenerSet"),
            json!({"spec": {"parentRef": {"name": "main"}, "listeners":
                [{"name": "a", "hostname": "a.example.org", "port": 443, "protocol": "HTTP"}]}}),
        ),
        ResourceType::HttpRoute => (
            (gateway, "HTTPRoute"),
            json!({"spec": {"parentRefs": [{"name": "main"}], "hostnames": ["a.example.org"]}}),
        ),
        other => panic!("{other:?} is no object in a namespace"),
    }
}

fn resource(stage: &Stage, kind: ResourceType) -> Resource {
    match kind {
        ResourceType::Namespace => stage.namespace_resource(),
        ResourceType::Deployment => stage.deployment("web", |_| {}),
        kind => {
            let (api, rest) = rest(kind, stage);
            stage.resource(kind, api, "web", &rest)
        }
    }
}

#[tokio::test]
async fn the_plan_of_a_deletion_names_what_would_go_along_and_which_kinds_may_not_be_looked_at() {
    let test = "the_plan_of_a_deletion_names_what_would_go_along_and_which_kinds_may_not_be_looked_at";
    let Some(stage) = Stage::settled(test).await else { return };
    let name = ControlPlane::unique("freehold");
    stage.control.apply(&rbac(&name, &name)).unwrap();
    let limited = stage.as_user(&access(&stage.control.service_account(&name, &name).unwrap()));
    stage.deploy(&stage.config_map("ours", &json!({"A": "1"}))).await;
    let namespace = Lookup::from(&stage.namespace_resource());
    assert_eq!(stage.provider.preview_deletion(stage.stack, &namespace).await.unwrap(), Vec::<String>::new());

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
    let ProviderError::Rejected { code, detail, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!(
        (*code, detail.join(", ").as_str()),
        ("FH1214", "issuer.cert-manager.io theirs, lease.coordination.k8s.io theirs")
    );
    let uid = stage.observe(&stage.namespace_resource()).await.unwrap().object;
    let kept = stage.delete(&stage.namespace_resource(), Some(&uid)).await.unwrap_err();
    assert_eq!(kept, refused, "the deletion looks again");

    let notes = limited.provider.preview_deletion(stage.stack, &namespace).await.unwrap();
    let [note] = notes.as_slice() else { panic!("{notes:?}") };
    assert!(note.contains(&format!("in namespace {}", stage.namespace)), "{note}");
    assert!(note.contains("issuers.cert-manager.io") && note.ends_with(" more"), "{note}");

    stage.kubectl(&["create", "configmap", "settings"]);
    let refused = limited.provider.preview_deletion(stage.stack, &namespace).await.unwrap_err();
    assert!(
        matches!(&refused, ProviderError::Rejected { code: "FH1214", detail, .. } if *detail == ["configmap settings"]),
        "{refused:?}"
    );
    stage.control.kubectl(&["delete", "namespace", &stage.namespace, &name, "--wait=false"]).unwrap();
    // What is going already isn't held up.
    assert_eq!(limited.provider.preview_deletion(stage.stack, &namespace).await.unwrap(), Vec::<String>::new());
    stage.control.kubectl(&["delete", "clusterrole,clusterrolebinding", &name]).unwrap();
}

#[tokio::test]
async fn every_kind_of_object_comes_and_goes_with_the_generated_permissions_alone() {
    let test = "every_kind_of_object_comes_and_goes_with_the_generated_permissions_alone";
    let Some(stage) = Stage::new(test).await else { return };
    let name = ControlPlane::unique("freehold");
    stage.control.apply(&rbac(&name, &name)).unwrap();
    let account = stage.control.service_account(&name, &name).unwrap();
    let (administrator, stage) = (&stage, stage.as_user(&access(&account)));
    stage.secrets.set("key", "s3cret");
    let all: Vec<Resource> = ResourceType::KUBERNETES.into_iter().map(|kind| resource(&stage, kind)).collect();
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
    assert_eq!(everything.unwrap(), Vec::<String>::new());
    for (resource, uid) in all.iter().zip(&uids).rev() {
        let deleted = stage.delete(resource, uid.as_deref()).await;
        deleted.unwrap_or_else(|error| panic!("{}: {error}", resource.id));
        assert!(stage.observe(resource).await.is_none(), "{}", resource.id);
    }
    assert!(stage.owned().await.is_empty());
    stage.control.kubectl(&["delete", "namespace", &name, "--wait=false"]).unwrap();
    stage.control.kubectl(&["delete", "clusterrole,clusterrolebinding", &name]).unwrap();
}
