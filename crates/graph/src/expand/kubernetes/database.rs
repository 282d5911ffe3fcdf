//! A database as a PostgreSQL cluster of CloudNativePG, in the stack's own namespace.
//!
//! Its operator makes one role that owns the database, and a Secret `NAME-app` with the URL under `uri`. Containers get it from
//! there: Freehold never sees the password. Extensions are made with the database and only then, which is why a change of them is a
//! new database (see [`crate::kind`]).

use freehold_spec::app::Database;
use freehold_spec::part::database::{Connection, Output};
use freehold_spec::{Name, PartKind};
use serde_json::{Value as Json, json};

use super::Cluster;
use super::given::Piece;
use super::manifest::{Object, PodPart};
use super::policy::{database_pods, namespace, tcp};
use super::quantity::{CPU_DEFAULT, MEMORY_DEFAULT, bytes, resources};
use crate::expand::connection::{POSTGRES, keywords, operators_host, query};
use crate::expand::error::Claimant;
use crate::expand::names;
use crate::kind::ResourceKind;
use crate::resource_id::ResourceId;
use crate::target::PostgresServer;

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

/// Where the authority stands in the ConfigMap or the Secret that it is in, and what it is called in its folder.
const CA: &str = "ca.crt";
/// The ConfigMap with the authority of the target's database server.
const AUTHORITY: &str = "freehold-database-ca";

/// A key of the Secret that the operator keeps a database's credentials in.
fn kept(database: &Name, key: &'static str) -> Piece {
    let called = format!("FREEHOLD_{}_{}", database.as_str(), key).replace('-', "_").to_uppercase();
    let source = json!({"secretKeyRef": {"name": format!("{database}-app"), "key": key}});
    Piece::Given { called, source }
}

impl Cluster<'_> {
    pub(crate) fn cloudnative_pg(&mut self, name: &Name, database: &Database, operator: &str) {
        let key = &self.expansion.resolver.request.key;
        let owner = self.expansion.resolver.operators_role(name);
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

    /// The certificate authority of the target's database server, for programs to read.
    pub(super) fn authority(&mut self) {
        let resolver = &self.expansion.resolver;
        let Some(pem) = resolver.target.postgres().and_then(PostgresServer::delivered_authority) else { return };
        if resolver.app.databases.is_empty() {
            return;
        }
        let config = Object::new(ResourceKind::ConfigMap, AUTHORITY, PodPart::Whole, json!({"data": {CA: pem}}));
        let config = self.put(config);
        self.prerequisites.insert(config);
    }

    /// The volume with the authority that a database's certificate is from, where there is one.
    pub(super) fn authority_of(&self, database: &Name) -> Option<Json> {
        let items = json!([{"key": CA, "path": CA}]);
        match self.expansion.resolver.target.postgres() {
            // The operator's Secret has the authority's key as well, which is nobody else's.
            None => Some(json!({"secret": {"secretName": format!("{database}-ca"), "items": items}})),
            Some(server) => {
                server.delivered_authority()?;
                Some(json!({"configMap": {"name": AUTHORITY, "items": items}}))
            }
        }
    }

    /// A value of a database that only its operator knows; `None` for all else.
    pub(super) fn kept_by_operator(&self, database: &Name, output: Output) -> Option<Vec<Piece>> {
        let resolver = &self.expansion.resolver;
        if resolver.target.postgres().is_some() || !resolver.app.databases.contains_key(database) {
            return None;
        }
        let Output::Connection(_, connection) = output else { return None };
        let tls = resolver.tls_parameters(database);
        let text = |text: String| Piece::Text(text);
        match connection {
            Connection::Host | Connection::Port | Connection::User => None,
            Connection::Password => Some(vec![kept(database, "password")]),
            // Neither has a fragment; the first has no query, the second has one.
            Connection::Url => Some(vec![kept(database, "uri"), text(query('?', tls))]),
            Connection::JdbcUrl => Some(vec![kept(database, "jdbc-uri"), text(query('&', tls))]),
            Connection::KeywordUrl => {
                let user = resolver.operators_role(database);
                let before = resolver.keywords(&operators_host(database), POSTGRES, database, &user);
                let password = kept(database, "password");
                Some(vec![text(format!("{before} password='")), password, text(format!("'{}", keywords(tls)))])
            }
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
