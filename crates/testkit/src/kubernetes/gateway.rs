//! Envoy Gateway on the real node, from its own chart, with one Gateway that tests attach their routes to.

use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::image::Image;
use super::node::{HTTP_PORT, HTTPS_PORT, Node};

/// Stands for the registry in the chart as `scripts/kubernetes` has rendered it.
const REGISTRY: &str = "registry.invalid";
/// What hosts below the gateway end with.
const DOMAIN: &str = "test.localhost";
/// On a machine that builds beside it, it takes minutes.
const PATIENCE: &str = "--timeout=900s";

/// Installs it and waits until the Gateway is programmed.
pub(super) fn install(node: &Node) -> anyhow::Result<()> {
    let (cluster, parts) = (node.cluster(), node.cluster().parts());
    for name in ["envoy-gateway", "envoy"] {
        let image = Image::of_program(&parts.program(name).canonicalize()?)?;
        node.registry().push(name, "1", &image)?;
    }

    let namespace = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    for name in [Node::DATA_PLANE_NAMESPACE, Node::GATEWAY_NAMESPACE] {
        cluster.apply(&namespace(name).to_string())?;
    }
    let chart = fs::read_to_string(parts.share("gateway.yaml"))?.replace(REGISTRY, node.registry().address());
    cluster.apply(&chart)?;
    cluster.wait_for_definitions()?;
    let items: Vec<Value> = vec![certificate(node)?, proxy(node), class(), gateway()];
    cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())?;
    let namespace = format!("--namespace={}", Node::GATEWAY_NAMESPACE);
    let gateway = format!("gateways.gateway.networking.k8s.io/{}", Node::GATEWAY);
    cluster.kubectl(&["wait", "--for=condition=Programmed", &gateway, &namespace, PATIENCE])?;
    let namespace = format!("--namespace={}", Node::DATA_PLANE_NAMESPACE);
    cluster.kubectl(&["wait", "--for=condition=Available", "deployments", "--all", &namespace, PATIENCE])?;
    Ok(())
}

/// For HTTPS, signed by itself.
fn certificate(node: &Node) -> anyhow::Result<Value> {
    let program = node.cluster().parts().program("self-signed-certificate");
    let output = Command::new(program).arg(format!("*.{DOMAIN}")).output().context("making a certificate")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let at = text.find("-----BEGIN EC PRIVATE KEY-----").context("no key beside the certificate")?;
    let (certificate, key) = text.split_at(at);
    Ok(json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "wildcard", "namespace": Node::GATEWAY_NAMESPACE},
        "stringData": {"tls.crt": certificate, "tls.key": key},
    }))
}

/// How Envoy runs: our image, fixed ports, and quick to be ready and to go.
fn proxy(node: &Node) -> Value {
    let image = format!("{}/envoy:1", node.registry().address());
    let containers = ["envoy", "shutdown-manager"].map(
        |name| json!({"name": name, "startupProbe": {"periodSeconds": 1}, "readinessProbe": {"periodSeconds": 1}}),
    );
    let probe = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let ports = json!({"spec": {"ports": [
        {"name": "http-80", "port": 80, "nodePort": HTTP_PORT, "protocol": "TCP"},
        {"name": "https-443", "port": 443, "nodePort": HTTPS_PORT, "protocol": "TCP"}]}});
    json!({
        "apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "EnvoyProxy",
        "metadata": {"name": "freehold", "namespace": Node::GATEWAY_NAMESPACE},
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
                "namespace": Node::GATEWAY_NAMESPACE,
            },
        },
    })
}

fn gateway() -> Value {
    let routes = json!({"namespaces": {"from": "All"}});
    let wildcard = format!("*.{DOMAIN}");
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": Node::GATEWAY, "namespace": Node::GATEWAY_NAMESPACE},
        "spec": {"gatewayClassName": "envoy", "listeners": [
            {"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": routes},
            {"name": "wildcard", "port": 80, "protocol": "HTTP", "hostname": wildcard, "allowedRoutes": routes},
            {"name": "https", "port": 443, "protocol": "HTTPS", "hostname": wildcard, "allowedRoutes": routes,
             "tls": {"certificateRefs": [{"name": "wildcard"}]}},
        ]},
    })
}
