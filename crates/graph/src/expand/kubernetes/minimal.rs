//! What hinders an app on every cluster: the expansion for one that has nothing but what it must.

use std::collections::{BTreeMap, BTreeSet};

use freehold_spec::{App, Name};
use uuid::Uuid;

use crate::expand::error::ExpandError;
use crate::request::Request;
use crate::stack::{StackId, StackKey, StackKind};
use crate::target::{ClusterDatabases, KubernetesTarget, PostgresServer, Target};

/// Of no server: from the block for documentation.
const ADDRESS: &str = "192.0.2.1/32";

/// Why an app can be on no cluster, as far as its definition alone says so.
pub fn hindrances(app: &App) -> Vec<ExpandError> {
    let Ok(tenant) = "acme".parse() else { return Vec::new() };
    let name = &app.name.value;
    let request = Request {
        key: StackKey { target: name.clone(), app: name.clone(), kind: StackKind::Tenant, name: tenant },
        id: StackId(Uuid::nil()),
        tier: None,
        artifacts: app.services.keys().map(|service| (service.clone(), String::new())).collect(),
        containers: BTreeMap::new(),
        rotations: BTreeMap::new(),
    };
    let target = Target::Kubernetes(Box::new(minimal_target(name)));
    crate::expand::expand(app, &request, &target).err().unwrap_or_default()
}

fn minimal_target(name: &Name) -> KubernetesTarget {
    let server = PostgresServer { host: String::new(), port: 5432, version: 15 };
    let addresses = BTreeSet::from([ADDRESS.to_owned()]);
    KubernetesTarget::minimal(name.clone(), ClusterDatabases::Server { server, addresses })
}
