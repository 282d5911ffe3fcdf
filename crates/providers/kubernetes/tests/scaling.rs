//! A Deployment's number of Pods goes to an autoscaler and comes back, and is never less on the way.

use freehold_engine::{Lookup, Provider as _, ProviderError};
use freehold_graph::Resource;
use freehold_problem::Code;
use serde_json::{Value as Json, json};

use crate::proxy::{Proxy, ProxyAction};
use crate::stage::{Stage, rejected};

const KEEPER: &str = "freehold-replicas";
const CONTROLLER: &str = "kube-controller-manager";

/// With so many Pods, or as many as an autoscaler wants.
fn web(stage: &Stage, replicas: Option<u32>) -> Resource {
    stage.deployment("web", |manifest| manifest["spec"]["replicas"] = json!(replicas))
}

fn autoscaler(stage: &Stage, labels: &Json) {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let manifest = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": stage.namespace, "labels": labels},
        "spec": {"scaleTargetRef": target, "minReplicas": 3, "maxReplicas": 9},
    });
    stage.control.apply(&manifest.to_string()).unwrap();
}

/// As the controller manager does it for an autoscaler.
fn scale(stage: &Stage, replicas: u32) {
    let patch = json!({"spec": {"replicas": replicas}}).to_string();
    let manager = format!("--field-manager={CONTROLLER}");
    stage.kubectl(&["patch", "deployment", "web", "--subresource=scale", "--type=merge", "--patch", &patch, &manager]);
}

/// Who manages the number of Pods.
fn managers(stage: &Stage) -> Vec<String> {
    let live = stage.live(&web(stage, None));
    let entries = live["metadata"]["managedFields"].as_array().unwrap();
    let of = entries.iter().filter(|entry| entry.pointer("/fieldsV1/f:spec/f:replicas").is_some());
    of.map(|entry| entry["manager"].as_str().unwrap().to_owned()).collect()
}

/// All numbers of Pods that there have been since a version of the object, as the API server remembers them.
fn history(stage: &Stage, since: &Json) -> Vec<i64> {
    let since = since["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!(
        "/apis/apps/v1/namespaces/{}/deployments?watch=true&resourceVersion={since}&timeoutSeconds=2",
        stage.namespace
    );
    let events = stage.control.kubectl(&["get", "--raw", &path]).unwrap();
    let numbers = events.lines().map(|event| serde_json::from_str::<Json>(event).unwrap());
    let mut numbers: Vec<i64> = numbers.map(|event| event["object"]["spec"]["replicas"].as_i64().unwrap()).collect();
    numbers.dedup();
    numbers
}

#[tokio::test]
async fn an_autoscaler_takes_over_with_the_pods_that_there_are_and_gives_them_back() {
    let Some(stage) = Stage::settled("an_autoscaler_takes_over_with_the_pods").await else { return };
    stage.deploy(&web(&stage, Some(3))).await;
    let before = stage.live(&web(&stage, None));

    let plan = stage.deploy(&web(&stage, None)).await;
    assert_eq!(plan.fields(), Vec::<&str>::new(), "the number stays what it is");
    assert_eq!(plan.preview.given_up, ["spec.replicas"]);
    assert_eq!(managers(&stage), [KEEPER]);
    // What the autoscaler does is neither a change of the plan's nor drift.
    autoscaler(&stage, &stage.labels());
    let seen = stage.observe(&web(&stage, None)).await.unwrap();
    scale(&stage, 5);
    let after = stage.observe(&web(&stage, None)).await.unwrap();
    assert_eq!(seen.fingerprint(), after.fingerprint());
    assert_eq!(after.foreign_fields, []);
    assert_eq!(managers(&stage), [CONTROLLER]);
    let other = stage.deployment("web", |manifest| {
        manifest["spec"]["replicas"] = Json::Null;
        manifest["spec"]["template"]["spec"]["containers"][0]["image"] = json!("example.test/web:2");
    });
    let plan = stage.deploy(&other).await;
    assert_eq!((plan.fields().len(), plan.preview.given_up.len()), (1, 0));

    // Nobody has to say `--adopt` to get it back.
    let plan = stage.deploy(&web(&stage, Some(4))).await;
    assert!(plan.fields().contains(&"spec.replicas"), "{:?}", plan.fields());
    assert_eq!(plan.preview.conflicts, []);
    assert_eq!(plan.preview.notes, ["takes spec.replicas back from the autoscaler"]);
    assert_eq!(managers(&stage), ["freehold"]);
    assert_eq!(history(&stage, &before), [3, 5, 4]);
}

#[tokio::test]
async fn an_autoscaler_that_never_acted_is_left_as_quietly_and_other_changes_come_along() {
    let Some(stage) = Stage::settled("an_autoscaler_that_never_acted").await else { return };
    stage.deploy(&web(&stage, Some(3))).await;
    let before = stage.live(&web(&stage, None));
    let autoscaled = stage.deployment("web", |manifest| {
        manifest["spec"]["replicas"] = Json::Null;
        manifest["spec"]["minReadySeconds"] = json!(1);
    });
    let plan = stage.deploy(&autoscaled).await;
    assert_eq!(plan.fields(), ["spec.minReadySeconds"]);
    let plan = stage.deploy(&web(&stage, Some(4))).await;
    assert_eq!(plan.fields(), ["spec.minReadySeconds", "spec.replicas"]);
    assert_eq!((plan.preview.conflicts.len(), plan.preview.notes.len()), (0, 0));
    // The same number again has two managers of ours, which don't get into each other's way.
    stage.deploy(&web(&stage, None)).await;
    stage.deploy(&web(&stage, Some(4))).await;
    assert_eq!(stage.deploy(&web(&stage, Some(5))).await.fields(), ["spec.replicas"]);
    assert_eq!(managers(&stage), ["freehold"]);
    assert_eq!(history(&stage, &before), [3, 4, 5]);
}

#[tokio::test]
async fn dying_in_the_middle_of_a_handover_loses_no_pod() {
    let Some(stage) = Stage::settled("dying_in_the_middle_of_a_handover").await else { return };
    stage.deploy(&web(&stage, Some(3))).await;
    let before = stage.live(&web(&stage, None));
    let autoscaled = web(&stage, None);
    let plan = stage.plan(&autoscaled).await;

    // Nothing comes after the first of the two requests, which has arrived.
    let proxy = Proxy::start(stage.control.admin()).await;
    let cut = stage.as_user(&proxy.access());
    // What is lost may also be the answer that a controller was quicker, and that nothing was done.
    for _ in 0..50 {
        cut.observe(&autoscaled).await.unwrap();
        proxy.rule(|method, path| match (method, path.contains(KEEPER)) {
            ("PATCH", true) => ProxyAction::LoseAnswer,
            _ => ProxyAction::Pass,
        });
        let died = cut.apply(&autoscaled, &plan).await.unwrap_err();
        assert!(matches!(died, ProviderError::Unknown(_)), "{died:?}");
        assert_eq!(proxy.seen().iter().filter(|request| request.starts_with("PATCH")).count(), 1);
        if managers(&stage).len() == 2 {
            break;
        }
    }
    let mut both = managers(&stage);
    both.sort();
    assert_eq!(both, ["freehold", KEEPER]);

    // The next process goes on with the same plan: the object is still what it rests on.
    let seen = stage.observe(&autoscaled).await.unwrap();
    assert_eq!(seen.fingerprint(), plan.observed.as_ref().unwrap().fingerprint());
    // And a new plan would do the same.
    let again = stage.plan(&autoscaled).await;
    assert_eq!((again.fields().len(), again.preview.given_up.len()), (0, 1));
    stage.apply(&autoscaled, &plan).await.unwrap();
    assert_eq!(managers(&stage), [KEEPER]);
    assert_eq!(stage.plan(&autoscaled).await.preview.given_up, Vec::<String>::new());
    assert_eq!(history(&stage, &before), [3]);
}

#[tokio::test]
async fn an_autoscaler_of_somebody_else_is_not_overruled() {
    let Some(stage) = Stage::settled("an_autoscaler_of_somebody_else").await else { return };
    stage.deploy(&web(&stage, Some(3))).await;
    autoscaler(&stage, &json!({"team": "blue"}));
    scale(&stage, 6);
    let plan = stage.plan(&web(&stage, Some(3))).await;
    assert_eq!(plan.preview.conflicts[0].manager, CONTROLLER);
    let scaled_by = plan.preview.scaled_by.as_ref().unwrap();
    assert_eq!(scaled_by.name, "web", "the plan names it");
    let namespace = &stage.namespace;
    assert_eq!(
        scaled_by.handle,
        Some(format!("horizontalpodautoscaler/{namespace}/web")),
        "as the stack's own is called"
    );
    assert_eq!(scaled_by.removal, format!("kubectl delete horizontalpodautoscaler web --namespace {namespace}"));
    let refused = stage.apply(&web(&stage, Some(3)), &plan).await.unwrap_err();
    let (code, words) = rejected(&refused);
    assert_eq!(code, Code::FieldConflict, "{words}");
    assert!(words.contains("spec.replicas is managed by kube-controller-manager"), "{words}");
    assert_eq!(stage.live(&web(&stage, None))["spec"]["replicas"], 6);

    // A destroy has no conflict to solve: without what it scales the autoscaler does nothing. It is named.
    let namespace = stage.namespace_resource();
    let notes = stage.provider.preview_deletion(stage.stack, &Lookup::from(&namespace)).await.unwrap();
    let named = "horizontalpodautoscaler web, which is not this stack's, goes with deployment web, all that it scales";
    assert_eq!(notes.remarks, [named]);
    for resource in [web(&stage, Some(3)), namespace] {
        let uid = stage.observe(&resource).await.unwrap().object;
        stage.remove(&resource, &uid).await;
    }
}

#[tokio::test]
async fn an_autoscaler_of_somebody_elses_deployment_keeps_the_namespace() {
    let Some(stage) = Stage::settled("an_autoscaler_of_somebody_elses_deployment_keeps_the_namespace").await else {
        return;
    };
    stage.kubectl(&["create", "deployment", "theirs", "--image=example.test/web:1", "--replicas=0"]);
    stage.kubectl(&["autoscale", "deployment", "theirs", "--max=3"]);
    let namespace = Lookup::from(&stage.namespace_resource());
    let refused = stage.provider.preview_deletion(stage.stack, &namespace).await.unwrap_err();
    let (code, words) = rejected(&refused);
    assert!(code == Code::NamespaceShared && words.contains("horizontalpodautoscaler theirs"), "{words}");
}

#[tokio::test]
async fn an_autoscaler_begins_with_one_pod_where_there_was_none() {
    let Some(stage) = Stage::settled("an_autoscaler_begins_with_one_pod").await else { return };
    stage.deploy(&web(&stage, Some(0))).await;
    let plan = stage.deploy(&web(&stage, None)).await;
    assert_eq!(plan.preview.given_up, Vec::<String>::new(), "an autoscaler does nothing where there are no Pods");
    assert_eq!(stage.live(&web(&stage, None))["spec"]["replicas"], 1);
}
