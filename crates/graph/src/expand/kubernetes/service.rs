//! A service: its Pods and all that goes with them.
//!
//! No request is lost in an update: a new Pod is ready before an old one goes, and an old one goes on answering for as long as the
//! gateway may still send it requests ([`LEAVING`]), then has `drain` for what is open, and `stop_timeout` to end.

use std::collections::{BTreeMap, BTreeSet};

use freehold_spec::app::{Service, Update};
use freehold_spec::quantity::Range;
use freehold_spec::{Cpu, EnvName, Memory, Name, Spanned, Template};
use serde_json::{Value as Json, json};

use super::Cluster;
use super::environment::Environment;
use super::manifest::{Object, PodPart, literal};
use super::pod::{Container, Folders, pod};
use super::quantity::bytes;
use crate::command::COMMAND;
use crate::expand::error::ExpandError;
use crate::expand::names;
use crate::kind::{CONFIG_CHECKSUM, CREDENTIALS_CHECKSUM, ResourceKind};
use crate::resource::Resource;
use crate::resource_id::ResourceId;
use crate::value::Value;

/// Seconds that a Pod goes on as if nothing were after it was told to end: until nobody sends it requests any more. Measured with
/// Envoy: none lost with 5 s at 300 requests/s, dozens without.
const LEAVING: u64 = 5;
/// Seconds that a Pod may take beyond `start_timeout` until a rollout counts as stuck: to find a node and fetch its image.
const ARRIVING: u64 = 60;
/// What a service's port is called in its Pods.
const PORT: &str = "http";
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
    image: &'a str,
    command: Option<&'a [String]>,
    cpu: Range<Cpu>,
    memory: Range<Memory>,
    env: &'a BTreeMap<EnvName, Spanned<Template>>,
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
        let given = service.port.as_ref().map(|port| {
            // As on one machine, where it is the loopback address.
            vec![("HOST", "0.0.0.0".to_owned()), ("PORT", port.value.to_string())]
        });
        let id = format!("service.{name}");
        let own = self.environment(&id, name.as_str(), part, &service.env, given.unwrap_or_default());
        let containers = vec![
            Container {
                name,
                image,
                command: Some(&service.command.value),
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
        folders.authorities(self, &environments.iter().map(|(_, environment)| environment).collect::<Vec<_>>());
        let more = json!({
            "initContainers": (!before.is_empty()).then_some(before),
            "terminationGracePeriodSeconds": grace(service),
            "topologySpreadConstraints": [
                self.spread("kubernetes.io/hostname", part),
                self.spread("topology.kubernetes.io/zone", part),
            ],
        });
        let metadata = Value::map([("labels", literal(self.labels(part))), ("annotations", checksums(&environments))]);
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
            image: &one.image.value,
            command: words(&one.command),
            cpu: one.cpu.value,
            memory: one.memory.value,
            env: &one.env,
            more: json!({}),
        });
        let sidecars = service.sidecars.iter().map(|(word, one)| {
            let ports = one.port.as_ref().map(|port| json!([{"containerPort": port.value, "protocol": "TCP"}]));
            Companion {
                word,
                key: "sidecar",
                image: &one.image.value,
                command: words(&one.command),
                cpu: one.cpu.value,
                memory: one.memory.value,
                env: &one.env,
                more: json!({"ports": ports, "restartPolicy": "Always"}),
            }
        });
        let mut containers = Vec::new();
        for companion in init.chain(sidecars) {
            let word = companion.word;
            let (container, environment) = self.companion(name, companion, mounts);
            containers.push(container);
            environments.push((word.clone(), environment));
        }
        containers
    }

    fn companion(&mut self, service: &Name, companion: Companion<'_>, mounts: &[Json]) -> (Json, Environment) {
        let Companion { word, key, image, command, cpu, memory, env, more } = companion;
        let (from, object) = (format!("service.{service}.{key}.{word}"), names::part(service.as_str(), word.as_str()));
        let environment = self.environment(&from, &object, PodPart::Service(service), env, Vec::new());
        let pinned = self.expansion.resolver.request.containers.get(service).and_then(|images| images.get(word));
        let image = pinned.map_or(image, String::as_str);
        let container =
            Container { name: word, image, command, cpu, memory, environment: &environment, mounts, more }.manifest();
        (container, environment)
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
        if service.port.is_none() {
            return;
        }
        let part = PodPart::Service(name);
        let of = |name: &str, port: u16| json!({"name": name, "protocol": "TCP", "port": port, "targetPort": PORT});
        let resolver = &self.expansion.resolver;
        let port = resolver.service_port(name);
        let former = resolver.request.former_ports.get(name).filter(|former| **former != port);
        let ports: Vec<Json> =
            [of(PORT, port)].into_iter().chain(former.map(|former| of(FORMER_PORT, *former))).collect();
        let spec = json!({"type": "ClusterIP", "selector": self.selector(part), "ports": ports});
        self.put(Object::new(ResourceKind::ClusterService, name.as_str(), part, json!({"spec": spec})));
    }

    fn autoscaler(&mut self, name: &Name, service: &Service, least: u32, deployment: ResourceId) {
        let Some(autoscale) = &service.autoscale else { return };
        let target = json!({"type": "Utilization", "averageUtilization": autoscale.cpu.value});
        let spec = json!({
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": least,
            "maxReplicas": autoscale.max.value.max(least),
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
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
    if service.port.is_none() { stop } else { LEAVING.saturating_add(service.drain.value.0).saturating_add(stop) }
}

/// Port, probes and the way out of a service's own container.
fn serving(service: &Service) -> Json {
    let Some(port) = &service.port else { return json!({}) };
    let probe = |path: Option<&Spanned<String>>| match path {
        Some(path) => json!({"httpGet": {"path": path.value, "port": PORT, "scheme": "HTTP"}}),
        None => json!({"tcpSocket": {"port": PORT}}),
    };
    let timed = |mut probe: Json, period: u64, failures: u64| {
        if let Json::Object(probe) = &mut probe {
            probe.insert("periodSeconds".to_owned(), period.into());
            probe.insert("timeoutSeconds".to_owned(), 3.into());
            probe.insert("failureThreshold".to_owned(), failures.into());
        }
        probe
    };
    let ready = service.health.ready.as_ref();
    let live = service.health.live.as_ref().map(|path| timed(probe(Some(path)), 10, 3));
    json!({
        "ports": [{"name": PORT, "containerPort": port.value, "protocol": "TCP"}],
        // Asked once a second, so that a service is ready as soon as it is.
        "startupProbe": timed(probe(ready), 1, service.start_timeout.value.0.max(1)),
        "readinessProbe": timed(probe(ready), 5, 3),
        "livenessProbe": live,
        "lifecycle": {"preStop": {"sleep": {"seconds": LEAVING}}},
    })
}

/// What restarts Pods when their variables change: these are read once.
fn checksums(environments: &[(Name, Environment)]) -> Value {
    let plain = environments.iter().map(|(name, environment)| (name.to_string(), environment.plain.clone()));
    let config: String = Value::map(plain).fingerprint().chars().take(16).collect();
    let mut annotations = vec![(CONFIG_CHECKSUM, Value::Text(config))];
    let secret =
        environments.iter().filter_map(|(name, environment)| Some((name.to_string(), environment.secret.clone()?)));
    let secret: Vec<_> = secret.collect();
    if !secret.is_empty() {
        annotations.push((CREDENTIALS_CHECKSUM, Value::checksum(Value::map(secret))));
    }
    Value::map(annotations)
}
