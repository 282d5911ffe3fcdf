//! Resolves `${…}`: each to a value, and to the resource that has to exist first.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use freehold_spec::template::PodFact;
use freehold_spec::{App, Fact, Name, Reference, Segment, Template};

use freehold_spec::part::output::PortOutput;

use super::error::ExpandError;
use super::names;
use crate::part;
use crate::request::Request;
use crate::resource_id::ResourceId;
use crate::secret::SecretRef;
use crate::target::{PostgresServer, Target};
use crate::value::{Special, Value};

/// Resolves the references of one stack, and collects what was wrong with them.
pub(crate) struct Resolver<'a> {
    pub(crate) app: &'a App,
    pub(crate) request: &'a Request,
    pub(crate) target: &'a Target,
    pub(crate) errors: Vec<ExpandError>,
    /// The services that others reach by their URL.
    pub(crate) endpoints: BTreeSet<Name>,
    /// The named ports that others reach: of which service, and their own name.
    pub(crate) named_endpoints: BTreeSet<(Name, Name)>,
    /// The program whose references are resolved: `web`.
    pub(crate) program: String,
}

impl<'a> Resolver<'a> {
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

    pub(crate) fn reference(
        &mut self,
        from: &str,
        reference: &Reference,
        needs: &mut BTreeSet<ResourceId>,
    ) -> Vec<Value> {
        match reference {
            Reference::Output(name, output) => {
                let part = output.part();
                if self.app.span(part, name.as_str()).is_none() {
                    let to = format!("{}.{name}", part.word());
                    self.errors.push(ExpandError::Dangling { from: from.to_owned(), to });
                }
                part::value(name, *output, self, from, needs)
            }
            Reference::Port { service, port, output } => {
                let Some(named) = self.app.services.get(service).and_then(|one| one.ports.get(port)) else {
                    let to = format!("service.{service}.{port}");
                    self.errors.push(ExpandError::Dangling { from: from.to_owned(), to });
                    return Vec::new();
                };
                let (host, number) = self.port_address(service, port, named.port.value);
                vec![Value::text(match output {
                    PortOutput::Url => named.protocol.url(&host, number),
                    PortOutput::Host => host,
                    PortOutput::Port => number.to_string(),
                })]
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
            Fact::StackRevision => self.request.revision.to_string(),
            Fact::TargetDomain => self.target.domain().to_owned(),
            // A cluster's Pods are told by the cluster. On one machine the copies of a program have one name.
            Fact::Pod(PodFact::Name) => self.program.clone(),
            Fact::Pod(PodFact::Namespace) => names::namespace(key),
            Fact::Pod(PodFact::Node) => "localhost".to_owned(),
            Fact::Pod(PodFact::Ip) => Ipv4Addr::LOCALHOST.to_string(),
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

    /// The server that a database is on; `None` where it has one for itself. One that isn't there is reported elsewhere.
    pub(crate) fn server_of(&self, database: &Name) -> Option<&'a PostgresServer> {
        let name = self.app.databases.get(database).and_then(|one| one.server.name.as_ref());
        self.target.server_of(name.map(|name| &name.value)).or_else(|| self.target.postgres())
    }

    /// All that has to be there for connections to a database: it, and its pooler.
    pub(crate) fn way_to(&self, name: &Name) -> impl Iterator<Item = ResourceId> {
        let has_own_server = self.target.postgres().is_none();
        let pooled = self.app.databases.get(name).is_some_and(|one| one.server.pooler.is_some());
        let pooler = (has_own_server && pooled).then(|| ResourceId::new("pooler", names::pooler(name)));
        std::iter::once(self.database(name)).chain(pooler)
    }

    /// The password of the user that the app logs in to a cache as.
    pub(crate) fn cache_password(&self, cache: &Name) -> SecretRef {
        let purpose = names::cache_credential(cache);
        let rotation = self.request.rotations.get(&purpose).copied().unwrap_or_default();
        SecretRef::Derived { purpose, rotation }
    }

    /// What the app signs its requests to a bucket with.
    pub(crate) fn bucket_secret(&self, bucket: &Name) -> SecretRef {
        let purpose = names::bucket_credential(bucket);
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
