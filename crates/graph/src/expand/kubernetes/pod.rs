//! Pods: containers that may do nothing that they need not, under the standard `restricted`.

use std::collections::BTreeSet;

use freehold_spec::app::Service;
use freehold_spec::quantity::Range;
use freehold_spec::{Cpu, Memory, Name};
use serde_json::{Value as Json, json};

use super::Cluster;
use super::environment::Environment;
use super::namespace::FREEHOLD;
use super::quantity::resources;
use crate::expand::connection::ca_folder;
use crate::expand::names;

/// A container to be.
pub(super) struct Container<'a> {
    pub(super) name: &'a Name,
    pub(super) image: &'a str,
    /// Without, what the image says.
    pub(super) command: Option<&'a [String]>,
    pub(super) cpu: Range<Cpu>,
    pub(super) memory: Range<Memory>,
    pub(super) environment: &'a Environment,
    /// The folders that it may write.
    pub(super) mounts: &'a [Json],
    /// `ports`, probes and the like.
    pub(super) more: Json,
}

impl Container<'_> {
    pub(super) fn manifest(self) -> Json {
        let stated = |items: &[Json]| (!items.is_empty()).then(|| items.to_vec());
        let authorities = self.environment.verified.iter().map(
            |database| json!({"name": authority_volume(database), "mountPath": ca_folder(database), "readOnly": true}),
        );
        let mounts: Vec<Json> =
            self.mounts.iter().cloned().chain(authorities).chain(self.environment.files.mounts.clone()).collect();
        let mut container = json!({
            "name": self.name,
            "image": self.image,
            "command": self.command.map(|command| command.iter().map(|word| unexpanded(word)).collect::<Vec<_>>()),
            "env": stated(&self.environment.env),
            "envFrom": stated(&self.environment.env_from),
            "resources": resources(self.cpu, self.memory),
            "volumeMounts": stated(&mounts),
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": true,
                "runAsNonRoot": true,
            },
        });
        if let (Json::Object(container), Json::Object(more)) = (&mut container, self.more) {
            container.extend(more);
        }
        container
    }
}

/// The volume with the authority that a database's certificate is from.
fn authority_volume(database: &Name) -> String {
    format!("database-ca-{database}")
}

/// Kubernetes replaces `$(NAME)` in commands, and `$$` by `$`; a definition's command is taken as it stands.
fn unexpanded(word: &str) -> String {
    word.replace('$', "$$")
}

/// The folders of a service's Pods: `volumes` of the Pod, `volumeMounts` of each container.
#[derive(Default)]
pub(super) struct Folders {
    pub(super) volumes: Vec<Json>,
    pub(super) mounts: Vec<Json>,
}

impl Folders {
    /// The empty ones.
    pub(super) fn writable(service: &Service) -> Self {
        let mut folders = Self::default();
        for (place, path) in (1..).zip(&service.writable) {
            folders.add(&format!("writable-{place}"), &path.value, ("emptyDir", json!({})));
        }
        folders
    }

    /// The empty ones and those that last.
    pub(super) fn all(name: &Name, service: &Service) -> Self {
        let mut folders = Self::writable(service);
        for (volume, stated) in &service.volumes {
            let claim = names::joined(name.as_str(), volume.as_str());
            let source = ("persistentVolumeClaim", json!({"claimName": claim}));
            folders.add(&format!("volume-{volume}"), &stated.path.value, source);
        }
        folders
    }

    /// Adds the volumes with the authorities of databases and those with files, for the containers that use these. Each mounts its own.
    pub(super) fn of_containers(&mut self, cluster: &Cluster<'_>, environments: &[&Environment]) {
        let databases: BTreeSet<&Name> = environments.iter().flat_map(|environment| &environment.verified).collect();
        for database in databases {
            let Some(Json::Object(mut volume)) = cluster.authority_of(database) else { continue };
            volume.insert("name".to_owned(), authority_volume(database).into());
            self.volumes.push(Json::Object(volume));
        }
        self.volumes.extend(environments.iter().flat_map(|environment| environment.files.volumes.iter().cloned()));
    }

    fn add(&mut self, name: &str, path: &str, (kind, source): (&str, Json)) {
        self.volumes.push(json!({"name": name, kind: source}));
        self.mounts.push(json!({"name": name, "mountPath": path}));
    }
}

/// The `spec` of a Pod whose containers run as this user.
pub(super) fn pod(user: u32, volumes: Vec<Json>, containers: Vec<Json>, more: Json) -> Json {
    let mut pod = json!({
        "serviceAccountName": FREEHOLD,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": user,
            "runAsGroup": user,
            "fsGroup": user,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": containers,
        "volumes": (!volumes.is_empty()).then_some(volumes),
    });
    if let (Json::Object(pod), Json::Object(more)) = (&mut pod, more) {
        pod.extend(more);
    }
    pod
}
