//! A database as a PostgreSQL cluster of CloudNativePG, in the stack's own namespace.
//!
//! Its operator makes one role that owns the database, and a Secret `NAME-app` with the URL under `uri`. Containers get it from
//! there: Freehold never sees the password. Extensions are made with the database and only then, which is why a change of them is a
//! new database (see [`crate::kind`]); the same holds for its collation and encoding.
//!
//! ```text
//! the app's role ──► NAME-pooler (PgBouncer), if it has one ──► NAME-rw        migrations ──► NAME-rw
//! ```

use std::collections::{BTreeMap, BTreeSet};

use freehold_spec::app::{Collation, Database, Pooler};
use freehold_spec::part::database::{Connection, Output};
use freehold_spec::{Name, PartKind, Spanned, Storage};
use serde_json::{Value as Json, json};

use super::Cluster;
use super::given::Piece;
use super::manifest::{Object, PodPart};
use super::policy::{database_pods, namespace, pooler_pods, tcp};
use super::quantity::{CPU_DEFAULT, MEMORY_DEFAULT, bytes, resources};
use crate::expand::connection::{POSTGRES, keywords, query, writable_host};
use crate::expand::error::{Claimant, ExpandError};
use crate::expand::names;
use crate::extension;
use crate::kind::ResourceKind;
use crate::resource_id::ResourceId;
use crate::target::PostgresServer;

/// Where CloudNativePG has its images of PostgreSQL: a tag for each major version.
const IMAGE: &str = "ghcr.io/cloudnative-pg/postgresql";
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
        let owner = self.expansion.resolver.operators_role(name);
        let role = json!({
            "name": owner,
            "ensure": "present",
            "login": true,
            "inherit": true,
            "connectionLimit": database.connections.value,
        });
        let server = &database.server;
        let volume = |size: Storage| json!({"size": bytes(size.0), "storageClass": self.facts.storage_class});
        let image = server.version.as_ref().map(|version| format!("{IMAGE}:{}", version.value.0));
        let spec = json!({
            "instances": server.copies.value,
            "imageName": image,
            "enableSuperuserAccess": false,
            "storage": volume(server.storage.value),
            "walStorage": server.wal_storage.as_ref().map(|size| volume(size.value)),
            "resources": resources(server.cpu.value, server.memory.value),
            "postgresql": parameters(database),
            "certificates": server.pooler.as_ref().map(|_| json!({"serverAltDNSNames": self.names_of_pooler(name)})),
            "bootstrap": {"initdb": self.initdb(name, database, &owner)},
            "managed": {"roles": [role]},
        });
        let policy = self.database_policy(name, database, operator);
        let needs: Vec<ResourceId> = self.prerequisites.iter().cloned().chain([policy]).collect();
        let object = Object::new(ResourceKind::CloudNativePg, name.as_str(), PodPart::Whole, json!({"spec": spec}));
        let cluster = self.put(object.after(needs));
        for (kind, suffix) in OF_OPERATOR {
            self.take(kind, &format!("{name}-{suffix}"), Claimant::part(PartKind::Database, name));
        }
        if let Some(pooler) = &server.pooler {
            self.pooler(name, database, pooler, cluster);
        }
        self.own_server_lacks(name, database);
    }

    /// How the operator makes the database. It looks at this only then.
    fn initdb(&mut self, name: &Name, database: &Database, owner: &str) -> Json {
        for extension in database.extensions.iter().filter(|extension| !extension::fits_own_server(extension)) {
            let error = ExpandError::ExtensionNotPrepared {
                from: format!("database.{name}"),
                extension: extension.value.clone(),
                target: self.facts.name.to_string(),
            };
            self.expansion.resolver.errors.push(error);
        }
        let create = |extension: &Spanned<String>| {
            // From a list of known ones; quoted as SQL quotes identifiers.
            format!("CREATE EXTENSION IF NOT EXISTS \"{}\"", extension.value.replace('"', "\"\""))
        };
        let extensions: Vec<String> = database.extensions.iter().map(create).collect();
        let (libc, icu) = match database.collation.as_ref().map(|collation| &collation.value) {
            Some(Collation::Libc(locale)) => (Some(locale), None),
            Some(Collation::Icu(tag)) => (None, Some(tag)),
            None => (None, None),
        };
        json!({
            "database": names::database(&self.expansion.resolver.request.key, name),
            "owner": owner,
            "encoding": database.encoding.as_ref().map(|encoding| encoding.value.as_str()),
            "localeCollate": libc,
            "localeCType": libc,
            "localeProvider": icu.map(|_| "icu"),
            "icuLocale": icu,
            "postInitApplicationSQL": (!extensions.is_empty()).then_some(extensions),
        })
    }

    /// What a definition says of servers that are there, and one that is made for it hasn't got.
    fn own_server_lacks(&mut self, name: &Name, database: &Database) {
        let named = database.server.name.as_ref().map(|server| format!("the server {}", server.value));
        let template = database.template.as_ref().map(|template| format!("the template {}", template.value));
        let lines = [named, template].into_iter().flatten();
        let lines = lines.map(|what| format!("{what} for database {name} (it has a server of its own here)"));
        self.expansion.graph.not_enforced.extend(lines);
    }

    /// PgBouncer between the app's role and its database.
    fn pooler(&mut self, name: &Name, database: &Database, pooler: &Pooler, cluster: ResourceId) {
        let object = names::pooler(name);
        // The poolers share what the role may have open.
        let connections = (database.connections.value / pooler.copies.value).max(1);
        let spec = json!({
            "cluster": {"name": name},
            "instances": pooler.copies.value,
            "type": "rw",
            "pgbouncer": {
                "poolMode": pooler.mode.as_str(),
                "parameters": {
                    "default_pool_size": connections.to_string(),
                    "max_client_conn": pooler.clients.value.to_string(),
                    // Statements that a driver has prepared are found again on whichever connection comes next.
                    "max_prepared_statements": "200",
                    // What JDBC says at the start of each connection, and PgBouncer takes for an error.
                    "ignore_startup_parameters": "extra_float_digits",
                },
            },
            "template": {"spec": {"containers": [{"name": "pgbouncer", "resources": resources(CPU_DEFAULT, MEMORY_DEFAULT)}]}},
        });
        let users = self.users_of(PartKind::Database, name);
        let own = pooler_pods(name);
        let ingress = (!users.is_empty()).then(|| json!([{"from": users, "ports": [tcp(POSTGRES)]}]));
        let policy = json!({
            "podSelector": own.get("podSelector"),
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": [{"to": [database_pods(name)], "ports": [tcp(POSTGRES)]}, {"ports": API_SERVER.map(tcp)}],
        });
        let policy = self.policy(&names::joined("pooler", name.as_str()), PodPart::Whole, policy);
        let kind = ResourceKind::CloudNativePgPooler;
        let made = Object::new(kind, &object, PodPart::Whole, json!({"spec": spec}));
        self.put(made.after([cluster, policy]));
        for kind in [ResourceKind::ClusterService, ResourceKind::Deployment, ResourceKind::ServiceAccount] {
            self.take(kind, &object, Claimant::part(PartKind::Database, name));
        }
    }

    /// What the certificate of a database's server has to be for, besides, so that programs can verify who they speak to through a pooler.
    fn names_of_pooler(&self, name: &Name) -> Vec<String> {
        let (pooler, namespace) = (names::pooler(name), &self.namespace);
        let ends = [
            String::new(),
            format!(".{namespace}"),
            format!(".{namespace}.svc"),
            format!(".{namespace}.svc.cluster.local"),
        ];
        ends.iter().map(|end| format!("{pooler}{end}")).collect()
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
        let Output::Connection(role, connection) = output else { return None };
        let tls = resolver.tls_parameters(database);
        let host = resolver.operators_host(database, role);
        // The operator's own URLs lead past a pooler.
        let pooled = host != writable_host(database);
        let (user, called) = (resolver.operators_role(database), names::database(&resolver.request.key, database));
        let text = |text: String| Piece::Text(text);
        match connection {
            Connection::Host | Connection::Port | Connection::User => None,
            Connection::Password => Some(vec![kept(database, "password")]),
            Connection::Url if pooled => Some(vec![
                text(format!("postgresql://{user}:")),
                kept(database, "password"),
                text(format!("@{host}:{POSTGRES}/{called}{}", query('?', tls))),
            ]),
            Connection::JdbcUrl if pooled => Some(vec![
                text(format!("jdbc:postgresql://{host}:{POSTGRES}/{called}?user={user}&password=")),
                kept(database, "password"),
                text(query('&', tls)),
            ]),
            // Neither has a fragment; the first has no query, the second has one.
            Connection::Url => Some(vec![kept(database, "uri"), text(query('?', tls))]),
            Connection::JdbcUrl => Some(vec![kept(database, "jdbc-uri"), text(query('&', tls))]),
            Connection::KeywordUrl => {
                let before = resolver.keywords(&host, POSTGRES, database, &user);
                let password = kept(database, "password");
                Some(vec![text(format!("{before} password='")), password, text(format!("'{}", keywords(tls)))])
            }
        }
    }

    /// Its programs and its operator in; the API server, on which its Pods keep what they agree on, out.
    fn database_policy(&mut self, name: &Name, database: &Database, operator: &str) -> ResourceId {
        let own = database_pods(name);
        let among = json!([tcp(POSTGRES), tcp(STATUS)]);
        let mut users = self.users_of(PartKind::Database, name);
        users.extend(database.server.pooler.as_ref().map(|_| pooler_pods(name)));
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

/// PostgreSQL's parameters and the libraries that it loads, as far as the definition has any.
fn parameters(database: &Database) -> Option<Json> {
    let parameters = &database.server.parameters;
    let parameters: BTreeMap<&str, &str> =
        parameters.iter().map(|(name, value)| (name.as_str(), value.value.as_str())).collect();
    let libraries: BTreeSet<&str> =
        database.extensions.iter().filter_map(|extension| extension::library(extension)).collect();
    let (some, any) = (!parameters.is_empty(), !libraries.is_empty());
    (some || any).then(|| {
        json!({
            "parameters": some.then_some(parameters),
            "shared_preload_libraries": any.then_some(libraries),
        })
    })
}
