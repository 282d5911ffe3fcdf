//! Objects of manifests, as they come out of an expansion.

use std::collections::BTreeSet;

use freehold_graph::expand::{ExpandError, KubernetesTarget, LocalTarget, PostgresServer, expand};
use freehold_graph::{AllowedKind, Graph, ResourceId, ResourceKind, Target, Value};
use freehold_spec::{App, Files, Language};
use serde_json::json;

use crate::fixture::{bare, resource, tenant};

const SOURCE: &str = r#"[app]
name = "guestbook"

[service.web]
image   = "ghcr.io/acme/guestbook"
command = ["guestbook"]
port    = 8080

[manifest.extra]
file = "deploy/extra.yaml"
"#;

fn app(yaml: &str) -> App {
    let files = Files::from([("deploy/extra.yaml".to_owned(), yaml.to_owned())]);
    let reading = freehold_spec::read_in(Language::NEWEST, SOURCE, &files);
    assert_eq!(reading.errors, []);
    reading.app.unwrap()
}

fn allowing(kinds: &[(&str, &str, &str)]) -> KubernetesTarget {
    let kind = |(group, plural, kind): &(&str, &str, &str)| {
        let [group, plural, kind] = [group, plural, kind].map(|text| (*text).to_owned());
        AllowedKind { group, plural, kind }
    };
    KubernetesTarget { allowed_kinds: kinds.iter().map(kind).collect(), ..bare() }
}

const WIDGETS: (&str, &str, &str) = ("example.org", "widgets", "Widget");

fn of(yaml: &str, target: KubernetesTarget) -> Graph {
    let app = app(yaml);
    let target = Target::Kubernetes(Box::new(target));
    expand(&app, &tenant(&app, "acme", None), &target).unwrap()
}

fn refused(yaml: &str, target: KubernetesTarget) -> Vec<String> {
    let app = app(yaml);
    let target = Target::Kubernetes(Box::new(target));
    let errors = expand(&app, &tenant(&app, "acme", None), &target).unwrap_err();
    errors.iter().map(ExpandError::to_string).collect()
}

const WIDGET: &str = "\
apiVersion: example.org/v1
kind: Widget
metadata:
  name: main
  labels: { release: prometheus, app.kubernetes.io/name: theirs }
  annotations: { note: hello }
spec: { size: 3, ratio: 0.5, whole: 2.0, list: [a, ~], nothing: ~, deep: { empty: {} } }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: settings }
data: { A: '1' }
";

#[test]
fn an_object_comes_as_it_stands_with_the_stacks_namespace_and_labels() {
    let graph = of(WIDGET, allowing(&[WIDGETS]));
    let widget = resource(&graph, "object.widgets.example.org/main");
    assert_eq!(widget.kind, ResourceKind::KubernetesObject);
    assert_eq!(widget.identity, "acme--guestbook/widgets.example.org/main");
    assert_eq!(widget.kind.row().name(&widget.id, &widget.identity, &widget.body), "widgets.example.org/main");
    let body = serde_json::to_value(&widget.body).unwrap();
    assert_eq!(
        body,
        json!({
            "apiVersion": "example.org/v1",
            "kind": "Widget",
            "metadata": {
                "name": "main",
                "namespace": "acme--guestbook",
                "labels": {
                    "app.kubernetes.io/instance": "acme",
                    "app.kubernetes.io/managed-by": "freehold",
                    "app.kubernetes.io/name": "theirs",
                    "app.kubernetes.io/part-of": "guestbook",
                    "freehold.dev/component": "manifest",
                    "freehold.dev/stack": "01974a2f-0000-7000-8000-000000000001",
                    "release": "prometheus",
                },
                "annotations": {"freehold.dev/key": "guestbook/tenant/acme", "note": "hello"},
            },
            "spec": {"size": 3, "ratio": {"$fraction": "0.5"}, "whole": 2, "list": ["a", null], "deep": {"empty": {}}},
        })
    );
    let again: Value = serde_json::from_value(body).unwrap();
    assert_eq!(again, widget.body, "what is stored is read as it was");
}

#[test]
fn what_others_read_comes_first_and_all_come_after_what_confines_the_stack() {
    let graph = of(WIDGET, allowing(&[WIDGETS]));
    let settings = resource(&graph, "object.configmaps/settings");
    let widget = resource(&graph, "object.widgets.example.org/main");
    let all = ["namespace.main", "limitrange.main", "networkpolicy.deny-all", "serviceaccount.main"];
    for first in all.map(|id| ResourceId(id.to_owned())) {
        assert!(settings.depends_on.contains(&first) && widget.depends_on.contains(&first), "{first}");
    }
    assert!(widget.depends_on.contains(&settings.id) && !settings.depends_on.contains(&widget.id));
}

#[test]
fn a_kind_that_the_target_does_not_allow_is_refused_with_its_place_and_never_one_that_confines_stacks() {
    let words = "manifest.extra (deploy/extra.yaml:1) is a Widget.example.org, which target prod does not allow";
    assert_eq!(refused(WIDGET, bare()), [words]);
    assert_eq!(refused(WIDGET, allowing(&[("example.com", "widgets", "Widget")])), [words]);
    // Whatever the facts of a target say.
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: { name: a }\n";
    assert_eq!(refused(secret, allowing(&[("", "secrets", "Secret")])).len(), 1);
}

#[test]
fn an_object_with_a_name_that_the_stack_has_already_is_told_with_both_places() {
    let web = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: web }\n";
    let [error] = refused(web, bare()).try_into().unwrap();
    for words in ["manifest.extra (deploy/extra.yaml:1)", "service.web", "configmap/acme--guestbook/web"] {
        assert!(error.contains(words), "{words}: {error}");
    }
    let twice = format!("{WIDGET}---\n{WIDGET}");
    assert_eq!(refused(&twice, allowing(&[WIDGETS])).len(), 2);
}

#[test]
fn one_machine_has_nothing_for_them_and_says_so() {
    let app = app(WIDGET);
    let target = Target::Local(LocalTarget {
        name: "local".parse().unwrap(),
        domain: "localhost".to_owned(),
        router_port: 7080,
        postgres: PostgresServer::new("localhost".to_owned(), 5432, 15),
    });
    let graph = expand(&app, &tenant(&app, "acme", None), &target).unwrap();
    let objects: BTreeSet<&ResourceId> =
        graph.resources.values().filter(|one| one.kind == ResourceKind::KubernetesObject).map(|one| &one.id).collect();
    assert!(objects.is_empty());
    assert!(graph.not_enforced.contains(&"objects of manifest extra (one machine)".to_owned()));
}
