//! A cache: one Pod with a server, its configuration with the password in a Secret, and a volume where its data outlasts it.
//!
//! It is reached by the services and jobs that refer to it, and reaches nobody.

use freehold_spec::app::Cache;
use freehold_spec::quantity::Range;
use freehold_spec::{Name, PartKind};
use serde_json::{Value as Json, json};

use super::Cluster;
use super::manifest::{Object, PodPart, literal};
use super::pod::pod;
use super::policy::tcp;
use super::quantity::{bytes, resources};
use crate::cache::{CacheServer, PORT, PROBE, Version, users};
use crate::expand::error::ExpandError;
use crate::kind::{CREDENTIALS_CHECKSUM, ResourceKind};
use crate::resource_id::ResourceId;
use crate::value::{Special, Value};

/// The user of its Pod: nobody's in particular, as the one of services that don't say.
const USER: u32 = 65_532;
/// Where its configuration is.
const FOLDER: &str = "/etc/freehold-cache";
const FILE: &str = "redis.conf";
/// Where its data is, if it outlasts it.
const DATA: &str = "/data";
/// What its port is called.
const NAME: &str = "redis";
/// Seconds that it may take to start, its data read: as much as a volume holds at 100 MB/s, and a minute.
const START: u64 = 60;
const READ_IN_A_SECOND: u64 = 100_000_000;
/// Seconds that a Pod may take beyond that: to find a node and fetch its image.
const ARRIVING: u64 = 60;
/// Seconds that it may take to write what it still has.
const STOP: u64 = 30;

impl Cluster<'_> {
    pub(crate) fn cache(&mut self, name: &Name, cache: &Cache) {
        let Some(image) = self.facts.cache_image.clone() else {
            let (from, target) = (format!("cache.{name}"), self.facts.name.to_string());
            self.expansion.resolver.errors.push(ExpandError::NoCacheImage { from, target });
            return;
        };
        let part = PodPart::Cache(name);
        let object = part.object();
        let policy = self.cache_policy(name);
        let config = self.cache_config(name, cache);
        let secret = Object::of(
            ResourceKind::ClusterSecret,
            &object,
            part,
            Value::map([("type", Value::from("Opaque")), ("data", Value::map([(FILE, config.clone())]))]),
        );
        let mut needs = vec![self.put(secret), policy];
        needs.extend(self.prerequisites.iter().cloned());
        let mut volumes = vec![json!({
            "name": "config",
            "secret": {"secretName": object, "defaultMode": 0o440, "items": [{"key": FILE, "path": FILE}]},
        })];
        let mut mounts = vec![json!({"name": "config", "mountPath": FOLDER, "readOnly": true})];
        if cache.persist.value {
            needs.push(self.cache_volume(&object, part, cache));
            volumes.push(json!({"name": "data", "persistentVolumeClaim": {"claimName": object}}));
            mounts.push(json!({"name": "data", "mountPath": DATA}));
        }
        let container = container(&image, cache, mounts);
        let more = json!({"terminationGracePeriodSeconds": STOP});
        let mut template = Value::map([("spec", literal(pod(USER, volumes, vec![container], more)))]);
        if let Value::Map(template) = &mut template {
            let annotations = Value::map([(CREDENTIALS_CHECKSUM, Value::checksum(config))]);
            let metadata = Value::map([("labels", literal(self.labels(part))), ("annotations", annotations)]);
            template.insert("metadata".to_owned(), metadata);
        }
        let mut spec = literal(json!({
            "replicas": 1,
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": self.selector(part)},
            // Two servers would be two caches, and have one volume.
            "strategy": {"type": "Recreate"},
            "progressDeadlineSeconds": start_seconds(cache).saturating_add(ARRIVING),
        }));
        if let Value::Map(spec) = &mut spec {
            spec.insert("template".to_owned(), template);
        }
        let deployment = Object::of(ResourceKind::Deployment, &object, part, Value::map([("spec", spec)]));
        self.put(deployment.after(needs));
        let service = json!({
            "type": "ClusterIP",
            "selector": self.selector(part),
            "ports": [{"name": NAME, "protocol": "TCP", "port": PORT, "targetPort": NAME}],
        });
        self.put(Object::new(ResourceKind::ClusterService, &object, part, json!({"spec": service})));
    }

    /// Its configuration, which has the password in it: a Secret's.
    fn cache_config(&self, name: &Name, cache: &Cache) -> Value {
        let server =
            CacheServer { max_memory: cache.memory.value.0, eviction: cache.eviction(), persist: cache.persist.value };
        let (before, after) = users('>', Version::WHOLE);
        let folder = if cache.persist.value { DATA } else { "/" };
        let settings = server.settings(Version::WHOLE);
        let first = format!("bind * -::*\nprotected-mode no\nport {PORT}\ndir {folder}\n{settings}{before}");
        let password = Value::secret(self.expansion.resolver.cache_password(name));
        Value::Special(Special::Template(vec![Value::text(first), password, Value::text(after)]))
    }

    fn cache_volume(&mut self, object: &str, part: PodPart<'_>, cache: &Cache) -> ResourceId {
        let spec = json!({
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": bytes(cache.volume().0)}},
            "storageClassName": self.facts.storage_class,
        });
        self.put(Object::new(ResourceKind::PersistentVolumeClaim, object, part, json!({"spec": spec})))
    }

    /// Its programs in, nothing out.
    fn cache_policy(&mut self, name: &Name) -> ResourceId {
        let part = PodPart::Cache(name);
        let users = self.users_of(PartKind::Cache, name);
        let ingress = (!users.is_empty()).then(|| json!([{"from": users, "ports": [tcp(PORT)]}]));
        let spec = json!({
            "podSelector": {"matchLabels": self.selector(part)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
        });
        self.policy(&part.object(), part, spec)
    }

    /// The rule that leads to caches.
    pub(crate) fn egress_to_caches(&self, names: &std::collections::BTreeSet<&Name>) -> Vec<Json> {
        let to: Vec<Json> = names.iter().map(|name| self.pods(PodPart::Cache(name))).collect();
        // A rule to nobody in particular is one to everybody.
        if to.is_empty() { Vec::new() } else { vec![json!({"to": to, "ports": [tcp(PORT)]})] }
    }
}

/// How long a server may take until it responds.
fn start_seconds(cache: &Cache) -> u64 {
    let read = if cache.persist.value { cache.memory.value.0 / READ_IN_A_SECOND } else { 0 };
    START.saturating_add(read)
}

fn container(image: &str, cache: &Cache, mounts: Vec<Json>) -> Json {
    let probe = |strictly: Option<&str>, period: u64, failures: u64| {
        let user = ["--no-auth-warning", "--user", PROBE, "--pass", PROBE, "ping"];
        let ping: Vec<&str> = ["redis-cli"].into_iter().chain(strictly).chain(user).collect();
        json!({"exec": {"command": ping}, "periodSeconds": period, "timeoutSeconds": 3, "failureThreshold": failures})
    };
    // What is answered with an error isn't ready: it reads its data. But it lives, with a script that takes long, too.
    let error = Some("-e");
    let memory = Range { request: cache.limit(), limit: cache.limit() };
    json!({
        "name": "cache",
        "image": image,
        "command": ["redis-server", format!("{FOLDER}/{FILE}")],
        "ports": [{"name": NAME, "containerPort": PORT, "protocol": "TCP"}],
        "resources": resources(cache.cpu.value, memory),
        "volumeMounts": mounts,
        "startupProbe": probe(error, 1, start_seconds(cache)),
        "readinessProbe": probe(error, 10, 3),
        "livenessProbe": probe(None, 20, 3),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
        },
    })
}
