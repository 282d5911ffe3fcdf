//! What a service's own container serves, and how it is asked for its health.

use freehold_spec::Name;
use freehold_spec::app::{Probe, Question, Service};
use serde_json::{Value as Json, json};

/// Seconds that a Pod goes on as if nothing were after it was told to end: until nobody sends it requests any more. Measured with
/// Envoy: none lost with 5 s at 300 requests/s, dozens without.
pub(super) const LEAVING: u64 = 5;
/// What a service's port is called in its Pods.
pub(super) const PORT: &str = "http";
/// Seconds between two questions whether it is ready, and whether it is worth keeping.
const READY_PERIOD: u64 = 5;
const LIVE_PERIOD: u64 = 10;
/// Seconds that an answer may take.
const TIMEOUT: u64 = 3;
/// Bad answers in a row that count.
const FAILURES: u32 = 3;

/// How often a probe asks that doesn't say.
struct Times {
    period: u64,
    failures: u32,
}

/// Whether it takes connections of any kind.
pub(super) fn serves(service: &Service) -> bool {
    service.port.is_some() || !service.ports.is_empty()
}

/// Ports, probes and the way out of a service's own container.
pub(super) fn serving(service: &Service) -> Json {
    let own = service.port.as_ref().filter(|_| service.answered_by().is_none());
    let own = own.map(|port| json!({"name": PORT, "containerPort": port.value, "protocol": "TCP"}));
    let named = service.ports.iter();
    let named = named.map(|(name, port)| json!({"name": name, "containerPort": port.port.value, "protocol": "TCP"}));
    let ports: Vec<Json> = own.into_iter().chain(named).collect();
    let health = &service.health;
    let ready = Times { period: READY_PERIOD, failures: FAILURES };
    let live = Times { period: LIVE_PERIOD, failures: FAILURES };
    // Asked once a second, so that a service is ready as soon as it is.
    let start = u32::try_from(service.start_timeout.value.0.max(1)).unwrap_or(u32::MAX);
    let start = Times { period: 1, failures: start };
    let connects = json!({"tcpSocket": {"port": own_port(service)}});
    let unsaid = |times: &Times| service.port.is_some().then(|| timed(connects.clone(), None, times));
    let asked = |probe: &Option<Probe>, times: &Times| {
        probe.as_ref().and_then(|probe| Some(timed(question(service, probe)?, Some(probe), times)))
    };
    // What is said of the times of `ready` is not meant for the start.
    let as_ready = health.ready.as_ref().and_then(|probe| Some(timed(question(service, probe)?, None, &start)));
    json!({
        "ports": (!ports.is_empty()).then_some(ports),
        "startupProbe": asked(&health.start, &start).or(as_ready).or_else(|| unsaid(&start)),
        "readinessProbe": asked(&health.ready, &ready).or_else(|| unsaid(&ready)),
        "livenessProbe": asked(&health.live, &live),
        "lifecycle": serves(service).then(|| json!({"preStop": {"sleep": {"seconds": LEAVING}}})),
    })
}

/// The service's own port, as probes of its own container name it. That of a sidecar has no name there.
fn own_port(service: &Service) -> Json {
    match (&service.port, service.answered_by()) {
        (Some(port), Some(_)) => json!(port.value),
        (Some(_) | None, None) | (None, Some(_)) => json!(PORT),
    }
}

/// What a probe asks; `None` where it has nobody to ask, which `check` refuses.
fn question(service: &Service, probe: &Probe) -> Option<Json> {
    let named = |name: &Name| service.ports.get(name).map(|port| (json!(name), port.port.value));
    let port = match &probe.port {
        Some(name) => named(&name.value),
        None => service.port.as_ref().map(|port| (own_port(service), port.value)),
    };
    Some(match (probe.question(), port) {
        (Question::Command(command), _) => json!({"exec": {"command": command}}),
        (Question::Http(path), Some((port, _))) => json!({"httpGet": {"path": path, "port": port, "scheme": "HTTP"}}),
        (Question::Tcp, Some((port, _))) => json!({"tcpSocket": {"port": port}}),
        (Question::Grpc(asked), Some((_, number))) => json!({"grpc": {"port": number, "service": asked}}),
        (Question::Http(_) | Question::Tcp | Question::Grpc(_), None) => return None,
    })
}

/// The question with its times.
fn timed(mut question: Json, said: Option<&Probe>, unsaid: &Times) -> Json {
    let seconds = |said: Option<u64>, unsaid: u64| said.unwrap_or(unsaid);
    let period = said.and_then(|probe| probe.period.as_ref()).map(|period| period.value.0);
    let timeout = said.and_then(|probe| probe.timeout.as_ref()).map(|timeout| timeout.value.0);
    let failures = said.and_then(|probe| probe.failures.as_ref()).map(|failures| failures.value);
    if let Json::Object(question) = &mut question {
        question.insert("periodSeconds".to_owned(), seconds(period, unsaid.period).into());
        question.insert("timeoutSeconds".to_owned(), seconds(timeout, TIMEOUT).into());
        question.insert("failureThreshold".to_owned(), failures.unwrap_or(unsaid.failures).into());
    }
    question
}
