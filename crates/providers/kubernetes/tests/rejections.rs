//! Bad luck and other people's rules: each is told with what, where, why and what to do next.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use freehold_engine::{CallWaits, Context, Provider, ProviderError, Task};
use freehold_graph::ResourceKind;
use freehold_problem::{Code, Problem};
use freehold_provider_kubernetes::{Access, Cluster, KubernetesProvider};
use freehold_testkit::kubernetes::{ControlPlane, Options};
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use crate::fixture::{access, facts};
use crate::stage::{Stage, json as shown, rejected};

/// A webhook for ConfigMaps of one namespace, at an address where nobody is.
fn webhook(stage: &Stage) -> Json {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": stage.namespace},
        "webhooks": [{
            "name": "policy.example.org",
            "clientConfig": {"url": "https://127.0.0.1:9/policy"},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": stage.namespace}},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 2,
        }],
    })
}

/// An admission policy for ConfigMaps of one namespace, in force.
async fn policy(stage: &Stage, kind: &str, spec: &Json) {
    let mut spec = spec.clone();
    spec["matchConstraints"] = json!({
        "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}],
    });
    spec["matchConditions"] =
        json!([{"name": "here", "expression": format!("request.namespace == '{}'", stage.namespace)}]);
    let api = "admissionregistration.k8s.io/v1";
    let name = &stage.namespace;
    let mut binding = json!({"policyName": name});
    if kind.starts_with("Validating") {
        binding["validationActions"] = json!(["Deny"]);
    }
    for object in [
        json!({"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}),
        json!({"apiVersion": api, "kind": format!("{kind}Binding"), "metadata": {"name": name}, "spec": binding}),
    ] {
        stage.control.apply(&object.to_string()).unwrap();
    }
}

/// Asks until the API server has taken notice of a rule.
async fn until<T>(mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(Instant::now() < limit, "the rule is not in force");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn remove(stage: &Stage, kinds: &[&str]) {
    for kind in kinds {
        let _ = stage.control.kubectl(&["delete", kind, &stage.namespace, "--ignore-not-found"]);
    }
}

#[tokio::test]
async fn a_webhook_that_is_down_is_named_and_waited_for() {
    let Some(stage) = Stage::settled("a_webhook_that_is_down").await else { return };
    let config = stage.config_map("web", &json!({"A": "1"}));
    let plan = stage.plan(&config).await;
    stage.control.apply(&webhook(&stage).to_string()).unwrap();
    let error = until(async || stage.try_plan(&config, false).await.err()).await;
    let ProviderError::Retryable { problem: Problem { message, .. }, .. } = &error else { panic!("{error:?}") };
    assert!(message.contains("policy.example.org") && message.contains("configmap"), "{message}");
    let error = stage.apply(&config, &plan).await.unwrap_err();
    assert!(
        matches!(&error, ProviderError::Retryable { problem: Problem { message, .. }, .. } if message.contains("policy.example.org")),
        "{error:?}"
    );
    assert!(stage.observe(&config).await.is_none());
    remove(&stage, &["validatingwebhookconfiguration"]);
}

#[tokio::test]
async fn a_policy_that_says_no_is_named_with_its_words() {
    let Some(stage) = Stage::settled("a_policy_that_says_no").await else { return };
    let spec = json!({"validations": [{"expression": "false", "message": "no more of these, please"}]});
    let config = stage.config_map("web", &json!({"A": "1"}));
    let planned = stage.plan(&config).await;
    policy(&stage, "ValidatingAdmissionPolicy", &spec).await;
    let error = until(async || stage.try_plan(&config, false).await.err()).await;
    let (code, words) = rejected(&error);
    assert_eq!(code, Code::AdmissionRefused, "{words}");
    assert!(words.contains(&stage.namespace) && words.contains("no more of these, please"), "{words}");
    let error = stage.apply(&config, &planned).await.unwrap_err();
    assert_eq!(rejected(&error).0, Code::AdmissionRefused);
    remove(&stage, &["validatingadmissionpolicybinding", "validatingadmissionpolicy"]);
}

#[tokio::test]
async fn what_a_policy_adds_is_foretold() {
    let Some(stage) = Stage::settled("what_a_policy_adds_is_foretold").await else { return };
    let kinds = stage.control.kubectl(&["get", "--raw", "/apis/admissionregistration.k8s.io/v1"]).unwrap();
    if !kinds.contains(r#""mutatingadmissionpolicies""#) {
        println!("skipped: what_a_policy_adds_is_foretold: kubernetes: this version has no MutatingAdmissionPolicy");
        return;
    }
    let config = stage.config_map("web", &json!({"A": "1"}));
    stage.deploy(&config).await;
    let spec = json!({
        "reinvocationPolicy": "Never",
        "mutations": [{
            "patchType": "ApplyConfiguration",
            "applyConfiguration": {"expression": "Object{data: {'ADDED': 'by policy', 'A': 'overruled'}}"},
        }],
    });
    policy(&stage, "MutatingAdmissionPolicy", &spec).await;
    let changed = stage.config_map("web", &json!({"A": "2"}));
    let plan = until(async || {
        let plan = stage.plan(&changed).await;
        plan.fields().contains(&"data.ADDED").then_some(plan)
    })
    .await;
    assert_eq!(plan.fields(), ["data.A", "data.ADDED"]);
    assert_eq!(plan.leaf("/data/A"), "overruled", "what comes out, not what is wished for");
    stage.apply(&changed, &plan).await.unwrap();
    let seen = stage.observe(&changed).await.unwrap();
    assert_eq!(shown(&seen.body)["data"]["A"], "overruled");
    assert_eq!(stage.live(&changed)["data"]["ADDED"], "by policy");
    remove(&stage, &["mutatingadmissionpolicybinding", "mutatingadmissionpolicy"]);
}

/// Where what a call waits for can be read.
fn listened(context: &mut Context) -> Arc<Mutex<Option<String>>> {
    let told = Arc::new(Mutex::new(None));
    let heard = Arc::clone(&told);
    context.waits = CallWaits::new(move |reason| *heard.lock().unwrap() = reason);
    told
}

#[tokio::test]
async fn what_holds_a_namespace_is_told_within_seconds() {
    let Some(stage) = Stage::settled("what_holds_a_namespace_is_told_within_seconds").await else { return };
    let held = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "held", "namespace": stage.namespace, "labels": stage.labels(), "finalizers": ["example.org/keep"]},
    });
    stage.control.apply(&held.to_string()).unwrap();
    let namespace = stage.namespace_resource();
    let mut context = stage.context();
    // The time that a namespace has.
    context.deadline = Instant::now() + Duration::from_secs(300);
    let task = Task::Delete { lookup: (&namespace).into(), object: None };
    let told = listened(&mut context);
    let begun = Instant::now();
    let free = async {
        let held = "/held is held by its finalizer example.org/keep";
        let words = until(async || told.lock().unwrap().clone().filter(|words| words.contains(held))).await;
        assert!(begun.elapsed() < Duration::from_secs(120), "long before the time is over");
        assert!(words.starts_with(&format!("namespace {} is being deleted: ", stage.namespace)), "{words}");
        let free = r#"{"metadata":{"finalizers":null}}"#;
        stage.kubectl(&["patch", "configmap", "held", "--type=merge", "--patch", free]);
    };
    let (done, ()) = tokio::join!(stage.provider.perform(&context, &task), free);
    done.unwrap();
    assert!(stage.observe(&namespace).await.is_none());
}

#[tokio::test]
async fn what_holds_a_pod_of_a_deployment_is_told_while_it_is_deleted() {
    let Some(stage) = Stage::settled("what_holds_a_pod_of_a_deployment_is_told").await else { return };
    let web = stage.deployment("web", |manifest| manifest["spec"]["replicas"] = json!(1));
    stage.deploy(&web).await;
    let mut pod = String::new();
    until(async || {
        pod = stage.kubectl(&["get", "pods", "--output=name"]).trim().to_owned();
        (!pod.is_empty()).then_some(())
    })
    .await;
    let hold = |finalizers: &str| {
        let patch = format!(r#"{{"metadata":{{"finalizers":{finalizers}}}}}"#);
        stage.kubectl(&["patch", &pod, "--type=merge", "--patch", &patch]);
    };
    hold(r#"["example.org/keep"]"#);
    let mut context = stage.context();
    context.deadline = Instant::now() + Duration::from_secs(300);
    let task = Task::Delete { lookup: (&web).into(), object: None };
    let told = listened(&mut context);
    let free = async {
        let says = |words: &String| words.contains("pod ") && words.contains("held by its finalizer example.org/keep");
        until(async || told.lock().unwrap().clone().filter(says)).await;
        // Whoever plans meanwhile reads the same, and not that the Deployment waits for what belongs to it.
        let plan = stage.try_plan(&web, false).await.err().expect("no plan for what goes away");
        let (code, words) = rejected(&plan);
        assert_eq!(code, Code::BeingDeleted, "{words}");
        assert!(words.contains("is held by its finalizer example.org/keep"), "{words}");
        assert!(!words.contains("foregroundDeletion"), "{words}");
        hold("null");
    };
    let (done, ()) = tokio::join!(stage.provider.perform(&context, &task), free);
    done.unwrap();
    assert!(stage.observe(&web).await.is_none());
}

#[tokio::test]
async fn a_missing_permission_names_verb_resource_namespace_and_user() {
    let Some(stage) = Stage::settled("a_missing_permission").await else { return };
    let rules = json!([
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]},
    ]);
    let account = stage.control.account_with_rules(&stage.namespace, &rules).unwrap();
    let limited = stage.as_user(&access(&account));
    let user = format!("system:serviceaccount:default:{}", stage.namespace);
    let config = stage.config_map("web", &json!({"A": "1"}));
    let plan = stage.plan(&config).await;

    let error = limited.apply(&config, &plan).await.unwrap_err();
    let (code, words) = rejected(&error);
    assert_eq!(code, Code::NotPermitted, "{words}");
    let expected = format!("not permitted: patch configmaps in namespace {}, for {user}", stage.namespace);
    assert!(words.contains(&expected) && words.contains("freehold target rbac"), "{words}");
    let error = limited.try_plan(&stage.deployment("web", |_| {}), false).await.err().expect("not even a look");
    assert!(rejected(&error).1.contains("not permitted: get deployments.apps in namespace"), "{error:?}");

    let error = limited.provider.owned(Some(stage.stack)).await.unwrap_err();
    assert_eq!(rejected(&error).0, Code::NotPermitted, "a scan that may not look has found nothing out");
}

#[tokio::test]
async fn an_expired_token_is_told() {
    let Some(stage) = Stage::new("an_expired_token_is_told").await else { return };
    let expired = stage.as_user(&access(&stage.control.admin().with_token("expired")));
    let error = expired.try_plan(&expired.namespace_resource(), false).await.err().expect("not let in");
    let (code, words) = rejected(&error);
    assert_eq!(code, Code::ClusterCredentials, "{words}");
    assert!(words.contains("expired"), "{words}");
}

#[tokio::test]
async fn another_cluster_behind_the_same_address_is_refused() {
    let Some(stage) = Stage::new("another_cluster_is_refused").await else { return };
    let mut other = stage.facts.clone();
    other.cluster = "00000000-0000-0000-0000-000000000000".to_owned();
    let elsewhere = Stage::of(stage.control, &access(stage.control.admin()), other);
    let namespace = elsewhere.namespace_resource();
    let plan = stage.plan(&namespace).await;
    let error = elsewhere.apply(&namespace, &plan).await.unwrap_err();
    let (code, words) = rejected(&error);
    assert_eq!(code, Code::WrongCluster, "{words}");
    assert!(words.contains(&stage.facts.cluster), "{words}");
    assert!(stage.observe(&namespace).await.is_none(), "nothing was done");
}

#[tokio::test]
async fn an_invalid_object_is_no_plan_and_the_servers_words_are_kept() {
    let Some(stage) = Stage::new("an_invalid_object_is_no_plan").await else { return };
    let bad = stage.deployment("web", |manifest| {
        manifest["spec"]["replicas"] = json!(-1);
        manifest["spec"]["template"]["spec"]["containers"][0]["name"] = json!("Not A Name");
    });
    let error = stage.try_plan(&bad, false).await.err().expect("no plan");
    let (code, words) = rejected(&error);
    assert_eq!(code, Code::ObjectInvalid, "{words}");
    assert!(words.contains("spec.replicas") && words.contains("spec.template.spec.containers[0].name"), "{words}");
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_no_fault_of_the_plan_and_stops_the_step() {
    let Some(stage) = Stage::settled("a_quota_that_is_used_up").await else { return };
    let quota = json!({"spec": {"hard": {"count/configmaps": "1"}}});
    let quota = stage.resource(ResourceKind::ResourceQuota, ("v1", "ResourceQuota"), "freehold", &quota);
    stage.deploy(&quota).await;
    let config = stage.config_map("web", &json!({"A": "1"}));
    let error = until(async || {
        let plan = stage.plan(&config).await;
        assert_eq!(plan.preview.notes, Vec::<String>::new(), "tried out elsewhere");
        let outcome = stage.apply(&config, &plan).await.err();
        // The quota counts a moment after it was made.
        if outcome.is_none() {
            stage.kubectl(&["delete", "configmap", "web"]);
        }
        outcome
    })
    .await;
    let (code, words) = rejected(&error);
    assert_eq!(code, Code::QuotaUsedUp, "{words}");
    assert!(words.contains("count/configmaps"), "{words}");
}

#[tokio::test]
async fn a_kind_that_is_not_installed_is_said_and_owns_nothing() {
    let test = "a_kind_that_is_not_installed";
    if ControlPlane::for_test(test).is_none() {
        return;
    }
    let start = || ControlPlane::start_with(&Options { bare: true, ..Options::default() }).unwrap();
    let control: &'static ControlPlane = Box::leak(Box::new(tokio::task::spawn_blocking(start).await.unwrap()));
    let cluster = Cluster::connect(&access(control.admin())).await.unwrap();
    let stage = Stage::of(control, &access(control.admin()), facts(&cluster));
    let route = stage.resource(
        ResourceKind::HttpRoute,
        ("gateway.networking.k8s.io/v1", "HTTPRoute"),
        "web",
        &json!({"spec": {"hostnames": ["acme.example.org"]}}),
    );
    let error = stage.try_plan(&route, false).await.err().expect("not \"there is none\"");
    let (code, words) = rejected(&error);
    assert_eq!(code, Code::KindUnknown, "{words}");
    assert!(words.contains("httproutes.gateway.networking.k8s.io") && words.contains("install"), "{words}");
    assert_eq!(stage.owned().await, Vec::<String>::new());
    // What was there once is gone with its definition, and there is nothing left to delete.
    assert!(stage.observe(&route).await.is_none());
    let gone = Task::Delete { lookup: (&route).into(), object: Some("a-uid".to_owned()) };
    stage.provider.perform(&stage.context(), &gone).await.unwrap();
    survives_a_restart(&stage).await;
}

/// The API server goes away in mid-apply, hangs, and comes back.
async fn survives_a_restart(stage: &Stage) {
    stage.deploy(&stage.namespace_resource()).await;
    let config = stage.config_map("web", &json!({"A": "1"}));
    let plan = stage.plan(&config).await;
    let control = stage.control;
    control.freeze_api_server().unwrap();
    // A signal takes its time.
    let answers = || control.kubectl(&["get", "--raw", "/readyz", "--request-timeout=1s"]).is_ok();
    until(async || (!tokio::task::spawn_blocking(answers).await.unwrap()).then_some(())).await;
    let mut context = stage.context();
    context.deadline = Instant::now() + Duration::from_secs(3);
    let frozen = stage.provider.perform(&context, &stage.task(&config, &plan)).await.unwrap_err();
    assert!(matches!(frozen, ProviderError::Retryable { .. } | ProviderError::Unknown(_)), "{frozen:?}");
    control.thaw_api_server().unwrap();
    tokio::task::spawn_blocking(|| control.kill_api_server()).await.unwrap().unwrap();
    context.deadline = Instant::now() + Duration::from_secs(3);
    let away = stage.provider.perform(&context, &stage.task(&config, &plan)).await.unwrap_err();
    let ProviderError::Retryable { problem: Problem { message, .. }, .. } = &away else {
        panic!("nothing was sent: {away:?}")
    };
    assert!(message.contains(control.server()), "{message}");
    let seen = stage.provider.observe(stage.stack, &(&config).into()).await;
    assert!(matches!(seen, Err(ProviderError::Retryable { .. })), "no answer is never \"there is none\": {seen:?}");

    // It comes back while a step is under way.
    let restart = tokio::task::spawn_blocking(|| control.restart_api_server());
    let limit = Instant::now() + Duration::from_secs(60);
    while let Err(error) = stage.apply(&config, &plan).await {
        assert!(Instant::now() < limit, "{error:?}");
        assert!(!matches!(error, ProviderError::Rejected(_)), "{error:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    restart.await.unwrap().unwrap();
    assert_eq!(stage.plan(&config).await.fields(), Vec::<&str>::new());
}

#[tokio::test]
async fn a_kubeconfig_that_runs_programs_or_names_files_is_refused() {
    let connect = async |user: Json, cluster: Json| {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        });
        let access = Access::Kubeconfig(freehold_graph::SecretText::new(config.to_string()));
        let error = Cluster::connect(&access).await.unwrap_err();
        format!("{} {error}\n{}", error.code(), error.help().unwrap())
    };
    let here = json!({"server": "https://127.0.0.1:9"});
    let exec = json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "aws", "interactiveMode": "Never"}});
    let words = connect(exec, here.clone()).await;
    assert!(words.starts_with("FH1203") && words.contains("running aws") && words.contains("target rbac"), "{words}");
    let words = connect(json!({"tokenFile": "/token"}), here).await;
    assert!(words.contains("names files"), "{words}");
    let insecure = json!({"server": "https://127.0.0.1:9", "insecure-skip-tls-verify": true});
    let words = connect(json!({"token": "t"}), insecure).await;
    assert!(words.contains("disables verification"), "{words}");
    for plain in ["http://cluster.example.org", "http://10.0.0.1:8080", "http://127.0.0.1.example.org"] {
        let words = connect(json!({"token": "t"}), json!({"server": plain})).await;
        assert!(words.starts_with("FH1203") && words.contains("without TLS"), "{plain}: {words}");
    }
}

#[tokio::test]
async fn a_cluster_that_is_away_is_told_with_its_address_and_may_come_back() {
    let Some(stage) = Stage::new("a_cluster_that_is_away").await else { return };
    let mut nowhere = stage.control.admin().clone();
    nowhere.server = "https://127.0.0.1:9".to_owned();
    let provider = KubernetesProvider::new(access(&nowhere), stage.facts.clone());
    let config = stage.config_map("web", &json!({}));
    let error = provider.observe(stage.stack, &(&config).into()).await.unwrap_err();
    let ProviderError::Retryable { problem: Problem { message, .. }, .. } = &error else { panic!("{error:?}") };
    assert!(message.contains("https://127.0.0.1:9"), "{message}");
    let task = Task::Delete { lookup: (&config).into(), object: None };
    let error = provider.perform(&stage.context(), &task).await.unwrap_err();
    assert!(matches!(error, ProviderError::Retryable { .. }), "{error:?}");
}
