//! What the instances of a service are started from: a body, read once, and who asked for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use freehold_engine::{Context, ProviderError};
use freehold_graph::kind::{Program, Served};
use freehold_graph::{Effect, Resource, ResourceKind, Value};
use freehold_problem::Code;
use freehold_spec::Name;
use freehold_spec::app::Protocol;

use crate::failure;

/// What the processes are of a resource that is processes which are kept running, each an instance with a record: after a start of Freehold
/// they are brought back together, which takes long, and a process of such a resource that has no record is a stray.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runs {
    /// The app's own program.
    Program,
    /// The server of a cache.
    CacheServer,
}

impl Runs {
    /// Those of a kind; `None` where it is no such resource.
    pub(crate) const fn of(kind: ResourceKind) -> Option<Self> {
        match (kind.served(), kind.row().program) {
            (Served::Local(_), Program::Service) => Some(Self::Program),
            (Served::Local(_), Program::Server) => Some(Self::CacheServer),
            (Served::Local(_), Program::None | Program::Schedule) => None,
            (Served::Store(_) | Served::Postgres(_) | Served::Kubernetes(_), _) => None,
        }
    }
}

/// A service's body, as far as it isn't the program itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceBody {
    pub(crate) replicas: u32,
    pub(crate) ready: Option<String>,
    pub(crate) live: Option<String>,
    pub(crate) serves: bool,
    pub(crate) endpoint: Option<SocketAddr>,
    /// What is spoken at its port.
    pub(crate) protocol: Protocol,
    /// Its named ports.
    pub(crate) ports: Vec<Name>,
    /// Where others reach those of them that they refer to, and what is spoken there.
    pub(crate) port_endpoints: BTreeMap<Name, (SocketAddr, Protocol)>,
    /// The named ports at which it is asked for its readiness and its liveness, if not at its own.
    pub(crate) ready_port: Option<Name>,
    pub(crate) live_port: Option<Name>,
    pub(crate) start_timeout: Duration,
    pub(crate) drain: Duration,
    pub(crate) stop_timeout: Duration,
    /// How long it has to be ready before it is relied on. None in the bodies of earlier releases.
    pub(crate) settle: Duration,
    pub(crate) recreate: bool,
}

impl ServiceBody {
    /// Reads a body. Absent fields have the definition's defaults.
    pub(crate) fn read(runs: Runs, body: &Value) -> Result<Self, ProviderError> {
        let text = |value: Option<&Value>| value.and_then(Value::as_text).map(str::to_owned);
        let health = |path: &str| text(body.get("health").and_then(|health| health.get(path)));
        let health_port = |key: &str| health(key).and_then(|name| name.parse().ok());
        let mut port_endpoints = BTreeMap::new();
        for (name, said) in body.get("port_endpoints").and_then(Value::as_map).into_iter().flatten() {
            if let (Ok(name), Some(address)) = (name.parse(), address(said.get("endpoint"))?) {
                port_endpoints.insert(name, (address, protocol(said)));
            }
        }
        let replicas = body.get("replicas").and_then(Value::as_integer).unwrap_or(1);
        Ok(Self {
            replicas: u32::try_from(replicas).unwrap_or(1),
            ready: health("ready"),
            live: health("live"),
            serves: body.get("serves") == Some(&Value::Bool(true)),
            endpoint: address(body.get("endpoint"))?,
            protocol: protocol(body),
            ports: named_ports(body),
            port_endpoints,
            ready_port: health_port("ready_port"),
            live_port: health_port("live_port"),
            start_timeout: seconds(body, "start_timeout_seconds", 60),
            drain: seconds(body, "drain_seconds", 30),
            stop_timeout: seconds(body, "stop_timeout_seconds", 10),
            settle: seconds(body, "settle_seconds", 0),
            // Two servers would be two caches.
            recreate: runs == Runs::CacheServer || body.get("update").and_then(Value::as_text) == Some("recreate"),
        })
    }
}

fn address(value: Option<&Value>) -> Result<Option<SocketAddr>, ProviderError> {
    let Some(text) = value.and_then(Value::as_text) else { return Ok(None) };
    let wrong = |_| ProviderError::rejected(Code::StepFailed, format!("{text:?} is no address and port"));
    text.parse().map(Some).map_err(wrong)
}

/// What is spoken at a port; HTTP where it isn't said.
fn protocol(body: &Value) -> Protocol {
    let said = body.get("protocol").and_then(Value::as_text);
    [Protocol::Tcp, Protocol::Grpc].into_iter().find(|one| Some(one.as_str()) == said).unwrap_or_default()
}

/// The named ports of a service.
pub(crate) fn named_ports(body: &Value) -> Vec<Name> {
    let names = body.get("ports").and_then(Value::as_list).unwrap_or_default();
    names.iter().filter_map(|name| name.as_text()?.parse().ok()).collect()
}

/// A length of time from a body.
pub(crate) fn seconds(body: &Value, field: &str, default: u64) -> Duration {
    let seconds = body.get(field).and_then(Value::as_integer).and_then(|number| u64::try_from(number).ok());
    Duration::from_secs(seconds.unwrap_or(default))
}

/// Everything that an instance is started from. Secrets are in it as references only.
#[derive(Clone)]
pub(crate) struct Launch {
    pub(crate) context: Context,
    pub(crate) resource: Resource,
    pub(crate) body: ServiceBody,
    pub(crate) runs: Runs,
    /// Equal for bodies between which no process has to be started anew.
    pub(crate) fingerprint: String,
}

impl Launch {
    pub(crate) fn new(context: Context, resource: Resource, desired: &Value) -> Result<Self, ProviderError> {
        let runs = Runs::of(resource.kind).ok_or_else(|| failure::not_served(resource.kind))?;
        let body = ServiceBody::read(runs, &resource.body)?;
        Ok(Self { context, body, runs, fingerprint: fingerprint(&resource, desired), resource })
    }
}

/// The fingerprint of the fields whose change restarts, in the comparable body, so that a changed secret changes it.
fn fingerprint(resource: &Resource, desired: &Value) -> String {
    let descriptor = resource.kind.row();
    let fields = desired.as_map().into_iter().flatten();
    let restarting = fields.filter(|(field, value)| {
        // Whether there is a PORT depends on `serves`, so that restarts too.
        (descriptor.effect(field) >= Effect::Restart || field.as_str() == "serves") && **value != Value::Null
    });
    Value::map(restarting.map(|(field, value)| (field.clone(), value.clone()))).fingerprint()
}
