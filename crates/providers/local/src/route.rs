//! Routes: host names of the router. Its record on disk gives a route an identity that outlasts Freehold, and is what it is set from again.

mod body;

use freehold_engine::provider::Revealed;
use freehold_engine::{Context, Lookup, Performed, ProviderError, Readiness};
use freehold_graph::{Resource, StackId, StackKey, Value};
use freehold_plan::Observation;
use freehold_plan::observation::Ownership;
use freehold_problem::Code;
use freehold_router::{PasswordHash, Route, RouteKey};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::directory::{self, Durability};
use crate::failure;
use crate::machine::Machine;
use body::Users;

#[derive(Serialize, Deserialize)]
struct RouteRecord {
    /// Made when the route is created, and never used again.
    object: String,
    resource: Resource,
    /// The body in comparable form. Records of before don't have it: there was nothing secret in a route.
    #[serde(default)]
    desired: Option<Value>,
    /// What is kept of the users' passwords.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    users: Vec<User>,
}

/// What is kept of a user's password, in hexadecimal digits.
#[derive(Serialize, Deserialize)]
struct User {
    name: String,
    salt: String,
    digest: String,
}

/// How the router knows a route.
fn key(stack: StackId, identity: &str) -> RouteKey {
    RouteKey(format!("{stack}/{identity}"))
}

/// The stack of a route, and what it is called there.
pub(crate) fn parse_key(key: &RouteKey) -> Option<(StackId, &str)> {
    let (stack, identity) = key.0.split_once('/')?;
    Some((StackId(stack.parse().ok()?), identity))
}

pub(crate) async fn apply(
    machine: &Machine,
    context: &Context,
    resource: &Resource,
    desired: &Value,
) -> Result<Performed, ProviderError> {
    let users = users(context, resource).await?;
    let route = routed(context.stack, &context.key, resource, &users)?;
    refuse_others_hosts(machine, context.stack, &route)?;
    let path = machine.directory.route_record(context.stack, &resource.identity);
    let unwritable = |error: std::io::Error| failure::file("write", &path, &error);
    let former = directory::read_json::<RouteRecord>(&path).ok().flatten();
    let object = former.map_or_else(|| Uuid::new_v4().to_string(), |record| record.object);
    let (resource, desired) = (resource.clone(), Some(desired.clone()));
    let record = RouteRecord { object: object.clone(), resource, desired, users };
    directory::write_json(&path, &record, Durability::Power).map_err(unwritable)?;
    machine.router.set_route(&key(context.stack, &record.resource.identity), route);
    Ok(Performed { object: Some(object), note: None, ..Performed::default() })
}

/// The store lets only one stack have a host; this is for what the store doesn't know.
fn refuse_others_hosts(machine: &Machine, stack: StackId, route: &Route) -> Result<(), ProviderError> {
    let claims = |route: &Route, host: &String| route.hosts.contains(host) || route.redirect_from.contains(host);
    for (key, other) in machine.router.routes() {
        if parse_key(&key).is_none_or(|(owner, _)| owner == stack) {
            continue;
        }
        if let Some(host) = route.hosts.iter().chain(&route.redirect_from).find(|host| claims(&other, host)) {
            return Err(failure::refusal(
                Code::NotOwned,
                format!("the host name {host} is in use by {}", other.label),
                "choose another host name for one of them",
            ));
        }
    }
    Ok(())
}

/// What is kept of the passwords in a body.
async fn users(context: &Context, resource: &Resource) -> Result<Vec<User>, ProviderError> {
    let Some(passwords) = resource.body.get("basic_auth") else { return Ok(Vec::new()) };
    let revealed = Revealed::all(context, passwords).await?;
    let mut users = Vec::new();
    for (name, password) in passwords.as_map().into_iter().flatten() {
        let hash = PasswordHash::of(revealed.text(password)?.reveal(), *Uuid::new_v4().as_bytes());
        users.push(User { name: name.clone(), salt: hex::encode(hash.salt), digest: hex::encode(hash.digest) });
    }
    Ok(users)
}

/// What the router is told.
fn routed(stack: StackId, key: &StackKey, resource: &Resource, users: &[User]) -> Result<Route, ProviderError> {
    let hashes = users.iter().map(|user| {
        let (mut salt, mut digest) = ([0; 16], [0; 32]);
        let read = hex::decode_to_slice(&user.salt, &mut salt).and(hex::decode_to_slice(&user.digest, &mut digest));
        read.map(|()| (user.name.clone(), PasswordHash { salt, digest })).map_err(|_| "a user can't be read".to_owned())
    });
    let users: Result<Users, String> = hashes.collect();
    let route = users.and_then(|users| body::route(stack, key, &resource.body, users));
    route.map_err(|why| ProviderError::rejected(Code::StepFailed, format!("{} can't be set: {why}", resource.id)))
}

/// Sets the route again after a start of Freehold, as it was set last. What the store remembers may be what a step that failed was about to
/// make of it, so it counts only if the record was lost.
pub(crate) async fn restore(
    machine: &Machine,
    context: &Context,
    resource: &Resource,
    comparable: &Value,
    object: &str,
) -> Result<(), ProviderError> {
    let path = machine.directory.route_record(context.stack, &resource.identity);
    let record = match directory::read_json::<RouteRecord>(&path).ok().flatten() {
        Some(record) => record,
        None => {
            let users = users(context, resource).await?;
            let (resource, desired) = (resource.clone(), Some(comparable.clone()));
            let record = RouteRecord { object: object.to_owned(), resource, desired, users };
            let written = directory::write_json(&path, &record, Durability::Process);
            written.map_err(|error| failure::file("write", &path, &error))?;
            record
        }
    };
    let route = routed(context.stack, &context.key, &record.resource, &record.users)?;
    machine.router.set_route(&key(context.stack, &record.resource.identity), route);
    Ok(())
}

/// A route is there if the router has it; what it is like, its record tells.
pub(crate) fn observe(
    machine: &Machine,
    stack: StackId,
    lookup: &Lookup,
) -> Result<Option<Observation>, ProviderError> {
    if !machine.router.has_route(&key(stack, &lookup.identity)) {
        return Ok(None);
    }
    let path = machine.directory.route_record(stack, &lookup.identity);
    let record = directory::read_json::<RouteRecord>(&path).map_err(|error| failure::file("read", &path, &error))?;
    let observation = |record: RouteRecord| Observation {
        object: record.object,
        ownership: Ownership::Ours,
        body: record.desired.unwrap_or(record.resource.body),
        foreign_fields: Vec::new(),
    };
    Ok(record.map(observation))
}

pub(crate) fn delete(
    machine: &Machine,
    stack: StackId,
    lookup: &Lookup,
    object: Option<&str>,
) -> Result<Performed, ProviderError> {
    if let Some(found) = observe(machine, stack, lookup)?
        && object.is_some_and(|object| object != found.object)
    {
        return Err(ProviderError::rejected(
            Code::ChangedExternally,
            format!("{} is not the one that was deployed", lookup.id),
        ));
    }
    machine.router.remove_route(&key(stack, &lookup.identity));
    let path = machine.directory.route_record(stack, &lookup.identity);
    directory::remove(&path).map_err(|error| failure::file("remove", &path, &error))?;
    Ok(Performed::default())
}

pub(crate) fn readiness(machine: &Machine, stack: StackId, lookup: &Lookup) -> Readiness {
    match machine.router.has_route(&key(stack, &lookup.identity)) {
        true => Readiness::Ready,
        false => Readiness::failed(format!("the router does not have {}", lookup.id)),
    }
}
