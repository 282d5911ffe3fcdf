//! The flags of a control plane's programs, and what a simulated node says of itself.

use serde_json::{Value, json};

/// What each simulated node has: a Pod that asks for more is never scheduled.
pub const NODE_CPUS: u32 = 64;

/// Where an API server listens.
#[derive(Debug)]
pub(super) struct Listen {
    pub(super) address: &'static str,
    pub(super) port: u16,
}

pub(super) fn etcd_flags(port: u16, peers: u16) -> Vec<String> {
    let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peers}"));
    vec![
        "--name=test".to_owned(),
        "--data-dir=etcd".to_owned(),
        "--unsafe-no-fsync".to_owned(),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=test={peer}"),
        "--log-level=warn".to_owned(),
    ]
}

pub(super) fn api_server_flags(etcd: u16, listen: &Listen) -> Vec<String> {
    let mut flags = vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        format!("--secure-port={}", listen.port),
        format!("--bind-address={}", listen.address),
        format!("--advertise-address={}", listen.address),
    ];
    flags.extend(API_SERVER_FLAGS.map(str::to_owned));
    flags
}

const API_SERVER_FLAGS: [&str; 7] = [
    "--cert-dir=certificates",
    "--service-account-issuer=https://kubernetes.default.svc",
    "--service-account-key-file=service-accounts.key",
    "--service-account-signing-key-file=service-accounts.key",
    "--token-auth-file=users.csv",
    "--service-cluster-ip-range=10.96.0.0/16",
    "--allow-privileged",
];

pub(super) const CONTROLLER_MANAGER: [&str; 10] = [
    "--flex-volume-plugin-dir=volume-plugins",
    "--service-account-private-key-file=service-accounts.key",
    "--use-service-account-credentials",
    "--root-ca-file=certificates/apiserver.crt",
    "--leader-elect=false",
    "--secure-port=0",
    "--kube-api-qps=500",
    "--kube-api-burst=1000",
    "--concurrent-namespace-syncs=50",
    "--concurrent-deployment-syncs=20",
];

pub(super) fn node(number: u32) -> Value {
    let name = format!("simulated-{number}");
    let room = json!({"cpu": NODE_CPUS.to_string(), "memory": "1Ti", "pods": "10000", "ephemeral-storage": "1Ti"});
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "topology.kubernetes.io/zone": format!("zone-{number}"),
            },
        },
        "status": {"allocatable": room, "capacity": room},
    })
}
