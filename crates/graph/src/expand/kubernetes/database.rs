//! A database as a PostgreSQL cluster of CloudNativePG, in the stack's own namespace.
//!
//! Its operator makes one role that owns the database, and a Secret `NAME-app` with the URL under `uri`. Programs read it from
//! there: Freehold never sees the password. Extensions are made with the database and only then, which is why a change of them is a
//! new database (see [`crate::kind`]).

use freehold_spec::app::Database;
use freehold_spec::{Name, PartKind};
use serde_json::{Value as Json, json};

use super::Cluster;
use super::manifest::{Object, PodPart};
use super::policy::{POSTGRES, database_pods, namespace, tcp};
use super::quantity::{CPU_DEFAULT, MEMORY_DEFAULT, bytes, resources};
use crate::expand::error::Claimant;
use crate::expand::names;
use crate::kind::ResourceKind;
use crate::resource_id::ResourceId;

/// Where a database's Pod tells its operator how it is.
const STATUS: u16 = 8000;
/// Where API servers listen, as Pods reach them. At any address: an API server is in no namespace and has no labels to select it by,
/// its addresses change with the control plane's nodes, and a network plugin may look at a packet before or after the Service's
/// address was replaced. Some plugins take a node's address for no IP block at all, so that exceptions would shut it out.
const API_SERVER: [u16; 2] = [443, 6443];
/// What the operator makes beside the Pods: Services and Secrets.
const OF_OPERATOR: [(ResourceKind, &str); 8] = [
    (ResourceKind::ClusterService, "r"),
    (ResourceKind::ClusterService, "ro"),
    (ResourceKind::ClusterService, "rw"),
    (ResourceKind::ClusterSecret, "app"),
    (ResourceKind::ClusterSecret, "ca"),
    (ResourceKind::ClusterSecret, "replication"),
    (ResourceKind::ClusterSecret, "server"),
    (ResourceKind::ClusterSecret, "superuser"),
];

/// Where a database's URL is kept: a `secretKeyRef`.
pub(super) fn url(database: &Name) -> Json {
    json!({"name": format!("{database}-app"), "key": "uri"})
}

impl Cluster<'_> {
    pub(crate) fn cloudnative_pg(&mut self, name: &Name, database: &Database, operator: &str) {
        let key = &self.expansion.resolver.request.key;
        let owner = names::role(key, name, "app");
        let extensions: Vec<String> = database
            .extensions
            .iter()
            // From the platform's list of trusted ones; quoted as SQL quotes identifiers.
            .map(|extension| format!("CREATE EXTENSION IF NOT EXISTS \"{}\"", extension.value.replace('"', "\"\"")))
            .collect();
        let role = json!({
            "name": owner,
            "ensure": "present",
            "login": true,
            "inherit": true,
            "connectionLimit": database.connections.value,
        });
        let spec = json!({
            "instances": 1,
            "enableSuperuserAccess": false,
            "storage": {"size": bytes(database.storage.value.0), "storageClass": self.facts.storage_class},
            "resources": resources(CPU_DEFAULT, MEMORY_DEFAULT),
            "bootstrap": {"initdb": {
                "database": names::database(key, name),
                "owner": owner,
                "postInitApplicationSQL": (!extensions.is_empty()).then_some(extensions),
            }},
            "managed": {"roles": [role]},
        });
        let policy = self.database_policy(name, operator);
        let needs: Vec<ResourceId> = self.prerequisites.iter().cloned().chain([policy]).collect();
        let object = Object::new(ResourceKind::CloudNativePg, name.as_str(), PodPart::Whole, json!({"spec": spec}));
        self.put(object.after(needs));
        for (kind, suffix) in OF_OPERATOR {
            self.take(kind, &format!("{name}-{suffix}"), Claimant::part(PartKind::Database, name));
        }
    }

    /// Its programs and its operator in; the API server, on which its Pods keep what they agree on, out.
    fn database_policy(&mut self, name: &Name, operator: &str) -> ResourceId {
        let own = database_pods(name);
        let among = json!([tcp(POSTGRES), tcp(STATUS)]);
        let users = self.users_of(PartKind::Database, name);
        let mut ingress = vec![json!({"from": [namespace(operator), own], "ports": among})];
        if !users.is_empty() {
            ingress.push(json!({"from": users, "ports": [tcp(POSTGRES)]}));
        }
        let spec = json!({
            "podSelector": own.get("podSelector"),
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": [{"to": [own], "ports": among}, {"ports": API_SERVER.map(tcp)}],
        });
        self.policy(&names::joined("database", name.as_str()), PodPart::Whole, spec)
    }
}
