//! What manifests may hold: written by anybody, applied with Freehold's own rights.

use freehold_check::{Diagnostic, source_in};
use freehold_problem::Code;
use freehold_spec::{Files, Language};

const SOURCE: &str = r#"[app]
name = "shop"

[service.web]
image   = "ghcr.io/acme/shop"
command = ["shop"]
port    = 8080
replicas = 2

[route.web]
service = "web"
hosts   = ["${stack.name}.${target.domain}"]

[manifest.extra]
file = "deploy/extra.yaml"
"#;

fn found(yaml: &str) -> Vec<Diagnostic> {
    let files = Files::from([("deploy/extra.yaml".to_owned(), yaml.to_owned())]);
    source_in(Language::NEWEST, SOURCE, &files).1
}

#[track_caller]
fn only(code: Code, yaml: &str) -> Diagnostic {
    let mut found = found(yaml);
    assert_eq!(found.iter().map(|one| one.code).collect::<Vec<_>>(), [code], "{yaml}");
    let told = found.remove(0);
    let place = told.labels[0].span;
    assert_eq!(&SOURCE[place.start..place.end], "\"deploy/extra.yaml\"");
    assert!(told.is_error() && told.message.contains("deploy/extra.yaml"), "{told:?}");
    told
}

fn object(api_version: &str, kind: &str, more: &str) -> String {
    format!("apiVersion: {api_version}\nkind: {kind}\nmetadata:\n  name: a\n{more}")
}

#[test]
fn what_only_says_what_an_object_is_like_is_fine() {
    for yaml in [
        object("v1", "ConfigMap", "data: { A: '1' }\n"),
        object("example.org/v1", "Widget", "  labels: { a: b }\n  annotations: {}\nspec: { \"$ref\": x }\n"),
        object("example.org/v1", "Widget", "spec: { \"$secret\": x, other: z }\n"),
        object("v1", "Service", "spec: { selector: { app.kubernetes.io/name: web } }\n"),
        object("example.org/v1", "PriceList", "spec: {}\n"),
    ] {
        assert_eq!(found(&yaml), [], "{yaml}");
    }
}

#[test]
fn a_file_that_is_not_there_is_told_at_its_name() {
    let (_, found) = source_in(Language::NEWEST, SOURCE, &Files::new());
    assert_eq!(found[0].code, Code::BadManifest);
    assert!(found[0].message.contains("there is no file deploy/extra.yaml"), "{}", found[0].message);
}

#[test]
fn what_is_no_object_of_a_cluster_is_told_with_its_line() {
    for (yaml, words) in [
        ("", "has no documents"),
        ("a: [", "deploy/extra.yaml:"),
        ("\n\nenabled: no\n", "deploy/extra.yaml:3: `no`"),
        ("- a\n", "is no object"),
        ("just text", "is no object"),
        ("kind: ConfigMap\nmetadata: { name: a }\n", "apiVersion"),
        ("apiVersion: /v1\nkind: A\nmetadata: { name: a }\n", "apiVersion"),
        ("apiVersion: a/b/c\nkind: A\nmetadata: { name: a }\n", "apiVersion"),
        ("apiVersion: v1\nmetadata: { name: a }\n", "kind"),
        ("apiVersion: v1\nkind: ../Secret\nmetadata: { name: a }\n", "kind"),
        ("apiVersion: v1\nkind: ConfigMap\n", "metadata.name"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: { generateName: a- }\n", "metadata.name"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: { name: 7 }\n", "metadata.name"),
        ("apiVersion: v1\nkind: List\nitems: []\nmetadata: { name: a }\n", "a list"),
    ] {
        let told = only(Code::BadManifest, yaml);
        assert!(told.message.contains(words), "{yaml}: {}", told.message);
    }
    for name in ["../../secrets/x", "a/b", "a?b=c", "A", "-a", "a..b", "a%2f", &"a".repeat(254)] {
        only(Code::BadManifest, &format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: {name:?} }}\n"));
    }
}

#[test]
fn what_confines_stacks_or_has_a_table_of_its_own_is_refused_with_what_to_write_instead() {
    for (api_version, kind, instead) in [
        ("v1", "Secret", "`[secret]`"),
        ("v1", "ServiceAccount", "makes them itself"),
        ("v1", "Namespace", "makes them itself"),
        ("v1", "ResourceQuota", "`[tier]`"),
        ("v1", "LimitRange", "makes them itself"),
        ("v1", "PersistentVolumeClaim", "`volumes`"),
        ("v1", "Pod", "`[service]`"),
        ("v1", "Endpoints", "addresses"),
        ("apps/v1", "Deployment", "`[service]`"),
        ("apps/v1beta7", "Whatever", "`[service]`"),
        ("batch/v1", "CronJob", "`[job]`"),
        ("networking.k8s.io/v1", "NetworkPolicy", "makes them itself"),
        ("networking.k8s.io/v1", "Ingress", "`[route]`"),
        ("gateway.networking.k8s.io/v1", "HTTPRoute", "`[route]`"),
        ("cert-manager.io/v1", "Certificate", "`[route]`"),
        ("postgresql.cnpg.io/v1", "Cluster", "`[database]`"),
        ("rbac.authorization.k8s.io/v1", "RoleBinding", "makes them itself"),
        ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "administrator"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "administrator"),
        ("storage.k8s.io/v1", "StorageClass", "administrator"),
    ] {
        let told = only(Code::NotDeliverable, &object(api_version, kind, ""));
        let help = told.help.unwrap_or_default();
        assert!(help.contains(instead), "{kind}: {help}");
    }
}

#[test]
fn where_an_object_is_and_whose_is_not_for_a_manifest_to_say() {
    for more in [
        "  namespace: kube-system\n",
        "  ownerReferences: []\n",
        "  finalizers: [example.org/keep]\n",
        "  uid: x\n",
        "  resourceVersion: '1'\n",
        "  managedFields: []\n",
        "  labels: { freehold.dev/stack: 00000000-0000-0000-0000-000000000001 }\n",
        "  annotations: { freehold.dev/adoptable: 'true' }\n",
        "  labels: { a: 1 }\n",
        "  annotations: text\n",
        "status: {}\n",
        "spec: { template: { metadata: { labels: { freehold.dev/component: service } } } }\n",
        "spec: { list: [{ freehold.dev/credentials: x }] }\n",
    ] {
        only(Code::NotDeliverable, &object("example.org/v1", "Widget", more));
    }
}

#[test]
fn what_would_be_read_as_a_secret_of_freeholds_is_refused_wherever_it_stands() {
    for leaf in ["$secret", "$template", "$checksum", "$digest", "$fraction", "$unknown"] {
        for more in [
            format!("spec: {{ password: {{ \"{leaf}\": {{ target: registry }} }} }}\n"),
            format!("spec: [{{ a: [{{ \"{leaf}\": x }}] }}]\n"),
            // Fields without a value are left out.
            format!("data: {{ \"{leaf}\": {{ stored: session-key }}, other: ~ }}\n"),
        ] {
            only(Code::NotDeliverable, &object("v1", "ConfigMap", &more));
        }
    }
}

#[test]
fn two_objects_of_one_name_are_told_as_other_parts_are() {
    let one = object("example.org/v1", "Widget", "");
    let twice = found(&format!("{one}---\n{one}"));
    assert_eq!(twice.iter().map(|one| one.code).collect::<Vec<_>>(), [Code::SameObject]);
    for place in ["deploy/extra.yaml:1", "deploy/extra.yaml:6", "the widget a of a cluster"] {
        assert!(twice[0].message.contains(place), "{}", twice[0].message);
    }
    let web = object("v1", "ConfigMap", "").replace("name: a", "name: web");
    assert_eq!(found(&web).iter().map(|one| one.code).collect::<Vec<_>>(), [Code::SameObject]);
}

#[test]
fn files_that_are_too_large_together_are_not_read() {
    let files = Files::from([("a".to_owned(), "#".repeat(freehold_spec::LARGEST_FILES))]);
    let (app, found) = source_in(Language::NEWEST, SOURCE, &files);
    assert_eq!((app, found[0].code), (None, Code::TooLarge));
}
