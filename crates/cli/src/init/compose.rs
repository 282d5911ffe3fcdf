//! Compose files: which of their services are databases and caches, and which are the app's own.

use std::collections::{BTreeMap, BTreeSet};

use freehold_graph::image::ImageReference;
use freehold_spec::Name;
use serde_json::Value as Json;

use super::draft::{self, Draft, Job, Service};
use super::folder::Folder;
use super::programs::{self, health_path, shell};
use super::variables::{self, Host, Hosts};

pub(super) const FILES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// The most services that are looked at, and the most variables of one.
const MOST: (usize, usize) = (50, 200);

/// Images that are a database, and those that are a cache.
const DATABASES: [&str; 4] = ["postgres", "postgis", "pgvector", "timescaledb"];
const CACHES: [&str; 3] = ["redis", "valkey", "keydb"];
/// What there is no part for.
const OTHERS: [&str; 14] = [
    "adminer",
    "clickhouse",
    "elasticsearch",
    "kafka",
    "mailhog",
    "mailpit",
    "mariadb",
    "memcached",
    "minio",
    "mongo",
    "mysql",
    "opensearch",
    "pgadmin4",
    "rabbitmq",
];

/// Reads a compose file into a draft.
///
/// # Errors
/// Why it can't be read.
pub(super) fn read(
    draft: &mut Draft,
    folder: &Folder,
    text: &str,
    known: &BTreeMap<String, String>,
) -> Result<(), String> {
    // Anchors and merge keys are written out within the library's bounds.
    let file: Json = serde_saphyr::from_str(text).map_err(|error| {
        let place = error.location().map_or_else(String::new, |place| format!(" at line {}", place.line()));
        format!("it is no YAML that can be read{place}")
    })?;
    let services = file.get("services").and_then(Json::as_object).ok_or("it has no `services`")?;
    if services.len() > MOST.0 {
        draft.guess(format!("only the first {} services of the compose file are looked at", MOST.0));
    }
    let services: Vec<(&String, &Json)> = services.iter().take(MOST.0).collect();
    let jobs = ended(&services);
    let (mut hosts, mut own) = (Hosts::new(), Vec::new());
    let mut taken = BTreeSet::new();
    for (key, service) in services {
        let Some(name) = draft::name(key).filter(|name| taken.insert(name.clone())) else {
            draft.guess(format!("service {key:?} of the compose file is left out: its name can't be one here"));
            continue;
        };
        let image =
            service.get("image").and_then(Json::as_str).map(|image| interpolated(image, known)).unwrap_or_default();
        let base = base(&image).to_owned();
        if DATABASES.contains(&base.as_str()) {
            hosts.insert((*key).clone(), Host::Database(name.clone()));
            let extensions = if base == "pgvector" { vec!["vector".to_owned()] } else { Vec::new() };
            draft.guess(format!("database {name}: the compose file runs {base}"));
            draft.databases.insert(name, extensions);
        } else if CACHES.contains(&base.as_str()) {
            hosts.insert((*key).clone(), Host::Cache(name.clone()));
            draft.guess(format!(
                "cache {name}: the compose file runs {base}; say `persist = true` if its data has to last"
            ));
            draft.caches.insert(name, Vec::new());
        } else if OTHERS.contains(&base.as_str()) {
            draft.guess(format!(
                "service {name} is left out: {base} is not the app's own; say in a secret where programs find one"
            ));
        } else {
            hosts.insert((*key).clone(), Host::Service(name.clone()));
            own.push((key, name, service, image));
        }
    }
    let asked = asked(&own, known);
    let (last, first): (Vec<_>, Vec<_>) = own.into_iter().partition(|(key, ..)| jobs.contains_key(*key));
    for (key, name, service, image) in first {
        of_app(draft, folder, &hosts, known, (&name, service, &image), asked.get(key.as_str()).copied());
    }
    for (key, name, service, _) in last {
        // Whoever waits for it has the same program, mostly.
        let waits = jobs.get(key).and_then(|key| draft::name(key)).filter(|name| draft.services.contains_key(name));
        match waits.or_else(|| draft.services.keys().next().cloned()) {
            Some(of) => job(draft, &hosts, known, (&name, service), of),
            None => draft.guess(format!("job {name} is left out: there is no service whose program it could run")),
        }
    }
    Ok(())
}

/// The services that others wait for until they have ended, each with the first of these.
fn ended<'s>(services: &[(&'s String, &'s Json)]) -> BTreeMap<&'s String, &'s String> {
    let mut ended = BTreeMap::new();
    for (key, service) in services {
        let waits = service.get("depends_on").and_then(Json::as_object).into_iter().flatten();
        for (name, wait) in waits {
            if wait.get("condition").and_then(Json::as_str) == Some("service_completed_successfully") {
                ended.entry(name).or_insert(*key);
            }
        }
    }
    ended
}

/// The ports at which services ask each other, by the names of those that are asked.
fn asked(own: &[(&String, Name, &Json, String)], known: &BTreeMap<String, String>) -> BTreeMap<String, u16> {
    let values = own.iter().flat_map(|(_, _, service, _)| environment(service, known).into_values());
    let addresses = values.filter_map(|value| {
        let rest = value.strip_prefix("http://")?.to_owned();
        let authority = rest.split(['/', '?', '#']).next()?.to_owned();
        let (host, port) = authority.split_once(':').unwrap_or((&authority, "80"));
        Some((host.to_owned(), port.parse().ok().filter(|port| *port > 0)?))
    });
    addresses.collect()
}

/// A job of the deploy.
fn job(draft: &mut Draft, hosts: &Hosts, known: &BTreeMap<String, String>, (name, service): (&Name, &Json), of: Name) {
    let command = said(service, known);
    if command.is_empty() {
        draft.guess(format!("job {name} is left out: the compose file doesn't say what it runs"));
        return;
    }
    let (mut env, _) = variables::read(draft, hosts, &environment(service, known), &format!("job {name}"));
    variables::of_migrator(&mut env);
    draft.guess(format!("job {name}: {of} waits until it has ended, so each deploy runs it before, as the migrator"));
    draft.jobs.insert(name.clone(), Job { service: of, command, env });
}

/// What a service says that it runs.
fn said(service: &Json, known: &BTreeMap<String, String>) -> Vec<String> {
    let words = |key: &str| service.get(key).map(|value| command(value, known)).unwrap_or_default();
    words("entrypoint").into_iter().chain(words("command")).collect()
}

/// The last part of an image's repository: `postgres` of `docker.io/library/postgres:18`.
fn base(image: &str) -> &str {
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split([':', '@']).next().unwrap_or_default()
}

/// A service of the app's own.
fn of_app(
    draft: &mut Draft,
    folder: &Folder,
    hosts: &Hosts,
    known: &BTreeMap<String, String>,
    (name, service, image): (&Name, &Json, &str),
    asked: Option<u16>,
) {
    let build = service.get("build");
    let context = build.and_then(|build| build.as_str().or_else(|| build.get("context")?.as_str())).unwrap_or(".");
    let dockerfile = build.and_then(|build| build.get("dockerfile")?.as_str()).unwrap_or("Dockerfile");
    let place = build.and_then(|_| folder.below(context));
    let program = place.as_ref().map(|place| programs::read(draft, place, dockerfile)).unwrap_or_default();
    let said = said(service, known);
    let command = if said.is_empty() { program.command } else { said };
    let mut given: BTreeMap<String, String> = program.env;
    let of_file = service.get("env_file").is_some();
    if of_file {
        given.extend(known.clone());
    }
    given.extend(environment(service, known));
    let (env, empty) = variables::read(draft, hosts, &given, &format!("service {name}"));
    let reads = of_file.then(|| empty.iter().cloned().collect());
    if !empty.is_empty() && !of_file {
        draft.guess(format!("service {name}: {} variables have no value and are left out", empty.len()));
    }
    let ports = ports(service);
    let port = ports.published.or(ports.exposed).or(program.port).or(asked);
    let health = service.get("healthcheck").and_then(|check| check.get("test")).map(ToString::to_string);
    let ready = health.and_then(|test| health_path(&test)).or(program.ready).filter(|_| port.is_some());
    let made = build.is_some() || program.has_image;
    let repository = repository(image).filter(|_| !image.is_empty());
    let image = repository.or_else(|| made.then(|| format!("registry.example.org/{}/{name}", draft.name)));
    // What the image runs, only the image says.
    let build = program.build.filter(|_| !command.is_empty());
    if image.is_none() && build.is_none() {
        draft.guess(format!("service {name} is left out: neither its image nor what it runs can be found out"));
        return;
    }
    if service.get("volumes").and_then(Json::as_array).is_some_and(|volumes| !volumes.is_empty()) {
        draft.guess(format!(
            "service {name}: its volumes are left out; data belongs into a database or into `[service.{name}.volumes]`"
        ));
    }
    let host = ports.published.map(|_| String::new());
    draft.services.insert(name.clone(), Service { image, build, command, port, ready, host, env, reads });
}

/// The repository of an image: without tag and digest, if it is one.
fn repository(image: &str) -> Option<String> {
    let without = image.split('@').next().unwrap_or_default();
    let slash = without.rfind('/').map_or(0, |at| at + 1);
    let end = without.get(slash..)?.find(':').map_or(without.len(), |at| slash + at);
    let repository = without.get(..end)?;
    let fits = repository.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._/:".contains(c));
    (fits && repository.parse::<ImageReference>().is_ok()).then(|| repository.to_owned())
}

/// Program and arguments, as a list or as a line.
fn command(value: &Json, known: &BTreeMap<String, String>) -> Vec<String> {
    let text = |value: &Json| value.as_str().map(|text| interpolated(text, known)).filter(|text| !text.contains('\0'));
    match value {
        Json::String(_) => text(value).map(|line| shell(line.trim())).unwrap_or_default(),
        Json::Array(words) => words.iter().filter_map(text).collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => Vec::new(),
    }
}

/// Its variables, as a map or as a list of `NAME=VALUE`.
fn environment(service: &Json, known: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let plain = |value: &Json| match value {
        Json::String(text) => interpolated(text, known),
        Json::Bool(_) | Json::Number(_) => value.to_string(),
        Json::Null | Json::Array(_) | Json::Object(_) => String::new(),
    };
    match service.get("environment") {
        Some(Json::Object(map)) => map.iter().take(MOST.1).map(|(name, value)| (name.clone(), plain(value))).collect(),
        Some(Json::Array(lines)) => {
            let lines = lines.iter().take(MOST.1).filter_map(Json::as_str);
            let pair = |line: &str| {
                let (name, value) = line.split_once('=').unwrap_or((line, ""));
                (name.to_owned(), interpolated(value, known))
            };
            lines.map(pair).collect()
        }
        _ => BTreeMap::new(),
    }
}

/// The ports of a service: within its container.
struct Ports {
    published: Option<u16>,
    exposed: Option<u16>,
}

fn ports(service: &Json) -> Ports {
    let first = |key: &str| service.get(key).and_then(Json::as_array).into_iter().flatten().find_map(port);
    Ports { published: first("ports"), exposed: first("expose") }
}

/// `8080`, `"8080:80"`, `"127.0.0.1:8080:80/tcp"`, `{ target: 80 }`.
fn port(entry: &Json) -> Option<u16> {
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    match entry {
        Json::Number(port) => number(&port.to_string()),
        Json::String(text) => {
            let (text, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            number(text.rsplit(':').next()?).filter(|_| protocol == "tcp")
        }
        Json::Object(long) => number(&long.get("target")?.to_string()),
        Json::Null | Json::Bool(_) | Json::Array(_) => None,
    }
}

/// `${NAME}`, `${NAME:-default}` and `$NAME` as compose resolves them, from `.env.example`; `$$` is a `$`.
fn interpolated(text: &str, known: &BTreeMap<String, String>) -> String {
    let value = |name: &str| known.get(name).cloned().unwrap_or_default();
    let (mut whole, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        whole.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            whole.push('$');
            rest = after;
        } else if let Some((inside, after)) = after.strip_prefix('{').and_then(|after| after.split_once('}')) {
            let end = inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len());
            let (name, or) = inside.split_at(end);
            let default = or.trim_start_matches(':').strip_prefix('-');
            let found = value(name);
            whole.push_str(if found.is_empty() { default.unwrap_or_default() } else { &found });
            rest = after;
        } else {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            whole.push_str(&value(name));
            rest = after;
        }
    }
    whole + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_a_compose_file_are_resolved_as_compose_does() {
        let known = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        for (text, expected) in
            [("${A}-$A-${B:-two}-${B-}-$$A", "1-1-two--$A"), ("${A:-x}${", "1{"), ("plain", "plain")]
        {
            assert_eq!(interpolated(text, &known), expected, "{text}");
        }
    }

    #[test]
    fn ports_and_images_are_read_in_all_their_forms() {
        for (text, expected) in [
            ("8080", Some(8080)),
            ("\"8080:80\"", Some(80)),
            ("\"127.0.0.1:8080:80/tcp\"", Some(80)),
            ("\"53:53/udp\"", None),
            ("{\"target\": 80, \"published\": \"8080\"}", Some(80)),
            ("\"0\"", None),
        ] {
            assert_eq!(port(&serde_json::from_str(text).unwrap()), expected, "{text}");
        }
        assert_eq!(repository("localhost:5000/shop:1.2").as_deref(), Some("localhost:5000/shop"));
        assert_eq!(repository("Shop:1"), None);
        assert_eq!(base("docker.io/library/postgres:18@sha256:00"), "postgres");
    }
}
