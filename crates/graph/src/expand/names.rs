//! Outside names: one injective, length-bounded function from the stack and the part to a name.
//!
//! The components (`acme`, `guestbook`, `audit`) are names, which contain neither `_` nor doubled hyphens. Joined
//! with `__`, after `-` became `_`, they can be told apart again, so different parts get different names. A stage or a
//! preview has its kind as first component, which no tenant can be called. What is longer than the limit is cut
//! and ends with a digest of the whole.

use std::net::{Ipv4Addr, SocketAddrV4};

use freehold_spec::Name;
use sha2::{Digest as _, Sha256};

use crate::stack::{StackId, StackKey, StackKind};

/// PostgreSQL's limit for identifiers, in bytes (NAMEDATALEN − 1).
pub const POSTGRES_LIMIT: usize = 63;

/// The limit for a DNS label (RFC 1035), which namespaces and Services are, and label values.
pub const LABEL_LIMIT: usize = 63;

/// The name of a database on its server. The database `main` doesn't say so.
pub fn database(key: &StackKey, database: &Name) -> String {
    postgres_name(key, database, None)
}

/// The name of one of a database's roles: `owner`, `migrator`, `app`.
pub fn role(key: &StackKey, database: &Name, role: &str) -> String {
    postgres_name(key, database, Some(role))
}

/// The name of the role that logs in as a database's `app` or `migrator`. Each rotation has a login of its own, so that what still
/// runs with the last one isn't hindered: `acme__guestbook__app_r1`.
pub fn login(key: &StackKey, database: &Name, role: &str, rotation: u32) -> String {
    match rotation {
        0 => self::role(key, database, role),
        _ => self::role(key, database, &format!("{role}-r{rotation}")),
    }
}

/// The purpose of the password of a database's `app` or `migrator`: what it is derived for, and how its rotations are counted.
pub fn credential(database: &Name, role: &str) -> String {
    format!("postgres/{database}/{role}")
}

/// The purpose of the password of a cache's user: what it is derived for, and how its rotations are counted.
pub fn cache_credential(cache: &Name) -> String {
    format!("redis/{cache}/app")
}

/// The identity of a database, or of what belongs to it, on one of a target's servers: of one with a name it begins with that.
pub fn on_server(server: Option<&Name>, database: String) -> String {
    match server {
        Some(server) => format!("{server}/{database}"),
        None => database,
    }
}

/// PgBouncer before a database of an operator's, and its Service.
pub fn pooler(database: &Name) -> String {
    joined(database.as_str(), "pooler")
}

/// The database on a server that its operator has prepared for others to be copies of. No stack's is called so.
pub fn template(template: &Name) -> String {
    bounded(&format!("freehold_template_{}", template.as_str().replace('-', "_")), POSTGRES_LIMIT, '_')
}

/// The purpose of the secret access key of a bucket: what it is derived for, and how its rotations are counted.
pub fn bucket_credential(bucket: &Name) -> String {
    format!("s3/{bucket}/app")
}

/// The name of a bucket on its server: `uploads-4f1c0a9b7d3e`. Nobody else's, on whatever server; and no name that Amazon reserves, which
/// begin with `xn--` or end in words.
pub fn bucket(id: StackId, bucket: &Name) -> String {
    format!("{bucket}-{}", digest(&format!("bucket.{id}")))
}

/// Who the app is for the server of a bucket. It stays when the secret is rotated.
pub fn access_key_id(id: StackId, bucket: &Name) -> String {
    let digits = hex::encode(Sha256::digest(format!("access-key.{id}.{bucket}").as_bytes()));
    format!("FH{}", digits.chars().take(18).collect::<String>().to_uppercase())
}

fn postgres_name(key: &StackKey, database: &Name, role: Option<&str>) -> String {
    let mut parts = Vec::new();
    if key.kind != StackKind::Tenant {
        parts.push(key.kind.as_str());
    }
    parts.extend([key.name.as_str(), key.app.as_str()]);
    if database.as_str() != "main" {
        parts.push(database.as_str());
    }
    parts.extend(role);
    let joined = parts.iter().map(|part| part.replace('-', "_")).collect::<Vec<_>>().join("__");
    bounded(&joined, POSTGRES_LIMIT, '_')
}

/// The namespace of a stack: `acme--guestbook`, `preview--107--guestbook`.
pub fn namespace(key: &StackKey) -> String {
    let kind = (key.kind != StackKind::Tenant).then_some(key.kind.as_str());
    let parts: Vec<&str> = kind.into_iter().chain([key.name.as_str(), key.app.as_str()]).collect();
    bounded(&parts.join("--"), LABEL_LIMIT, '-')
}

/// The name of an object of a cluster that belongs to one of something: `web--proxy`. Names have no doubled hyphen, so it is
/// nobody else's.
pub fn part(whole: &str, part: &str) -> String {
    bounded(&format!("{whole}--{part}"), LABEL_LIMIT, '-')
}

/// How the names of ConfigMaps and Secrets with files end. Nothing else has three hyphens in its name.
pub const FILES: &str = "---files";

/// The name of the ConfigMap and of the Secret with the files of a container, whose variables are in those called `object`.
pub fn files(object: &str) -> String {
    format!("{}{FILES}", bounded(object, LABEL_LIMIT.saturating_sub(FILES.len()), '-'))
}

/// The name of an object of a cluster with a word before or behind it that Freehold chooses or that is usual there:
/// `job-migrate`, `web-data`. May be another thing's name, too.
pub fn joined(first: &str, second: &str) -> String {
    bounded(&format!("{first}-{second}"), LABEL_LIMIT, '-')
}

/// A short name for a text: 12 hexadecimal digits of its digest.
pub fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes())).chars().take(12).collect()
}

/// The text itself if it fits, else its beginning and 12 hexadecimal digits of its digest.
fn bounded(text: &str, limit: usize, separator: char) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let kept: String = text.chars().take(limit.saturating_sub(14)).collect();
    format!("{}{separator}{separator}{}", kept.trim_end_matches(separator), digest(text))
}

/// The address at which the services of a stack reach one of them: an address of the loopback network and a port, both
/// from a digest, so that it is known at plan time and never changes. 2^22 addresses × 20,000 ports; claimed in the store.
pub fn endpoint(id: StackId, service: &Name) -> SocketAddrV4 {
    address(id, service.as_str())
}

/// The same for a cache. No name of a service has a dot in it, so it is no service's.
pub fn cache_endpoint(id: StackId, cache: &Name) -> SocketAddrV4 {
    address(id, &format!("cache.{cache}"))
}

/// The same for a named port of a service. No name has a colon in it.
pub fn port_endpoint(id: StackId, service: &Name, port: &Name) -> SocketAddrV4 {
    address(id, &format!("{service}:{port}"))
}

/// The same for a bucket.
pub fn bucket_endpoint(id: StackId, bucket: &Name) -> SocketAddrV4 {
    address(id, &format!("bucket.{bucket}"))
}

fn address(id: StackId, what: &str) -> SocketAddrV4 {
    let mut hash = Sha256::new();
    hash.update(id.0.as_bytes());
    hash.update(what.as_bytes());
    let digest = hash.finalize();
    let mut bytes = digest.iter().copied();
    let mut next = || bytes.next().unwrap_or_default();
    let (a, b, c) = (64 + next() % 64, next(), 1 + next() % 254);
    // Below the range that Linux takes outgoing ports from (32768 and up).
    let port = 12_000 + (u16::from(next()) << 8 | u16::from(next())) % 20_000;
    SocketAddrV4::new(Ipv4Addr::new(127, a, b, c), port)
}
