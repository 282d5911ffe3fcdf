//! Services with several ports, other protocols, files, probes and containers that answer for them.

use freehold_graph::expand::{ExpandError, Target, expand};
use freehold_graph::{Graph, Value};
use serde_json::json;

use crate::fixture::{app, at, bare, expanded, resource, tenant};

const SHOP: &str = r#"
    [app]
    name = "shop"

    [quota]
    cpu    = "4..8"
    memory = "8Gi..16Gi"

    [secret.token]
    generate = {}

    # PHP behind nginx, which answers for it.
    [service.web]
    image      = "ghcr.io/acme/shop"
    command    = ["php-fpm"]
    port       = 8080
    health     = { ready = { http = "/health", period = "2s", failures = 5 }, live = { command = ["php-ping"] } }
    autoscale  = { max = 4, memory = 80 }
    prometheus = { port = 9253 }

    [service.web.env]
    REDIS_URL  = "${service.queue.url}"
    ADMIN_HOST = "${service.queue.admin.host}"
    ADMIN_PORT = "${service.queue.admin.port}"
    ORDERS     = "${service.orders.url}"

    [service.web.files]
    ini = { path = "/usr/local/etc/php/conf.d/shop.ini", text = "memory_limit = 192M\n" }

    [service.web.init.code]
    service = "web"
    command = ["cp", "-r", "/app/public", "/srv"]

    [service.web.sidecar.nginx]
    image = "nginxinc/nginx-unprivileged:1.29"
    port  = 8080
    reads = ["PORT"]

    [service.web.sidecar.nginx.files]
    conf  = { path = "/etc/nginx/conf.d/default.conf", text = "set $x ${route.web.url};\n" }
    token = { path = "/run/token", text = "${secret.token}", mode = "0400" }

    [service.queue]
    image    = "ghcr.io/acme/queue"
    command  = ["queue"]
    port     = 6379
    protocol = "tcp"

    [service.queue.ports]
    admin = { port = 9000 }

    [service.orders]
    image    = "ghcr.io/acme/orders"
    command  = ["orders"]
    port     = 50051
    protocol = "grpc"
    health   = { ready = { grpc = "shop.Orders" } }

    [job.seed]
    service = "web"
    command = ["seed"]
    [job.seed.files]
    data = { path = "/data/seed.sql", text = "select 1;" }

    [route.web]
    service = "web"
    hosts   = ["${stack.name}.${target.domain}"]
"#;

fn shop() -> Graph {
    let app = app(SHOP);
    expanded(&app, &tenant(&app, "acme", None), bare())
}

fn text(graph: &Graph, id: &str, path: &str) -> String {
    at(&resource(graph, id).body, path).map(ToString::to_string).unwrap_or_default()
}

#[test]
fn all_that_a_service_can_have() {
    let graph = shop();
    let ids = ["deployment.web", "service.web", "service.queue", "service.orders", "horizontalpodautoscaler.web"];
    insta::assert_json_snapshot!(ids.map(|id| resource(&graph, id)));
}

#[test]
fn whoever_refers_to_a_port_gets_to_that_port_alone() {
    let graph = shop();
    let queue = at(&resource(&graph, "networkpolicy.queue").body, "spec/ingress").unwrap();
    let ports: Vec<String> =
        queue.as_list().unwrap().iter().map(|rule| at(rule, "ports").unwrap().to_string()).collect();
    assert_eq!(ports.len(), 2, "{queue}");
    assert!(ports.iter().any(|port| port.contains("6379")) && ports.iter().any(|port| port.contains("9000")));
    let others = app(&SHOP.replace("REDIS_URL  = \"${service.queue.url}\"", ""));
    let graph = expanded(&others, &tenant(&others, "acme", None), bare());
    let queue = text(&graph, "networkpolicy.queue", "spec/ingress");
    assert!(queue.contains("9000") && !queue.contains("6379"), "{queue}");
    let web = text(&graph, "networkpolicy.web", "spec/egress");
    assert!(web.contains("9000") && !web.contains("6379"), "{web}");
    let scraped = text(&graph, "networkpolicy.web", "spec/ingress");
    assert!(scraped.contains("monitoring") && scraped.contains("9253"), "{scraped}");
}

#[test]
fn files_with_secrets_are_in_secrets_and_a_change_restarts_who_has_them() {
    let graph = shop();
    assert_eq!(
        at(&resource(&graph, "configmap.web---files").body, "data/ini"),
        Some(&Value::from("memory_limit = 192M\n"))
    );
    assert!(!resource(&graph, "credentials.web--nginx---files").body.secrets().is_empty());
    assert!(resource(&graph, "configmap.web--nginx---files").body.secrets().is_empty());
    assert!(graph.runs.values().any(|run| run.body.to_string().contains("/data/seed.sql")));
    let changed = app(&SHOP.replace("192M", "256M"));
    let changed = expanded(&changed, &tenant(&changed, "acme", None), bare());
    let pods = |graph: &Graph, id: &str| text(graph, id, "spec/template");
    assert_ne!(pods(&graph, "deployment.web"), pods(&changed, "deployment.web"));
    assert_eq!(pods(&graph, "deployment.queue"), pods(&changed, "deployment.queue"));
}

#[test]
fn a_quota_has_requests_and_limits() {
    let hard = at(&resource(&shop(), "resourcequota.main").body, "spec/hard").unwrap().clone();
    let hard = serde_json::to_value(hard).unwrap();
    assert_eq!(
        hard,
        json!({"requests.cpu": "4", "limits.cpu": "8", "requests.memory": "8Gi", "limits.memory": "16Gi"})
    );
}

#[test]
fn what_only_the_cluster_knows_is_in_no_file() {
    let app = app(&SHOP.replace("memory_limit = 192M", "pod = ${pod.name}"));
    let request = tenant(&app, "acme", None);
    let errors = expand(&app.held(&request), &request, &Target::Kubernetes(Box::new(bare()))).unwrap_err();
    assert!(matches!(errors.as_slice(), [ExpandError::OnlyInVariables { .. }]), "{errors:?}");
}
