//! Definitions, targets and looks at manifests.

use std::collections::BTreeSet;
use std::ops::Deref;

use freehold_graph::expand::{ClusterDatabases, Gateway, KubernetesTarget, PostgresServer, expand};
use freehold_graph::{Graph, Request, Resource, StackId, StackKey, StackKind, Target, Value};
use freehold_spec::App;
use uuid::Uuid;

pub(crate) const GUESTBOOK: &str = include_str!("../../../../examples/guestbook/freehold.toml");
pub(crate) const NOTICEBOARD: &str = include_str!("../../../../examples/noticeboard/freehold.toml");
pub(crate) const EVERYTHING: &str = include_str!("everything.toml");
/// A route with all that one can have, for behind [`EVERYTHING`].
pub(crate) const ROUTES: &str = include_str!("routes.toml");

/// An app before anything overrides it, and what it was read from.
pub(crate) struct Defined {
    source: String,
    base: App,
}

impl Deref for Defined {
    type Target = App;

    fn deref(&self) -> &App {
        &self.base
    }
}

pub(crate) fn app(source: &str) -> Defined {
    Defined { source: source.to_owned(), base: freehold_spec::decode(source).unwrap() }
}

impl Defined {
    /// As it holds for a request.
    pub(crate) fn held(&self, request: &Request) -> App {
        freehold_spec::decode_in(&self.source, &request.environment()).unwrap()
    }
}

/// A tenant, with an image for each service.
pub(crate) fn tenant(app: &App, name: &str, tier: Option<&str>) -> Request {
    let digest = "ab".repeat(32);
    let image = |service| format!("registry.example.org/acme/{service}@sha256:{digest}");
    Request {
        key: StackKey {
            target: "prod".parse().unwrap(),
            app: app.name.value.clone(),
            kind: StackKind::Tenant,
            name: name.parse().unwrap(),
        },
        id: StackId(Uuid::from_u128(0x0197_4a2f_0000_7000_8000_0000_0000_0001)),
        tier: tier.map(|tier| tier.parse().unwrap()),
        stage: None,
        artifacts: app.services.keys().map(|service| (service.clone(), image(service))).collect(),
        containers: Default::default(),
        rotations: Default::default(),
        revision: 0,
        former_ports: Default::default(),
    }
}

/// A cluster that has nothing but what it must.
pub(crate) fn bare() -> KubernetesTarget {
    let addresses = BTreeSet::from(["10.0.0.5/32".to_owned()]);
    let databases = ClusterDatabases::Server { server: server(), addresses };
    let bare = KubernetesTarget::minimal("prod".parse().unwrap(), databases);
    KubernetesTarget {
        domain: "apps.example.org".to_owned(),
        cluster: "5e4c8b1a-0000-4000-8000-000000000000".to_owned(),
        version: "v1.36.3".to_owned(),
        gateway: Gateway {
            namespace: "gateways".to_owned(),
            name: "public".to_owned(),
            data_plane_namespace: "envoy".to_owned(),
            ..bare.gateway
        },
        ..bare
    }
}

fn server() -> PostgresServer {
    PostgresServer::new("postgres.example.org".to_owned(), 5433, 17)
}

/// A cluster that has everything.
pub(crate) fn rich() -> KubernetesTarget {
    let bare = bare();
    KubernetesTarget {
        gateway: Gateway {
            listener: Some("https".to_owned()),
            https: true,
            port: 443,
            retries: true,
            listener_sets: true,
            cors: true,
            envoy: true,
            ..bare.gateway
        },
        databases: ClusterDatabases::Server {
            server: server(),
            addresses: ["10.0.0.5/32", "10.0.0.6/32"].map(str::to_owned).into(),
        },
        issuer: Some("letsencrypt".to_owned()),
        external_dns: true,
        registry_credentials: true,
        storage_class: Some("fast".to_owned()),
        scratch_namespace: Some("freehold-scratch".to_owned()),
        architectures: ["amd64".to_owned()].into(),
        platform: None,
        ..bare
    }
}

/// The same with databases of CloudNativePG.
pub(crate) fn with_operator(target: KubernetesTarget) -> KubernetesTarget {
    let databases = ClusterDatabases::CloudNativePg { operator_namespace: "cnpg-system".to_owned() };
    KubernetesTarget { databases, ..target }
}

pub(crate) fn expanded(app: &Defined, request: &Request, target: KubernetesTarget) -> Graph {
    expand(&app.held(request), request, &Target::Kubernetes(Box::new(target))).unwrap()
}

/// A resource of a graph.
pub(crate) fn resource<'a>(graph: &'a Graph, id: &str) -> &'a Resource {
    graph.resources.values().find(|resource| resource.id.0 == id).unwrap_or_else(|| panic!("there is no {id}"))
}

/// The value at a dotted path; a number is a place in a list.
pub(crate) fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('/').try_fold(value, |value, step| match value {
        Value::List(items) => items.get(step.parse::<usize>().ok()?),
        other => other.get(step),
    })
}

/// Every Pod `spec` and its template's metadata, with the id of what has it.
pub(crate) fn pods(graph: &Graph) -> Vec<(String, &Value)> {
    let resources = graph.resources.values().filter_map(|resource| {
        let template = at(&resource.body, "spec/template").or(at(&resource.body, "spec/jobTemplate/spec/template"))?;
        Some((resource.id.0.clone(), template))
    });
    let runs = graph.runs.values().filter_map(|run| Some((run.id.0.clone(), at(&run.body, "manifest/spec/template")?)));
    resources.chain(runs).collect()
}

/// Every container of a Pod template.
pub(crate) fn containers(template: &Value) -> Vec<&Value> {
    let of = |list| at(template, list).and_then(Value::as_list).unwrap_or_default();
    of("spec/initContainers").iter().chain(of("spec/containers")).collect()
}
