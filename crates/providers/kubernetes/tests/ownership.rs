//! What isn't ours is left alone; what is named is adopted and not made anew; what is deleted is that very object.

use freehold_engine::ProviderError;
use freehold_graph::ResourceKind;
use freehold_plan::observation::Ownership;
use freehold_problem::{Code, Problem};
use serde_json::{Value as Json, json};

use crate::stage::{Stage, rejected};

#[tokio::test]
async fn a_foreign_object_is_left_alone_and_its_owner_is_named() {
    let Some(stage) = Stage::settled("a_foreign_object_is_left_alone").await else { return };
    stage.kubectl(&["create", "configmap", "web", "--from-literal=A=theirs"]);
    let config = stage.config_map("web", &json!({"A": "ours"}));
    let before = stage.live(&config);
    let plan = stage.plan(&config).await;
    let Ownership::Foreign(owner) = &plan.observed.as_ref().unwrap().ownership else { panic!("it is foreign") };
    assert!(owner.starts_with("managed by kubectl-create, there since 20"), "{owner}");
    let refused = stage.apply(&config, &plan).await.unwrap_err();
    let (code, words) = rejected(&refused);
    assert_eq!(code, Code::NotOwned, "{words}");
    let deleted = stage.delete(&config, Some(plan.uid())).await.unwrap_err();
    assert_eq!(rejected(&deleted).0, Code::NotOwned);
    assert_eq!(stage.live(&config), before, "not a field of it has changed");

    stage.kubectl(&[
        "annotate",
        "configmap",
        "web",
        "meta.helm.sh/release-name=shop",
        "meta.helm.sh/release-namespace=x",
    ]);
    let Some(seen) = stage.observe(&config).await else { panic!("it is there") };
    let helm = "part of Helm's release x/shop";
    let owner = &seen.ownership;
    assert!(matches!(owner, Ownership::Foreign(owner) if owner.starts_with(helm)), "{owner:?}");
}

#[tokio::test]
async fn an_adopted_object_keeps_its_identity_and_the_plan_says_what_is_taken() {
    let Some(stage) = Stage::settled("an_adopted_object_keeps_its_identity").await else { return };
    stage.kubectl(&["create", "configmap", "web", "--from-literal=A=theirs", "--from-literal=B=stays"]);
    let config = stage.config_map("web", &json!({"A": "ours"}));
    let uid = stage.observe(&config).await.unwrap().object;
    let plan = stage.deploy_as(&config, true).await;
    assert_eq!(plan.preview.conflicts.len(), 1);
    assert_eq!(plan.preview.conflicts[0].path, "data.A");
    assert_eq!(plan.preview.conflicts[0].manager, "kubectl-create");
    let live = stage.live(&config);
    assert_eq!(live["metadata"]["uid"], json!(uid));
    assert_eq!(live["data"], json!({"A": "ours", "B": "stays"}));
    assert_eq!(stage.observe(&config).await.unwrap().ownership, Ownership::Ours);
}

#[tokio::test]
async fn an_adoption_takes_only_the_fields_that_the_plan_showed() {
    let Some(stage) = Stage::settled("an_adoption_takes_only_the_fields").await else { return };
    let config = stage.config_map("web", &json!({"A": "ours", "B": "stays"}));
    stage.deploy(&config).await;
    stage.kubectl(&["patch", "configmap", "web", "--patch", r#"{"data":{"A":"theirs"}}"#]);
    let plan = stage.try_plan(&config, true).await.unwrap();
    assert_eq!(plan.preview.conflicts.len(), 1);
    // Somebody else claims the field as well. No value changes by that, so the object looks as it did.
    let claim = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"A": "theirs"},
        "metadata": {"name": "web", "namespace": stage.namespace},
    });
    stage.control.apply(&claim.to_string()).unwrap();
    let seen = stage.observe(&config).await.unwrap();
    assert_eq!(seen.fingerprint(), plan.observed.as_ref().unwrap().fingerprint());
    let refused = stage.apply(&config, &plan).await.unwrap_err();
    let (code, words) = rejected(&refused);
    assert_eq!(code, Code::PlanOutdated, "{words}");
    assert!(words.contains("data.A is managed by testkit"), "{words}");
    assert!(!words.contains("kubectl-patch"), "that one was in the plan: {words}");
    assert_eq!(stage.live(&config)["data"]["A"], "theirs");
    // A new plan shows both.
    let plan = stage.deploy_as(&config, true).await;
    assert_eq!(plan.preview.conflicts.len(), 2);
    assert_eq!(stage.live(&config)["data"], json!({"A": "ours", "B": "stays"}));
}

#[tokio::test]
async fn another_stacks_object_is_never_touched() {
    let Some(stage) = Stage::settled("another_stacks_object_is_never_touched").await else { return };
    let config = stage.config_map("web", &json!({"A": "1"}));
    stage.deploy(&config).await;
    let mut other = stage.as_user(&crate::fixture::access(stage.control.admin()));
    other.stack = freehold_graph::StackId(uuid::Uuid::new_v4());
    let theirs = other.config_map("web", &json!({"A": "2"}));
    let plan = other.try_plan(&theirs, true).await.unwrap();
    assert_eq!(plan.observed.as_ref().unwrap().ownership, Ownership::OtherStack(stage.stack));
    let refused = other.apply(&theirs, &plan).await.unwrap_err();
    assert!(rejected(&refused).1.contains(&stage.stack.to_string()));
    let refused = other.delete(&theirs, Some(plan.uid())).await.unwrap_err();
    assert!(rejected(&refused).1.contains("belongs to stack"));
    assert_eq!(stage.live(&config)["data"]["A"], "1");
}

#[tokio::test]
async fn an_object_with_another_uid_is_neither_changed_nor_deleted() {
    let Some(stage) = Stage::settled("an_object_with_another_uid").await else { return };
    let config = stage.config_map("web", &json!({"A": "1"}));
    let old = stage.deploy(&config).await;
    assert!(old.observed.is_none());
    let changed = stage.config_map("web", &json!({"A": "2"}));
    let plan = stage.plan(&changed).await;
    // Somebody makes it anew, with our labels and all.
    let live = stage.live(&config);
    stage.kubectl(&["delete", "configmap", "web"]);
    let copy = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"A": "1"},
        "metadata": {"name": "web", "namespace": stage.namespace, "labels": live["metadata"]["labels"]},
    });
    stage.control.apply(&copy.to_string()).unwrap();
    let refused = stage.apply(&changed, &plan).await.unwrap_err();
    let (code, words) = rejected(&refused);
    assert_eq!(code, Code::PlanOutdated, "{words}");
    let refused = stage.delete(&changed, Some(plan.uid())).await.unwrap_err();
    assert_eq!(rejected(&refused).0, Code::ChangedExternally);
    assert_eq!(stage.live(&config)["data"]["A"], "1");
}

#[tokio::test]
async fn an_object_that_vanished_or_appeared_after_the_plan_stops_the_step() {
    let Some(stage) = Stage::settled("an_object_that_vanished_or_appeared").await else { return };
    let config = stage.config_map("web", &json!({"A": "1"}));
    let new = stage.plan(&config).await;
    stage.kubectl(&["create", "configmap", "web", "--from-literal=Z=theirs"]);
    // The engine looks before each step.
    assert!(stage.observe(&config).await.is_some());
    let refused = stage.apply(&config, &new).await.unwrap_err();
    assert_eq!(rejected(&refused).0, Code::NotOwned);
    assert_eq!(stage.live(&config)["data"], json!({"Z": "theirs"}), "nothing was merged into it");

    stage.kubectl(&["delete", "configmap", "web"]);
    stage.deploy(&config).await;
    let changed = stage.config_map("web", &json!({"A": "2"}));
    let plan = stage.plan(&changed).await;
    stage.kubectl(&["delete", "configmap", "web"]);
    let refused = stage.apply(&changed, &plan).await.unwrap_err();
    assert_eq!(rejected(&refused).0, Code::PlanOutdated);
    assert!(stage.observe(&config).await.is_none(), "it was not made again");
}

#[tokio::test]
async fn a_stack_is_deleted_object_by_object_and_nothing_is_left() {
    let Some(stage) = Stage::settled("a_stack_is_deleted_object_by_object").await else { return };
    let running = stage.deployment("web", |manifest| manifest["spec"]["replicas"] = json!(1));
    let config = stage.config_map("web", &json!({"A": "1"}));
    stage.deploy(&config).await;
    stage.deploy(&running).await;
    let owned = stage.owned().await;
    for expected in ["configmap NS/web", "deployment NS/web", "namespace NS"] {
        assert!(owned.iter().any(|object| object == expected), "{owned:?}");
    }
    for resource in [running, config, stage.namespace_resource()] {
        let uid = stage.observe(&resource).await.unwrap().object;
        stage.remove(&resource, &uid).await;
        assert!(stage.observe(&resource).await.is_none(), "{} is gone", resource.id);
        stage.remove(&resource, &uid).await;
    }
    assert_eq!(stage.owned().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_scan_finds_more_than_one_page() {
    let Some(stage) = Stage::settled("a_scan_finds_more_than_one_page").await else { return };
    let objects: Vec<_> = (0..510).map(|at| stage.config_map(&format!("c{at}"), &json!({}))).collect();
    let plan = stage.plan(&objects[0]).await;
    let made = objects.iter().map(|resource| async {
        let task = freehold_engine::Task::Apply {
            resource: resource.clone(),
            desired: plan.preview.body.clone(),
            object: None,
            adopt: false,
            takes: Vec::new(),
        };
        stage.perform(task).await.unwrap();
    });
    futures::future::join_all(made).await;
    assert_eq!(stage.owned().await.len(), 511, "and the namespace");
}

#[tokio::test]
async fn a_namespace_that_somebody_makes_at_the_same_moment_is_left_as_it_is() {
    let Some(stage) = Stage::new("a_namespace_that_somebody_makes_at_the_same_moment").await else { return };
    let namespace = stage.namespace_resource();
    let planned = stage.plan(&namespace).await;
    stage.control.kubectl(&["create", "namespace", &stage.namespace]).unwrap();
    let error = stage.apply(&namespace, &planned).await.unwrap_err();
    assert!(matches!(error, ProviderError::Retryable { .. }), "whoever asks looks again: {error:?}");
    let live = stage.live(&namespace);
    assert!(!live.to_string().contains("freehold.dev"), "{live}");
    let seen = stage.observe(&namespace).await.unwrap();
    assert!(matches!(seen.ownership, Ownership::Foreign(_)), "{seen:?}");
}

#[tokio::test]
async fn a_namespace_that_a_finalizer_holds_says_which_object_and_which_finalizer() {
    let Some(stage) = Stage::settled("a_namespace_that_a_finalizer_holds").await else { return };
    let held = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "held", "namespace": stage.namespace, "labels": stage.labels(), "finalizers": ["example.org/keep"]},
    });
    stage.control.apply(&held.to_string()).unwrap();
    let namespace = stage.namespace_resource();
    let uid = stage.observe(&namespace).await.unwrap().object;
    let mut context = stage.context();
    let task = freehold_engine::Task::Delete { lookup: (&namespace).into(), object: Some(uid.clone()) };
    // On a busy machine the cluster takes its time to find out what is left, and the first attempts don't know.
    let mut refused = None;
    for _ in 0..20 {
        context.deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(12);
        let told = freehold_engine::Provider::perform(&stage.provider, &context, &task).await.unwrap_err();
        let knows = format!("{told:?}").contains("is held by its finalizer");
        refused = Some(told);
        if knows {
            break;
        }
    }
    let refused = refused.unwrap();
    let (code, words) = rejected(&refused);
    assert_eq!(code, Code::DeletionHeld, "{words}");
    assert!(
        words.contains("configmaps") && words.contains("/held is held by its finalizer example.org/keep"),
        "{words}"
    );
    assert_eq!(
        stage.kubectl(&["get", "configmap", "held", "-o", "jsonpath={.metadata.finalizers[0]}"]),
        "example.org/keep"
    );

    // Nothing new gets in, and the plan says why.
    let plan = stage.try_plan(&stage.config_map("web", &json!({})), false).await;
    let error: ProviderError = plan.err().expect("no plan for a namespace that goes away");
    let (code, words) = rejected(&error);
    assert_eq!(code, Code::BeingDeleted, "{words}");

    stage.kubectl(&["patch", "configmap", "held", "--type=merge", "--patch", r#"{"metadata":{"finalizers":null}}"#]);
    stage.remove(&namespace, &uid).await;
    assert!(stage.observe(&namespace).await.is_none());
}

#[tokio::test]
async fn a_namespace_with_somebody_elses_objects_stays_and_they_are_named() {
    let Some(stage) = Stage::settled("a_namespace_with_somebody_elses_objects_stays").await else { return };
    let namespace = stage.namespace_resource();
    let uid = stage.observe(&namespace).await.unwrap().object;
    stage.deploy(&stage.config_map("ours", &json!({"A": "1"}))).await;
    let theirs = |kind: &str, api: &str, name: &str, rest: &Json| {
        let mut manifest = rest.clone();
        (manifest["apiVersion"], manifest["kind"]) = (json!(api), json!(kind));
        manifest["metadata"]["name"] = json!(name);
        manifest["metadata"]["namespace"] = json!(stage.namespace);
        stage.control.apply(&manifest.to_string()).unwrap();
    };
    let pod = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "example.test/a:1"}]}});
    let workload = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": pod}});
    let claim = json!({"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none",
        "resources": {"requests": {"storage": "1Gi"}}}});
    let other = json!({"metadata": {"labels": {"freehold.dev/stack": uuid::Uuid::new_v4().to_string()}}});
    let token_of = |account: &str| json!({"kubernetes.io/service-account.name": account});
    let bait = json!({"type": "Opaque", "metadata": {"annotations": token_of("default")}});
    theirs("ConfigMap", "v1", "settings", &json!({"data": {"A": "theirs"}}));
    theirs("ConfigMap", "v1", "neighbours", &other);
    theirs("PersistentVolumeClaim", "v1", "photos", &claim);
    theirs("Secret", "v1", "looks-like-a-token", &bait);
    theirs("Secret", "v1", "shop--tls", &json!({"stringData": {"A": "theirs"}}));
    theirs("StatefulSet", "apps/v1", "database", &workload);
    theirs("DaemonSet", "apps/v1", "agent", &workload);
    // What the cluster's own controllers put there.
    let token =
        json!({"type": "kubernetes.io/service-account-token", "metadata": {"annotations": token_of("default")}});
    theirs("Secret", "v1", "token", &token);
    for certificate in ["web".to_owned(), "w".repeat(62)] {
        let issued = json!({"metadata": {"annotations": {"cert-manager.io/certificate-name": certificate}}});
        theirs("Secret", "v1", &freehold_graph::expand::names::part(&certificate, "tls"), &issued);
    }

    let refused = stage.delete(&namespace, Some(&uid)).await.unwrap_err();
    let ProviderError::Rejected(Problem { code, message, lines: detail, .. }) = &refused else { panic!("{refused:?}") };
    assert_eq!(*code, Code::NamespaceShared);
    assert!(message.contains(&stage.namespace), "{message}");
    let expected = [
        "configmap neighbours",
        "configmap settings",
        "daemonset agent",
        "persistentvolumeclaim photos",
        "secret looks-like-a-token",
        "secret shop--tls",
        "statefulset database",
    ];
    assert_eq!(*detail, expected);
    assert!(mark_of_deletion(&stage).is_empty(), "the namespace isn't going");
    assert_eq!(stage.kubectl(&["get", "configmap", "settings", "-o", "jsonpath={.data.A}"]), "theirs");
    assert_eq!(stage.kubectl(&["get", "configmap", "ours", "-o", "jsonpath={.data.A}"]), "1");

    for object in expected {
        let (kind, name) = object.split_once(' ').unwrap();
        assert!(stage.kubectl(&["get", kind, name, "-o", "name"]).trim().ends_with(name), "{object} is still there");
        stage.kubectl(&["delete", kind, name, "--wait=false"]);
    }
    stage.remove(&namespace, &uid).await;
    assert!(stage.observe(&namespace).await.is_none());
}

#[tokio::test]
async fn a_namespace_that_is_already_going_is_waited_for_whatever_is_in_it() {
    let Some(stage) = Stage::settled("a_namespace_that_is_already_going_is_waited_for").await else { return };
    let namespace = stage.namespace_resource();
    let uid = stage.observe(&namespace).await.unwrap().object;
    let held = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "theirs", "namespace": stage.namespace, "finalizers": ["example.org/keep"]},
    });
    stage.control.apply(&held.to_string()).unwrap();
    stage.control.kubectl(&["delete", "namespace", &stage.namespace, "--wait=false"]).unwrap();
    assert!(!mark_of_deletion(&stage).is_empty());
    let release = r#"{"metadata":{"finalizers":null}}"#;
    let mut context = stage.context();
    context.deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(8);
    let task = freehold_engine::Task::Delete { lookup: (&namespace).into(), object: Some(uid.clone()) };
    let waited = freehold_engine::Provider::perform(&stage.provider, &context, &task).await.unwrap_err();
    assert_eq!(rejected(&waited).0, Code::DeletionHeld, "it is waited for, and not refused");
    stage.kubectl(&["patch", "configmap", "theirs", "--type=merge", "--patch", release]);
    stage.remove(&namespace, &uid).await;
    assert!(stage.observe(&namespace).await.is_none());
}

/// Since when the stage's namespace is being deleted.
fn mark_of_deletion(stage: &Stage) -> String {
    let namespace = ["get", "namespace", &stage.namespace, "-o", "jsonpath={.metadata.deletionTimestamp}"];
    stage.control.kubectl(&namespace).unwrap()
}

#[tokio::test]
async fn a_host_that_another_platforms_stack_serves_is_refused_and_one_that_people_serve_is_told() {
    let test = "a_host_that_another_platforms_stack_serves_is_refused";
    let (Some(ours), Some(theirs)) = (Stage::settled(test).await, Stage::settled(test).await) else { return };
    let host = format!("{}.example.org", ours.namespace);
    let route = |stage: &Stage, gateway: &str, hosts: &[&str]| {
        let api = ("gateway.networking.k8s.io/v1", "HTTPRoute");
        let parents = json!([{"name": gateway, "namespace": "gateways"}]);
        let rest = json!({"spec": {"parentRefs": parents, "hostnames": hosts}});
        stage.resource(ResourceKind::HttpRoute, api, "web", &rest)
    };
    theirs.deploy(&route(&theirs, "main", &[&host])).await;
    let refused = ours.try_plan(&route(&ours, "main", &[&host]), false).await.err().unwrap();
    let (code, words) = rejected(&refused);
    assert_eq!(code, Code::NameClaimed, "{words}");
    assert!(words.contains(&format!("{host} is taken by httproute {}/web", theirs.namespace)), "{words}");
    // Whoever serves a host is not kept from changing its route, and another gateway is another address.
    theirs.deploy(&route(&theirs, "main", &[&host, &format!("www.{host}")])).await;
    assert_eq!(ours.plan(&route(&ours, "other", &[&host])).await.preview.notes, [] as [&str; 0]);
    // A plan that was made before the others came is too late.
    let own = format!("own.{host}");
    let plan = ours.plan(&route(&ours, "main", &[&own])).await;
    theirs.deploy(&route(&theirs, "main", &[&host, &own])).await;
    let refused = ours.apply(&route(&ours, "main", &[&own]), &plan).await.unwrap_err();
    assert_eq!(rejected(&refused).0, Code::NameClaimed);

    theirs.kubectl(&["label", "httproute", "web", "freehold.dev/stack-"]);
    let plan = ours.plan(&route(&ours, "main", &[&host])).await;
    let told = format!("{host} is also served by httproute {}/web", theirs.namespace);
    assert!(plan.preview.notes[0].starts_with(&told), "{:?}", plan.preview.notes);
}
