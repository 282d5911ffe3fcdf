//! Resolves `${…}`: each to a value, and to the resource that has to exist first.

use std::collections::BTreeSet;

use freehold_spec::template::{DatabaseField, Part, Reference};
use freehold_spec::{App, Name, Template};

use super::{ExpandError, Request, Target, names};
use crate::resource::ResourceId;
use crate::secret::SecretRef;
use crate::value::{Special, Value};

/// Resolves the references of one stack, and collects what was wrong with them.
pub(super) struct Resolver<'a> {
    pub(super) app: &'a App,
    pub(super) request: &'a Request,
    pub(super) target: &'a Target,
    pub(super) errors: Vec<ExpandError>,
    /// The services that others reach by their URL.
    pub(super) endpoints: BTreeSet<Name>,
}

impl Resolver<'_> {
    /// A value from a template; what it depends on is added to `needs`.
    pub(super) fn value(&mut self, from: &str, template: &Template, needs: &mut BTreeSet<ResourceId>) -> Value {
        let mut pieces: Vec<Value> = Vec::new();
        for part in &template.parts {
            match part {
                Part::Text(text) => pieces.push(Value::text(text.clone())),
                Part::Reference(reference) => pieces.extend(self.reference(from, reference, needs)),
            }
        }
        join(pieces)
    }

    /// A text from a template that may not contain secrets.
    pub(super) fn plain(&mut self, from: &str, template: &Template, needs: &mut BTreeSet<ResourceId>) -> String {
        match self.value(from, template, needs) {
            Value::Text(text) => text,
            other => {
                let to = other.secrets().first().map(ToString::to_string).unwrap_or_default();
                self.errors.push(ExpandError::NotPlain { from: from.to_owned(), to });
                String::new()
            }
        }
    }

    fn reference(&mut self, from: &str, reference: &Reference, needs: &mut BTreeSet<ResourceId>) -> Vec<Value> {
        let key = &self.request.key;
        match reference {
            Reference::Database(name, field) => {
                self.require(from, "database", name, self.app.databases.contains_key(name));
                needs.insert(self.database(name));
                match field {
                    DatabaseField::Name => vec![Value::text(names::database(key, name))],
                    DatabaseField::Url => self.database_url(from, name, "app"),
                    DatabaseField::MigrationUrl => self.database_url(from, name, "migrator"),
                }
            }
            Reference::ServiceUrl(name) => {
                self.require(from, "service", name, self.app.services.contains_key(name));
                self.endpoints.insert(name.clone());
                // No edge: the address is known before the service runs, and services may know each other.
                vec![Value::text(match self.target {
                    Target::Local(_) => format!("http://{}", names::endpoint(self.request.id, name)),
                    // Its Service, in the same namespace, on port 80.
                    Target::Kubernetes(_) => format!("http://{name}"),
                })]
            }
            Reference::RouteUrl(name) => vec![Value::text(self.route_url(from, name))],
            Reference::Secret(name) => {
                self.require(from, "secret", name, self.app.secrets.contains_key(name));
                needs.insert(ResourceId::new("secret", name));
                vec![Value::secret(SecretRef::Stored(name.to_string()))]
            }
            Reference::StackName => vec![Value::text(key.name.as_str())],
            Reference::StackKind => vec![Value::text(key.kind.as_str())],
            Reference::StackId => vec![Value::text(self.request.id.to_string())],
            Reference::TierName => vec![Value::text(self.request.tier.as_ref().map_or("", Name::as_str))],
            Reference::TargetDomain => vec![Value::text(self.target.domain())],
        }
    }

    /// `http://acme.localhost:7080`. No edge: a service may know its own URL.
    pub(super) fn route_url(&mut self, from: &str, name: &Name) -> String {
        let Some(route) = self.app.routes.get(name) else {
            self.require(from, "route", name, false);
            return String::new();
        };
        let refers_to_routes = route.host.references().any(|r| matches!(r.value, Reference::RouteUrl(_)));
        if refers_to_routes {
            self.errors.push(ExpandError::Cycle(format!("route.{name}")));
            return String::new();
        }
        let host = self.plain(&format!("route.{name}.host"), &route.host.value, &mut BTreeSet::new());
        self.target.url(&host)
    }

    /// The resource that a database is.
    pub(super) fn database(&self, name: &Name) -> ResourceId {
        let on_server = self.target.postgres().is_some();
        ResourceId::new(if on_server { "database" } else { "cluster" }, name)
    }

    fn database_url(&mut self, from: &str, database: &Name, role: &str) -> Vec<Value> {
        let key = &self.request.key;
        let Some(server) = self.target.postgres() else {
            let to = format!("the URL of database.{database}");
            self.errors.push(ExpandError::NotAlone { from: from.to_owned(), to });
            return Vec::new();
        };
        let user = self.login(database, role);
        let name = names::database(key, database);
        let password = Value::secret(self.credential(database, role));
        if server.is_socket() {
            let folder = percent_encoded(&server.host);
            let before = format!("postgresql:///{name}?host={folder}&port={}&user={user}&password=", server.port);
            return vec![Value::text(before), password];
        }
        vec![
            Value::text(format!("postgresql://{user}:")),
            password,
            Value::text(format!("@{}:{}/{name}", server.host, server.port)),
        ]
    }

    /// The password of a database's role.
    pub(super) fn credential(&self, database: &Name, role: &str) -> SecretRef {
        let purpose = format!("postgres/{database}/{role}");
        SecretRef::Derived { purpose, rotation: self.rotation(database, role) }
    }

    /// How many times the credentials of a database's role were rotated.
    pub(super) fn rotation(&self, database: &Name, role: &str) -> u32 {
        self.request.rotations.get(&format!("postgres/{database}/{role}")).copied().unwrap_or_default()
    }

    /// The role that logs in as a database's app or migrator.
    pub(super) fn login(&self, database: &Name, role: &str) -> String {
        names::login(&self.request.key, database, role, self.rotation(database, role))
    }

    fn require(&mut self, from: &str, word: &str, name: &Name, defined: bool) {
        if !defined {
            self.errors.push(ExpandError::Dangling { from: from.to_owned(), to: format!("{word}.{name}") });
        }
    }
}

/// A path as a value in a URL's query. Of the forms of a URL that leads to a socket, the one with all in its query is what libpq
/// (psycopg, Ruby, PHP), sqlx, tokio-postgres, node-postgres, pgx and asyncpg take alike: an address without a host but with a user
/// before it is no URL to sqlx, and an encoded path in the host's place none to pgx.
fn percent_encoded(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'~');
    let encode = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    path.bytes().map(encode).collect()
}

/// One text if all pieces are texts, else a template of as few pieces as possible.
fn join(pieces: Vec<Value>) -> Value {
    let mut joined: Vec<Value> = Vec::new();
    for piece in pieces {
        match (joined.last_mut(), piece) {
            (Some(Value::Text(last)), Value::Text(next)) => last.push_str(&next),
            (_, piece) => joined.push(piece),
        }
    }
    match joined.len() {
        0 => Value::text(""),
        1 => joined.remove(0),
        _ => Value::Special(Special::Template(joined)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_in_a_query_is_encoded_in_a_path() {
        assert_eq!(percent_encoded("/var/lib/freehold-1/postgres"), "/var/lib/freehold-1/postgres");
        assert_eq!(percent_encoded("/a b/c+d&e=f%/ü"), "/a%20b/c%2Bd%26e%3Df%25/%C3%BC");
    }
}
