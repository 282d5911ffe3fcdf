//! Resolves `${…}`: each to a value, and to the resource that has to exist first.

use std::collections::BTreeSet;

use freehold_spec::{App, Fact, Name, Reference, Segment, Template};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::error::ExpandError;
use super::names;
use crate::part;
use crate::request::Request;
use crate::resource_id::ResourceId;
use crate::secret::SecretRef;
use crate::target::Target;
use crate::value::{Special, Value};

/// Resolves the references of one stack, and collects what was wrong with them.
pub(crate) struct Resolver<'a> {
    pub(crate) app: &'a App,
    pub(crate) request: &'a Request,
    pub(crate) target: &'a Target,
    pub(crate) errors: Vec<ExpandError>,
    /// The services that others reach by their URL.
    pub(crate) endpoints: BTreeSet<Name>,
}

impl Resolver<'_> {
    /// A value from a template; what it depends on is added to `needs`.
    pub(crate) fn value(&mut self, from: &str, template: &Template, needs: &mut BTreeSet<ResourceId>) -> Value {
        let mut pieces: Vec<Value> = Vec::new();
        for segment in &template.segments {
            match segment {
                Segment::Text(text) => pieces.push(Value::text(text.clone())),
                Segment::Reference(reference) => pieces.extend(self.reference(from, reference, needs)),
            }
        }
        join(pieces)
    }

    /// A text from a template that may not contain secrets.
    pub(crate) fn plain(&mut self, from: &str, template: &Template, needs: &mut BTreeSet<ResourceId>) -> String {
        let value = self.value(from, template, needs);
        if let Value::Text(text) = value {
            return text;
        }
        let to = value.secrets().first().map(ToString::to_string).unwrap_or_default();
        self.errors.push(ExpandError::NotPlain { from: from.to_owned(), to });
        String::new()
    }

    fn reference(&mut self, from: &str, reference: &Reference, needs: &mut BTreeSet<ResourceId>) -> Vec<Value> {
        match reference {
            Reference::Output(name, output) => {
                let part = output.part();
                if self.app.span(part, name.as_str()).is_none() {
                    let to = format!("{}.{name}", part.word());
                    self.errors.push(ExpandError::Dangling { from: from.to_owned(), to });
                }
                part::value(name, *output, self, from, needs)
            }
            Reference::Fact(fact) => vec![Value::text(self.fact(*fact))],
        }
    }

    fn fact(&self, fact: Fact) -> String {
        let key = &self.request.key;
        match fact {
            Fact::StackName => key.name.to_string(),
            Fact::StackKind => key.kind.as_str().to_owned(),
            Fact::StackId => self.request.id.to_string(),
            Fact::TierName => self.request.tier.as_ref().map_or("", Name::as_str).to_owned(),
            Fact::StageName => self.request.stage_name().unwrap_or("preview").to_owned(),
            Fact::TargetDomain => self.target.domain().to_owned(),
        }
    }

    /// `http://acme.localhost:7080`. No edge: a service may know its own URL.
    pub(crate) fn route_url(&mut self, name: &Name) -> String {
        let Some(route) = self.app.routes.get(name) else { return String::new() };
        let Some(host) = route.hosts.first() else { return String::new() };
        let mut outputs = host.references().filter_map(|reference| reference.value.output());
        let refers_to_routes = outputs.any(|(_, output)| output.row().follows_references);
        if refers_to_routes {
            self.errors.push(ExpandError::Cycle(format!("route.{name}")));
            return String::new();
        }
        let host = self.plain(&format!("route.{name}.hosts"), &host.value, &mut BTreeSet::new()).to_lowercase();
        self.target.url(&host)
    }

    /// The resource that a database is.
    pub(crate) fn database(&self, name: &Name) -> ResourceId {
        let on_server = self.target.postgres().is_some();
        ResourceId::new(if on_server { "database" } else { "cluster" }, name)
    }

    pub(crate) fn database_url(&mut self, from: &str, database: &Name, role: &str) -> Vec<Value> {
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

    /// The password of the user that the app logs in to a cache as.
    pub(crate) fn cache_password(&self, cache: &Name) -> SecretRef {
        let purpose = names::cache_credential(cache);
        let rotation = self.request.rotations.get(&purpose).copied().unwrap_or_default();
        SecretRef::Derived { purpose, rotation }
    }

    /// The password of a database's role.
    pub(crate) fn credential(&self, database: &Name, role: &str) -> SecretRef {
        let purpose = names::credential(database, role);
        SecretRef::Derived { purpose, rotation: self.rotation(database, role) }
    }

    /// How many times the credentials of a database's role were rotated.
    pub(crate) fn rotation(&self, database: &Name, role: &str) -> u32 {
        self.request.rotations.get(&names::credential(database, role)).copied().unwrap_or_default()
    }

    /// The role that logs in as a database's app or migrator.
    pub(crate) fn login(&self, database: &Name, role: &str) -> String {
        names::login(&self.request.key, database, role, self.rotation(database, role))
    }
}

/// A path as a value in a URL's query. Of the forms of a URL that leads to a socket, the one with all in its query is what libpq
/// (psycopg, Ruby, PHP), sqlx, tokio-postgres, node-postgres, pgx and asyncpg take alike: an address without a host but with a user
/// before it is no URL to sqlx, and an encoded path in the host's place none to pgx.
fn percent_encoded(path: &str) -> String {
    utf8_percent_encode(path, QUERY_VALUE).to_string()
}

/// What is encoded in the value of a query: all but RFC 3986's unreserved characters and slashes.
const QUERY_VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

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
