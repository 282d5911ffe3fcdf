//! What holds for every definition and every cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use freehold_graph::expand::KubernetesTarget;
use freehold_graph::value::Special;
use freehold_graph::{Graph, ProviderName, ResourceId, ResourceKind, SecretRef, Value};
use proptest::prelude::*;

use crate::fixture::{app, at, bare, containers, expanded, pods, resource, rich, tenant, with_operator};

type Checked = Result<(), TestCaseError>;

/// Longer than what fits into a name with anything beside it.
const LONG: &str = "a-name-that-is-as-long-as-names-may-be-x";

#[derive(Debug, Clone)]
struct Service {
    port: bool,
    health: bool,
    recreate: bool,
    volume: bool,
    writable: bool,
    internet: bool,
    autoscale: bool,
    sidecar: bool,
    init: bool,
    env: Vec<usize>,
}

#[derive(Debug, Clone)]
struct Job {
    scheduled: bool,
    env: Vec<usize>,
}

#[derive(Debug, Clone)]
struct Shape {
    services: Vec<Service>,
    jobs: Vec<Job>,
    routes: bool,
    tier: bool,
}

/// The texts of variables. The last two only where there is a service with a port.
const TEXTS: [&str; 9] = [
    "plain",
    "${database.main.url}",
    "${database.main.name}",
    "${secret.token}",
    "Bearer ${secret.token} of ${stack.name}",
    "${stack.id}-${tier.name}",
    "$${not.a.reference} $(NOR) $$",
    "${service.first.url}/path",
    "${route.site.url}",
];

fn service() -> impl Strategy<Value = Service> {
    let flags = proptest::array::uniform9(any::<bool>());
    (flags, proptest::collection::vec(0..TEXTS.len(), 0..4)).prop_map(|(flags, env)| {
        let [port, health, recreate, volume, writable, internet, autoscale, sidecar, init] = flags;
        Service { port, health, recreate, volume, writable, internet, autoscale, sidecar, init, env }
    })
}

fn shape() -> impl Strategy<Value = Shape> {
    let job = (any::<bool>(), proptest::collection::vec(0..TEXTS.len(), 0..4));
    let jobs = proptest::collection::vec(job.prop_map(|(scheduled, env)| Job { scheduled, env }), 0..3);
    (proptest::collection::vec(service(), 1..4), jobs, any::<bool>(), any::<bool>())
        .prop_map(|(services, jobs, routes, tier)| Shape { services, jobs, routes, tier })
}

fn variables(source: &mut String, table: &str, env: &[usize], shape: &Shape) {
    let _ = writeln!(source, "[{table}.env]");
    for (place, text) in env.iter().enumerate() {
        let text = match TEXTS[*text] {
            text if text.contains("route.") && !(shape.routes && shape.services[0].port) => "plain",
            text if text.contains("service.") && !shape.services[0].port => "plain",
            text => text,
        };
        let _ = writeln!(source, "V{place} = \"{text}\"");
    }
}

fn definition(shape: &Shape) -> String {
    let database = "[database.main]\nextensions = [\"pgcrypto\"]";
    let secret = "[secret.token]\ngenerate = { bytes = 32, as = \"hex\" }";
    let mut source = format!("[app]\nname = \"app\"\n{database}\n{secret}\n");
    for (service, name) in shape.services.iter().zip(["first", "second", LONG]) {
        let _ = writeln!(source, "[service.{name}]\nimage = \"r.example/{name}\"\ncommand = [\"run\"]");
        let flags = [
            (service.port, "port = 8080"),
            (service.health && service.port, "health = { ready = \"/r\", live = \"/l\" }"),
            (service.recreate, "update = \"recreate\""),
            (service.writable, "writable = [\"/tmp\", \"/run\"]"),
            (service.internet, "internet = true"),
            (service.autoscale, "autoscale = { max = 4 }"),
            (service.volume, "volumes = { some-data-that-lasts = { path = \"/data\", size = \"1Gi\" } }"),
        ];
        for (_, line) in flags.iter().filter(|(on, _)| *on) {
            let _ = writeln!(source, "{line}");
        }
        variables(&mut source, &format!("service.{name}"), &service.env, shape);
        for (on, word) in [(service.sidecar, "sidecar"), (service.init, "init")] {
            if on {
                let table = format!("service.{name}.{word}.{word}-with-quite-a-long-name");
                let _ = writeln!(source, "[{table}]\nimage = \"r.example/{word}\"");
                variables(&mut source, &table, &service.env, shape);
            }
        }
    }
    for (job, name) in shape.jobs.iter().zip(["second", LONG]) {
        let _ = writeln!(source, "[job.{name}]\nservice = \"first\"\ncommand = [\"job\"]");
        if job.scheduled {
            let _ = writeln!(source, "schedule = \"0 6 * * 7\"");
        }
        variables(&mut source, &format!("job.{name}"), &job.env, shape);
    }
    if shape.routes && shape.services[0].port {
        let paths = "[{ prefix = \"/\", retries = 2 }, { prefix = \"/s\", timeout = \"6h\" }]";
        let _ = writeln!(
            source,
            "[route.site]\nservice = \"first\"\nhosts = [\"${{stack.name}}.${{target.domain}}\"]\npaths = {paths}"
        );
    }
    source.push_str(
        "[tier.one]\nquota.cpu = \"2\"\nquota.memory = \"1Gi\"\nquota.pods = 9\nservice.first.replicas = 2\n",
    );
    source
}

fn target() -> impl Strategy<Value = KubernetesTarget> {
    let flags = proptest::array::uniform8(any::<bool>());
    flags.prop_map(|[issuer, sets, retries, dns, registry, class, https, operator]| {
        let rich = rich();
        let mut target = if https { rich.clone() } else { bare() };
        (target.gateway.retries, target.gateway.listener_sets) = (retries, sets);
        (target.external_dns, target.registry_credentials) = (dns, registry);
        target.issuer = rich.issuer.clone().filter(|_| issuer);
        target.storage_class = rich.storage_class.clone().filter(|_| class);
        if operator { with_operator(target) } else { target }
    })
}

fn expansion() -> impl Strategy<Value = (Graph, String)> {
    (shape(), target(), prop_oneof![Just("acme"), Just("4711"), Just(LONG)]).prop_map(|(shape, target, name)| {
        let app = app(&definition(&shape));
        let request = tenant(&app, name, shape.tier.then_some("one"));
        let graph = expanded(&app, &request, target.clone());
        let again = expanded(&app, &request, target);
        assert_eq!(graph, again, "the same input gave another graph");
        (graph, name.to_owned())
    })
}

fn in_cluster(kind: ResourceKind) -> bool {
    kind.provider() == ProviderName::Kubernetes
}

fn is_label(name: &str) -> bool {
    let inside = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    !name.is_empty() && name.len() <= 63 && inside && !name.starts_with('-') && !name.ends_with('-')
}

/// The paths of secret leaves.
fn secret_leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Special(_) => found.push(path.to_owned()),
        Value::List(items) => items.iter().for_each(|item| secret_leaves(item, &format!("{path}/-"), found)),
        Value::Map(fields) => {
            fields.iter().for_each(|(name, field)| secret_leaves(field, &format!("{path}/{name}"), found));
        }
        _ => {}
    }
}

/// The names in the metadata of a pod template's or selector's labels that tell a part's Pods from all others.
fn told_apart(labels: &Value) -> BTreeMap<String, Value> {
    let keys = ["freehold.dev/stack", "app.kubernetes.io/name", "freehold.dev/component"];
    keys.iter().filter_map(|key| Some(((*key).to_owned(), labels.get(key)?.clone()))).collect()
}

/// The keyed lists of a type that a body has, with the number of items that have no key or one that another item has, too.
fn badly_keyed(value: &Value, path: &str, kind: ResourceKind, found: &mut Vec<String>) {
    match value {
        Value::Map(fields) => fields.iter().for_each(|(name, field)| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            badly_keyed(field, &path, kind, found);
        }),
        Value::List(items) => {
            let key = kind.row().list_key(path);
            let mut seen = BTreeSet::new();
            for item in items {
                let name = key.map(|key| item.get(key).map(Value::to_string));
                if name.clone().is_some_and(|name| name.is_none_or(|name| !seen.insert(name))) {
                    found.push(path.to_owned());
                }
                let of_item = name.flatten().unwrap_or_default();
                badly_keyed(item, &format!("{path}[{of_item}]"), kind, found);
            }
        }
        _ => {}
    }
}

fn closed(graph: &Graph) -> Checked {
    let edges: BTreeMap<&ResourceId, &BTreeSet<ResourceId>> =
        graph.resources.values().map(|resource| (&resource.id, &resource.depends_on)).collect();
    for needed in edges
        .values()
        .copied()
        .flatten()
        .chain(graph.runs.values().flat_map(|run| run.depends_on.iter().chain(&run.before)))
    {
        prop_assert!(graph.resources.contains_key(needed), "{needed} isn't there");
    }
    let mut done: BTreeSet<&ResourceId> = BTreeSet::new();
    while done.len() < edges.len() {
        let next: Vec<_> = edges
            .iter()
            .filter(|(id, needs)| !done.contains(*id) && needs.iter().all(|need| done.contains(need)))
            .map(|(id, _)| *id)
            .collect();
        prop_assert!(
            !next.is_empty(),
            "a circle among {:?}",
            edges.keys().filter(|id| !done.contains(*id)).collect::<Vec<_>>()
        );
        done.extend(next);
    }
    Ok(())
}

/// What has to be there for a secret to be of use.
fn origin(secret: &SecretRef) -> String {
    match secret {
        SecretRef::Stored(name) => format!("secret.{name}"),
        SecretRef::Derived { .. } => "database.main".to_owned(),
        SecretRef::Target(name) => format!("credentials.{name}"),
    }
}

fn ordered(graph: &Graph) -> Checked {
    let of_resources = graph.resources.values().map(|one| (one.id.clone(), &one.depends_on));
    let of_runs = graph.runs.values().map(|one| (one.id.clone(), &one.depends_on));
    for (id, needs) in of_resources.chain(of_runs) {
        let Some((_, template)) = pods(graph).into_iter().find(|(found, _)| *found == id.0) else {
            let alone = !in_cluster(graph.resources[&id].kind) || id.0 == "namespace.main";
            prop_assert!(
                alone || needs.contains(&ResourceId("namespace.main".to_owned())),
                "{id} isn't after the namespace"
            );
            let body = &graph.resources[&id].body;
            for stored in body.secrets().into_iter().filter(|secret| matches!(secret, SecretRef::Stored(_))) {
                prop_assert!(needs.contains(&ResourceId(origin(stored))), "{id} isn't after {}", origin(stored));
            }
            continue;
        };
        let mut used: BTreeSet<String> = [
            "namespace.main",
            "serviceaccount.main",
            "limitrange.main",
            "networkpolicy.deny-all",
            "networkpolicy.allow-dns",
        ]
        .map(str::to_owned)
        .into();
        used.extend(graph.resources.keys().filter(|id| id.word() == "resourcequota").map(ToString::to_string));
        for container in containers(template) {
            for source in container.get("envFrom").and_then(Value::as_list).unwrap_or_default() {
                for (reference, word) in [("configMapRef", "configmap"), ("secretRef", "credentials")] {
                    let name = at(source, &format!("{reference}/name")).and_then(Value::as_text);
                    let Some(id) = name.map(|name| format!("{word}.{name}")) else { continue };
                    used.extend(resource(graph, &id).body.secrets().into_iter().map(origin));
                    used.insert(id);
                }
            }
            for variable in container.get("env").and_then(Value::as_list).unwrap_or_default() {
                let secret = at(variable, "valueFrom/secretKeyRef/name").and_then(Value::as_text);
                used.extend(secret.map(|name| format!("cluster.{}", name.strip_suffix("-app").unwrap())));
            }
        }
        for volume in at(template, "spec/volumes").and_then(Value::as_list).unwrap_or_default() {
            let claim = at(volume, "persistentVolumeClaim/claimName").and_then(Value::as_text);
            used.extend(claim.map(|name| format!("persistentvolumeclaim.{name}")));
        }
        for one in used {
            prop_assert!(needs.contains(&ResourceId(one.clone())), "{id} isn't after {one}");
        }
    }
    Ok(())
}

fn secret(graph: &Graph) -> Checked {
    for resource in graph.resources.values().filter(|resource| in_cluster(resource.kind)) {
        let mut leaves = Vec::new();
        secret_leaves(&resource.body, "", &mut leaves);
        for leaf in leaves {
            let checksum = leaf == "/spec/template/metadata/annotations/freehold.dev/credentials";
            prop_assert!(
                if checksum {
                    resource.kind == ResourceKind::Deployment
                } else {
                    resource.kind == ResourceKind::ClusterSecret && leaf.starts_with("/data/")
                },
                "{} has a secret at {leaf}",
                resource.id
            );
        }
    }
    for run in graph.runs.values() {
        let mut leaves = Vec::new();
        secret_leaves(&run.body, "", &mut leaves);
        prop_assert!(leaves.is_empty(), "{} has a secret at {leaves:?}", run.id);
    }
    // And each text that a Secret has is secret: what is plain is in a ConfigMap.
    for resource in graph.resources.values().filter(|resource| resource.kind == ResourceKind::ClusterSecret) {
        for (name, value) in at(&resource.body, "data").and_then(Value::as_map).unwrap() {
            prop_assert!(matches!(value, Value::Special(Special::Secret(_) | Special::Template(_))), "{name} is plain");
        }
    }
    Ok(())
}

fn restricted(graph: &Graph) -> Checked {
    let found = pods(graph);
    prop_assert!(!found.is_empty());
    for (id, template) in found {
        let spec = template.get("spec").unwrap();
        prop_assert_eq!(spec.get("automountServiceAccountToken"), Some(&Value::Bool(false)));
        prop_assert_eq!(spec.get("enableServiceLinks"), Some(&Value::Bool(false)));
        prop_assert_eq!(at(spec, "securityContext/runAsNonRoot"), Some(&Value::Bool(true)));
        prop_assert!(at(spec, "securityContext/runAsUser").and_then(Value::as_integer).unwrap() > 0);
        prop_assert_eq!(
            at(spec, "securityContext/seccompProfile/type").and_then(Value::as_text),
            Some("RuntimeDefault")
        );
        for container in containers(template) {
            for path in [
                "resources/requests/cpu",
                "resources/requests/memory",
                "resources/limits/cpu",
                "resources/limits/memory",
            ] {
                prop_assert!(at(container, path).and_then(Value::as_text).is_some(), "{id}: no {path}");
            }
            let context = container.get("securityContext").unwrap();
            prop_assert_eq!(context.get("allowPrivilegeEscalation"), Some(&Value::Bool(false)));
            prop_assert_eq!(context.get("readOnlyRootFilesystem"), Some(&Value::Bool(true)));
            prop_assert_eq!(context.get("runAsNonRoot"), Some(&Value::Bool(true)));
            prop_assert_eq!(at(context, "capabilities/drop/0").and_then(Value::as_text), Some("ALL"));
        }
    }
    Ok(())
}

fn named(graph: &Graph) -> Checked {
    let namespace = graph.outputs["namespace"].clone();
    prop_assert!(is_label(&namespace), "{namespace}");
    let mut names = BTreeSet::new();
    for resource in graph.resources.values().filter(|resource| in_cluster(resource.kind)) {
        let name = at(&resource.body, "metadata/name").and_then(Value::as_text).unwrap();
        prop_assert!(is_label(name), "{name}");
        // What a CronJob makes gets 11 characters more.
        prop_assert!(resource.kind != ResourceKind::CronJob || name.len() <= 52, "{name}");
        prop_assert!(names.insert((resource.kind, name.to_owned())), "{} is there twice", resource.identity);
        let alone = resource.kind == ResourceKind::Namespace;
        let identity = if alone { name.to_owned() } else { format!("{namespace}/{name}") };
        prop_assert_eq!(&resource.identity, &identity);
        let within = at(&resource.body, "metadata/namespace").and_then(Value::as_text);
        prop_assert_eq!(within, (!alone).then_some(namespace.as_str()));
    }
    for (id, template) in pods(graph) {
        let inside = containers(template)
            .into_iter()
            .chain(at(template, "spec/volumes").and_then(Value::as_list).unwrap_or_default());
        let mut names = BTreeSet::new();
        for one in inside {
            let name = one.get("name").and_then(Value::as_text).unwrap();
            prop_assert!(is_label(name), "{id}: {name}");
            prop_assert!(names.insert(name), "{id}: {name} is there twice");
        }
    }
    Ok(())
}

fn marked(graph: &Graph, name: &str) -> Checked {
    let objects = graph
        .resources
        .values()
        .filter(|one| in_cluster(one.kind))
        .map(|one| (one.id.to_string(), one.body.get("metadata").unwrap().clone()));
    let templates = pods(graph).into_iter().map(|(id, template)| (id, template.get("metadata").unwrap().clone()));
    let runs = graph.runs.values().map(|run| (run.id.to_string(), at(&run.body, "manifest/metadata").unwrap().clone()));
    for (id, metadata) in objects.chain(templates).chain(runs) {
        let label = |key: &str| {
            metadata.get("labels").and_then(|labels| labels.get(key)).and_then(Value::as_text).map(str::to_owned)
        };
        let expected = [
            ("freehold.dev/stack", "01974a2f-0000-7000-8000-000000000001"),
            ("app.kubernetes.io/managed-by", "freehold"),
            ("app.kubernetes.io/part-of", "app"),
            ("app.kubernetes.io/instance", name),
        ];
        for (key, value) in expected {
            prop_assert_eq!(label(key), Some(value.to_owned()), "{}", id);
        }
        prop_assert!(label("app.kubernetes.io/name").is_some());
    }
    Ok(())
}

fn selected(graph: &Graph) -> Checked {
    let templates: BTreeMap<String, _> = pods(graph)
        .into_iter()
        .map(|(id, template)| (id, told_apart(at(template, "metadata/labels").unwrap())))
        .collect();
    let different: BTreeSet<_> = templates.values().map(|labels| format!("{labels:?}")).collect();
    prop_assert_eq!(different.len(), templates.len(), "two parts have Pods with the same labels");
    for (id, resource) in &graph.resources {
        let (path, owner) = match resource.kind {
            ResourceKind::Deployment | ResourceKind::PodDisruptionBudget => {
                ("spec/selector/matchLabels", format!("deployment.{}", id.name()))
            }
            ResourceKind::ClusterService => ("spec/selector", format!("deployment.{}", id.name())),
            ResourceKind::NetworkPolicy if templates.contains_key(&format!("deployment.{}", id.name())) => {
                ("spec/podSelector/matchLabels", format!("deployment.{}", id.name()))
            }
            _ => continue,
        };
        let Value::Map(selector) = at(&resource.body, path).unwrap() else { panic!("no selector") };
        prop_assert_eq!(selector, &templates[&owner], "{}", id);
    }
    Ok(())
}

fn keyed(graph: &Graph) -> Checked {
    for resource in graph.resources.values() {
        let mut found = Vec::new();
        badly_keyed(&resource.body, "", resource.kind, &mut found);
        prop_assert!(found.is_empty(), "{}: {found:?}", resource.id);
    }
    Ok(())
}

fn stored(graph: &Graph) -> Checked {
    let json = serde_json::to_string(graph).unwrap();
    prop_assert_eq!(&serde_json::from_str::<Graph>(&json).unwrap(), graph);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn nothing_refers_to_what_is_not_there_and_there_is_no_circle((graph, _) in expansion()) {
        closed(&graph)?;
    }

    #[test]
    fn pods_come_after_all_that_they_use((graph, _) in expansion()) {
        ordered(&graph)?;
    }

    #[test]
    fn secrets_are_in_secrets_and_nowhere_else((graph, _) in expansion()) {
        secret(&graph)?;
    }

    #[test]
    fn every_container_has_its_limits_and_may_do_nothing_else((graph, _) in expansion()) {
        restricted(&graph)?;
    }

    #[test]
    fn every_name_is_a_dns_label_and_nobody_elses((graph, _) in expansion()) {
        named(&graph)?;
    }

    #[test]
    fn every_object_bears_the_mark_of_its_stack((graph, name) in expansion()) {
        marked(&graph, &name)?;
    }

    #[test]
    fn whoever_selects_a_services_pods_selects_these_and_no_others((graph, _) in expansion()) {
        selected(&graph)?;
    }

    #[test]
    fn lists_that_are_told_apart_by_a_field_have_that_field((graph, _) in expansion()) {
        keyed(&graph)?;
    }

    #[test]
    fn bodies_survive_storage((graph, _) in expansion()) {
        stored(&graph)?;
    }
}
