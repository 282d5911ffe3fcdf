//! What hinders an app on every cluster: the expansion for one that has nothing but what it must.

use std::collections::{BTreeMap, BTreeSet};

use freehold_spec::App;
use freehold_spec::yaml::Document;
use uuid::Uuid;

use crate::delivered::AllowedKind;
use crate::expand::error::ExpandError;
use crate::expand::kubernetes::object::Head;
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
        stage: None,
        artifacts: app.services.keys().map(|service| (service.clone(), String::new())).collect(),
        containers: BTreeMap::new(),
        rotations: BTreeMap::new(),
        revision: 0,
        former_ports: Default::default(),
    };
    let target = Target::Kubernetes(Box::new(minimal_target(app)));
    crate::expand::expand(app, &request, &target).err().unwrap_or_default()
}

/// It allows what manifests hold, for another one may.
fn minimal_target(app: &App) -> KubernetesTarget {
    let server = PostgresServer::new(String::new(), 5432, 15);
    let addresses = BTreeSet::from([ADDRESS.to_owned()]);
    let name = app.name.value.clone();
    let databases = ClusterDatabases::Server { server, addresses };
    let allowed_kinds = app.manifests.values().flat_map(|manifest| &manifest.file.documents).map(kind_of).collect();
    KubernetesTarget { allowed_kinds, cache_image: Some(String::new()), ..KubernetesTarget::minimal(name, databases) }
}

/// With a plural as most have it.
fn kind_of(document: &Document) -> AllowedKind {
    let head = Head::of(&document.value);
    let plural = format!("{}s", head.kind.to_ascii_lowercase());
    AllowedKind { group: head.group.to_owned(), plural, kind: head.kind.to_owned() }
}
