//! Objects of a cluster in few words. A stack is some two dozen of them; people think of five or so.
//!
//! So a plan folds the plumbing that is new into the line that it belongs to: quota, limits, policies and account into the
//! namespace's; variables, address and budget into those of the service or job. Only what is made anew and has nothing to be
//! said about is ever folded: a change, a replacement, an adoption, a deletion and a note always keep a line of their own.

use std::collections::{BTreeMap, BTreeSet};

use freehold_graph::{ProviderName, ResourceId, ResourceKind, Row, Value};
use freehold_plan::{Action, Change, Plan};

use super::field;
use crate::layout::count;

/// What of a plan is folded, and what is said in its place.
#[derive(Debug, Default)]
pub(super) struct Folding {
    /// Has no line of its own.
    pub hidden: BTreeSet<ResourceId>,
    /// What the lines of others say besides.
    pub words: BTreeMap<ResourceId, Vec<String>>,
    /// Reasons that several have in common.
    pub shared: BTreeMap<String, Vec<String>>,
}

impl Folding {
    /// Folds a plan.
    pub(super) fn of(plan: &Plan) -> Self {
        let new = || plan.changes.values().filter(|change| change.action == Action::Create && is_object(change.kind));
        let mut shared: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for change in new() {
            for reason in &change.reasons {
                shared.entry(reason.clone()).or_default().push(format!("{} {}", label(change.kind), name(change)));
            }
        }
        shared.retain(|_, subjects| subjects.len() > 1);
        let mut folding = Self { shared, ..Self::default() };
        let mut folded: BTreeMap<ResourceId, Vec<&Change>> = BTreeMap::new();
        for change in new() {
            let silent = change.reasons.iter().all(|reason| folding.shared.contains_key(reason));
            let whole = silent && change.fields.is_empty() && !change.loses_data;
            if let Some(leader) = leader(change, plan).filter(|_| whole) {
                folding.hidden.insert(change.id.clone());
                folded.entry(leader).or_default().push(change);
            }
        }
        folding.words = folded.into_iter().map(|(leader, changes)| (leader, together(&changes))).collect();
        folding
    }
}

/// Whether it is an object of a cluster.
fn is_object(kind: ResourceKind) -> bool {
    kind.provider() == ProviderName::Kubernetes
}

/// The kind of resources whose ids begin with this; `None` for jobs, and for what a later release knows.
fn known(word: &str) -> Option<&'static Row> {
    ResourceKind::ALL.iter().map(|kind| kind.row()).find(|row| row.id_word == word)
}

/// Whether people hardly think of it: by the first part of its id.
pub(super) fn is_plumbing(word: &str) -> bool {
    known(word).is_some_and(|row| row.plumbing)
}

/// Whose line says it, too.
fn leader(change: &Change, plan: &Plan) -> Option<ResourceId> {
    let name = change.id.name();
    let made = |id: ResourceId| {
        let is_new = plan.changes.get(&id).is_some_and(|change| change.action == Action::Create);
        (is_new || plan.runs.contains_key(&id)).then_some(id)
    };
    match change.kind {
        ResourceKind::ResourceQuota
        | ResourceKind::LimitRange
        | ResourceKind::ServiceAccount
        | ResourceKind::NetworkPolicy => made(ResourceId::new("namespace", "main")),
        ResourceKind::ClusterSecret if name == "registry" => made(ResourceId::new("namespace", "main")),
        ResourceKind::ConfigMap
        | ResourceKind::ClusterSecret
        | ResourceKind::ClusterService
        | ResourceKind::PodDisruptionBudget
        | ResourceKind::HorizontalPodAutoscaler => {
            let job = name.strip_prefix("job-").unwrap_or(name);
            let words = [("deployment", name), ("job", job), ("cronjob", job)];
            words.into_iter().find_map(|(word, name)| made(ResourceId::new(word, name)))
        }
        ResourceKind::Certificate | ResourceKind::ListenerSet => made(ResourceId::new("httproute", name)),
        _ => None,
    }
}

/// All that is folded into one line, in words.
fn together(changes: &[&Change]) -> Vec<String> {
    const ORDER: [ResourceKind; 11] = [
        ResourceKind::ResourceQuota,
        ResourceKind::LimitRange,
        ResourceKind::NetworkPolicy,
        ResourceKind::ServiceAccount,
        ResourceKind::ConfigMap,
        ResourceKind::ClusterSecret,
        ResourceKind::ClusterService,
        ResourceKind::PodDisruptionBudget,
        ResourceKind::HorizontalPodAutoscaler,
        ResourceKind::ListenerSet,
        ResourceKind::Certificate,
    ];
    let mut words = Vec::new();
    for kind in ORDER {
        let mut all = changes.iter().filter(|change| change.kind == kind).peekable();
        let number = all.clone().count();
        let Some(first) = all.peek() else { continue };
        words.push(match kind {
            ResourceKind::ResourceQuota => format!("quota {}", description(first)),
            ResourceKind::LimitRange => "limits".to_owned(),
            ResourceKind::NetworkPolicy if number == 1 => "1 network policy".to_owned(),
            ResourceKind::NetworkPolicy => format!("{number} network policies"),
            ResourceKind::ServiceAccount => "account".to_owned(),
            ResourceKind::ClusterService => "service".to_owned(),
            ResourceKind::PodDisruptionBudget => "disruption budget".to_owned(),
            ResourceKind::HorizontalPodAutoscaler => description(first),
            ResourceKind::Certificate => "certificate".to_owned(),
            ResourceKind::ListenerSet => "listener".to_owned(),
            _ => description(first),
        });
    }
    words
}

/// The word that stands for a kind: as short as `kubectl` has it, where its own is long.
pub(super) fn label(kind: ResourceKind) -> &'static str {
    kind.row().label
}

/// The same for the first part of an id.
pub(super) fn short(word: &str) -> &str {
    known(word).map_or(word, |row| row.label)
}

/// What an object is called in a plan: a route by its hosts, others by their names in the namespace.
pub(super) fn name(change: &Change) -> String {
    let hosts = at(&change.resource.body, &["spec", "hostnames"]).and_then(Value::as_list).unwrap_or_default();
    match change.kind {
        ResourceKind::HttpRoute if !hosts.is_empty() => {
            hosts.iter().filter_map(Value::as_text).collect::<Vec<_>>().join(", ")
        }
        _ => change.identity.rsplit('/').next().unwrap_or_default().to_owned(),
    }
}

/// What an object will be, in a few words.
pub(super) fn description(change: &Change) -> String {
    let body = &change.resource.body;
    let text = |path: &[&str]| at(body, path).map(plain);
    let size = |path: &[&str]| at(body, path).and_then(Value::as_map).map_or(0, BTreeMap::len);
    let items = |path: &[&str]| at(body, path).and_then(Value::as_list).map_or(0, <[Value]>::len);
    match change.kind {
        ResourceKind::Namespace => {
            let level = text(&["metadata", "labels", "pod-security.kubernetes.io/enforce"]);
            level.map(|level| format!("Pod Security {level}")).unwrap_or_default()
        }
        ResourceKind::ResourceQuota => quota(body),
        ResourceKind::LimitRange => "for containers that don't say".to_owned(),
        ResourceKind::NetworkPolicy => {
            format!("{} in, {} out", rules(items(&["spec", "ingress"])), rules(items(&["spec", "egress"])))
        }
        ResourceKind::ServiceAccount => "without a token".to_owned(),
        ResourceKind::ClusterSecret if change.id.name() == "registry" => "pull secret".to_owned(),
        ResourceKind::ClusterSecret => count(size(&["data"]), "secret variable"),
        ResourceKind::ConfigMap => count(size(&["data"]), "variable"),
        ResourceKind::PersistentVolumeClaim => {
            let class = text(&["spec", "storageClassName"]).map(|class| format!(", class {class}"));
            let size = text(&["spec", "resources", "requests", "storage"]);
            format!("{}{}", size.unwrap_or_default(), class.unwrap_or_default())
        }
        ResourceKind::Deployment => deployment(body),
        ResourceKind::CronJob => {
            let pod = at(body, &["spec", "jobTemplate", "spec", "template", "spec"]);
            let schedule = text(&["spec", "schedule"]).unwrap_or_default();
            let zone = text(&["spec", "timeZone"]).unwrap_or_else(|| "UTC".to_owned());
            format!("{}, at {schedule} {}", pod.map(command).unwrap_or_default(), zone.trim_start_matches("Etc/"))
        }
        ResourceKind::ClusterService => {
            let ports = at(body, &["spec", "ports"]).and_then(Value::as_list).unwrap_or_default();
            let ports: Vec<String> = ports.iter().filter_map(|port| port.get("port")).map(plain).collect();
            format!("port {}", ports.join(", "))
        }
        ResourceKind::PodDisruptionBudget => {
            let least = text(&["spec", "minAvailable"]).map(|least| format!("at least {least} stay"));
            let most = text(&["spec", "maxUnavailable"]).map(|most| format!("at most {most} away"));
            least.or(most).unwrap_or_default()
        }
        ResourceKind::HorizontalPodAutoscaler => {
            let least = text(&["spec", "minReplicas"]).unwrap_or_else(|| "1".to_owned());
            format!("{least} to {} by load", text(&["spec", "maxReplicas"]).unwrap_or_default())
        }
        ResourceKind::HttpRoute => route(body),
        ResourceKind::ListenerSet => "a listener of its own".to_owned(),
        ResourceKind::Certificate => {
            let issuer = text(&["spec", "issuerRef", "name"]).unwrap_or_default();
            format!("from {issuer}")
        }
        ResourceKind::CloudNativePg => {
            let instances = at(body, &["spec", "instances"]).and_then(Value::as_integer).unwrap_or(1);
            let size = text(&["spec", "storage", "size"]).unwrap_or_default();
            format!("CloudNativePG, {}, {size}", count(usize::try_from(instances).unwrap_or(1), "instance"))
        }
        _ => change.identity.clone(),
    }
}

/// The command that a run or a scheduled job executes: of the first container of a Pod.
pub(super) fn command(pod: &Value) -> String {
    let Some(container) = pod.get("containers").and_then(Value::as_list).and_then(<[Value]>::first) else {
        return String::new();
    };
    let words = ["command", "args"].iter().filter_map(|part| container.get(part)?.as_list());
    let words: Vec<String> = words.flatten().map(plain).collect();
    match words.is_empty() {
        true => "its image's command".to_owned(),
        false => words.join(" "),
    }
}

/// The paths of what is known only after apply.
pub(super) fn unknown(body: &Value) -> Vec<String> {
    fn walk(value: &Value, path: &str, found: &mut Vec<String>) {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match value {
            Value::Special(_) if value.has_unknown() => found.push(path.to_owned()),
            Value::Map(fields) => fields.iter().for_each(|(name, value)| walk(value, &below(name), found)),
            Value::List(items) => {
                items.iter().enumerate().for_each(|(at, value)| walk(value, &format!("{path}[{at}]"), found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(body, "", &mut found);
    found
}

/// `4 cpu, 8Gi, 20 pods`.
fn quota(body: &Value) -> String {
    let hard = |names: [&str; 3]| names.iter().find_map(|name| at(body, &["spec", "hard", name]).map(plain));
    let cpu = hard(["limits.cpu", "requests.cpu", "cpu"]).map(|cpu| format!("{cpu} cpu"));
    let memory = hard(["limits.memory", "requests.memory", "memory"]);
    let pods = hard(["pods", "count/pods", "pods"]).map(|pods| format!("{pods} pods"));
    [cpu, memory, pods].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn rules(number: usize) -> String {
    if number == 0 { "nothing".to_owned() } else { count(number, "rule") }
}

/// `2 × guestbook serve, ready on /health/ready`.
fn deployment(body: &Value) -> String {
    let Some(pod) = at(body, &["spec", "template", "spec"]) else { return String::new() };
    let containers = pod.get("containers").and_then(Value::as_list).unwrap_or_default();
    let Some((first, sidecars)) = containers.split_first() else { return String::new() };
    let replicas = at(body, &["spec", "replicas"]).map(|replicas| format!("{} × ", plain(replicas)));
    let mut words = vec![format!("{}{}", replicas.unwrap_or_default(), command(pod))];
    words.extend(at(first, &["readinessProbe", "httpGet", "path"]).map(|path| format!("ready on {}", plain(path))));
    words.extend(sidecars.iter().filter_map(|sidecar| Some(format!("with {}", plain(sidecar.get("name")?)))));
    words.join(", ")
}

/// The images that a new Deployment runs, each with the name of its container where there are several.
pub(super) fn images(change: &Change) -> Vec<(String, String)> {
    if change.kind != ResourceKind::Deployment {
        return Vec::new();
    }
    let pod = at(&change.resource.body, &["spec", "template", "spec"]);
    let list = |name: &str| pod.and_then(|pod| pod.get(name)).and_then(Value::as_list).unwrap_or_default();
    let all: Vec<&Value> = list("initContainers").iter().chain(list("containers")).collect();
    let several = all.len() > 1;
    let name = |container: &Value| match container.get("name").filter(|_| several) {
        Some(name) => format!("image of {}", plain(name)),
        None => "image".to_owned(),
    };
    all.iter().filter_map(|container| Some((name(container), plain(container.get("image")?)))).collect()
}

/// `/events 6h · / 30s, 3 retries`. A path that is tried again for some methods only has two rules: it is told once.
fn route(body: &Value) -> String {
    let rules = at(body, &["spec", "rules"]).and_then(Value::as_list).unwrap_or_default();
    let mut told: Vec<(Vec<String>, String)> = Vec::new();
    for rule in rules {
        let matches = rule.get("matches").and_then(Value::as_list).unwrap_or_default();
        let mut paths: Vec<String> = matches.iter().filter_map(|one| at(one, &["path", "value"])).map(plain).collect();
        paths.dedup();
        let timeout = at(rule, &["timeouts", "request"]).map(|timeout| format!(" {}", plain(timeout)));
        let retries = match at(rule, &["retry", "attempts"]).and_then(Value::as_integer) {
            None | Some(0) => String::new(),
            Some(1) => ", 1 retry".to_owned(),
            Some(retries) => format!(", {retries} retries"),
        };
        let words = format!("{}{retries}", timeout.unwrap_or_default());
        match told.iter().find(|(known, _)| *known == paths) {
            Some((_, earlier)) if earlier.starts_with(words.as_str()) => {}
            _ => told.push((paths, words)),
        }
    }
    let line = |(paths, words): &(Vec<String>, String)| match paths.is_empty() {
        true => format!("/{words}"),
        false => format!("{}{words}", paths.join(", ")),
    };
    told.iter().map(line).collect::<Vec<_>>().join(" · ")
}

fn plain(value: &Value) -> String {
    field::of("", value)
}

/// What stands at a path of maps.
pub(super) fn at<'a>(body: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(body, |value, field| value.get(field))
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
