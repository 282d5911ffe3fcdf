//! The reasons why something isn't ready, on a real control plane with Pods that fail in every way.

use freehold_engine::Readiness;
use freehold_graph::ResourceKind;
use freehold_problem::Code;
use freehold_testkit::kubernetes::NODE_CPUS;
use serde_json::{Value as Json, json};

use crate::fixture::{Fixture, SOON, is_failed, waits_with, words};

/// Whether it is told as failed with this code and these words.
fn fails_with<'a>(code: &'a str, text: &'a str) -> impl FnMut(&Readiness) -> bool + 'a {
    let code = Code::parse(code).expect("a code");
    move |readiness| matches!(readiness, Readiness::Failed(failure) if failure.code == Some(code) && failure.to_string().contains(text))
}

fn fail(way: &str) -> Json {
    json!({"env": [{"name": "FREEHOLD_TEST_FAIL", "value": way}]})
}

#[tokio::test]
async fn a_deployment_and_its_service_get_ready() {
    let Some(fixture) = Fixture::new("a_deployment_and_its_service_get_ready").await else { return };
    let spec = json!({"spec": {"selector": fixture.labels("web", "service"), "ports": [{"port": 80}]}});
    fixture.put("v1", "Service", "web", &spec);
    assert_eq!(
        fixture.readiness(ResourceKind::ClusterService, "web").await,
        Readiness::Ready,
        "without a deployment nobody is meant to answer"
    );
    fixture.control.apply(&fixture.deployment(&fail("not-ready")).to_string()).unwrap();
    fixture.until(ResourceKind::ClusterService, "web", waits_with("no pod behind it is ready")).await;
    fixture.control.apply(&fixture.deployment(&json!({"env": []})).to_string()).unwrap();
    fixture.until(ResourceKind::Deployment, "web", |readiness| *readiness == Readiness::Ready).await;
    fixture.until(ResourceKind::ClusterService, "web", |readiness| *readiness == Readiness::Ready).await;
    assert_eq!(fixture.readiness(ResourceKind::Namespace, &fixture.namespace).await, Readiness::Ready);
}

#[tokio::test]
async fn a_deployment_of_no_replicas_is_ready() {
    let Some(fixture) = Fixture::new("a_deployment_of_no_replicas_is_ready").await else { return };
    let mut deployment = fixture.deployment(&json!({}));
    deployment["spec"]["replicas"] = json!(0);
    fixture.control.apply(&deployment.to_string()).unwrap();
    fixture.until(ResourceKind::Deployment, "web", |readiness| *readiness == Readiness::Ready).await;
}

#[tokio::test]
async fn an_image_that_is_not_there_is_named_and_given_up() {
    let Some(fixture) = Fixture::new("an_image_that_is_not_there_is_named_and_given_up").await else { return };
    fixture.control.apply(&fixture.deployment(&fail("image-pull")).to_string()).unwrap();
    let told = fixture.until(ResourceKind::Deployment, "web", is_failed).await;
    let told = words(&told);
    assert!(told.starts_with("FH0607: 0 of 1 ready: the image can't be pulled: example.test/web:1"), "{told}");
    assert!(told.contains("not found"), "{told}");
}

#[tokio::test]
async fn a_crash_loop_is_told_with_exit_code_and_restarts() {
    let Some(fixture) = Fixture::new("a_crash_loop_is_told_with_exit_code_and_restarts").await else { return };
    fixture.control.apply(&fixture.deployment(&fail("crash-loop")).to_string()).unwrap();
    let told = words(&fixture.until(ResourceKind::Deployment, "web", is_failed).await);
    assert!(told.starts_with("FH0706: 0 of 1 ready: it keeps failing, restarted 3 times so far"), "{told}");
    assert!(told.contains("exit code 1 after"), "{told}");
    // The simulated node has no logs, and says so instead of keeping the reason back.
    assert!(told.contains("\n  │ (its log can't be read: "), "{told}");
}

#[tokio::test]
async fn a_container_that_needed_too_much_memory_is_told_with_its_limit() {
    let Some(fixture) = Fixture::new("a_container_that_needed_too_much_memory_is_told_with_its_limit").await else {
        return;
    };
    let mut container = fail("oom");
    container["resources"] = json!({"limits": {"memory": "64Mi"}});
    fixture.control.apply(&fixture.deployment(&container).to_string()).unwrap();
    // Two restarts: it may still come up.
    fixture.until(ResourceKind::Deployment, "web", waits_with("its limit of 64Mi and was killed (OOMKilled)")).await;
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_waited_for_and_then_given_up() {
    let Some(fixture) = Fixture::new("a_secret_that_is_not_there_is_waited_for_and_then_given_up").await else {
        return;
    };
    fixture.control.apply(&fixture.deployment(&fail("config")).to_string()).unwrap();
    fixture.until(ResourceKind::Deployment, "web", waits_with("secret \"missing\" not found")).await;
    fixture.until(ResourceKind::Deployment, "web", fails_with("FH1221", "secret \"missing\" not found")).await;
}

#[tokio::test]
async fn a_failing_probe_is_told_in_the_words_of_its_event() {
    let Some(fixture) = Fixture::new("a_failing_probe_is_told_in_the_words_of_its_event").await else { return };
    fixture.control.apply(&fixture.deployment(&fail("not-ready")).to_string()).unwrap();
    let probe = "it runs and is not ready: Readiness probe failed: HTTP probe failed with statuscode: 503";
    fixture.until(ResourceKind::Deployment, "web", waits_with(probe)).await;
}

#[tokio::test]
async fn a_pod_for_which_no_node_has_room_is_told_in_the_schedulers_words() {
    let Some(fixture) = Fixture::new("a_pod_for_which_no_node_has_room_is_told_in_the_schedulers_words").await else {
        return;
    };
    let greed = json!({"resources": {"requests": {"cpu": (NODE_CPUS + 1).to_string()}}});
    fixture.control.apply(&fixture.deployment(&greed).to_string()).unwrap();
    fixture.until(ResourceKind::Deployment, "web", waits_with("no node fits its pod: 0/3 nodes are available")).await;
}

#[tokio::test]
async fn a_quota_that_lets_no_pod_in_is_given_up_before_any_deadline() {
    let Some(fixture) = Fixture::new("a_quota_that_lets_no_pod_in_is_given_up_before_any_deadline").await else {
        return;
    };
    fixture.put("v1", "ResourceQuota", "freehold", &json!({"spec": {"hard": {"requests.cpu": "100m"}}}));
    fixture
        .control
        .wait("the quota is counted", crate::fixture::SOON, || {
            let quota = fixture.control.get(&["resourcequota", "freehold", "--namespace", &fixture.namespace])?;
            Ok(quota.pointer("/status/hard").is_some())
        })
        .unwrap();
    let container = json!({"resources": {"requests": {"cpu": "500m"}}});
    fixture.control.apply(&fixture.deployment(&container).to_string()).unwrap();
    let quota = "the namespace's quota lets no pod in: exceeded quota: freehold, requested: requests.cpu=500m";
    fixture.until(ResourceKind::Deployment, "web", waits_with(quota)).await;
    fixture.until(ResourceKind::Deployment, "web", fails_with("FH0202", quota)).await;
}

#[tokio::test]
async fn a_quotas_refusal_counts_no_more_once_the_quota_has_room() {
    let Some(fixture) = Fixture::new("a_quotas_refusal_counts_no_more_once_the_quota_has_room").await else { return };
    let hard = |pods: &str| fixture.put("v1", "ResourceQuota", "freehold", &json!({"spec": {"hard": {"pods": pods}}}));
    let counted = |pods: &str| {
        let quota = fixture.control.get(&["resourcequota", "freehold", "--namespace", &fixture.namespace])?;
        Ok(quota.pointer("/status/hard/pods") == Some(&json!(pods)))
    };
    hard("0");
    fixture.control.wait("the quota is counted", crate::fixture::SOON, || counted("0")).unwrap();
    fixture.control.apply(&fixture.deployment(&json!({})).to_string()).unwrap();
    fixture.until(ResourceKind::Deployment, "web", fails_with("FH0202", "exceeded quota: freehold")).await;
    // The cluster's own pause before it tries again is as long as the quota was full.
    hard("1");
    fixture.control.wait("the quota is counted", crate::fixture::SOON, || counted("1")).unwrap();
    let mut told = Vec::new();
    let done = |readiness: &Readiness| {
        told.push(readiness.clone());
        *readiness == Readiness::Ready
    };
    fixture.until(ResourceKind::Deployment, "web", done).await;
    assert!(!told.iter().any(is_failed), "{told:?}");
}

#[tokio::test]
async fn what_the_old_pod_says_of_a_secret_that_was_put_back_is_no_evidence() {
    let name = "what_the_old_pod_says_of_a_secret_that_was_put_back_is_no_evidence";
    let Some(fixture) = Fixture::new(name).await else { return };
    for way in ["config", "image-pull", "crash-loop"] {
        fixture.control.apply(&fixture.deployment(&fail(way)).to_string()).unwrap();
        fixture.until(ResourceKind::Deployment, "web", is_failed).await;
        // A deploy that changes something else: the Pod's own words are from before it.
        fixture.until_after_a_change(|told| matches!(told, Readiness::Waiting(_))).await;
        assert!(is_failed(&fixture.readiness_after(std::time::Duration::from_secs(3600)).await), "{way}: made by it");
    }
}

#[tokio::test]
async fn a_rollout_whose_time_was_over_before_the_deploy_gets_its_own() {
    let Some(fixture) = Fixture::new("a_rollout_whose_time_was_over_before_the_deploy_gets_its_own").await else {
        return;
    };
    let mut deployment = fixture.deployment(&fail("not-ready"));
    deployment["spec"]["progressDeadlineSeconds"] = json!(2);
    fixture.control.apply(&deployment.to_string()).unwrap();
    fixture.until(ResourceKind::Deployment, "web", fails_with("FH0703", "not ready after 2 s")).await;
    fixture.until_after_a_change(waits_with("it runs and is not ready")).await;
}

#[tokio::test]
async fn an_object_that_is_being_deleted_tells_since_when_and_what_holds_it() {
    let name = "an_object_that_is_being_deleted_tells_since_when_and_what_holds_it";
    let Some(fixture) = Fixture::new(name).await else { return };
    fixture.control.apply(&fixture.deployment(&json!({})).to_string()).unwrap();
    fixture.until(ResourceKind::Deployment, "web", |readiness| *readiness == Readiness::Ready).await;
    let here = ["--namespace", &fixture.namespace];
    let hold = |pods: &str, finalizers: &Json| {
        let patch = json!({"metadata": {"finalizers": finalizers}}).to_string();
        fixture.control.kubectl(&[&["patch", pods, "--type=merge", "--patch", &patch], &here[..]].concat()).unwrap();
    };
    let pods = [&["get", "pods", "--output=name"], &here[..]].concat();
    let pod = fixture.control.kubectl(&pods).unwrap().trim().to_owned();
    hold(&pod, &json!(["example.org/keep"]));
    let delete = ["delete", "deployment", "web", "--cascade=foreground", "--wait=false"];
    fixture.control.kubectl(&[&delete, &here[..]].concat()).unwrap();
    let held = |readiness: &Readiness| {
        let words = words(readiness);
        is_failed(readiness)
            && words.starts_with("FH1209: it is being deleted, since 20")
            && words.contains(&format!("pod {}/", fixture.namespace))
            && words.contains("is held by its finalizer example.org/keep")
    };
    fixture.until(ResourceKind::Deployment, "web", held).await;
    hold(&pod, &Json::Null);
}

#[tokio::test]
async fn what_waits_in_a_namespace_that_is_being_deleted_says_so_as_long_as_that_lasts() {
    let name = "what_waits_in_a_namespace_that_is_being_deleted_says_so_as_long_as_that_lasts";
    let Some(fixture) = Fixture::new(name).await else { return };
    fixture.put("v1", "ConfigMap", "held", &json!({"metadata": {"finalizers": ["example.org/keep"]}}));
    fixture.control.apply(&fixture.deployment(&fail("not-ready")).to_string()).unwrap();
    fixture.until(ResourceKind::Deployment, "web", waits_with("it runs and is not ready")).await;
    fixture.control.kubectl(&["delete", "namespace", &fixture.namespace, "--wait=false"]).unwrap();
    let said = format!("FH1209: its namespace {} is being deleted, since 20", fixture.namespace);
    let is_said = |readiness: &Readiness| is_failed(readiness) && words(readiness).starts_with(&said);
    fixture.until(ResourceKind::Deployment, "web", is_said).await;
    let all = ["deployments", "--namespace", &fixture.namespace];
    let is_gone = || Ok(fixture.control.get(&all)?["items"].as_array().is_some_and(Vec::is_empty));
    fixture.control.wait("the Deployment goes with its namespace", SOON, is_gone).unwrap();
    let absent = fixture.readiness(ResourceKind::Deployment, "web").await;
    assert!(is_said(&absent), "{absent:?}");
    let free = r#"{"metadata":{"finalizers":null}}"#;
    fixture
        .control
        .kubectl(&["patch", "configmap", "held", "--namespace", &fixture.namespace, "--type=merge", "--patch", free])
        .unwrap();
}

#[tokio::test]
async fn a_pod_that_pod_security_refuses_is_given_up_with_its_words() {
    let Some(fixture) = Fixture::new("a_pod_that_pod_security_refuses_is_given_up_with_its_words").await else {
        return;
    };
    let label = "pod-security.kubernetes.io/enforce=restricted";
    fixture.control.kubectl(&["label", "namespace", &fixture.namespace, label]).unwrap();
    fixture.control.apply(&fixture.deployment(&json!({})).to_string()).unwrap();
    fixture.until(ResourceKind::Deployment, "web", fails_with("FH1220", "violates PodSecurity \"restricted")).await;
}

#[tokio::test]
async fn a_rollout_whose_time_is_over_is_given_up_with_what_hinders_it() {
    let Some(fixture) = Fixture::new("a_rollout_whose_time_is_over_is_given_up_with_what_hinders_it").await else {
        return;
    };
    let mut deployment = fixture.deployment(&fail("not-ready"));
    deployment["spec"]["progressDeadlineSeconds"] = json!(2);
    fixture.control.apply(&deployment.to_string()).unwrap();
    let late = fails_with("FH0703", "not ready after 2 s, its deadline; 0 of 1 ready: it runs");
    fixture.until(ResourceKind::Deployment, "web", late).await;
}

#[tokio::test]
async fn while_an_update_hangs_the_old_pod_is_counted_apart() {
    let Some(fixture) = Fixture::new("while_an_update_hangs_the_old_pod_is_counted_apart").await else { return };
    fixture.control.apply(&fixture.deployment(&json!({})).to_string()).unwrap();
    fixture.until(ResourceKind::Deployment, "web", |readiness| *readiness == Readiness::Ready).await;
    fixture.control.apply(&fixture.deployment(&fail("image-pull")).to_string()).unwrap();
    let told = words(&fixture.until(ResourceKind::Deployment, "web", is_failed).await);
    assert!(told.starts_with("FH0607: 0 of 1 ready, 1 old one still there: the image can't be pulled"), "{told}");
}

#[tokio::test]
async fn what_is_gone_or_bears_another_mark_is_not_ready() {
    let Some(fixture) = Fixture::new("what_is_gone_or_bears_another_mark_is_not_ready").await else { return };
    let gone = fixture.readiness(ResourceKind::ConfigMap, "web").await;
    assert_eq!(words(&gone), "it does not exist");
    let mut foreign = fixture.object("v1", "ConfigMap", "web", &json!({}));
    foreign["metadata"]["labels"] = json!({});
    fixture.control.apply(&foreign.to_string()).unwrap();
    let foreign = fixture.readiness(ResourceKind::ConfigMap, "web").await;
    assert!(is_failed(&foreign) && words(&foreign).contains("without this stack's ownership label"), "{foreign:?}");
    fixture.put("v1", "ConfigMap", "web", &json!({}));
    assert_eq!(fixture.readiness(ResourceKind::ConfigMap, "web").await, Readiness::Ready);
}

#[tokio::test]
async fn a_volume_that_nobody_makes_is_told_and_one_that_waits_for_its_pod_is_ready() {
    let name = "a_volume_that_nobody_makes_is_told_and_one_that_waits_for_its_pod_is_ready";
    let Some(fixture) = Fixture::new(name).await else { return };
    let class = |name: &str, mode: &str| {
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
            "provisioner": "example.test/nobody", "volumeBindingMode": mode,
        })
    };
    let (late, now) = (format!("late-{}", fixture.namespace), format!("now-{}", fixture.namespace));
    fixture.control.apply(&class(&late, "WaitForFirstConsumer").to_string()).unwrap();
    fixture.control.apply(&class(&now, "Immediate").to_string()).unwrap();
    let claim = |class: &str| {
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class,
            "resources": {"requests": {"storage": "1Gi"}}}})
    };
    for (name, class) in [("late", &late), ("now", &now), ("none", &"nothing-of-that-name".to_owned())] {
        fixture.put("v1", "PersistentVolumeClaim", name, &claim(class));
    }
    let kind = ResourceKind::PersistentVolumeClaim;
    assert_eq!(fixture.readiness(kind, "late").await, Readiness::Ready);
    fixture.until(kind, "now", waits_with("no volume is bound to it yet")).await;
    fixture.until(kind, "none", waits_with("there is no storage class nothing-of-that-name")).await;
    fixture.control.kubectl(&["delete", "storageclass", &late, &now]).unwrap();
}

/// Writes what a controller would.
fn status(fixture: &Fixture, what: &str, status: &Json) {
    let patch = json!({"status": status}).to_string();
    let arguments =
        ["patch", what, "--namespace", &fixture.namespace, "--subresource=status", "--type=merge", "--patch", &patch];
    fixture.control.kubectl(&arguments).unwrap();
}

fn condition(kind: &str, value: &str, reason: &str, message: &str, since: &str) -> Json {
    json!({"type": kind, "status": value, "reason": reason, "message": message, "lastTransitionTime": since,
        "observedGeneration": 1})
}

const LONG_AGO: &str = "2020-01-01T00:00:00Z";

#[tokio::test]
async fn a_route_says_what_its_gateway_does_not_say() {
    let Some(fixture) = Fixture::new("a_route_says_what_its_gateway_does_not_say").await else { return };
    let kind = ResourceKind::HttpRoute;
    let parent = json!({"name": "main", "namespace": fixture.namespace});
    fixture.put("gateway.networking.k8s.io/v1", "HTTPRoute", "web", &json!({"spec": {"parentRefs": [parent]}}));
    let told = fixture.readiness(kind, "web").await;
    let missing = format!("parent gateway {}/main does not exist", fixture.namespace);
    assert_eq!(told, Readiness::failed_with(Code::RouteRefused, missing));

    let gateway = json!({"spec": {"gatewayClassName": "none", "listeners": [
        {"name": "http", "port": 80, "protocol": "HTTP"}]}});
    fixture.put("gateway.networking.k8s.io/v1", "Gateway", "main", &gateway);
    let told = fixture.readiness(kind, "web").await;
    assert!(matches!(&told, Readiness::Waiting(words) if words.contains("is not accepted: Pending")), "{told:?}");

    let route = |accepted: Json, resolved: Json| {
        status(
            &fixture,
            "httproute/web",
            &json!({"parents": [
                // Somebody else's parent is none of our business.
                {"parentRef": {"name": "other"}, "controllerName": "example.test/other", "conditions":
                    [condition("Accepted", "False", "NoMatchingParent", "", LONG_AGO)]},
                {"parentRef": parent, "controllerName": "example.test/gateway", "conditions": [accepted, resolved]},
            ]}),
        );
    };
    let good = |kind: &str| condition(kind, "True", kind, "", LONG_AGO);
    let closed = "No listener lets this namespace in";
    route(condition("Accepted", "False", "NotAllowedByListeners", closed, LONG_AGO), good("ResolvedRefs"));
    let told = fixture.readiness(kind, "web").await;
    assert!(fails_with("FH1223", "NotAllowedByListeners: No listener lets this namespace in")(&told), "{told:?}");

    route(good("Accepted"), condition("ResolvedRefs", "False", "BackendNotFound", "no service web", LONG_AGO));
    let told = fixture.readiness(kind, "web").await;
    assert!(waits_with("BackendNotFound: no service web")(&told), "{told:?}");

    route(good("Accepted"), good("ResolvedRefs"));
    assert_eq!(fixture.readiness(kind, "web").await, Readiness::Ready);

    // A new generation that the controller hasn't looked at: what it says is about the old one.
    let changed = json!({"spec": {"parentRefs": [parent], "hostnames": ["web.example.org"]}});
    fixture.put("gateway.networking.k8s.io/v1", "HTTPRoute", "web", &changed);
    let told = fixture.readiness(kind, "web").await;
    assert!(waits_with("not yet reconciled by example.test/gateway")(&told), "{told:?}");
}

#[tokio::test]
async fn a_certificate_tells_its_challenge_and_a_failed_one_is_given_up() {
    let Some(fixture) = Fixture::new("a_certificate_tells_its_challenge_and_a_failed_one_is_given_up").await else {
        return;
    };
    let kind = ResourceKind::Certificate;
    let spec = json!({"spec": {"secretName": "web-tls", "dnsNames": ["web.example.org"],
        "issuerRef": {"kind": "ClusterIssuer", "name": "main"}}});
    fixture.put("cert-manager.io/v1", "Certificate", "web", &spec);
    assert!(words(&fixture.readiness(kind, "web").await).contains("not yet reconciled by cert-manager"));

    let issuing = condition("Ready", "False", "DoesNotExist", "Issuing certificate", LONG_AGO);
    status(&fixture, "certificate/web", &json!({"conditions": [issuing]}));
    assert!(waits_with("not issued yet: DoesNotExist: Issuing certificate")(&fixture.readiness(kind, "web").await));

    let challenge = json!({"spec": {"dnsName": "web.example.org", "key": "k", "token": "t", "type": "HTTP-01",
        "url": "https://acme.example/1", "authorizationURL": "https://acme.example/2",
        "issuerRef": {"kind": "ClusterIssuer", "name": "main"}, "solver": {}}});
    fixture.put("acme.cert-manager.io/v1", "Challenge", "web-1", &challenge);
    status(
        &fixture,
        "challenge/web-1",
        &json!({"reason": "wrong status code '404', expected '200'", "state": "pending"}),
    );
    let told = fixture.readiness(kind, "web").await;
    assert!(waits_with("challenge is not solved: wrong status code '404'")(&told), "{told:?}");

    let failed = condition("Issuing", "False", "Failed", "the order was refused: rateLimited", LONG_AGO);
    status(&fixture, "certificate/web", &json!({"conditions": [failed]}));
    let told = fixture.readiness(kind, "web").await;
    assert!(fails_with("FH1224", "rateLimited")(&told), "{told:?}");

    status(&fixture, "certificate/web", &json!({"conditions": [condition("Ready", "True", "Ready", "", LONG_AGO)]}));
    assert_eq!(fixture.readiness(kind, "web").await, Readiness::Ready);
}

#[tokio::test]
async fn listeners_of_a_stacks_own_are_ready_when_the_gateway_takes_them() {
    let Some(fixture) = Fixture::new("listeners_of_a_stacks_own_are_ready_when_the_gateway_takes_them").await else {
        return;
    };
    let kind = ResourceKind::ListenerSet;
    let spec = json!({"spec": {"parentRef": {"name": "main"}, "listeners":
        [{"name": "web", "hostname": "web.example.org", "port": 80, "protocol": "HTTP"}]}});
    fixture.put("gateway.networking.k8s.io/v1", "ListenerSet", "web", &spec);
    let told = fixture.readiness(kind, "web").await;
    assert!(fails_with("FH1223", "main does not exist")(&told) || waits_with("not yet reconciled")(&told), "{told:?}");
    let listener =
        |accepted: Json| json!([{"name": "web", "attachedRoutes": 0, "supportedKinds": [], "conditions": [accepted]}]);
    let refused = condition("Accepted", "False", "NotAllowed", "the gateway allows no listener sets", LONG_AGO);
    let conflicted = condition("Accepted", "False", "HostnameConflict", "taken by acme", LONG_AGO);
    status(&fixture, "listenerset/web", &json!({"conditions": [refused], "listeners": listener(conflicted)}));
    let told = fixture.readiness(kind, "web").await;
    assert!(fails_with("FH1223", "NotAllowed: the gateway allows no listener sets")(&told), "{told:?}");
    assert!(words(&told).contains("listener web: HostnameConflict: taken by acme"), "{told:?}");
    let good = |kind: &str| condition(kind, "True", kind, "", LONG_AGO);
    let conditions = json!([good("Accepted"), good("Programmed")]);
    status(&fixture, "listenerset/web", &json!({"conditions": conditions, "listeners": listener(good("Accepted"))}));
    assert_eq!(fixture.readiness(kind, "web").await, Readiness::Ready);
}

#[tokio::test]
async fn a_postgres_cluster_tells_its_phase() {
    let Some(fixture) = Fixture::new("a_postgres_cluster_tells_its_phase").await else { return };
    let kind = ResourceKind::CloudNativePg;
    fixture.put(
        "postgresql.cnpg.io/v1",
        "Cluster",
        "main",
        &json!({"spec": {"instances": 2, "storage": {"size": "1Gi"}}}),
    );
    assert!(waits_with("is CloudNativePG running?")(&fixture.readiness(kind, "main").await));
    // The definitions that the tests have know no status subresource: the operator's words are written as they are.
    let phase = |phase: &str, ready: u32| {
        let patch = json!({"status": {"phase": phase, "readyInstances": ready}}).to_string();
        let patch = ["--type=merge", "--patch", &patch, "--namespace", &fixture.namespace];
        let with_status = [&["patch", "clusters.postgresql.cnpg.io/main", "--subresource=status"], &patch[..]].concat();
        let plain = [&["patch", "clusters.postgresql.cnpg.io/main"], &patch[..]].concat();
        fixture.control.kubectl(&with_status).or_else(|_| fixture.control.kubectl(&plain)).unwrap();
    };
    phase("Setting up primary", 0);
    assert!(waits_with("0 of 2 ready: Setting up primary")(&fixture.readiness(kind, "main").await));
    phase("Cluster in healthy state", 1);
    assert!(waits_with("1 of 2 ready")(&fixture.readiness(kind, "main").await));
    phase("Cluster in healthy state", 2);
    assert_eq!(fixture.readiness(kind, "main").await, Readiness::Ready);
}

#[tokio::test]
async fn a_disruption_budget_is_counted_and_an_autoscaler_needs_what_it_scales() {
    let test = "a_disruption_budget_is_counted_and_an_autoscaler_needs_what_it_scales";
    let Some(fixture) = Fixture::new(test).await else { return };
    let selector = json!({"matchLabels": fixture.labels("web", "service")});
    fixture.put(
        "policy/v1",
        "PodDisruptionBudget",
        "web",
        &json!({"spec": {"maxUnavailable": 1, "selector": selector}}),
    );
    fixture.until(ResourceKind::PodDisruptionBudget, "web", |told| *told == Readiness::Ready).await;
    let scaled = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}});
    let spec = json!({"spec": {"minReplicas": 1, "maxReplicas": 3, "scaleTargetRef": scaled, "metrics": [metric]}});
    fixture.put("autoscaling/v2", "HorizontalPodAutoscaler", "web", &spec);
    fixture.until(ResourceKind::HorizontalPodAutoscaler, "web", waits_with("it can't scale: FailedGetScale")).await;
    // This control plane has no metrics API.
    let mut deployment = fixture.deployment(&json!({"resources": {"requests": {"cpu": "100m"}}}));
    deployment["spec"]["replicas"] = json!(1);
    fixture.control.apply(&deployment.to_string()).unwrap();
    let no_api = fails_with("FH1226", "the cluster has no metrics API (metrics-server)");
    fixture.until(ResourceKind::HorizontalPodAutoscaler, "web", no_api).await;
}
