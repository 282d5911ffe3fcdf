//! The local target: databases on a PostgreSQL server, services as processes or containers, routes of the router.
//!
//! Bodies (fields that are absent are null or empty):
//!
//! ```text
//! store.secret       generate {bytes, encoding} | required true
//! postgres.roles     owner migrator app (names) · connections · statement_timeout_seconds
//!                    lock_timeout_seconds (the migrator's) · max_bytes (of the database), or none
//!                    migrator_password app_password (secrets)
//!                    after a rotation: migrator_user app_user (names)
//! postgres.logins    owner migrator app · open [name]: the logins that go on; only after a rotation
//! postgres.database  name owner migrator app · extensions [name]: trusted ones · collation encoding, where they are written
//!                    template (the database that it is a copy of at first) · prepared [name]: extensions that are the template's
//!                    each of these on another server than the one without a name: server (which also begins the identity, `NAME/…`)
//! local.service      memory_bytes cpu_millis: limits, where they are written · stack {memory_bytes, cpu_millis}: of the whole stack
//!                    artifact, or image "REPOSITORY@sha256:…" with writable [path] · command [text], or none: the image's
//!                    env {NAME: text|secret|template} replicas
//!                    health {ready, live, and the named ports that are asked: ready_port, live_port} · serves (it takes requests)
//!                    endpoint "127.a.b.c:port"|null · protocol "grpc"|"tcp", where it isn't HTTP
//!                    ports [NAME] · port_endpoints {NAME: {endpoint, protocol}}, of those that others reach
//!                    files {PATH: {content: text|secret|template, mode}}
//!                    start_timeout_seconds drain_seconds stop_timeout_seconds settle_seconds update
//! local.cache-data   (nothing)
//! local.cache        memory_bytes: limit of all that it takes · cpu_millis, where it is written · stack · max_memory_bytes: of the data
//!                    eviction · persist · password (secret) · endpoint "127.a.b.c:port"
//!                    start_timeout_seconds stop_timeout_seconds
//! local.bucket       name region access_key_id secret_access_key (secret) endpoint "127.a.b.c:port" versioning max_size_bytes
//!                    lifecycle [{prefix, expire_days, noncurrent_days, abort_uploads_days}]
//! local.schedule     memory_bytes cpu_millis stack · artifact or image · command env files · schedule · timeout_seconds
//! local.route        hosts [text] redirect_from [text]
//!                    paths [{prefix, timeout_seconds, attempt_timeout_seconds, retries, and one of
//!                            service ("service.web") | redirect {to, keep_path, status} | respond {status, body, content_type}}]
//!                    request_headers response_headers {set {}, add {}, remove []} · max_body_bytes · allow_from [CIDR]
//!                    cors {origins, methods, headers, expose, credentials, max_age_seconds} · basic_auth {NAME: secret}
//!                    rate_limit {requests, seconds}
//! run                memory_bytes cpu_millis stack · artifact or image · command env files · timeout_seconds · retry
//! ```

use std::collections::{BTreeMap, BTreeSet};

use freehold_spec::app::{Bucket, Cache, File, Job, Probe, Protocol, Question, Service, Update};
use freehold_spec::{App, Cpu, EnvName, Memory, Name, Spanned, Template};

use super::error::ExpandError;
use super::expansion::{Expansion, due, retry};
use super::names;
use crate::graph::Graph;
use crate::kind::ResourceKind;
use crate::part;
use crate::provider_name::ProviderName;
use crate::request::Request;
use crate::resource::Run;
use crate::resource_id::ResourceId;
use crate::target::Target;
use crate::value::Value;

/// Expands an app for this machine.
///
/// # Errors
/// All the definition's faults that hinder it.
pub fn expand(app: &App, request: &Request, target: &Target) -> Result<Graph, Vec<ExpandError>> {
    let mut machine = LocalExpansion { expansion: Expansion::new(app, request, target) };
    part::local(&mut machine);
    for (open, guard) in machine.expansion.guards() {
        let (open, guard) = (ResourceId::new("route", &open), ResourceId::new("route", &guard));
        if let Some(open) = machine.expansion.graph.resources.get_mut(&open) {
            open.depends_on.insert(guard);
        }
    }
    machine.endpoints();
    machine.port_endpoints();
    machine.expansion.logins();
    part::outputs(&mut machine.expansion);
    machine.not_enforced();
    machine.expansion.finish()
}

/// The limits that a service's definition says. What it doesn't say has the place of its table.
fn written(service: &Service) -> (Option<Memory>, Option<Cpu>) {
    let memory = (service.memory.span != service.span).then_some(service.memory.limit);
    (memory, (service.cpu.span != service.span).then_some(service.cpu.limit))
}

/// Whether a service runs from its image on this machine, in a container: where nothing of it is built here.
pub fn runs_image(service: &Service) -> bool {
    service.image.is_some() && service.build.is_none()
}

/// What a cache reads of its data in a second, in bytes.
const READ_IN_A_SECOND: u64 = 50_000_000;

/// Which paths tell a service's health. What can't be asked here is told by its port.
fn health(service: &Service) -> Value {
    let mut health = BTreeMap::new();
    for (key, port_key, probe) in
        [("ready", "ready_port", &service.health.ready), ("live", "live_port", &service.health.live)]
    {
        let question = probe.as_ref().map(|probe| (probe.question(), &probe.port));
        let (path, port) = match question {
            Some((Question::Http(path), port)) => (Value::from(path), port.as_ref()),
            Some((Question::Tcp | Question::Grpc(_) | Question::Command(_), _)) | None => (Value::Null, None),
        };
        health.insert(key, path);
        if let Some(port) = port {
            health.insert(port_key, Value::text(port.value.to_string()));
        }
    }
    Value::map(health)
}

/// Whether a service has something that only a cluster has.
type Has = fn(&Service) -> bool;

/// The expansion of one stack for this machine.
pub(crate) struct LocalExpansion<'a> {
    pub(crate) expansion: Expansion<'a>,
}

impl LocalExpansion<'_> {
    /// What a service and a job have in common: where their files are, what is started, with what environment.
    fn program(
        &mut self,
        id: &ResourceId,
        service: &Name,
        command: Option<&Spanned<Vec<String>>>,
        env: &BTreeMap<EnvName, Spanned<Template>>,
        files: &BTreeMap<Name, File>,
    ) -> (BTreeMap<String, Value>, BTreeSet<ResourceId>) {
        let mut needs = BTreeSet::new();
        self.expansion.resolver.program = id.name().to_owned();
        let env = env.iter().map(|(name, template)| {
            let from = format!("{id}.env.{name}");
            (name.to_string(), self.expansion.resolver.value(&from, &template.value, &mut needs))
        });
        let env: BTreeMap<String, Value> = env.collect();
        let files = files.iter().map(|(name, file)| {
            let from = format!("{id}.files.{name}");
            let content = self.expansion.resolver.value(&from, &file.content.value, &mut needs);
            (file.path.value.clone(), Value::map([("content", content), ("mode", Value::from(file.mode))]))
        });
        let files: BTreeMap<String, Value> = files.collect();
        let runs_image = self.expansion.resolver.app.services.get(service).is_some_and(runs_image);
        let deployed = self.expansion.resolver.request.artifacts.get(service).cloned();
        let deployed = deployed.map_or(Value::Null, Value::text);
        if runs_image && deployed == Value::Null {
            let missing = ExpandError::Missing { from: id.to_string(), what: "image".to_owned() };
            self.expansion.resolver.errors.push(missing);
        }
        let mut body = BTreeMap::from([
            (if runs_image { "image" } else { "artifact" }.to_owned(), deployed),
            ("env".to_owned(), Value::Map(env)),
        ]);
        body.extend(command.map(|command| ("command".to_owned(), Value::from(command.value.clone()))));
        if !files.is_empty() {
            body.insert("files".to_owned(), Value::Map(files));
        }
        (body, needs)
    }

    /// Adds what a program may use, where the definition says it: the limits that are made up for those who say nothing are a cluster's.
    fn limits(&self, body: &mut BTreeMap<String, Value>, memory: Option<Memory>, cpu: Option<Cpu>) {
        let fields = |memory: Option<Memory>, cpu: Option<Cpu>| {
            let memory = memory.map(|memory| ("memory_bytes".to_owned(), Value::from(memory.0)));
            memory.into_iter().chain(cpu.map(|cpu| ("cpu_millis".to_owned(), Value::from(cpu.0))))
        };
        body.extend(fields(memory, cpu));
        let quota = &self.expansion.resolver.app.quota;
        if quota.memory.is_some() || quota.cpu.is_some() {
            let memory = quota.memory.as_ref().map(|range| range.value.limit);
            let whole = fields(memory, quota.cpu.as_ref().map(|range| range.value.limit));
            body.insert("stack".to_owned(), Value::map(whole));
        }
    }

    pub(crate) fn job(&mut self, name: &Name, job: &Job) {
        let id = ResourceId::new("job", name);
        let (mut body, mut depends_on) = self.program(&id, &job.service, Some(&job.command), &job.env, &job.files);
        let service = self.expansion.resolver.app.services.get(&job.service.value).map(written).unwrap_or_default();
        let memory = job.memory.as_ref().map(|range| range.limit).or(service.0);
        let cpu = job.cpu.as_ref().map(|range| range.limit).or(service.1);
        self.limits(&mut body, memory, cpu);
        body.insert("timeout_seconds".to_owned(), Value::from(job.timeout.0));
        let Some(due) = due(job) else {
            let schedule = job.schedule.as_ref().map(|schedule| schedule.value.clone()).unwrap_or_default();
            body.insert("schedule".to_owned(), Value::text(schedule));
            let id = ResourceId::new("schedule", name);
            return self.expansion.add(id, ResourceKind::LocalSchedule, name.to_string(), Value::Map(body), depends_on);
        };
        body.insert("retry".to_owned(), retry(job.retry));
        depends_on.extend(self.expansion.earlier_jobs(job));
        let services = self.expansion.resolver.app.services.keys();
        let before = services.map(|service| ResourceId::new("service", service)).collect();
        let run =
            Run { id: id.clone(), provider: ProviderName::Local, body: Value::Map(body), due, depends_on, before };
        self.expansion.graph.runs.insert(id, run);
    }

    pub(crate) fn service(&mut self, name: &Name, service: &Service) {
        let id = ResourceId::new("service", name);
        let (mut body, depends_on) = self.program(&id, name, service.command.as_ref(), &service.env, &service.files);
        let (memory, cpu) = written(service);
        self.limits(&mut body, memory, cpu);
        if runs_image(service) && !service.writable.is_empty() {
            let folders = service.writable.iter().map(|folder| folder.value.clone()).collect::<Vec<_>>();
            body.insert("writable".to_owned(), Value::from(folders));
        }
        let health = health(service);
        let update = match service.update {
            Update::Rolling => "rolling",
            Update::Recreate => "recreate",
        };
        body.extend([
            ("replicas".to_owned(), Value::from(service.replicas.value)),
            ("health".to_owned(), health),
            ("serves".to_owned(), Value::Bool(service.port.is_some())),
            ("endpoint".to_owned(), Value::Null),
            ("start_timeout_seconds".to_owned(), Value::from(service.start_timeout.0)),
            ("drain_seconds".to_owned(), Value::from(service.drain.0)),
            ("stop_timeout_seconds".to_owned(), Value::from(service.stop_timeout.0)),
            ("settle_seconds".to_owned(), Value::from(service.settle.0)),
            ("update".to_owned(), Value::from(update)),
        ]);
        if service.protocol.value != Protocol::Http {
            body.insert("protocol".to_owned(), Value::from(service.protocol.value.as_str()));
        }
        if !service.ports.is_empty() {
            let names: Vec<&str> = service.ports.keys().map(Name::as_str).collect();
            body.insert("ports".to_owned(), Value::from(names));
        }
        self.answered(name, service);
        let key = &self.expansion.resolver.request.key;
        let identity = format!("{}/{name}", key.name);
        self.expansion.add(id, ResourceKind::LocalService, identity, Value::Map(body), depends_on);
    }

    pub(crate) fn cache(&mut self, name: &Name, cache: &Cache) {
        let id = ResourceId::new("cache", name);
        let identity = format!("{}/{name}", self.expansion.resolver.request.key.name);
        let mut depends_on = BTreeSet::new();
        if cache.persist.value {
            let data = ResourceId::new("cache-data", name);
            let kind = ResourceKind::LocalCacheData;
            self.expansion.add(data.clone(), kind, identity.clone(), Value::map::<&str>([]), BTreeSet::new());
            depends_on.insert(data);
        }
        let endpoint = names::cache_endpoint(self.expansion.resolver.request.id, name).to_string();
        self.expansion.graph.claims.insert(("endpoint".to_owned(), endpoint.clone()));
        // Time to read as much from a slow disk as the data may have become.
        let start = 60 + cache.memory.value.0 / READ_IN_A_SECOND;
        let mut body = BTreeMap::from([
            ("max_memory_bytes".to_owned(), Value::from(cache.memory.value.0)),
            ("eviction".to_owned(), Value::from(cache.eviction().as_str())),
            ("persist".to_owned(), Value::Bool(cache.persist.value)),
            ("password".to_owned(), Value::secret(self.expansion.resolver.cache_password(name))),
            ("endpoint".to_owned(), Value::text(endpoint)),
            ("start_timeout_seconds".to_owned(), Value::from(start)),
            ("stop_timeout_seconds".to_owned(), Value::from(30_u32)),
        ]);
        let cpu = (cache.cpu.span != cache.span).then_some(cache.cpu.value.limit);
        self.limits(&mut body, Some(cache.limit()), cpu);
        self.expansion.add(id, ResourceKind::LocalCache, identity, Value::Map(body), depends_on);
    }

    pub(crate) fn bucket(&mut self, name: &Name, bucket: &Bucket) {
        let id = self.expansion.resolver.request.id;
        let endpoint = names::bucket_endpoint(id, name).to_string();
        self.expansion.graph.claims.insert(("endpoint".to_owned(), endpoint.clone()));
        let lifecycle = bucket.lifecycle.iter().map(|rule| {
            let days = [
                ("expire_days", &rule.expire_days),
                ("noncurrent_days", &rule.noncurrent_days),
                ("abort_uploads_days", &rule.abort_uploads_days),
            ];
            let days = days.into_iter().filter_map(|(key, days)| Some((key, Value::from(days.as_ref()?.value))));
            Value::map(days.chain([("prefix", Value::text(rule.prefix.as_str()))]))
        });
        let body = Value::map([
            ("name", Value::text(names::bucket(id, name))),
            ("region", Value::text(part::BUCKET_REGION)),
            ("access_key_id", Value::text(names::access_key_id(id, name))),
            ("secret_access_key", Value::secret(self.expansion.resolver.bucket_secret(name))),
            ("endpoint", Value::text(endpoint)),
            ("versioning", Value::Bool(bucket.versioning.value)),
            ("max_size_bytes", Value::from(bucket.max_size.value.0)),
            ("lifecycle", Value::List(lifecycle.collect())),
        ]);
        let identity = format!("{}/{name}", self.expansion.resolver.request.key.name);
        let kind = ResourceKind::LocalBucket;
        self.expansion.add(ResourceId::new("bucket", name), kind, identity, body, BTreeSet::new());
    }

    /// Gives the services that others refer to the address that the references were resolved to.
    fn endpoints(&mut self) {
        for service in &self.expansion.resolver.endpoints {
            let endpoint = names::endpoint(self.expansion.resolver.request.id, service).to_string();
            self.expansion.graph.claims.insert(("endpoint".to_owned(), endpoint.clone()));
            if let Some(resource) = self.expansion.graph.resources.get_mut(&ResourceId::new("service", service))
                && let Value::Map(body) = &mut resource.body
            {
                body.insert("endpoint".to_owned(), Value::text(endpoint));
            }
        }
    }

    /// The same for their named ports.
    fn port_endpoints(&mut self) {
        for (service, port) in &self.expansion.resolver.named_endpoints {
            let endpoint = names::port_endpoint(self.expansion.resolver.request.id, service, port).to_string();
            self.expansion.graph.claims.insert(("endpoint".to_owned(), endpoint.clone()));
            let named = self.expansion.resolver.app.services.get(service).and_then(|one| one.ports.get(port));
            let protocol = named.map(|port| port.protocol).unwrap_or_default();
            if let Some(resource) = self.expansion.graph.resources.get_mut(&ResourceId::new("service", service))
                && let Value::Map(body) = &mut resource.body
                && let Value::Map(endpoints) =
                    body.entry("port_endpoints".to_owned()).or_insert_with(|| Value::map::<&str>([]))
            {
                let said = [("endpoint", Value::text(endpoint)), ("protocol", Value::from(protocol.as_str()))];
                endpoints.insert(port.to_string(), Value::map(said));
            }
        }
    }

    /// Sidecars don't run here: a service that one answers for would answer nobody.
    fn answered(&mut self, name: &Name, service: &Service) {
        if let Some(sidecar) = service.answered_by() {
            let (service, sidecar) = (name.clone(), sidecar.clone());
            self.expansion.resolver.errors.push(ExpandError::SidecarAnswers { service, sidecar });
        }
    }

    fn not_enforced(&mut self) {
        let mut lines = vec!["network policy (one machine)".to_owned()];
        let only_in_clusters: [(&str, Has); 5] = [
            ("sidecars and init containers", |service| !service.sidecars.is_empty() || !service.init.is_empty()),
            ("volumes", |service| !service.volumes.is_empty()),
            ("autoscaling", |service| service.autoscale.is_some()),
            ("figures for Prometheus", |service| service.prometheus.is_some()),
            ("probes by connection, gRPC or command, their times, `start`", |service| {
                let other = |probe: &Probe| !matches!(probe.question(), Question::Http(_)) || probe.is_timed();
                service.health.probes().any(|(key, probe)| key == "start" || other(probe))
            }),
        ];
        let services = &self.expansion.resolver.app.services;
        for (what, has) in only_in_clusters {
            let names: Vec<&str> = services.iter().filter(|(_, one)| has(one)).map(|(name, _)| name.as_str()).collect();
            if !names.is_empty() {
                lines.push(format!("{what} of {} (one machine)", names.join(", ")));
            }
        }
        let manifests: Vec<&str> =
            self.expansion.resolver.app.manifests.keys().map(freehold_spec::Name::as_str).collect();
        if !manifests.is_empty() {
            lines.push(format!("objects of manifest {} (one machine)", manifests.join(", ")));
        }
        self.expansion.graph.not_enforced.extend(lines);
        self.expansion.unsupported();
    }
}
