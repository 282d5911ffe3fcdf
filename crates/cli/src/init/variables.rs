//! What variables are meant to be: references, secrets, or just texts.

use std::collections::BTreeMap;

use freehold_spec::{EnvName, Name};

use super::draft::{self, Draft};

/// What the hosts of addresses stand for: the services of a compose file, by their own names.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Host {
    Database(Name),
    Cache(Name),
    Service(Name),
}

pub(super) type Hosts = BTreeMap<String, Host>;

/// The longest value that is taken over, in bytes.
const LONGEST: usize = 4096;
/// Secrets that are nobody else's, so that they can be made.
const OWN: [&str; 12] = [
    "APP_KEY",
    "APP_SECRET",
    "AUTH_SECRET",
    "COOKIE_SECRET",
    "JWT_SECRET",
    "NEXTAUTH_SECRET",
    "SECRET",
    "SECRET_KEY",
    "SECRET_KEY_BASE",
    "SESSION_KEY",
    "SESSION_SECRET",
    "SIGNING_SECRET",
];

/// Reads variables as they are set for a program into a draft. Those without a value come out.
pub(super) fn read(
    draft: &mut Draft,
    hosts: &Hosts,
    given: &BTreeMap<String, String>,
    whose: &str,
) -> (BTreeMap<EnvName, String>, Vec<EnvName>) {
    let (mut env, mut empty) = (BTreeMap::new(), Vec::new());
    for (name, value) in given {
        let Ok(variable) = name.parse::<EnvName>() else {
            draft.guess(format!("{whose}: {name:?} can't be the name of a variable and is left out"));
            continue;
        };
        // Freehold sets these.
        if name == "PORT" || name.starts_with("FREEHOLD_") {
            continue;
        }
        if value.len() > LONGEST || value.chars().any(|c| c.is_control() && c != '\n' && c != '\t') || name.len() > 200
        {
            draft.guess(format!("{whose}: the value of {name} can't be taken over"));
            continue;
        }
        let value = value.trim();
        if let Some(reference) = of_url(hosts, value).or_else(|| of_part(hosts, given, name, value)) {
            env.insert(variable, reference);
        } else if value.starts_with("postgres://") || value.starts_with("postgresql://") {
            env.extend(the_database(draft).map(|name| (variable, format!("${{database.{name}.url}}"))));
        } else if value.starts_with("redis://") || value.starts_with("rediss://") || value.starts_with("valkey://") {
            env.extend(the_cache(draft).map(|name| (variable, format!("${{cache.{name}.url}}"))));
        } else if freehold_check::looks_secret(&variable, value) {
            if let Some(secret) = secret(draft, name) {
                env.insert(variable, format!("${{secret.{secret}}}"));
            } else {
                draft.guess(format!("{whose}: {name} looks like a secret that browsers would see, and is left out"));
            }
        } else if value.is_empty() {
            empty.push(variable);
        } else {
            env.insert(variable, value.replace("${", "$${"));
        }
    }
    (env, empty)
}

/// The variables of a job that makes the schema that the others use.
pub(super) fn of_migrator(env: &mut BTreeMap<EnvName, String>) {
    for value in env.values_mut() {
        if let Some((database, field)) = value.strip_prefix("${database.").and_then(|rest| rest.rsplit_once('.'))
            && ["url}", "jdbc_url}", "user}", "password}"].contains(&field)
        {
            *value = format!("${{database.{database}.migration_{field}");
        }
    }
}

/// A secret for a variable; the value itself is never written down.
fn secret(draft: &mut Draft, variable: &str) -> Option<Name> {
    if freehold_check::is_for_browsers(variable) {
        return None;
    }
    let name = draft::name(variable)?;
    let generated = OWN.contains(&variable);
    if draft.secrets.insert(name.clone(), generated).is_none() {
        draft.guess(match generated {
            true => format!("secret {name}: generated for each stack, since {variable} looks like the app's own"),
            false => format!(
                "secret {name}: set it with `freehold secret set {name} --tenant NAME`; no value was taken over"
            ),
        });
    }
    Some(name)
}

/// The one database that there is, or a new one.
fn the_database(draft: &mut Draft) -> Option<Name> {
    if let Some(name) = draft.databases.keys().next() {
        return Some(name.clone());
    }
    let name = draft::name("main")?;
    draft.databases.insert(name.clone(), Vec::new());
    draft.guess("database main: a variable has the URL of a PostgreSQL database");
    Some(name)
}

fn the_cache(draft: &mut Draft) -> Option<Name> {
    if let Some(name) = draft.caches.keys().next() {
        return Some(name.clone());
    }
    let name = draft::name("main")?;
    draft.caches.insert(name.clone(), Vec::new());
    draft.guess("cache main: a variable has the URL of a Redis server");
    Some(name)
}

/// A URL whose host is one of the services.
fn of_url(hosts: &Hosts, value: &str) -> Option<String> {
    let (scheme, rest) = value.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = host.split_once(':').map_or(host, |(host, _)| host);
    match hosts.get(host)? {
        Host::Database(name) => {
            let field = if scheme.starts_with("jdbc:") { "jdbc_url" } else { "url" };
            Some(format!("${{database.{name}.{field}}}"))
        }
        Host::Cache(name) => Some(format!("${{cache.{name}.url}}")),
        Host::Service(name) if scheme == "http" => {
            let path = if path == "/" { "" } else { path };
            Some(format!("${{service.{name}.url}}{}", path.replace("${", "$${")))
        }
        Host::Service(_) => None,
    }
}

/// `DB_HOST`, `DB_PORT` and the like, where `DB_HOST` is one of the services.
fn of_part(hosts: &Hosts, given: &BTreeMap<String, String>, name: &str, value: &str) -> Option<String> {
    const ENDS: [(&str, &str); 11] = [
        ("HOST", "host"),
        ("HOSTNAME", "host"),
        ("PORT", "port"),
        ("USER", "user"),
        ("USERNAME", "user"),
        ("PASSWORD", "password"),
        ("PASS", "password"),
        ("PASSWD", "password"),
        ("DATABASE", "name"),
        ("NAME", "name"),
        ("DB", "name"),
    ];
    let (begin, field) = ENDS
        .iter()
        .filter_map(|(end, field)| Some((name.strip_suffix(end)?, *field)))
        .min_by_key(|(begin, _)| begin.len())?;
    let host = match field {
        "host" => value,
        _ => ["HOST", "HOSTNAME"].iter().find_map(|end| given.get(&format!("{begin}{end}")))?,
    };
    let host = host.split_once(':').map_or(host, |(host, _)| host);
    match (hosts.get(host)?, field) {
        (Host::Database(name), field) => Some(format!("${{database.{name}.{field}}}")),
        (Host::Cache(name), "host" | "port" | "user" | "password") => Some(format!("${{cache.{name}.{field}}}")),
        (Host::Service(name), "host" | "port") => Some(format!("${{service.{name}.{field}}}")),
        _ => None,
    }
}
