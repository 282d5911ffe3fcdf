//! Objects of a stack: planned, made, changed, left alone.

use freehold_graph::ResourceKind;
use freehold_plan::observation::Ownership;
use freehold_problem::Code;
use serde_json::json;

use crate::stage::{Stage, json};

#[tokio::test]
async fn a_stack_is_planned_before_its_namespace_exists_and_comes_out_as_planned() {
    let Some(stage) = Stage::new("a_stack_is_planned_before_its_namespace_exists").await else { return };
    let deployment = stage.deployment("web", |_| {});
    let claim = stage.resource(
        ResourceKind::PersistentVolumeClaim,
        ("v1", "PersistentVolumeClaim"),
        "data",
        &json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
    );
    let service = stage.resource(
        ResourceKind::ClusterService,
        ("v1", "Service"),
        "web",
        &json!({"spec": {"selector": {"app.kubernetes.io/name": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}}),
    );
    let limits = stage.resource(
        ResourceKind::LimitRange,
        ("v1", "LimitRange"),
        "freehold",
        &json!({"spec": {"limits": [{"type": "Container", "default": {"memory": "1024Mi"}}]}}),
    );
    let route = stage.resource(
        ResourceKind::HttpRoute,
        ("gateway.networking.k8s.io/v1", "HTTPRoute"),
        "web",
        &json!({"spec": {
            "parentRefs": [{"name": "main", "namespace": "gateways"}],
            "hostnames": ["acme.example.org"],
            "rules": [{"backendRefs": [{"name": "web", "port": 80}]}],
        }}),
    );
    let resources = [stage.namespace_resource(), deployment, claim, service, limits, route];
    let mut planned = Vec::new();
    for resource in &resources {
        let plan = stage.plan(resource).await;
        assert!(plan.observed.is_none());
        let untried = plan.preview.notes.iter().find(|note| !note.contains("no default storage class"));
        assert_eq!(untried, None, "{} was tried out", resource.id);
        planned.push(plan);
    }
    // What a whole field of ours gets as defaults is foretold, too.
    assert_eq!(planned[5].leaf("/spec/rules/0/matches/0/path/value"), "/");
    assert_eq!(planned[4].leaf("/spec/limits/0/default/memory"), "1Gi", "quantities are the server's");
    for (resource, plan) in resources.iter().zip(&planned) {
        stage.apply(resource, plan).await.unwrap();
        let seen = stage.observe(resource).await.unwrap();
        assert_eq!(seen.ownership, Ownership::Ours);
        assert_eq!(json(&seen.body), json(&plan.preview.body), "{} came out as it was foretold", resource.id);
        assert_eq!(seen.foreign_fields, [], "{} has nothing of others", resource.id);
    }
}

#[tokio::test]
async fn without_a_scratch_namespace_the_plan_says_what_was_not_tried_out() {
    let Some(mut stage) = Stage::new("without_a_scratch_namespace").await else { return };
    stage.facts.scratch_namespace = None;
    let bare = stage.as_user(&crate::fixture::access(stage.control.admin()));
    let plan = bare.plan(&bare.deployment("web", |_| {})).await;
    assert!(plan.preview.notes[0].starts_with("not tried out: namespace"), "{:?}", plan.preview.notes);
    assert!(plan.preview.notes[0].contains("no scratch namespace"));
    assert_eq!(plan.leaf("/spec/replicas"), 0);
}

#[tokio::test]
async fn a_change_names_the_fields_and_a_second_time_there_is_nothing_to_do() {
    let Some(stage) = Stage::settled("a_change_names_the_fields").await else { return };
    stage.deploy(&stage.deployment("web", |_| {})).await;
    let changed = stage.deployment("web", |manifest| {
        manifest["spec"]["template"]["spec"]["containers"][0]["image"] = json!("example.test/web:2");
        // The same in other words: no change.
        manifest["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("0.1");
    });
    let plan = stage.deploy(&changed).await;
    assert_eq!(plan.fields(), ["spec.template.spec.containers[web].image"]);
    let field = &plan.preview.fields.as_ref().unwrap()[0];
    assert_eq!(json(field.before.as_ref().unwrap()), "example.test/web:1");
    assert_eq!(json(field.after.as_ref().unwrap()), "example.test/web:2");
}

#[tokio::test]
async fn a_removed_field_shows_the_default_that_comes_back() {
    let Some(stage) = Stage::settled("a_removed_field_shows_the_default").await else { return };
    let with = stage.deployment("web", |manifest| {
        manifest["spec"]["minReadySeconds"] = json!(5);
        manifest["spec"]["progressDeadlineSeconds"] = json!(60);
    });
    stage.deploy(&with).await;
    let plan = stage.deploy(&stage.deployment("web", |_| {})).await;
    assert_eq!(plan.fields(), ["spec.minReadySeconds", "spec.progressDeadlineSeconds"]);
    let fields = plan.preview.fields.as_ref().unwrap();
    assert_eq!(fields[0].after, None, "no default");
    assert_eq!(json(fields[1].after.as_ref().unwrap()), 600, "the server's default");
}

#[tokio::test]
async fn items_of_lists_are_told_apart_by_their_keys() {
    let Some(stage) = Stage::settled("items_of_lists_are_told_apart").await else { return };
    let deployment = |env: serde_json::Value| {
        stage.deployment("web", |manifest| manifest["spec"]["template"]["spec"]["containers"][0]["env"] = env)
    };
    stage.deploy(&deployment(json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]))).await;
    // Somebody adds a variable of their own: not ours, not drift.
    stage.kubectl(&["set", "env", "deployment/web", "THEIRS=x"]);
    let next = deployment(json!([{"name": "B", "value": "3"}]));
    let plan = stage.deploy(&next).await;
    let env = "spec.template.spec.containers[web].env";
    assert_eq!(plan.fields(), [format!("{env}[A]"), format!("{env}[B].value")]);
    let env = &stage.live(&next)["spec"]["template"]["spec"]["containers"][0]["env"];
    assert_eq!(*env, json!([{"name": "B", "value": "3"}, {"name": "THEIRS", "value": "x"}]));
}

#[tokio::test]
async fn what_others_change_beside_our_fields_is_no_drift_and_in_them_it_is() {
    let Some(stage) = Stage::settled("what_others_change_beside_our_fields").await else { return };
    let deployment = stage.deployment("web", |_| {});
    stage.deploy(&deployment).await;
    let before = stage.observe(&deployment).await.unwrap();
    stage.kubectl(&["annotate", "deployment/web", "example.org/note=theirs"]);
    stage.kubectl(&["label", "deployment/web", "team=blue"]);
    stage.kubectl(&["set", "env", "deployment/web", "DEBUG=hunter2"]);
    stage.kubectl(&["rollout", "restart", "deployment/web"]);
    let sidecar =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "spy", "image": "example.test/spy:1"}]}}}});
    stage.kubectl(&["patch", "deployment", "web", "--patch", &sidecar.to_string()]);
    let after = stage.observe(&deployment).await.unwrap();
    assert_eq!(before.fingerprint(), after.fingerprint());
    assert_eq!(stage.plan(&deployment).await.fields(), Vec::<&str>::new());
    // But it is told, without a value.
    let told: Vec<String> =
        after.foreign_fields.iter().map(|field| format!("{}: {}", field.manager, field.path)).collect();
    let expected = [
        "kubectl-annotate: metadata.annotations.example.org/note",
        "kubectl-label: metadata.labels.team",
        "kubectl-patch: spec.template.spec.containers[spy]",
        "kubectl-set: spec.template.spec.containers[web].env[DEBUG]",
    ];
    assert_eq!(told, expected);
    assert_eq!(before.foreign_fields, [], "nobody had done anything");

    stage.kubectl(&["scale", "deployment/web", "--replicas=3"]);
    let after = stage.observe(&deployment).await.unwrap();
    assert_ne!(before.fingerprint(), after.fingerprint());
    let plan = stage.plan(&deployment).await;
    assert_eq!(plan.fields(), ["spec.replicas"]);
    let conflict = &plan.preview.conflicts[0];
    assert_eq!((conflict.path.as_str(), conflict.manager.as_str()), ("spec.replicas", "kubectl"));
    // Only where it was named, it is taken back.
    let refused = stage.apply(&deployment, &plan).await.unwrap_err();
    let (code, words) = crate::stage::rejected(&refused);
    assert_eq!(code, Code::FieldConflict, "{words}");
    assert!(words.contains("spec.replicas is managed by kubectl"), "{words}");
    stage.deploy_as(&deployment, true).await;
    assert_eq!(stage.live(&deployment)["spec"]["replicas"], 0);
}

#[tokio::test]
async fn a_write_of_a_process_that_died_may_arrive_late_and_is_not_taken_for_somebody_elses() {
    let Some(stage) = Stage::settled("a_write_of_a_process_that_died_may_arrive_late").await else { return };
    stage.deploy(&stage.config_map("web", &json!({"RELEASE": "1"}))).await;
    let second = stage.config_map("web", &json!({"RELEASE": "2"}));
    let planned = stage.plan(&second).await;
    // What this process is about to act on.
    stage.observe(&second).await.unwrap();
    let before = stage.as_user(&crate::fixture::access(stage.control.admin()));
    let late = before.apply(&second, &planned).await.unwrap();
    assert_eq!(stage.apply(&second, &planned).await.unwrap().object, late.object);
}

#[tokio::test]
async fn what_cannot_be_changed_is_a_replacement_with_its_fields() {
    let Some(stage) = Stage::settled("what_cannot_be_changed_is_a_replacement").await else { return };
    stage.deploy(&stage.deployment("web", |_| {})).await;
    let other = stage.deployment("web", |manifest| {
        manifest["spec"]["selector"]["matchLabels"]["more"] = json!("x");
        manifest["spec"]["template"]["metadata"]["labels"]["more"] = json!("x");
    });
    let plan = stage.plan(&other).await;
    assert_eq!(plan.preview.immutable, ["spec.selector"]);
    assert_eq!(plan.leaf("/spec/selector/matchLabels/more"), "x");
    assert!(plan.fields().contains(&"spec.selector.matchLabels.more"), "{:?}", plan.fields());
    stage.remove(&other, plan.uid()).await;
    stage.deploy(&other).await;

    let claim = |size: &str, mode: &str| {
        let spec = json!({"spec": {"accessModes": [mode], "resources": {"requests": {"storage": size}}}});
        stage.resource(ResourceKind::PersistentVolumeClaim, ("v1", "PersistentVolumeClaim"), "data", &spec)
    };
    stage.deploy(&claim("1Gi", "ReadWriteOnce")).await;
    let plan = stage.plan(&claim("1Gi", "ReadWriteMany")).await;
    assert_eq!(plan.preview.immutable, ["spec"]);
    assert_eq!(plan.fields(), ["spec.accessModes"]);
}

#[tokio::test]
async fn a_secret_is_compared_by_digests_and_a_plan_reveals_nothing() {
    let Some(stage) = Stage::settled("a_secret_is_compared_by_digests").await else { return };
    stage.secrets.set("key", "hunter2");
    stage.secrets.set("other", "swordfish");
    let data =
        json!({"KEY": {"$secret": {"stored": "key"}}, "OTHER": {"$secret": {"stored": "other"}}, "LEVEL": "info"});
    let secret = stage.secret("web", &data);
    stage.deploy(&secret).await;
    assert_eq!(stage.live(&secret)["data"]["KEY"], "aHVudGVyMg==");
    let seen = stage.observe(&secret).await.unwrap();
    let text = format!("{:?} {}", seen, seen.body);
    for told in ["hunter2", "aHVudGVyMg", "swordfish"] {
        assert!(!text.contains(told), "{text}");
    }
    assert_eq!(json(&seen.body)["data"]["LEVEL"], "info");

    stage.secrets.set("key", "correct horse");
    let plan = stage.plan(&secret).await;
    assert_eq!(plan.fields(), ["data.KEY"]);
    assert!(!format!("{:?}", plan.preview).contains("Y29ycmVjd"), "nor what it becomes");
    stage.deploy(&secret).await;

    // Somebody changes a value: the digest written beside it doesn't count any more.
    stage.kubectl(&["patch", "secret", "web", "--patch", r#"{"data":{"OTHER":"ZXZpbA=="}}"#]);
    let plan = stage.plan(&secret).await;
    assert_eq!(plan.fields(), ["data.OTHER"]);
    assert_eq!(plan.preview.conflicts[0].path, "data.OTHER");
    let shown = format!("{:?} {:?}", plan.preview, plan.observed);
    assert!(!shown.contains("ZXZpbA") && !shown.contains("evil"), "{shown}");
    stage.deploy_as(&secret, true).await;
    assert_eq!(stage.live(&secret)["data"]["OTHER"], "c3dvcmRmaXNo");
}

#[tokio::test]
async fn a_secret_without_a_value_yet_is_left_open() {
    let Some(stage) = Stage::new("a_secret_without_a_value_yet").await else { return };
    let secret = stage.secret("web", &json!({"KEY": {"$secret": {"stored": "later"}}}));
    let plan = stage.plan(&secret).await;
    assert_eq!(plan.leaf("/data/KEY"), json!({"$unknown": null}));
    let deployment = stage.deployment("web", |manifest| {
        manifest["spec"]["template"]["metadata"]["annotations"] =
            json!({"freehold.dev/credentials": {"$checksum": {"KEY": {"$secret": {"stored": "later"}}}}});
    });
    let plan = stage.plan(&deployment).await;
    let open = plan.leaf("/spec/template/metadata/annotations/freehold.dev~1credentials");
    assert_eq!(open, json!({"$unknown": null}));
    stage.deploy(&stage.namespace_resource()).await;
    stage.secrets.set("later", "now");
    stage.deploy(&secret).await;
    let plan = stage.deploy(&deployment).await;
    let digest = plan.leaf("/spec/template/metadata/annotations/freehold.dev~1credentials/$digest");
    let live = &stage.live(&deployment)["spec"]["template"]["metadata"]["annotations"]["freehold.dev/credentials"];
    assert_eq!(*live, digest);
}

#[tokio::test]
async fn pull_credentials_and_certificates_are_tried_out_without_their_contents() {
    let Some(stage) = Stage::new("pull_credentials_are_tried_out").await else { return };
    stage.secrets.set("registry", r#"{"auths":{"registry.example.org":{}}}"#);
    let rest = json!({
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": {"$secret": {"stored": "registry"}}},
    });
    let secret = stage.resource(ResourceKind::ClusterSecret, ("v1", "Secret"), "freehold-registry", &rest);
    let plan = stage.plan(&secret).await;
    assert_eq!(plan.preview.notes, Vec::<String>::new());
    stage.deploy(&stage.namespace_resource()).await;
    stage.deploy(&secret).await;
    stage.secrets.set("registry", r#"{"auths":{}}"#);
    assert_eq!(stage.deploy(&secret).await.fields(), ["data..dockerconfigjson"]);
}
