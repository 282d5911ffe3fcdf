//! Envoy Gateway on the real node, from its own chart, with one Gateway that tests attach their routes to.

use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::control_plane::ControlPlane;
use super::image::Image;
use super::registry::Registry;

/// Where the gateway answers HTTP, on [`super::Node::ADDRESS`].
pub const HTTP_PORT: u16 = 30080;
/// Where the gateway answers HTTPS, on [`super::Node::ADDRESS`].
pub const HTTPS_PORT: u16 = 30443;
/// The Gateway's namespace.
pub(super) const NAMESPACE: &str = "freehold-gateway";
/// The Gateway's name.
pub(super) const NAME: &str = "freehold-gateway";
/// Where its own Pods run.
pub(super) const DATA_PLANE_NAMESPACE: &str = "envoy-gateway-system";

/// Stands for the registry in the chart as `scripts/kubernetes` has rendered it.
const REGISTRY: &str = "registry.invalid";
/// What hosts below the gateway end with.
const DOMAIN: &str = "test.localhost";
/// On a machine that builds beside it, it takes minutes.
const PATIENCE: &str = "--timeout=900s";

/// Installs it and waits until the Gateway is programmed.
pub(super) fn install(cluster: &ControlPlane, registry: &Registry) -> anyhow::Result<()> {
    let parts = cluster.parts();
    for name in ["envoy-gateway", "envoy"] {
        let image = Image::of_program(&parts.program(name).canonicalize()?)?;
        registry.push(name, "1", &image)?;
    }

    let namespace = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    for name in [DATA_PLANE_NAMESPACE, NAMESPACE] {
        cluster.apply(&namespace(name).to_string())?;
    }
    let chart = fs::read_to_string(parts.share("gateway.yaml"))?.replace(REGISTRY, registry.address());
    cluster.apply(&chart)?;
    cluster.wait_for_definitions()?;
    let items: Vec<Value> = vec![certificate(cluster)?, proxy(registry), class(), gateway()];
    cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())?;
    let namespace = format!("--namespace={}", NAMESPACE);
    let gateway = format!("gateways.gateway.networking.k8s.io/{}", NAME);
    let programmed = cluster.kubectl(&["wait", "--for=condition=Programmed", &gateway, &namespace, PATIENCE]);
    programmed.with_context(|| {
        let found = cluster.kubectl(&["get", "nodes,pods,events", "--all-namespaces", "-o", "wide"]);
        found.unwrap_or_else(|error| format!("{error:#}"))
    })?;
    let namespace = format!("--namespace={}", DATA_PLANE_NAMESPACE);
    cluster.kubectl(&["wait", "--for=condition=Available", "deployments", "--all", &namespace, PATIENCE])?;
    Ok(())
}

/// For HTTPS, signed by itself.
fn certificate(cluster: &ControlPlane) -> anyhow::Result<Value> {
    let program = cluster.parts().program("self-signed-certificate");
    let output = Command::new(program).arg(format!("*.{DOMAIN}")).output().context("making a certificate")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let at = text.find("-----BEGIN EC PRIVATE KEY-----").context("no key beside the certificate")?;
    let (certificate, key) = text.split_at(at);
    Ok(json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "wildcard", "namespace": NAMESPACE},
        "stringData": {"tls.crt": certificate, "tls.key": key},
    }))
}

/// How Envoy runs: our image, fixed ports, and quick to be ready and to go.
fn proxy(registry: &Registry) -> Value {
    let image = format!("{}/envoy:1", registry.address());
    let containers = ["envoy", "shutdown-manager"].map(
        |name| json!({"name": name, "startupProbe": {"periodSeconds": 1}, "readinessProbe": {"periodSeconds": 1}}),
    );
    let probe = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let ports = json!({"spec": {"ports": [
        {"name": "http-80", "port": 80, "nodePort": HTTP_PORT, "protocol": "TCP"},
        {"name": "https-443", "port": 443, "nodePort": HTTPS_PORT, "protocol": "TCP"}]}});
    json!({
        "apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "EnvoyProxy",
        "metadata": {"name": "freehold", "namespace": NAMESPACE},
        "spec": {
            "concurrency": 2,
            "provider": {"type": "Kubernetes", "kubernetes": {
                "envoyDeployment": {
                    "container": {"image": image, "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}},
                    "patch": {"type": "StrategicMerge", "value": probe},
                },
                "envoyService": {"type": "NodePort", "patch": {"type": "StrategicMerge", "value": ports}},
            }},
            "shutdown": {"drainTimeout": "5s", "minDrainDuration": "1s"},
        },
    })
}

fn class() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "envoy"},
        "spec": {
            "controllerName": "gateway.envoyproxy.io/gatewayclass-controller",
            "parametersRef": {
                "group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": "freehold",
                "namespace": NAMESPACE,
            },
        },
    })
}

fn gateway() -> Value {
    let routes = json!({"namespaces": {"from": "All"}});
    let wildcard = format!("*.{DOMAIN}");
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"gatewayClassName": "envoy", "listeners": [
            {"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": routes},
            {"name": "wildcard", "port": 80, "protocol": "HTTP", "hostname": wildcard, "allowedRoutes": routes},
            {"name": "https", "port": 443, "protocol": "HTTPS", "hostname": wildcard, "allowedRoutes": routes,
             "tls": {"certificateRefs": [{"name": "wildcard"}]}},
        ]},
    })
}
