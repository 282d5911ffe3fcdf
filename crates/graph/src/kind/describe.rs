//! What a new resource will be, in a few words: the `describe` of rows. A description reads the resource's own body; a database's also
//! that of its roles.

use std::collections::BTreeMap;

use crate::display::{count, span, value};
use crate::resource_id::ResourceId;
use crate::value::Value;

/// A resource that a plan is to create, and what stands around it.
pub struct New<'a> {
    /// Its name within the stack.
    pub id: &'a ResourceId,
    /// Its outside name.
    pub identity: &'a str,
    /// Its desired body.
    pub body: &'a Value,
    /// The database server of the target, if the stack's databases are on one: `PostgreSQL 15`.
    pub server: Option<&'a str>,
    /// The desired body of another resource of the plan.
    pub other: &'a dyn Fn(&ResourceId) -> Option<&'a Value>,
}

impl New<'_> {
    fn at(&self, path: &[&str]) -> Option<&Value> {
        at(self.body, path)
    }

    fn text(&self, path: &[&str]) -> Option<String> {
        self.at(path).map(plain)
    }

    fn fields(&self, path: &[&str]) -> usize {
        self.at(path).and_then(Value::as_map).map_or(0, BTreeMap::len)
    }

    fn items(&self, path: &[&str]) -> &[Value] {
        self.at(path).and_then(Value::as_list).unwrap_or_default()
    }
}

/// The value at a path of maps.
pub fn at<'a>(body: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(body, |value, field| value.get(field))
}

fn plain(one: &Value) -> String {
    value("", one)
}

pub(super) fn secret(new: &New<'_>) -> String {
    match new.at(&["generate", "bytes"]) {
        Some(bytes) => format!("generated, {} bytes", plain(bytes)),
        None => "set by hand".to_owned(),
    }
}

pub(super) fn roles(_: &New<'_>) -> String {
    "SCRAM, app reads and writes only".to_owned()
}

pub(super) fn logins(_: &New<'_>) -> String {
    "earlier ones are closed once nothing uses them".to_owned()
}

/// The server, the extensions, and from its roles the connections.
pub(super) fn database(new: &New<'_>) -> String {
    let roles = (new.other)(&ResourceId::new("roles", new.id.name()));
    let connections = roles.and_then(|roles| roles.get("connections")).and_then(Value::as_integer);
    let mut words: Vec<String> = new.server.map(str::to_owned).into_iter().collect();
    words.extend(new.items(&["extensions"]).iter().map(plain));
    words.extend(connections.map(|connections| format!("{connections} connections")));
    words.join(", ")
}

pub(super) fn local_service(new: &New<'_>) -> String {
    let replicas = new.at(&["replicas"]).and_then(Value::as_integer).unwrap_or(1);
    let command = new.at(&["command"]).map(|command| value("command", command));
    let word = if new.at(&["image"]).is_some() { "container" } else { "process" };
    let several = match (replicas, word) {
        (1, _) => "",
        (_, "process") => "es",
        (_, _) => "s",
    };
    let command = command.unwrap_or_else(|| "its image's command".to_owned());
    let ready = new.at(&["health", "ready"]).and_then(Value::as_text);
    let serves = new.at(&["serves"]) == Some(&Value::Bool(true));
    let ready = match (ready, serves) {
        (Some(path), _) => format!("ready on {path}"),
        (None, true) => "ready when its port is open".to_owned(),
        (None, false) => "takes no requests".to_owned(),
    };
    format!("{replicas} {word}{several}: {command}, {ready}")
}

/// `64Mi for data, allkeys-lru`.
pub(super) fn local_cache(new: &New<'_>) -> String {
    let bytes = new.at(&["max_memory_bytes"]).and_then(Value::as_integer).map(i64::unsigned_abs).unwrap_or_default();
    let eviction = new.text(&["eviction"]).unwrap_or_default();
    let kept = if new.at(&["persist"]) == Some(&Value::Bool(true)) { ", kept on disk" } else { "" };
    format!("{} for data, {eviction}{kept}", freehold_spec::Memory(bytes))
}

pub(super) fn local_cache_data(_: &New<'_>) -> String {
    "its folder on this machine".to_owned()
}

/// `up to 10Gi, versions are kept, 2 lifecycle rules`.
pub(super) fn local_bucket(new: &New<'_>) -> String {
    let bytes = new.at(&["max_size_bytes"]).and_then(Value::as_integer).map(i64::unsigned_abs).unwrap_or_default();
    let versions = if new.at(&["versioning"]) == Some(&Value::Bool(true)) { ", versions are kept" } else { "" };
    let rules = match new.items(&["lifecycle"]).len() {
        0 => String::new(),
        1 => ", 1 lifecycle rule".to_owned(),
        many => format!(", {many} lifecycle rules"),
    };
    format!("up to {}{versions}{rules}", freehold_spec::Storage(bytes))
}

pub(super) fn local_schedule(new: &New<'_>) -> String {
    let schedule = new.text(&["schedule"]).unwrap_or_default();
    let command = new.at(&["command"]).map(|command| value("command", command)).unwrap_or_default();
    format!("{command}, at {schedule} UTC")
}

/// `/events 6h · / 30s, 3 retries · /old → /new · /admin 403`.
pub(super) fn local_route(new: &New<'_>) -> String {
    let rule = |rule: &Value| {
        let prefix = rule.get("prefix").and_then(Value::as_text).unwrap_or_default();
        if let Some(to) = at(rule, &["redirect", "to"]) {
            return format!("{prefix} → {}", plain(to));
        }
        if let Some(status) = at(rule, &["respond", "status"]) {
            return format!("{prefix} {}", plain(status));
        }
        let timeout = rule.get("timeout_seconds").and_then(Value::as_integer).map(span).unwrap_or_default();
        format!("{prefix} {timeout}{}", retries(rule.get("retries")))
    };
    new.items(&["paths"]).iter().map(rule).collect::<Vec<_>>().join(" · ")
}

fn retries(retries: Option<&Value>) -> String {
    match retries.and_then(Value::as_integer) {
        None | Some(0) => String::new(),
        Some(1) => ", 1 retry".to_owned(),
        Some(retries) => format!(", {retries} retries"),
    }
}

pub(super) fn namespace(new: &New<'_>) -> String {
    let level = new.text(&["metadata", "labels", "pod-security.kubernetes.io/enforce"]);
    level.map(|level| format!("Pod Security {level}")).unwrap_or_default()
}

/// `4 cpu, 8Gi, 20 pods`.
pub(super) fn quota(new: &New<'_>) -> String {
    let hard = |names: [&str; 3]| names.iter().find_map(|name| new.text(&["spec", "hard", name]));
    let cpu = hard(["limits.cpu", "requests.cpu", "cpu"]).map(|cpu| format!("{cpu} cpu"));
    let memory = hard(["limits.memory", "requests.memory", "memory"]);
    let pods = hard(["pods", "count/pods", "pods"]).map(|pods| format!("{pods} pods"));
    [cpu, memory, pods].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

pub(super) fn limits(_: &New<'_>) -> String {
    "defaults for containers".to_owned()
}

pub(super) fn policy(new: &New<'_>) -> String {
    let rules = |direction: &str| match new.items(&["spec", direction]).len() {
        0 => "nothing".to_owned(),
        number => count(number, "rule"),
    };
    format!("{} in, {} out", rules("ingress"), rules("egress"))
}

pub(super) fn account(_: &New<'_>) -> String {
    "without a token".to_owned()
}

pub(super) fn credentials(new: &New<'_>) -> String {
    match new.id.name() {
        REGISTRY => "pull secret".to_owned(),
        _ => count(new.fields(&["data"]), "secret variable"),
    }
}

pub(super) fn config(new: &New<'_>) -> String {
    count(new.fields(&["data"]), "variable")
}

pub(super) fn volume(new: &New<'_>) -> String {
    let class = new.text(&["spec", "storageClassName"]).map(|class| format!(", class {class}"));
    let size = new.text(&["spec", "resources", "requests", "storage"]);
    format!("{}{}", size.unwrap_or_default(), class.unwrap_or_default())
}

/// `2 × guestbook serve, ready on /health/ready`.
pub(super) fn deployment(new: &New<'_>) -> String {
    let Some(pod) = new.at(&["spec", "template", "spec"]) else { return String::new() };
    let containers = pod.get("containers").and_then(Value::as_list).unwrap_or_default();
    let Some((first, sidecars)) = containers.split_first() else { return String::new() };
    let replicas = new.text(&["spec", "replicas"]).map(|replicas| format!("{replicas} × "));
    let mut words = vec![format!("{}{}", replicas.unwrap_or_default(), command(pod))];
    words.extend(at(first, &["readinessProbe", "httpGet", "path"]).map(|path| format!("ready on {}", plain(path))));
    words.extend(sidecars.iter().filter_map(|sidecar| Some(format!("with {}", plain(sidecar.get("name")?)))));
    words.join(", ")
}

pub(super) fn cron_job(new: &New<'_>) -> String {
    let pod = new.at(&["spec", "jobTemplate", "spec", "template", "spec"]);
    let schedule = new.text(&["spec", "schedule"]).unwrap_or_default();
    let zone = new.text(&["spec", "timeZone"]).unwrap_or_else(|| "UTC".to_owned());
    format!("{}, at {schedule} {}", pod.map(command).unwrap_or_default(), zone.trim_start_matches("Etc/"))
}

/// What the run of a job executes, by its body.
pub fn run(body: &Value) -> String {
    match body.get("command") {
        Some(command) => value("command", command),
        None => at(body, &["manifest", "spec", "template", "spec"]).map(command).unwrap_or_default(),
    }
}

/// The images that a resource runs, where it runs images; each with the name of its container where there are several.
pub fn images(body: &Value) -> Vec<(String, String)> {
    if let Some(image) = body.get("image") {
        return vec![("image".to_owned(), plain(image))];
    }
    let pod = at(body, &["spec", "template", "spec"]);
    let list = |name: &str| pod.and_then(|pod| pod.get(name)).and_then(Value::as_list).unwrap_or_default();
    let all: Vec<&Value> = list("initContainers").iter().chain(list("containers")).collect();
    let several = all.len() > 1;
    let name = |container: &Value| match container.get("name").filter(|_| several) {
        Some(name) => format!("image of {}", plain(name)),
        None => "image".to_owned(),
    };
    all.iter().filter_map(|container| Some((name(container), plain(container.get("image")?)))).collect()
}

/// The command of a Pod's first container: what a run or a scheduled job executes.
fn command(pod: &Value) -> String {
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

pub(super) fn service(new: &New<'_>) -> String {
    let ports = new.items(&["spec", "ports"]).iter().filter_map(|port| port.get("port"));
    format!("port {}", ports.map(plain).collect::<Vec<_>>().join(", "))
}

pub(super) fn budget(new: &New<'_>) -> String {
    let least = new.text(&["spec", "minAvailable"]).map(|least| format!("at least {least} available"));
    let most = new.text(&["spec", "maxUnavailable"]).map(|most| format!("at most {most} unavailable"));
    least.or(most).unwrap_or_default()
}

pub(super) fn autoscaler(new: &New<'_>) -> String {
    let least = new.text(&["spec", "minReplicas"]).unwrap_or_else(|| "1".to_owned());
    format!("{least} to {} by load", new.text(&["spec", "maxReplicas"]).unwrap_or_default())
}

/// `/events 6h · / 30s, 3 retries`. A path that is retried for some methods only has two rules: it is shown once.
pub(super) fn http_route(new: &New<'_>) -> String {
    let mut shown: Vec<(Vec<String>, String)> = Vec::new();
    for rule in new.items(&["spec", "rules"]) {
        let matches = rule.get("matches").and_then(Value::as_list).unwrap_or_default();
        let mut paths: Vec<String> = matches.iter().filter_map(|one| at(one, &["path", "value"])).map(plain).collect();
        paths.dedup();
        let timeout = at(rule, &["timeouts", "request"]).map(|timeout| format!(" {}", plain(timeout)));
        let words = format!("{}{}", timeout.unwrap_or_default(), retries(at(rule, &["retry", "attempts"])));
        match shown.iter().find(|(known, _)| *known == paths) {
            Some((_, earlier)) if earlier.starts_with(words.as_str()) => {}
            Some(_) | None => shown.push((paths, words)),
        }
    }
    let line = |(paths, words): &(Vec<String>, String)| match paths.is_empty() {
        true => format!("/{words}"),
        false => format!("{}{words}", paths.join(", ")),
    };
    shown.iter().map(line).collect::<Vec<_>>().join(" · ")
}

/// `users, allowed addresses`.
pub(super) fn security_policy(new: &New<'_>) -> String {
    let said = [("basicAuth", "users"), ("authorization", "allowed addresses")];
    let words = said.into_iter().filter(|(field, _)| new.at(&["spec", field]).is_some()).map(|(_, words)| words);
    words.collect::<Vec<_>>().join(", ")
}

/// `300 requests a minute, bodies up to 10Mi`.
pub(super) fn traffic_policy(new: &New<'_>) -> String {
    let limits = new.items(&["spec", "rateLimit", "local", "rules"]).first().and_then(|rule| rule.get("limit"));
    let rate = limits.map(|limit| {
        let of = |field: &str| limit.get(field).map(plain).unwrap_or_default();
        format!("{} requests a {}", of("requests"), of("unit").to_lowercase())
    });
    let body = new.text(&["spec", "requestBuffer", "limit"]).map(|limit| format!("bodies up to {limit}"));
    rate.into_iter().chain(body).collect::<Vec<_>>().join(", ")
}

pub(super) fn route_filter(new: &New<'_>) -> String {
    format!("answers {}", new.text(&["spec", "directResponse", "statusCode"]).unwrap_or_default())
}

pub(super) fn listener(_: &New<'_>) -> String {
    "a listener of its own".to_owned()
}

pub(super) fn certificate(new: &New<'_>) -> String {
    format!("from {}", new.text(&["spec", "issuerRef", "name"]).unwrap_or_default())
}

pub(super) fn cloudnative_pg(new: &New<'_>) -> String {
    let instances = new.at(&["spec", "instances"]).and_then(Value::as_integer).unwrap_or(1);
    let size = new.text(&["spec", "storage", "size"]).unwrap_or_default();
    let version =
        new.text(&["spec", "imageName"]).and_then(|image| Some(format!("PostgreSQL {}, ", image.rsplit_once(':')?.1)));
    let instances = count(usize::try_from(instances).unwrap_or(1), "instance");
    format!("CloudNativePG, {}{instances}, {size}", version.unwrap_or_default())
}

/// `PgBouncer, 2 instances`.
pub(super) fn pooler(new: &New<'_>) -> String {
    let instances = new.at(&["spec", "instances"]).and_then(Value::as_integer).unwrap_or(1);
    format!("PgBouncer, {}", count(usize::try_from(instances).unwrap_or(1), "instance"))
}

/// The line of the database that a pooler is before.
pub(super) fn in_database(name: &str) -> Vec<ResourceId> {
    vec![ResourceId::new("cluster", name.strip_suffix("-pooler").unwrap_or(name))]
}

/// `Widget of example.org/v1`.
pub(super) fn object(new: &New<'_>) -> String {
    let text = |field: &str| new.text(&[field]).unwrap_or_default();
    format!("{} of {}", text("kind"), text("apiVersion"))
}

/// The name of the Secret with the registry's credentials, of which a stack has one.
const REGISTRY: &str = "registry";

/// The line of the namespace.
pub(super) fn in_namespace(_: &str) -> Vec<ResourceId> {
    vec![ResourceId::new("namespace", "main")]
}

/// The line of the service or job whose object it is.
pub(super) fn in_program(name: &str) -> Vec<ResourceId> {
    let job = name.strip_prefix("job-").unwrap_or(name);
    [("deployment", name), ("job", job), ("cronjob", job)].map(|(word, name)| ResourceId::new(word, name)).to_vec()
}

/// The registry's credentials are the namespace's; all others are a program's variables.
pub(super) fn of_credentials(name: &str) -> Vec<ResourceId> {
    if name == REGISTRY { in_namespace(name) } else { in_program(name) }
}

/// The line of the route of its name, or of the one that it is a part of.
pub(super) fn in_route(name: &str) -> Vec<ResourceId> {
    let whole = name.split("--").next().unwrap_or(name);
    vec![ResourceId::new("httproute", whole)]
}
