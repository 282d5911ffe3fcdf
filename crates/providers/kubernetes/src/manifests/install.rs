//! The platform itself in a cluster: replicas of `freehold serve`, their permissions, their address and who reaches them.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use super::yaml::COMMENT;
use super::{Manifest, rbac, text};

/// The name of everything, and of the Secret unless another one is named.
const NAME: &str = "freehold";
/// The user in the image: any but root.
const USER: u32 = 65532;

/// What `freehold install` is told.
#[derive(Debug, Clone, Copy)]
pub struct Install<'a> {
    /// Where everything goes.
    pub namespace: &'a str,
    /// The image, with its digest.
    pub image: &'a str,
    /// How many Pods.
    pub replicas: u32,
    /// Where the keys are.
    pub secret: InstallSecret<'a>,
    /// How it is reached from outside; `None`: not at all.
    pub route: Option<InstallRoute<'a>>,
}

/// Where the platform's keys are.
#[derive(Clone, Copy)]
pub enum InstallSecret<'a> {
    /// A Secret that is there.
    Existing(&'a str),
    /// One to be made.
    New {
        /// The key that the store's data is sealed under, 32 bytes.
        master_key: &'a [u8],
        /// The operator's token, as text.
        token: &'a str,
        /// The platform's own PostgreSQL.
        database_url: &'a str,
    },
}

/// Prints no key.
impl std::fmt::Debug for InstallSecret<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Existing(name) => f.debug_tuple("Existing").field(name).finish(),
            Self::New { .. } => f.write_str("New"),
        }
    }
}

/// How the platform is reached from outside.
#[derive(Debug, Clone, Copy)]
pub struct InstallRoute<'a> {
    /// The API's host name.
    pub host: &'a str,
    /// The Gateway's namespace.
    pub gateway_namespace: &'a str,
    /// The Gateway that routes attach to, as `namespace/name`.
    pub gateway: &'a str,
}

/// The manifests as YAML, for `kubectl apply -f -`.
pub fn install(install: &Install<'_>) -> String {
    let namespace = install.namespace;
    let mut manifests = vec![home(namespace)];
    manifests.extend(rbac::granted(NAME, namespace, &BTreeSet::new()));
    manifests.extend(secret(namespace, install.secret));
    manifests.push(deployment(install));
    manifests.extend(around(namespace));
    manifests.extend(install.route.map(|place| route(namespace, place)));
    text(&manifests)
}

fn metadata(namespace: &str) -> Json {
    json!({ "name": NAME, "namespace": namespace })
}

fn labels() -> Json {
    json!({ "app.kubernetes.io/name": NAME })
}

fn home(namespace: &str) -> Manifest {
    let restricted = json!({
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/warn": "restricted",
    });
    Manifest::new(json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": namespace, "labels": restricted },
    }))
}

fn secret(namespace: &str, secret: InstallSecret<'_>) -> Option<Manifest> {
    let InstallSecret::New { master_key, token, database_url } = secret else { return None };
    let manifest = Manifest::new(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(namespace),
        "type": "Opaque",
        "data": {
            "master-key": STANDARD.encode(master_key),
            "token": STANDARD.encode(token),
            "database-url": STANDARD.encode(database_url),
        },
    }));
    Some(
        manifest
            .comment("Keep a copy of the master key: without it nothing that the platform has sealed can be opened."),
    )
}

fn deployment(install: &Install<'_>) -> Manifest {
    Manifest::new(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": NAME, "namespace": install.namespace, "labels": labels() },
        "spec": {
            "replicas": install.replicas,
            "selector": { "matchLabels": labels() },
            "strategy": { "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } },
            "template": { "metadata": { "labels": labels() }, "spec": pod(install) },
        },
    }))
}

fn pod(install: &Install<'_>) -> Json {
    let secret = match install.secret {
        InstallSecret::Existing(name) => name,
        InstallSecret::New { .. } => NAME,
    };
    json!({
        "serviceAccountName": NAME,
        "terminationGracePeriodSeconds": 60,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "topologySpreadConstraints": [{
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": { "matchLabels": labels() },
        }],
        "containers": [container(install.image)],
        "volumes": [
            { "name": "secret", "secret": { "secretName": secret, "defaultMode": 0o440 } },
            { "name": "scratch", "emptyDir": {} },
        ],
    })
}

fn container(image: &str) -> Json {
    let health = |path: &str| json!({ "path": path, "port": "http" });
    json!({
        "name": NAME,
        "image": image,
        "args": [
            "serve",
            "--listen=0.0.0.0:8080",
            "--database-url-file=/etc/freehold/database-url",
            "--master-key-file=/etc/freehold/master-key",
            "--token-file=/etc/freehold/token",
        ],
        "ports": [{ "name": "http", "containerPort": 8080 }],
        "startupProbe": { "httpGet": health("/health/live"), "periodSeconds": 1, "failureThreshold": 60 },
        "livenessProbe": { "httpGet": health("/health/live"), "periodSeconds": 10 },
        "readinessProbe": { "httpGet": health("/health/ready"), "periodSeconds": 2, "timeoutSeconds": 4 },
        "lifecycle": { "preStop": { "sleep": { "seconds": 5 } } },
        "resources": {
            "requests": { "cpu": "100m", "memory": "128Mi" },
            "limits": { "memory": "256Mi" },
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
        "volumeMounts": [
            { "name": "secret", "mountPath": "/etc/freehold", "readOnly": true },
            { "name": "scratch", "mountPath": "/tmp" },
        ],
    })
}

/// What goes with the Deployment: its address, how many have to stay, and who may ask.
fn around(namespace: &str) -> [Manifest; 3] {
    let service = Manifest::new(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(namespace),
        "spec": { "selector": labels(), "ports": [{ "name": "http", "port": 80, "targetPort": "http" }] },
    }));
    let budget = Manifest::new(json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(namespace),
        "spec": { "maxUnavailable": 1, "selector": { "matchLabels": labels() } },
    }));
    let policy = Manifest::new(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(namespace),
        "spec": {
            "podSelector": {},
            "policyTypes": ["Ingress"],
            "ingress": [{ "ports": [{ "protocol": "TCP", "port": 8080 }] }],
        },
    }));
    [service, budget, policy.comment("The API is for whoever has the token; nothing else of the Pods can be reached.")]
}

fn route(namespace: &str, place: InstallRoute<'_>) -> Manifest {
    let InstallRoute { host, gateway_namespace, gateway } = place;
    Manifest::new(json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata(namespace),
        "spec": {
            "parentRefs": [{ "namespace": gateway_namespace, "name": gateway }],
            "hostnames": [host],
            "rules": [{
                COMMENT: "Events of an operation are a stream: no timeout.",
                "timeouts": { "request": "0s" },
                "backendRefs": [{ "name": NAME, "port": 80 }],
            }],
        },
    }))
}
