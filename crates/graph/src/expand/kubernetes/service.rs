//! A service: its Pods and all that goes with them.
//!
//! No request is lost in an update: a new Pod is ready before an old one goes, and an old one goes on answering for as long as the
//! gateway may still send it requests ([`LEAVING`]), then has `drain` for what is open, and `stop_timeout` to end.

use std::collections::{BTreeMap, BTreeSet};

use freehold_spec::app::{Port, Prometheus, Protocol, Service, Update};
use freehold_spec::quantity::Range;
use freehold_spec::{Cpu, Memory, Name, Spanned};
use serde_json::{Value as Json, json};

use super::Cluster;
use super::environment::{Environment, Texts};
use super::manifest::{Object, PodPart, literal};
use super::pod::{Container, Folders, pod};
use super::probe::{LEAVING, PORT, serves, serving};
use super::quantity::bytes;
use crate::command::COMMAND;
use crate::expand::error::ExpandError;
use crate::expand::names;
use crate::kind::{CONFIG_CHECKSUM, CREDENTIALS_CHECKSUM, ResourceKind};
use crate::resource::Resource;
use crate::resource_id::ResourceId;
use crate::value::Value;

/// Seconds that a Pod may take beyond `start_timeout` until a rollout counts as stuck: to find a node and fetch its image.
const ARRIVING: u64 = 60;
/// What the port of a Service is called that it had before.
const FORMER_PORT: &str = "former";

/// The ports of the services in these resources, as others reach them: each one's own, and the one that it keeps for a while.
pub fn service_ports<'r>(
    resources: impl IntoIterator<Item = &'r Resource>,
) -> BTreeMap<Name, (Option<u16>, Option<u16>)> {
    let services = resources.into_iter().filter(|resource| resource.kind == ResourceKind::ClusterService);
    let ports = |resource: &Resource| {
        let ports = resource.body.get("spec")?.get("ports")?.as_list()?;
        let number = |name: &str| {
            let port = ports.iter().find(|port| port.get("name").and_then(Value::as_text) == Some(name))?;
            u16::try_from(port.get("port").and_then(Value::as_integer)?).ok()
        };
        Some((resource.id.name().parse().ok()?, (number(PORT), number(FORMER_PORT))))
    };
    services.filter_map(ports).collect()
}

/// A sidecar or an init container, as the definition has it.
struct Companion<'a> {
    word: &'a Name,
    /// What it is in the definition: `sidecar` or `init`.
    key: &'static str,
    image: Option<&'a str>,
    /// The service whose image it runs, if it has none of its own.
    service: Option<&'a Name>,
    command: Option<&'a [String]>,
    cpu: Range<Cpu>,
    memory: Range<Memory>,
    texts: Texts<'a>,
    /// What the platform sets.
    given: Vec<(String, String)>,
    /// `ports` and the like.
    more: Json,
}

impl Cluster<'_> {
    pub(crate) fn service(&mut self, name: &Name, service: &Service) {
        let Some(image) = self.image(&format!("service.{name}"), name) else { return };
        let part = PodPart::Service(name);
        let replicas = service.replicas.value;
        let claims = self.volumes(name, service);
        let (template, mut needs) = self.template(name, service, &image);
        needs.extend(claims);
        needs.extend(self.prerequisites.iter().cloned());
        needs.extend(self.policy_of(part));
        let selector = json!({"matchLabels": self.selector(part)});
        let mut spec = literal(json!({
            // The autoscaler's business where there is one.
            "replicas": service.autoscale.is_none().then_some(replicas),
            "revisionHistoryLimit": 2,
            "selector": selector,
            "strategy": strategy(service.update),
            "progressDeadlineSeconds": service.start_timeout.value.0.saturating_add(ARRIVING),
            // Without a port, one that has lived for a second is ready.
            "minReadySeconds": service.port.is_none().then_some(1),
        }));
        if let Value::Map(spec) = &mut spec {
            spec.insert("template".to_owned(), template);
        }
        let fields = Value::map([("spec", spec)]);
        let deployment = Object::of(ResourceKind::Deployment, name.as_str(), part, fields).after(needs);
        let deployment = self.put(deployment);
        self.address(name, service);
        let most = service.autoscale.as_ref().map_or(replicas, |autoscale| autoscale.max.value.max(replicas));
        if most > 1 {
            let own = json!({
                "matchLabels": self.selector(part),
                "matchExpressions": [{"key": COMMAND, "operator": "DoesNotExist"}],
            });
            let spec = json!({"maxUnavailable": 1, "selector": own});
            let budget = json!({"spec": spec});
            self.put(Object::new(ResourceKind::PodDisruptionBudget, name.as_str(), part, budget));
        }
        self.autoscaler(name, service, replicas, deployment);
    }

    /// The image of a service; without one nothing runs in a cluster.
    pub(super) fn image(&mut self, from: &str, service: &Name) -> Option<String> {
        let resolver = &mut self.expansion.resolver;
        let image = resolver.request.artifacts.get(service).cloned();
        if image.is_none() {
            let missing = ExpandError::Missing { from: from.to_owned(), what: "image".to_owned() };
            resolver.errors.push(missing);
        }
        image
    }

    /// The volumes that outlive its Pods.
    fn volumes(&mut self, name: &Name, service: &Service) -> Vec<ResourceId> {
        let mut claims = Vec::new();
        for (volume, stated) in &service.volumes {
            let spec = json!({
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": bytes(stated.size.value.0)}},
                "storageClassName": self.facts.storage_class,
            });
            let claim = names::joined(name.as_str(), volume.as_str());
            let kind = ResourceKind::PersistentVolumeClaim;
            let object = Object::new(kind, &claim, PodPart::Service(name), json!({"spec": spec}));
            claims.push(self.put(object));
        }
        claims
    }

    /// The Pod template, and what its Pods need.
    fn template(&mut self, name: &Name, service: &Service, image: &str) -> (Value, BTreeSet<ResourceId>) {
        let part = PodPart::Service(name);
        let mut folders = Folders::all(name, service);
        let mut given = listening(service.port.as_ref());
        given.extend(service.ports.iter().map(|(port, one)| (Port::variable(port), one.port.value.to_string())));
        if !service.ports.is_empty() && service.port.is_none() {
            given.push(host());
        }
        let id = format!("service.{name}");
        let texts = Texts { variables: &service.env, files: &service.files };
        let own = self.environment(&id, name.as_str(), name, part, texts, given);
        let containers = vec![
            Container {
                name,
                image,
                command: words(&service.command),
                cpu: service.cpu.value,
                memory: service.memory.value,
                environment: &own,
                mounts: &folders.mounts,
                more: serving(service),
            }
            .manifest(),
        ];
        let mut environments = vec![(name.clone(), own)];
        let before = self.before(name, service, &folders.mounts, &mut environments);
        folders.of_containers(self, &environments.iter().map(|(_, environment)| environment).collect::<Vec<_>>());
        let more = json!({
            "initContainers": (!before.is_empty()).then_some(before),
            "terminationGracePeriodSeconds": grace(service),
            "topologySpreadConstraints": [
                self.spread("kubernetes.io/hostname", part),
                self.spread("topology.kubernetes.io/zone", part),
            ],
        });
        let metadata =
            Value::map([("labels", literal(self.labels(part))), ("annotations", annotations(service, &environments))]);
        let spec = literal(pod(service.user.value, folders.volumes, containers, more));
        let needs = environments.into_iter().flat_map(|(_, environment)| environment.needs).collect();
        (Value::map([("metadata", metadata), ("spec", spec)]), needs)
    }

    /// What starts before the service: init containers, one after another, then sidecars, which go on until it has ended.
    fn before(
        &mut self,
        name: &Name,
        service: &Service,
        mounts: &[Json],
        environments: &mut Vec<(Name, Environment)>,
    ) -> Vec<Json> {
        let init = service.init.iter().map(|(word, one)| Companion {
            word,
            key: "init",
            image: one.image.as_ref().map(|image| image.value.as_str()),
            service: one.service.as_ref().map(|service| &service.value),
            command: words(&one.command),
            cpu: one.cpu.value,
            memory: one.memory.value,
            texts: Texts { variables: &one.env, files: &one.files },
            given: Vec::new(),
            more: json!({}),
        });
        let sidecars = service.sidecars.iter().map(|(word, one)| {
            let answers = service.answered_by() == Some(word);
            let called = answers.then_some(PORT);
            let ports = one.port.as_ref();
            let ports = ports.map(|port| json!([{"name": called, "containerPort": port.value, "protocol": "TCP"}]));
            // The Pod goes on answering while the gateway may still send it requests.
            let leaving = answers.then(|| json!({"preStop": {"sleep": {"seconds": LEAVING}}}));
            Companion {
                word,
                key: "sidecar",
                image: one.image.as_ref().map(|image| image.value.as_str()),
                service: one.service.as_ref().map(|service| &service.value),
                command: words(&one.command),
                cpu: one.cpu.value,
                memory: one.memory.value,
                texts: Texts { variables: &one.env, files: &one.files },
                given: if answers { listening(one.port.as_ref()) } else { Vec::new() },
                more: json!({"ports": ports, "restartPolicy": "Always", "lifecycle": leaving}),
            }
        });
        let mut containers = Vec::new();
        for companion in init.chain(sidecars) {
            let word = companion.word;
            if let Some((container, environment)) = self.companion(name, companion, mounts) {
                containers.push(container);
                environments.push((word.clone(), environment));
            }
        }
        containers
    }

    fn companion(&mut self, service: &Name, companion: Companion<'_>, mounts: &[Json]) -> Option<(Json, Environment)> {
        let Companion { word, key, image, service: deployed, command, cpu, memory, texts, given, more } = companion;
        let (from, object) = (format!("service.{service}.{key}.{word}"), names::part(service.as_str(), word.as_str()));
        let pinned = self.expansion.resolver.request.containers.get(service).and_then(|images| images.get(word));
        let image = match (deployed, pinned.map(String::as_str).or(image)) {
            (Some(deployed), _) => self.image(&from, deployed)?,
            (None, Some(image)) => image.to_owned(),
            (None, None) => {
                let missing = ExpandError::Missing { from, what: "image".to_owned() };
                self.expansion.resolver.errors.push(missing);
                return None;
            }
        };
        let image = image.as_str();
        let environment = self.environment(&from, &object, word, PodPart::Service(service), texts, given);
        let container =
            Container { name: word, image, command, cpu, memory, environment: &environment, mounts, more }.manifest();
        Some((container, environment))
    }

    fn spread(&self, over: &str, part: PodPart<'_>) -> Json {
        json!({
            "maxSkew": 1,
            "topologyKey": over,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": self.selector(part)},
        })
    }

    /// The Service, where it takes requests.
    fn address(&mut self, name: &Name, service: &Service) {
        if !serves(service) {
            return;
        }
        let part = PodPart::Service(name);
        // A name is looked up in each Pod; that of a sidecar's port is none to older clusters.
        let target = |port: u16| if service.answered_by().is_some() { json!(port) } else { json!(PORT) };
        let of = |name: &str, (port, own): (u16, u16), protocol: Protocol| {
            json!({
                "name": name,
                "protocol": "TCP",
                "port": port,
                "targetPort": target(own),
                "appProtocol": app_protocol(protocol),
            })
        };
        let former = self.expansion.resolver.request.former_ports.get(name);
        let mut ports = Vec::new();
        if let Some(port) = &service.port {
            let (port, protocol) = (port.value, service.protocol.value);
            ports.push(of(PORT, (port, port), protocol));
            let taken = |former: u16| former == port || service.ports.values().any(|one| one.port.value == former);
            let former = former.filter(|former| !taken(**former));
            ports.extend(former.map(|former| of(FORMER_PORT, (*former, port), protocol)));
        }
        ports.extend(service.ports.iter().map(|(name, one)| {
            json!({
                "name": name,
                "protocol": "TCP",
                "port": one.port.value,
                "targetPort": name,
                "appProtocol": app_protocol(one.protocol),
            })
        }));
        let spec = json!({"type": "ClusterIP", "selector": self.selector(part), "ports": ports});
        self.put(Object::new(ResourceKind::ClusterService, name.as_str(), part, json!({"spec": spec})));
    }

    fn autoscaler(&mut self, name: &Name, service: &Service, least: u32, deployment: ResourceId) {
        let Some(autoscale) = &service.autoscale else { return };
        let metric = |name: &str, per_cent: u32| {
            let target = json!({"type": "Utilization", "averageUtilization": per_cent});
            json!({"type": "Resource", "resource": {"name": name, "target": target}})
        };
        let memory = autoscale.memory.as_ref().map(|memory| metric("memory", memory.value));
        let metrics: Vec<Json> = [metric("cpu", autoscale.cpu.value)].into_iter().chain(memory).collect();
        let spec = json!({
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": least,
            "maxReplicas": autoscale.max.value.max(least),
            "metrics": metrics,
        });
        let kind = ResourceKind::HorizontalPodAutoscaler;
        let object = Object::new(kind, name.as_str(), PodPart::Service(name), json!({"spec": spec}));
        self.put(object.after([deployment]));
    }
}

fn words(command: &Option<Spanned<Vec<String>>>) -> Option<&[String]> {
    command.as_ref().map(|command| command.value.as_slice())
}

fn strategy(update: Update) -> Json {
    match update {
        Update::Rolling => json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}),
        Update::Recreate => json!({"type": "Recreate"}),
    }
}

/// How long a Pod may take to end. Without a port it has no streams to drain, and nobody sends it requests.
pub(super) fn grace(service: &Service) -> u64 {
    let stop = service.stop_timeout.value.0;
    if !serves(service) { stop } else { LEAVING.saturating_add(service.drain.value.0).saturating_add(stop) }
}

/// What a gateway should speak to a port that isn't HTTP/1.1 (Kubernetes' KEP-3726; Istio knows `tcp`).
const fn app_protocol(protocol: Protocol) -> Option<&'static str> {
    match protocol {
        Protocol::Http => None,
        Protocol::Grpc => Some("kubernetes.io/h2c"),
        Protocol::Tcp => Some("tcp"),
    }
}

/// Where to listen: as on one machine, where it is the loopback address.
fn host() -> (String, String) {
    ("HOST".to_owned(), "0.0.0.0".to_owned())
}

/// What a program is told that listens on a port.
fn listening(port: Option<&Spanned<u16>>) -> Vec<(String, String)> {
    port.map(|port| vec![host(), ("PORT".to_owned(), port.value.to_string())]).unwrap_or_default()
}

/// The annotations of a service's Pods: what restarts them, and where Prometheus asks them, in the words that are usual for it.
fn annotations(service: &Service, environments: &[(Name, Environment)]) -> Value {
    let mut annotations = checksums(environments);
    let port = |said: &Prometheus| said.port.as_ref().or(service.port.as_ref()).map(|port| port.value);
    if let Some(said) = &service.prometheus
        && let Some(port) = port(said)
    {
        annotations.extend([
            ("prometheus.io/scrape", Value::from("true")),
            ("prometheus.io/port", Value::text(port.to_string())),
            ("prometheus.io/path", Value::text(said.path.value.clone())),
        ]);
    }
    Value::map(annotations)
}

/// What restarts Pods when their variables change: these are read once.
fn checksums(environments: &[(Name, Environment)]) -> Vec<(&'static str, Value)> {
    let plain = environments.iter().map(|(name, environment)| (name.to_string(), environment.plain.clone()));
    let files =
        environments.iter().filter_map(|(name, one)| Some((names::files(name.as_str()), one.files.plain.clone()?)));
    let plain = plain.chain(files);
    let config: String = Value::map(plain).fingerprint().chars().take(16).collect();
    let mut annotations = vec![(CONFIG_CHECKSUM, Value::Text(config))];
    let secret =
        environments.iter().filter_map(|(name, environment)| Some((name.to_string(), environment.secret.clone()?)));
    let files =
        environments.iter().filter_map(|(name, one)| Some((names::files(name.as_str()), one.files.secret.clone()?)));
    let secret: Vec<_> = secret.chain(files).collect();
    if !secret.is_empty() {
        annotations.push((CREDENTIALS_CHECKSUM, Value::checksum(Value::map(secret))));
    }
    annotations
}
