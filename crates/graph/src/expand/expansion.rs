//! What every kind of target has in common: secrets of the store, databases on a server, copies, host names, outputs.

use std::collections::{BTreeMap, BTreeSet};

use freehold_spec::app::{Database, Job, Retry, Route, Secret, When};
use freehold_spec::{App, JobOrder, Name, Spanned, Template};

use super::error::ExpandError;
use super::names;
use super::references::Resolver;
use crate::extension;
use crate::graph::Graph;
use crate::kind::ResourceKind;
use crate::request::Request;
use crate::resource::{Due, Resource};
use crate::resource_id::ResourceId;
use crate::target::Target;
use crate::value::Value;

/// A graph on its way.
pub(crate) struct Expansion<'a> {
    pub(crate) resolver: Resolver<'a>,
    pub(crate) graph: Graph,
    /// Which route has which path of which host.
    routed: BTreeMap<(String, String), Name>,
    /// The routes of each host.
    of_host: BTreeMap<String, BTreeSet<Name>>,
}

/// The host names of a route, in lower case.
pub(crate) struct Hosts {
    /// Those that serve.
    pub(crate) serving: Vec<String>,
    /// Those that are redirected to the first of them.
    pub(crate) redirected: Vec<String>,
}

impl<'a> Expansion<'a> {
    pub(crate) fn new(app: &'a App, request: &'a Request, target: &'a Target) -> Self {
        let (errors, endpoints, named_endpoints, program) = Default::default();
        let resolver = Resolver { app, request, target, errors, endpoints, named_endpoints, program };
        Self { resolver, graph: Graph::default(), routed: BTreeMap::new(), of_host: BTreeMap::new() }
    }

    /// The graph, or all that was wrong.
    pub(crate) fn finish(mut self) -> Result<Graph, Vec<ExpandError>> {
        if let Err(circle) = JobOrder::of(&self.resolver.app.jobs) {
            let names: Vec<String> = circle.iter().map(|name| format!("job.{name}")).collect();
            self.resolver.errors.push(ExpandError::Cycle(names.join(" → ")));
        }
        if self.resolver.errors.is_empty() { Ok(self.graph) } else { Err(self.resolver.errors) }
    }

    pub(crate) fn add(
        &mut self,
        id: ResourceId,
        kind: ResourceKind,
        identity: String,
        body: Value,
        depends_on: BTreeSet<ResourceId>,
    ) {
        self.graph.resources.insert(id.clone(), Resource { id, kind, identity, body, depends_on });
    }

    pub(crate) fn secret(&mut self, name: &Name, secret: &Secret) {
        let id = ResourceId::new("secret", name);
        self.add(id, ResourceKind::StoreSecret, name.to_string(), sealed_body(secret), BTreeSet::new());
    }

    /// A database on the target's server, and its roles.
    pub(crate) fn database(&mut self, name: &Name, database: &Database) {
        let request = self.resolver.request;
        let role = |role: &str| Value::text(names::role(&request.key, name, role));
        let called = names::database(&request.key, name);
        let server = database.server.name.as_ref().map(|name| &name.value);
        let identity = names::on_server(server, called.clone());
        let on_server = server.map(|server| ("server", Value::text(server.as_str())));
        let roles = ResourceId::new("roles", name);
        let mut fields = vec![
            ("owner", role("owner")),
            ("migrator", role("migrator")),
            ("app", role("app")),
            ("connections", Value::from(database.connections.value)),
            ("statement_timeout_seconds", Value::from(database.statement_timeout.0)),
            ("lock_timeout_seconds", Value::from(database.lock_timeout.0)),
            ("migrator_password", Value::secret(self.resolver.credential(name, "migrator"))),
            ("app_password", Value::secret(self.resolver.credential(name, "app"))),
        ];
        for (field, role) in [("migrator_user", "migrator"), ("app_user", "app")] {
            if self.resolver.rotation(name, role) > 0 {
                fields.push((field, Value::text(self.resolver.login(name, role))));
            }
        }
        if let Some(size) = &database.max_size {
            fields.push(("max_bytes", Value::Integer(i64::try_from(size.value.0).unwrap_or(i64::MAX))));
        }
        fields.extend(on_server.clone());
        let body = Value::map(fields);
        self.add(roles.clone(), ResourceKind::PostgresRoles, identity.clone(), body, BTreeSet::new());
        let (trusted, prepared): (BTreeSet<&str>, BTreeSet<&str>) =
            database.extensions.iter().map(|e| e.value.as_str()).partition(|name| extension::is_trusted(name));
        let mut fields = vec![
            ("name", Value::text(called)),
            ("owner", role("owner")),
            ("migrator", role("migrator")),
            ("app", role("app")),
            ("extensions", Value::from(trusted.into_iter().collect::<Vec<_>>())),
        ];
        let template = database.template.as_ref().map(|template| names::template(&template.value));
        let collation = database.collation.as_ref().map(|collation| collation.value.to_string());
        let encoding = database.encoding.as_ref().map(|encoding| encoding.value.as_str().to_owned());
        let chosen = [("template", template), ("collation", collation), ("encoding", encoding)];
        fields.extend(chosen.into_iter().filter_map(|(field, value)| Some((field, Value::text(value?)))));
        if !prepared.is_empty() {
            fields.push(("prepared", Value::from(prepared.into_iter().collect::<Vec<_>>())));
        }
        fields.extend(on_server);
        let body = Value::map(fields);
        self.server_of(name, database);
        self.graph.claims.insert(("database".to_owned(), identity.clone()));
        let id = ResourceId::new("database", name);
        self.add(id, ResourceKind::PostgresDatabase, identity, body, BTreeSet::from([roles]));
    }

    /// What the definition asks of a server that is there: it has to be new enough, and is otherwise as its operator has made it.
    fn server_of(&mut self, name: &Name, database: &Database) {
        let Some(server) = self.resolver.server_of(name) else { return };
        let found = server.version;
        self.check_name(name, database);
        if let Some(wanted) = database.server.version.as_ref().map(|version| version.value.0) {
            if wanted > found {
                let (from, target) = (format!("database.{name}"), self.resolver.target.name().to_string());
                let server = format!("{}:{}", server.host, server.port);
                self.resolver.errors.push(ExpandError::ServerTooOld { from, wanted, found, server, target });
            } else if wanted < found {
                self.graph
                    .not_enforced
                    .push(format!("PostgreSQL {wanted} for database {name} (its server has {found})"));
            }
        }
        let keys = database.server.own_keys();
        if !keys.is_empty() {
            let line = format!("{} of the server of database {name} (others are on it, too)", keys.join(", "));
            self.graph.not_enforced.push(line);
        }
    }

    /// Whether the target has the server that is named.
    fn check_name(&mut self, name: &Name, database: &Database) {
        let Some(server) = database.server.name.as_ref().map(|server| &server.value) else { return };
        if database.max_size.is_some() {
            let line = format!("max_size of database {name} (the server {server} isn't Freehold's own)");
            self.graph.not_enforced.push(line);
        }
        let target = self.resolver.target;
        if target.server_of(Some(server)).is_some() {
            return;
        }
        let known = target.postgres().map(|main| freehold_spec::listed(main.named.keys().map(Name::as_str)));
        let known =
            known.filter(|known| !known.is_empty()).unwrap_or_else(|| "none but the one without a name".to_owned());
        let (from, server, target) = (format!("database.{name}"), server.clone(), target.name().to_string());
        self.resolver.errors.push(ExpandError::UnknownServer { from, server, target, known });
    }

    /// Closes the logins that a rotation replaced. The engine does that last, when what uses the new ones has proved itself.
    pub(crate) fn logins(&mut self) {
        let resources = self.graph.resources.values().filter(|resource| resource.kind.row().program.is_some());
        let users: BTreeSet<ResourceId> = resources.map(|resource| resource.id.clone()).collect();
        for name in self.resolver.app.databases.keys() {
            let roles = ResourceId::new("roles", name);
            let rotations = ["app", "migrator"].map(|role| (role, self.resolver.rotation(name, role)));
            if !self.graph.resources.contains_key(&roles) || rotations.iter().all(|(_, rotation)| *rotation == 0) {
                continue;
            }
            let key = &self.resolver.request.key;
            let open: BTreeSet<String> =
                rotations.iter().map(|(role, rotation)| names::login(key, name, role, *rotation)).collect();
            let role = |role: &str| Value::text(names::role(key, name, role));
            let fields = [
                ("owner", role("owner")),
                ("migrator", role("migrator")),
                ("app", role("app")),
                ("open", Value::from(open.into_iter().collect::<Vec<_>>())),
            ];
            let database = self.resolver.app.databases.get(name);
            let server = database.and_then(|database| database.server.name.as_ref()).map(|server| &server.value);
            let on_server = server.map(|server| ("server", Value::text(server.as_str())));
            let body = Value::map(fields.into_iter().chain(on_server));
            let identity = names::on_server(server, names::database(key, name));
            let needs = users.iter().cloned().chain([roles]).collect();
            self.add(ResourceId::new("logins", name), ResourceKind::PostgresLogins, identity, body, needs);
        }
    }

    /// A route's host names, claimed: those that serve, and those that are redirected.
    pub(crate) fn hosts(&mut self, name: &Name, route: &Route, needs: &mut BTreeSet<ResourceId>) -> Hosts {
        let prefixes: Vec<&str> = route.paths.iter().map(|rule| rule.prefix.value.as_str()).collect();
        Hosts {
            serving: self.claimed(name, "hosts", &route.hosts, &prefixes, needs),
            redirected: self.claimed(name, "redirect_from", &route.redirect_from, &["/"], needs),
        }
    }

    fn claimed(
        &mut self,
        name: &Name,
        key: &str,
        templates: &[Spanned<Template>],
        prefixes: &[&str],
        needs: &mut BTreeSet<ResourceId>,
    ) -> Vec<String> {
        let mut hosts = Vec::new();
        for template in templates {
            let host = self.resolver.plain(&format!("route.{name}.{key}"), &template.value, needs).to_lowercase();
            for prefix in prefixes {
                let place = (host.clone(), (*prefix).to_owned());
                if let Some(first) = self.routed.insert(place, name.clone()) {
                    let (second, path) = (name.clone(), (*prefix).to_owned());
                    let twice = ExpandError::RouteTwice { first, second, host: host.clone(), path };
                    self.resolver.errors.push(twice);
                }
            }
            self.graph.claims.insert(("host".to_owned(), host.clone()));
            self.of_host.entry(host.clone()).or_default().insert(name.clone());
            hosts.push(host);
        }
        hosts
    }

    /// Pairs of routes that share a host, of which the second keeps requests out that the first would let in: it is made before and
    /// taken away behind it, so that its paths are never open.
    pub(crate) fn guards(&self) -> BTreeSet<(Name, Name)> {
        let guards = |name: &Name| {
            self.resolver.app.routes.get(name).is_some_and(|route| {
                let refuses = route.paths.iter().any(|rule| rule.respond.is_some());
                refuses || !route.basic_auth.is_empty() || !route.allow_from.is_empty() || route.rate_limit.is_some()
            })
        };
        let mut pairs = BTreeSet::new();
        for names in self.of_host.values() {
            let (guarding, open): (Vec<&Name>, Vec<&Name>) = names.iter().partition(|name| guards(name));
            for open in open {
                pairs.extend(guarding.iter().map(|guard| (open.clone(), (*guard).clone())));
            }
        }
        pairs
    }

    /// The jobs that a deploy runs before one.
    pub(crate) fn earlier_jobs(&self, job: &Job) -> BTreeSet<ResourceId> {
        let jobs = &self.resolver.app.jobs;
        let is_run = |name: &&Name| jobs.get(*name).is_some_and(|earlier| earlier.runs().is_deployed());
        job.after.iter().map(|name| &name.value).filter(is_run).map(|name| ResourceId::new("job", name)).collect()
    }

    /// For targets whose database server isn't Freehold's own.
    pub(crate) fn sizes_are_not_watched(&mut self) {
        let limited = self.resolver.app.databases.iter().filter(|(_, database)| database.max_size.is_some());
        let names: Vec<&str> = limited.map(|(name, _)| name.as_str()).collect();
        if !names.is_empty() {
            self.graph.not_enforced.push(format!("max_size of database {} (only on one machine)", names.join(", ")));
        }
    }

    /// What the definition asks for and no target does in this version.
    pub(crate) fn unsupported(&mut self) {
        if self.resolver.app.backup.is_some() {
            self.graph.not_enforced.push("backups on a schedule (not in this version)".to_owned());
        }
    }
}

/// A secret as the store is told of it.
fn sealed_body(secret: &Secret) -> Value {
    let Some(generate) = secret.generate else { return Value::map([("required", Value::Bool(true))]) };
    let fields = [("bytes", Value::from(generate.bytes)), ("encoding", Value::from(generate.encoding.as_str()))];
    Value::map([("generate", Value::map(fields))])
}

/// When a job's run is due; `None` of one with a schedule, which is a resource.
pub(crate) fn due(job: &Job) -> Option<Due> {
    match job.runs() {
        When::Revision => Some(Due::Revision),
        When::Once => Some(Due::Once),
        When::Demand => Some(Due::Demand),
        When::Schedule => None,
    }
}

/// How a run's body says what to do about an unknown outcome.
pub(crate) fn retry(retry: Retry) -> Value {
    Value::from(match retry {
        Retry::Ask => "ask",
        Retry::Safe => "safe",
    })
}
