//! Every setting of a target: given, left out and found, and contradicted by the cluster. What counts is what comes of it in the objects.

use std::collections::BTreeSet;

use freehold_engine::capability::Level;
use freehold_graph::expand::{ClusterDatabases, KubernetesTarget, PostgresServer, expand};
use freehold_graph::{Graph, Request, StackId, StackKey, StackKind, Target};
use freehold_provider_kubernetes::{Cluster, ClusterError, Requirements, check, discover};
use freehold_testkit::kubernetes::ControlPlane;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::fixture::{Fixture, SOON, server};

const APP: &str = r#"
[app]
name = "shop"

[database.main]

[service.web]
image   = "registry.example.org/acme/web"
command = ["web"]
port    = 8080
env     = { DATABASE_URL = "${database.main.url}", SITE = "${route.web.url}" }

[service.web.volumes]
data = { path = "/data", size = "1Gi" }

[route.web]
service = "web"
hosts   = ["${stack.name}.${target.domain}"]
"#;

/// What somebody says of a target.
type Given = fn(&mut Requirements, &Place);

/// A setting, and where its effect is seen.
struct Row {
    setting: &'static str,
    /// As somebody gives it, and what comes of it.
    given: (Given, String),
    /// What comes of leaving it out.
    found: String,
    /// As the cluster contradicts it, and what is told then; `None` where nothing in a cluster can.
    contradicted: Option<(Given, String)>,
    effect: fn(&Graph) -> Json,
}

/// What a cluster has for the test.
struct Place {
    gateways: String,
    envoy: String,
    class: String,
    issuer: String,
}

#[tokio::test]
async fn every_setting_of_a_target_shows_in_the_objects_and_is_told_where_the_cluster_contradicts_it() {
    let name = "every_setting_of_a_target_shows_in_the_objects_and_is_told_where_the_cluster_contradicts_it";
    let Some(fixture) = Fixture::new(name).await else { return };
    let cluster = fixture.provider.cluster().await.unwrap();
    let place = Place::made(&fixture);
    for row in rows(&place) {
        let setting = row.setting;
        let seen = |facts: KubernetesTarget| (row.effect)(&expanded(facts)).to_string();
        let found = discover(&cluster, &wanted(&place)).await.unwrap();
        assert_eq!(seen(found), row.found, "{setting}, left out");

        let mut given = wanted(&place);
        (row.given.0)(&mut given, &place);
        let facts = discover(&cluster, &given).await.unwrap();
        assert_eq!(seen(facts.clone()), row.given.1, "{setting}, given");
        let findings = check(&cluster, &facts).await;
        let changed: Vec<_> = findings.iter().filter(|finding| finding.subject == "facts").collect();
        assert!(changed.is_empty(), "{setting}: what was just found has not changed: {changed:?}");

        let Some((contradiction, told)) = &row.contradicted else { continue };
        let mut wrong = wanted(&place);
        contradiction(&mut wrong, &place);
        let answer = told_of(&cluster, &wrong).await;
        assert!(answer.contains(told.as_str()), "{setting}, contradicted: {answer}");
    }
    place.removed(&fixture);
}

/// What is said of such a target: why it is none, or the warnings of a check.
async fn told_of(cluster: &Cluster, wanted: &Requirements) -> String {
    match discover(cluster, wanted).await {
        Err(ClusterError::Unfit { why, .. }) => why,
        Err(other) => panic!("{other}"),
        Ok(facts) => {
            let findings = check(cluster, &facts).await;
            let bad = findings.iter().filter(|finding| finding.level != Level::Ok);
            bad.map(|finding| format!("{}: {}\n", finding.subject, finding.message)).collect()
        }
    }
}

fn rows(place: &Place) -> Vec<Row> {
    let (gateways, envoy) = (&place.gateways, &place.envoy);
    let text = |text: &str| json!(text).to_string();
    vec![
        Row {
            setting: "domain",
            given: (|wanted, _| wanted.domain = "eu.apps.example.org".to_owned(), text("acme.eu.apps.example.org")),
            found: text("acme.apps.example.org"),
            contradicted: Some((
                |wanted, _| {
                    (wanted.domain, wanted.listener) = ("example.com".to_owned(), Some("https".to_owned()));
                },
                "is for *.apps.example.org, which does not cover the hosts of example.com".to_owned(),
            )),
            effect: |graph| at(graph, "httproute.web", "/spec/hostnames/0"),
        },
        Row {
            setting: "gateway",
            given: (|wanted, _| wanted.gateway.1 = "other".to_owned(), text("other")),
            found: text("main"),
            contradicted: Some((
                |wanted, _| wanted.gateway.1 = "gone".to_owned(),
                "/gone: it does not exist".to_owned(),
            )),
            effect: |graph| at(graph, "httproute.web", "/spec/parentRefs/0/name"),
        },
        Row {
            setting: "listener",
            given: (|wanted, _| wanted.listener = Some("http".to_owned()), text("http")),
            found: text("https"),
            contradicted: Some((|wanted, _| wanted.listener = Some("gone".to_owned()), "no listener gone".to_owned())),
            effect: |graph| at(graph, "httproute.web", "/spec/parentRefs/0/sectionName"),
        },
        Row {
            setting: "port",
            given: (|wanted, _| wanted.port = Some(30443), text("https://acme.apps.example.org:30443")),
            found: text("https://acme.apps.example.org:8443"),
            contradicted: None,
            effect: |graph| url(graph),
        },
        Row {
            setting: "port, of routes that bring their own certificates to a listener without TLS",
            given: (
                |wanted, place| {
                    wanted.issuer = Some(place.issuer.clone());
                    (wanted.listener, wanted.port) = (Some("http".to_owned()), Some(30443));
                },
                json!(["https://acme.apps.example.org:30443", 443]).to_string(),
            ),
            found: json!(["https://acme.apps.example.org:8443", null]).to_string(),
            contradicted: None,
            effect: |graph| json!([url(graph), at(graph, "listenerset.web", "/spec/listeners/0/port")]),
        },
        Row {
            setting: "port, of routes that bring their own certificates to a listener with TLS",
            given: (
                |wanted, place| (wanted.issuer, wanted.port) = (Some(place.issuer.clone()), Some(30443)),
                json!(["https://acme.apps.example.org:30443", 8443]).to_string(),
            ),
            found: json!(["https://acme.apps.example.org:8443", null]).to_string(),
            contradicted: None,
            effect: |graph| json!([url(graph), at(graph, "listenerset.web", "/spec/listeners/0/port")]),
        },
        Row {
            setting: "data plane namespace",
            given: (|wanted, place| wanted.data_plane_namespace = Some(place.envoy.clone()), text(envoy)),
            found: text(envoy),
            contradicted: Some((
                |wanted, place| wanted.data_plane_namespace = Some(place.gateways.clone()),
                format!("let requests in from namespace {gateways}, as was said, but its pods are in {envoy}"),
            )),
            effect: data_plane,
        },
        Row {
            setting: "data plane namespace, of a gateway whose pods bear no label",
            given: (
                |wanted, place| {
                    wanted.gateway.1 = "other".to_owned();
                    wanted.data_plane_namespace = Some(place.envoy.clone());
                },
                text(envoy),
            ),
            found: text(envoy),
            contradicted: Some((
                |wanted, _| {
                    wanted.gateway.1 = "other".to_owned();
                    wanted.data_plane_namespace = Some("nothing-of-that-name".to_owned());
                },
                "from namespace nothing-of-that-name, which is not there".to_owned(),
            )),
            effect: data_plane,
        },
        Row {
            setting: "issuer",
            given: (|wanted, place| wanted.issuer = Some(place.issuer.clone()), text(&place.issuer)),
            found: Json::Null.to_string(),
            contradicted: Some((
                |wanted, _| wanted.issuer = Some("nothing-of-that-name".to_owned()),
                "there is no such ClusterIssuer".to_owned(),
            )),
            effect: |graph| at(graph, "certificate.web", "/spec/issuerRef/name"),
        },
        Row {
            setting: "external-dns",
            given: (|wanted, _| wanted.external_dns = true, text("acme.apps.example.org")),
            found: Json::Null.to_string(),
            contradicted: None,
            effect: |graph| {
                at(graph, "httproute.web", "/metadata/annotations/external-dns.alpha.kubernetes.io~1hostname")
            },
        },
        Row {
            setting: "storage class",
            given: (|wanted, place| wanted.storage_class = Some(place.class.clone()), text(&place.class)),
            found: Json::Null.to_string(),
            contradicted: Some((
                |wanted, _| wanted.storage_class = Some("nothing-of-that-name".to_owned()),
                "there is no storage class nothing-of-that-name".to_owned(),
            )),
            effect: |graph| at(graph, "persistentvolumeclaim.web-data", "/spec/storageClassName"),
        },
        Row {
            setting: "registry credentials",
            given: (|wanted, _| wanted.registry_credentials = true, text("freehold-registry")),
            found: Json::Null.to_string(),
            contradicted: None,
            effect: |graph| at(graph, "serviceaccount.main", "/imagePullSecrets/0/name"),
        },
        Row {
            setting: "database server",
            given: (
                |wanted, _| {
                    let server = PostgresServer::new("db.example.org".to_owned(), 6432, 17);
                    let addresses = BTreeSet::from(["10.9.9.9/32".to_owned()]);
                    wanted.databases = ClusterDatabases::Server { server, addresses };
                },
                json!({"to": [{"ipBlock": {"cidr": "10.9.9.9/32"}}], "ports": [{"protocol": "TCP", "port": 6432}]})
                    .to_string(),
            ),
            found: json!({"to": [{"ipBlock": {"cidr": "10.0.0.5/32"}}], "ports": [{"protocol": "TCP", "port": 5432}]})
                .to_string(),
            contradicted: None,
            effect: |graph| at(graph, "networkpolicy.web", "/spec/egress/0"),
        },
    ]
}

fn data_plane(graph: &Graph) -> Json {
    let from = "/spec/ingress/0/from/0/namespaceSelector/matchLabels/kubernetes.io~1metadata.name";
    at(graph, "networkpolicy.web", from)
}

fn url(graph: &Graph) -> Json {
    at(graph, "configmap.web", "/data/SITE")
}

fn at(graph: &Graph, id: &str, pointer: &str) -> Json {
    let found = graph.resources.values().find(|resource| resource.id.0 == id);
    let Some(found) = found else { return Json::Null };
    serde_json::to_value(&found.body).unwrap().pointer(pointer).cloned().unwrap_or(Json::Null)
}

fn expanded(facts: KubernetesTarget) -> Graph {
    let app = freehold_spec::decode(APP).unwrap();
    let key = StackKey {
        target: "prod".parse().unwrap(),
        app: app.name.value.clone(),
        kind: StackKind::Tenant,
        name: "acme".parse().unwrap(),
    };
    let image = format!("registry.example.org/acme/web@sha256:{}", "ab".repeat(32));
    let request = Request {
        key,
        id: StackId(Uuid::from_u128(7)),
        tier: None,
        stage: None,
        artifacts: [("web".parse().unwrap(), image)].into(),
        containers: Default::default(),
        rotations: Default::default(),
        revision: 0,
        former_ports: Default::default(),
    };
    expand(&app, &request, &Target::Kubernetes(Box::new(facts))).unwrap()
}

fn wanted(place: &Place) -> Requirements {
    Requirements {
        name: "prod".parse().unwrap(),
        domain: "apps.example.org".to_owned(),
        gateway: (place.gateways.clone(), "main".to_owned()),
        listener: None,
        port: None,
        data_plane_namespace: None,
        databases: server(),
        issuer: None,
        external_dns: false,
        storage_class: None,
        cache_image: None,
        registry_credentials: false,
        allowed_kinds: BTreeSet::new(),
    }
}

impl Place {
    fn made(fixture: &Fixture) -> Self {
        let place = Self {
            gateways: fixture.namespace.clone(),
            envoy: ControlPlane::unique("envoy"),
            class: ControlPlane::unique("class"),
            issuer: ControlPlane::unique("issuer"),
        };
        let all = json!({"namespaces": {"from": "All"}});
        let spec = json!({"gatewayClassName": "none", "allowedListeners": all, "listeners": [
            {"name": "http", "port": 8080, "protocol": "HTTP", "allowedRoutes": all},
            {"name": "https", "port": 8443, "protocol": "HTTPS", "hostname": "*.apps.example.org", "allowedRoutes": all,
                "tls": {"certificateRefs": [{"name": "wildcard"}]}},
        ]});
        for gateway in ["main", "other"] {
            fixture.put("gateway.networking.k8s.io/v1", "Gateway", gateway, &json!({"spec": spec}));
        }
        let control = fixture.control;
        let put = |object: &Json| control.apply(&object.to_string()).unwrap();
        put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place.envoy}}));
        let account = ["get", "serviceaccount", "default", "--namespace", &place.envoy];
        control.wait("the service account", SOON, || Ok(control.kubectl(&account).is_ok())).unwrap();
        put(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "envoy", "namespace": place.envoy, "labels": {
                "gateway.envoyproxy.io/owning-gateway-name": "main",
                "gateway.envoyproxy.io/owning-gateway-namespace": place.gateways,
            }},
            "spec": {"containers": [{"name": "envoy", "image": "example.test/envoy:1"}]},
        }));
        put(&json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": place.class},
            "provisioner": "example.test/none"}));
        put(&json!({"apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer", "metadata": {"name": place.issuer},
            "spec": {"selfSigned": {}}}));
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}).to_string();
        let patch =
            ["patch", "clusterissuer", &place.issuer, "--subresource=status", "--type=merge", "--patch", &ready];
        control.kubectl(&patch).unwrap();
        place
    }

    fn removed(&self, fixture: &Fixture) {
        fixture.control.kubectl(&["delete", "namespace", &self.envoy, "--wait=false"]).unwrap();
        fixture.control.kubectl(&["delete", "storageclass", &self.class]).unwrap();
        fixture.control.kubectl(&["delete", "clusterissuer", &self.issuer]).unwrap();
    }
}
