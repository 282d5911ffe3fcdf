//! The facts of a target that has nothing but what it must. The example `accuracy` reads this file, too.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use freehold_graph::expand::{ClusterDatabases, Gateway, KubernetesTarget, PostgresServer};
use freehold_provider_kubernetes::Cluster;

pub(crate) fn server() -> ClusterDatabases {
    let server = PostgresServer::new("db.internal".to_owned(), 5432, 15);
    ClusterDatabases::Server { server, addresses: BTreeSet::from(["10.0.0.5/32".to_owned()]) }
}

pub(crate) fn facts(cluster: &Cluster) -> KubernetesTarget {
    let bare = KubernetesTarget::minimal("prod".parse().unwrap(), server());
    KubernetesTarget {
        domain: "example.org".to_owned(),
        cluster: cluster.identity().to_owned(),
        version: cluster.version().to_owned(),
        gateway: Gateway {
            namespace: "gateways".to_owned(),
            name: "main".to_owned(),
            data_plane_namespace: "gateways".to_owned(),
            ..bare.gateway
        },
        ..bare
    }
}
