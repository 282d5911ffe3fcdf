//! A command that somebody runs in a stack's environment: what it is started from, on each kind of target.
//!
//! It is made from what was deployed, a service or a job, so it has its files or its image, its variables, its limits and its way through
//! the network; only what is executed is another. What a service has beside its program it doesn't have: sidecars, probes, volumes.

use std::collections::{BTreeMap, BTreeSet};

use freehold_spec::Name;
use serde_json::{Value as Json, json};

use crate::expand::kubernetes::literal;
use crate::graph::Graph;
use crate::kind::{Program, ResourceKind};
use crate::provider_name::ProviderName;
use crate::resource::{Due, Resource, Run};
use crate::resource_id::ResourceId;
use crate::value::Value;

/// What of a container is about a program that is to be reached and watched.
const OF_A_SERVER: [&str; 5] = ["lifecycle", "livenessProbe", "ports", "readinessProbe", "startupProbe"];
/// A condition that nobody ever sets: the Pod has the labels of its service, for its policies, and is never ready, so it gets no requests.
const NEVER: &str = "freehold.dev/takes-no-requests";

/// The label of a command's Pod. It has the labels of its service's Pods, and a budget can't be reckoned with a Job's among them: so those
/// leave it out.
pub(crate) const COMMAND: &str = "freehold.dev/command";

/// What a command is run in place of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The program of a service.
    Service(Name),
    /// That of a job.
    Job(Name),
}

impl Place {
    /// `service.web`, `job.repair`.
    pub fn id(&self) -> ResourceId {
        match self {
            Self::Service(name) => ResourceId::new("service", name),
            Self::Job(name) => ResourceId::new("job", name),
        }
    }
}

impl Graph {
    /// The run of a command in a place; without a command, of what is executed there anyway. `None` if there is no such place.
    pub fn command(&self, place: &Place, command: Option<&[String]>) -> Option<Run> {
        let (provider, mut body) = match place {
            Place::Service(name) => deployed(self.program(name, Program::Service)?)?,
            Place::Job(name) => match self.runs.get(&place.id()) {
                Some(run) => (run.provider, run.body.clone()),
                None => deployed(self.program(name, Program::Schedule)?)?,
            },
        };
        if let Some(command) = command {
            body = match provider {
                ProviderName::Kubernetes => in_container(&body, command)?,
                ProviderName::Local | ProviderName::Postgres | ProviderName::Store => {
                    with(&body, "command", command.to_vec().into())
                }
            };
        }
        if provider == ProviderName::Kubernetes {
            body = labelled(body)?;
        }
        let (depends_on, before) = (BTreeSet::new(), BTreeSet::new());
        Some(Run { id: place.id(), provider, body, due: Due::Demand, depends_on, before })
    }

    fn program(&self, name: &Name, program: Program) -> Option<&Resource> {
        let mut programs = self.resources.values().filter(|resource| resource.kind.row().program == program);
        programs.find(|resource| resource.id.name() == name.as_str())
    }
}

/// What a service or a scheduled job was deployed as, in the form of a run.
fn deployed(resource: &Resource) -> Option<(ProviderName, Value)> {
    let provider = resource.kind.provider();
    if provider != ProviderName::Kubernetes {
        return Some((provider, resource.body.clone()));
    }
    let spec = resource.body.get("spec")?;
    let template = match resource.kind == ResourceKind::CronJob {
        true => spec.get("jobTemplate")?.get("spec")?.get("template")?,
        false => spec.get("template")?,
    };
    let (namespace, _) = resource.identity.split_once('/')?;
    let pod = serde_json::to_value(template.get("spec")?).ok()?;
    let labels = serde_json::to_value(template.get("metadata")?.get("labels")?).ok()?;
    let annotations = serde_json::to_value(resource.body.get("metadata")?.get("annotations")?).ok()?;
    let manifest = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"labels": labels, "annotations": {"freehold.dev/key": annotations.get("freehold.dev/key")}},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": labels}, "spec": alone(pod)?}},
    });
    let body = [("namespace", Value::from(namespace)), ("manifest", literal(manifest))];
    Some((provider, Value::map(body)))
}

/// A Pod with the program of a service and nothing beside it.
fn alone(mut pod: Json) -> Option<Json> {
    let fields = pod.as_object_mut()?;
    fields.remove("initContainers");
    // A volume is used by one Pod at a time.
    let lasts = |volume: &Json| volume.get("persistentVolumeClaim").is_some();
    let volumes = fields.get("volumes").and_then(Json::as_array).cloned().unwrap_or_default();
    let lasting: BTreeSet<&str> = volumes.iter().filter(|volume| lasts(volume)).filter_map(named).collect();
    let kept: Vec<&Json> = volumes.iter().filter(|volume| !lasts(volume)).collect();
    fields.insert("volumes".to_owned(), json!(kept));
    let containers = fields.get_mut("containers")?.as_array_mut()?;
    containers.truncate(1);
    let container = containers.first_mut()?.as_object_mut()?;
    container.retain(|field, _| !OF_A_SERVER.contains(&field.as_str()));
    if let Some(mounts) = container.get_mut("volumeMounts").and_then(Json::as_array_mut) {
        mounts.retain(|mount| named(mount).is_none_or(|name| !lasting.contains(name)));
    }
    fields.insert("restartPolicy".to_owned(), json!("Never"));
    fields.insert("readinessGates".to_owned(), json!([{"conditionType": NEVER}]));
    Some(pod)
}

fn named(object: &Json) -> Option<&str> {
    object.get("name")?.as_str()
}

/// The run of another command in a cluster.
fn in_container(body: &Value, command: &[String]) -> Option<Value> {
    let mut manifest = serde_json::to_value(body.get("manifest")?).ok()?;
    let container = manifest.pointer_mut("/spec/template/spec/containers/0")?.as_object_mut()?;
    // Kubernetes replaces `$(NAME)`, and `$$` by `$`; a command is taken as it stands.
    let command: Vec<String> = command.iter().map(|word| word.replace('$', "$$")).collect();
    container.insert("command".to_owned(), json!(command));
    container.remove("args");
    Some(with(body, "manifest", literal(manifest)))
}

/// The same, with the label of commands on its Pod.
fn labelled(mut body: Value) -> Option<Value> {
    let mut found = &mut body;
    for field in ["manifest", "spec", "template", "metadata", "labels"] {
        let Value::Map(fields) = found else { return None };
        found = fields.get_mut(field)?;
    }
    let Value::Map(labels) = found else { return None };
    labels.insert(COMMAND.to_owned(), Value::from("true"));
    Some(body)
}

fn with(body: &Value, field: &str, value: Value) -> Value {
    let fields: BTreeMap<String, Value> = body.as_map().cloned().unwrap_or_default();
    Value::Map(fields.into_iter().chain([(field.to_owned(), value)]).collect())
}
