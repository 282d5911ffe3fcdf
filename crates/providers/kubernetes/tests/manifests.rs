//! Objects of manifests: of kinds that only the cluster knows.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use freehold_engine::capability::Level;
use freehold_engine::{Changed, Lookup, Provider as _, Readiness};
use freehold_graph::{AllowedKind, Resource, ResourceKind};
use freehold_problem::Code;
use freehold_provider_kubernetes::{Cluster, KubernetesProvider, Requirements, check, discover, rbac, scan_all_groups};
use freehold_testkit::kubernetes::ControlPlane;
use futures::StreamExt;
use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep, timeout};

use crate::fixture::{ACCESS_KINDS, SOON, access};
use crate::stage::{STEP, Stage, json as shown, rejected};

/// The cluster of these tests: definitions that come and go are noticed by whoever deletes a namespace meanwhile.
fn cluster() -> &'static ControlPlane {
    static OWN: OnceLock<ControlPlane> = OnceLock::new();
    OWN.get_or_init(|| ControlPlane::start().unwrap())
}

/// A namespace that is not there yet.
async fn stage(test: &str) -> Option<Stage> {
    // Says why where there can't be one.
    ControlPlane::for_test(test)?;
    Some(Stage::on(cluster()).await)
}

/// With its namespace.
async fn settled(test: &str) -> Option<Stage> {
    let stage = stage(test).await?;
    stage.deploy(&stage.namespace_resource()).await;
    Some(stage)
}

/// A kind that nobody else has: `Widget`, in a group of its own.
struct Widgets {
    control: &'static ControlPlane,
    group: String,
}

impl Widgets {
    fn new(stage: &Stage) -> Self {
        Self { control: stage.control, group: format!("{}.example.org", ControlPlane::unique("widgets")) }
    }

    async fn installed(stage: &Stage) -> Self {
        let widgets = Self::new(stage);
        widgets.install("Namespaced");
        widgets.served(stage).await;
        widgets
    }

    fn install(&self, scope: &str) {
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "size": {"type": "integer"},
                "ratio": {"type": "number"},
                "mode": {"type": "string", "default": "fast"},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                    "items": {"type": "object", "required": ["name"], "properties": {
                        "name": {"type": "string"}, "weight": {"type": "integer"}}}},
            }},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }});
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("widgets.{}", self.group)},
            "spec": {
                "group": self.group,
                "names": {"kind": "Widget", "plural": "widgets", "singular": "widget"},
                "scope": scope,
                "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": schema}}],
            },
        });
        self.control.apply(&definition.to_string()).unwrap();
    }

    /// Until the API server has taken the definition in.
    async fn served(&self, stage: &Stage) {
        let probe = self.widget(stage, "probe", &json!({}));
        let deadline = Instant::now() + SOON;
        while stage.try_plan(&probe, false).await.is_err() {
            assert!(Instant::now() < deadline, "the kind is never served");
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn name(&self) -> String {
        format!("widgets.{}", self.group)
    }

    fn allowed(&self) -> AllowedKind {
        AllowedKind { group: self.group.clone(), plural: "widgets".to_owned(), kind: "Widget".to_owned() }
    }

    fn widget(&self, stage: &Stage, name: &str, spec: &Json) -> Resource {
        let api = format!("{}/v1", self.group);
        stage.resource(ResourceKind::KubernetesObject, (&api, "Widget"), name, &json!({"spec": spec}))
    }

    fn patch(&self, stage: &Stage, name: &str, more: &[&str], change: &Json) {
        let (kind, change) = (self.name(), change.to_string());
        stage.kubectl(&[&["patch", &kind, name, "--type=merge", "--patch", &change], more].concat());
    }
}

impl Drop for Widgets {
    fn drop(&mut self) {
        let kind = ["delete", "customresourcedefinition", &self.name(), "--wait=false", "--ignore-not-found"];
        let _ = self.control.kubectl(&kind);
    }
}

#[tokio::test]
async fn an_object_of_an_unknown_kind_comes_and_changes_as_the_plan_says_and_goes() {
    let Some(stage) = stage("an_object_of_an_unknown_kind_comes_and_changes").await else { return };
    let widgets = Widgets::installed(&stage).await;
    let spec = json!({"size": 1, "ratio": {"$fraction": "0.5"}, "free": {"a": [1, {"b": null}], "c": {"$fraction": "1.5"}},
        "parts": [{"name": "a", "weight": 1}, {"name": "b"}]});
    let main = widgets.widget(&stage, "main", &spec);
    // Before there is a namespace: tried out in the scratch namespace.
    let plan = stage.plan(&main).await;
    assert_eq!(plan.preview.notes, Vec::<String>::new());
    assert_eq!(plan.leaf("/spec/ratio"), json!({"$fraction": "0.5"}));
    stage.deploy(&stage.namespace_resource()).await;
    stage.deploy(&main).await;
    assert_eq!(stage.live(&main).pointer("/spec/ratio"), Some(&json!(0.5)));

    let mut changed = shown(&main.body);
    (changed["spec"]["size"], changed["spec"]["parts"][1]["weight"]) = (json!(2), json!(7));
    let changed = Resource { body: serde_json::from_value(changed).unwrap(), ..main.clone() };
    let plan = stage.deploy(&changed).await;
    assert_eq!(plan.fields(), ["spec.parts", "spec.size"]);

    let cluster = Cluster::connect(&access(stage.control.admin())).await.unwrap();
    let found = scan_all_groups(&cluster, Some(stage.stack)).await.unwrap();
    assert!(found.iter().any(|object| object.kind == format!("widget.{}", widgets.group)), "{found:?}");
    let uid = stage.observe(&changed).await.unwrap().object;
    stage.remove(&changed, &uid).await;
    assert!(stage.observe(&changed).await.is_none());
    stage.remove(&changed, &uid).await;
    let namespace = stage.namespace_resource();
    let uid = stage.observe(&namespace).await.unwrap().object;
    stage.remove(&namespace, &uid).await;
    assert_eq!(scan_all_groups(&cluster, Some(stage.stack)).await.unwrap(), []);
}

#[tokio::test]
async fn a_value_of_the_wrong_type_and_a_field_that_is_none_are_told_and_never_tried_again() {
    let Some(stage) = settled("a_value_of_the_wrong_type_and_a_field_that_is_none").await else { return };
    let widgets = Widgets::installed(&stage).await;
    for (spec, words) in [(json!({"size": "large"}), "size"), (json!({"sise": 1}), "sise")] {
        let begin = Instant::now();
        let refused = stage.try_plan(&widgets.widget(&stage, "main", &spec), false).await.err().unwrap();
        let (code, message) = rejected(&refused);
        assert_eq!(code, Code::ObjectInvalid, "{message}");
        assert!(message.contains(words) && message.contains("Widget"), "{message}");
        assert!(begin.elapsed() < Duration::from_secs(30), "it was tried again");
    }
}

#[tokio::test]
async fn what_the_cluster_has_no_kind_for_is_refused_until_it_is_installed_and_gone_once_it_is_taken_away() {
    let Some(stage) = settled("what_the_cluster_has_no_kind_for_is_refused").await else { return };
    let widgets = Widgets::new(&stage);
    let main = widgets.widget(&stage, "main", &json!({"size": 1}));
    assert!(stage.observe(&main).await.is_none());
    let (code, words) = rejected(&stage.try_plan(&main, false).await.err().unwrap());
    assert_eq!(code, Code::KindUnknown, "{words}");
    assert!(words.contains(&widgets.name()) && words.contains("install what defines it"), "{words}");
    let ready = stage.provider.readiness(stage.stack, &Lookup::from(&main)).await.unwrap();
    assert!(matches!(ready, Readiness::Failed(_)), "{ready:?}");

    widgets.install("Namespaced");
    widgets.served(&stage).await;
    stage.deploy(&main).await;
    let uid = stage.observe(&main).await.unwrap().object;

    stage.control.kubectl(&["delete", "customresourcedefinition", &widgets.name()]).unwrap();
    stage.remove(&main, &uid).await;
    assert!(stage.observe(&main).await.is_none());
}

#[tokio::test]
async fn what_somebody_else_changes_is_drift_and_what_they_add_is_left_alone() {
    let Some(stage) = settled("what_somebody_else_changes_of_a_widget_is_drift").await else { return };
    let widgets = Widgets::installed(&stage).await;
    let main = widgets.widget(&stage, "main", &json!({"size": 1, "parts": [{"name": "a"}]}));
    stage.deploy(&main).await;
    widgets.patch(&stage, "main", &[], &json!({"spec": {"mode": "slow"}, "metadata": {"labels": {"theirs": "x"}}}));
    let plan = stage.plan(&main).await;
    assert_eq!(plan.fields(), Vec::<&str>::new());
    let told: Vec<String> = plan.observed.unwrap().foreign_fields.into_iter().map(|one| one.path).collect();
    assert_eq!(told, ["metadata.labels.theirs", "spec.mode"]);

    widgets.patch(&stage, "main", &[], &json!({"spec": {"size": 9}}));
    let plan = stage.plan(&main).await;
    assert_eq!(plan.fields(), ["spec.size"]);
    assert_eq!(plan.preview.conflicts[0].path, "spec.size");
    let (code, _) = rejected(&stage.apply(&main, &plan).await.unwrap_err());
    assert_eq!(code, Code::FieldConflict, "nothing is taken without being named");
    stage.deploy_as(&main, true).await;
    assert_eq!(stage.live(&main).pointer("/spec/size"), Some(&json!(1)));
    assert_eq!(stage.live(&main).pointer("/spec/mode"), Some(&json!("slow")));
}

#[tokio::test]
async fn an_object_is_ready_when_its_controller_says_so_of_its_present_version() {
    let Some(stage) = settled("an_object_is_ready_when_its_controller_says_so").await else { return };
    let widgets = Widgets::installed(&stage).await;
    let main = widgets.widget(&stage, "main", &json!({"size": 1}));
    stage.deploy(&main).await;
    let ready = async || stage.provider.readiness(stage.stack, &Lookup::from(&main)).await.unwrap();
    assert_eq!(ready().await, Readiness::Ready, "nobody says anything");
    let say = |observed: u32, kind: &str, status: &str| {
        let condition = json!({"type": kind, "status": status, "reason": "Because", "message": "of it"});
        let status = json!({"status": {"observedGeneration": observed, "conditions": [condition]}});
        widgets.patch(&stage, "main", &["--subresource=status"], &status);
    };
    say(1, "Ready", "False");
    assert_eq!(ready().await, Readiness::Waiting("it is not Ready: Because: of it".to_owned()));
    say(1, "Ready", "True");
    assert_eq!(ready().await, Readiness::Ready);
    assert_eq!(stage.plan(&main).await.fields(), Vec::<&str>::new(), "a status is nobody's wish");
    stage.deploy(&widgets.widget(&stage, "main", &json!({"size": 2}))).await;
    assert_eq!(ready().await, Readiness::Waiting("not yet reconciled by its controller".to_owned()));
    say(2, "Stalled", "True");
    assert_eq!(ready().await, Readiness::failed("its controller can't go on: Because: of it"));
}

#[tokio::test]
async fn the_scan_and_the_watch_know_the_kinds_that_the_target_allows() {
    let Some(mut stage) = settled("the_scan_and_the_watch_know_the_kinds_that_the_target_allows").await else {
        return;
    };
    let widgets = Widgets::installed(&stage).await;
    let missing = AllowedKind { plural: "levers".to_owned(), kind: "Lever".to_owned(), ..widgets.allowed() };
    stage.facts.allowed_kinds = BTreeSet::from([widgets.allowed(), missing]);
    stage.provider = KubernetesProvider::new(access(stage.control.admin()), stage.facts.clone());
    stage.deploy(&widgets.widget(&stage, "main", &json!({"size": 0}))).await;
    assert_eq!(stage.owned().await, ["namespace NS", "widget NS/main"]);

    let provider = Arc::new(KubernetesProvider::new(access(stage.control.admin()), stage.facts.clone()));
    let mut changes = provider.watch();
    let mut told = async || loop {
        if let Changed::Object(object) = changes.next().await.unwrap()
            && object.kind == "widget"
            && object.stack == stage.stack
        {
            return object.name;
        }
    };
    // Until the watch, which begins in its own time, tells of it.
    let begins = async {
        for size in 1.. {
            widgets.patch(&stage, "main", &[], &json!({"spec": {"size": size}}));
            if let Ok(name) = timeout(Duration::from_secs(1), told()).await {
                assert_eq!(name, format!("{}/main", stage.namespace));
                return;
            }
        }
    };
    timeout(STEP, begins).await.expect("nobody was told");
}

#[tokio::test]
async fn a_kind_that_the_target_allows_has_to_be_there_in_namespaces_and_granted() {
    let Some(stage) = settled("a_kind_that_the_target_allows_has_to_be_there").await else { return };
    let (widgets, whole) = (Widgets::installed(&stage).await, Widgets::new(&stage));
    whole.install("Cluster");
    let cluster = Cluster::connect(&access(stage.control.admin())).await.unwrap();
    let wanted = |kinds: &[String]| Requirements {
        allowed_kinds: kinds.iter().cloned().collect(),
        ..Requirements::from(&stage.facts)
    };
    let kinds = [widgets.name(), whole.name(), "secrets".to_owned(), format!("levers.{}", widgets.group)];
    let faults = async || discover(&cluster, &wanted(&kinds)).await.unwrap_err().to_string();
    let deadline = Instant::now() + SOON;
    // The definition that was just made may not be served yet.
    while !faults().await.contains("are in no namespace") {
        assert!(Instant::now() < deadline, "{}", faults().await);
        sleep(Duration::from_millis(500)).await;
    }
    let found = faults().await;
    for words in ["no stack may deliver secrets", &format!("has no levers.{}", widgets.group)] {
        assert!(found.contains(words), "{words}: {found}");
    }
    assert!(!found.contains(&widgets.name()), "{found}");

    // What the permissions don't include is told with what includes it, and included is enough.
    let name = ControlPlane::unique("freehold");
    stage.control.apply(&rbac(&name, &name, &BTreeSet::new())).unwrap();
    let account = access(&stage.control.service_account(&name, &name).unwrap());
    let mut limited = stage.as_user(&account);
    limited.facts.allowed_kinds = BTreeSet::from([widgets.allowed()]);
    limited.provider = KubernetesProvider::new(account.clone(), limited.facts.clone());
    let main = widgets.widget(&limited, "main", &json!({"size": 1}));
    let observed = limited.provider.observe(limited.stack, &Lookup::from(&main)).await.unwrap_err();
    assert_eq!(rejected(&observed).0, Code::NotPermitted);
    let as_account = Cluster::connect(&account).await.unwrap();
    let missing = async || {
        let findings = check(&as_account, &limited.facts).await;
        let of_widgets = findings.into_iter().filter(|one| one.subject == "permissions" && one.level == Level::Error);
        of_widgets.map(|one| format!("{} {}", one.message, one.help.unwrap_or_default())).collect::<Vec<_>>()
    };
    let [told] = missing().await.try_into().unwrap();
    assert!(told.contains(&format!("rbac --allow-kind {}", widgets.name())), "{told}");
    stage.control.apply(&rbac(&name, &name, &BTreeSet::from([widgets.name()]))).unwrap();
    let deadline = Instant::now() + SOON;
    while !missing().await.is_empty() {
        assert!(Instant::now() < deadline, "{:?}", missing().await);
        sleep(Duration::from_millis(100)).await;
    }
    limited.deploy(&main).await;
    assert_eq!(limited.owned().await, ["namespace NS", "widget NS/main"]);
    let uid = limited.observe(&main).await.unwrap().object;
    limited.remove(&main, &uid).await;
    stage.control.kubectl(&["delete", "namespace", &name, "--wait=false"]).unwrap();
    stage.control.kubectl(&["delete", ACCESS_KINDS, &name]).unwrap();
}
