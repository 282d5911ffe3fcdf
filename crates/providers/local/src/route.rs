//! Routes: host names of the router. What a route is like is known to the router only; its record on disk gives it an identity that
//! outlasts Freehold.

use std::time::Duration;

use freehold_engine::{Context, Lookup, Performed, ProviderError, Readiness};
use freehold_graph::{Resource, StackId, StackKey, Value};
use freehold_plan::Observation;
use freehold_plan::observation::Ownership;
use freehold_problem::Code;
use freehold_router::{Route, Rule};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::directory::{self, Durability};
use crate::failure;
use crate::launch::seconds;
use crate::machine::{Machine, endpoint, parse_endpoint};

#[derive(Serialize, Deserialize)]
struct RouteRecord {
    /// Made when the route is created, and never used again.
    object: String,
    resource: Resource,
}

pub(crate) fn apply(machine: &Machine, context: &Context, resource: &Resource) -> Result<Performed, ProviderError> {
    let host = &resource.identity;
    if let Some(route) = find(machine, host)
        && let Some((owner, _)) = parse_endpoint(&route.endpoint)
        && owner != context.stack
    {
        return Err(failure::refusal(
            Code::NotOwned,
            format!("the host name {host} is in use by {}", route.label),
            "choose another host name for one of them",
        ));
    }
    let path = machine.directory.route_record(context.stack, host);
    let unwritable = |error: std::io::Error| failure::file("write", &path, &error);
    let former = directory::read_json::<RouteRecord>(&path).ok().flatten();
    let object = former.map_or_else(|| Uuid::new_v4().to_string(), |record| record.object);
    let record = RouteRecord { object: object.clone(), resource: resource.clone() };
    directory::write_json(&path, &record, Durability::Power).map_err(unwritable)?;
    set(machine, context.stack, &context.key, resource);
    Ok(Performed { object: Some(object), note: None, ..Performed::default() })
}

/// Tells the router.
pub(crate) fn set(machine: &Machine, stack: StackId, key: &StackKey, resource: &Resource) {
    let service = resource.body.get("service").and_then(Value::as_text).unwrap_or_default();
    let rules = resource.body.get("paths").and_then(Value::as_list).unwrap_or_default().iter().map(|rule| Rule {
        prefix: rule.get("prefix").and_then(Value::as_text).unwrap_or("/").to_owned(),
        timeout: seconds(rule, "timeout_seconds", 30),
        retries: rule.get("retries").and_then(Value::as_integer).and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
    });
    let route = Route { endpoint: endpoint(stack, service), rules: rules.collect(), label: key.to_string() };
    machine.router.set_route(&resource.identity, route);
}

/// Sets the route again after a start of Freehold, as it was set last. What the store remembers may be what a step that failed was about to
/// make of it, so it counts only if the record was lost.
pub(crate) fn restore(
    machine: &Machine,
    stack: StackId,
    key: &StackKey,
    resource: &Resource,
    object: &str,
) -> Result<(), ProviderError> {
    let path = machine.directory.route_record(stack, &resource.identity);
    if let Some(record) = directory::read_json::<RouteRecord>(&path).ok().flatten() {
        set(machine, stack, key, &record.resource);
        return Ok(());
    }
    let record = RouteRecord { object: object.to_owned(), resource: resource.clone() };
    let written = directory::write_json(&path, &record, Durability::Process);
    written.map_err(|error| failure::file("write", &path, &error))?;
    set(machine, stack, key, resource);
    Ok(())
}

pub(crate) fn observe(
    machine: &Machine,
    stack: StackId,
    lookup: &Lookup,
) -> Result<Option<Observation>, ProviderError> {
    let Some(route) = find(machine, &lookup.identity) else { return Ok(None) };
    let (owner, service) = parse_endpoint(&route.endpoint).unwrap_or((stack, ""));
    let path = machine.directory.route_record(owner, &lookup.identity);
    let record = directory::read_json::<RouteRecord>(&path).map_err(|error| failure::file("read", &path, &error))?;
    let ownership = if owner == stack { Ownership::Ours } else { Ownership::OtherStack(owner) };
    let object = record.map_or_else(|| lookup.identity.clone(), |record| record.object);
    Ok(Some(Observation {
        object,
        ownership,
        body: body(&lookup.identity, service, &route),
        foreign_fields: Vec::new(),
    }))
}

fn body(host: &str, service: &str, route: &Route) -> Value {
    let paths = route.rules.iter().map(|rule| {
        Value::map([
            ("prefix", Value::text(rule.prefix.clone())),
            ("timeout_seconds", Value::from(whole(rule.timeout))),
            ("retries", Value::from(rule.retries)),
        ])
    });
    Value::map([
        ("host", Value::text(host)),
        ("service", Value::text(service)),
        ("paths", Value::List(paths.collect())),
    ])
}

fn whole(time: Duration) -> u64 {
    time.as_secs()
}

pub(crate) fn delete(
    machine: &Machine,
    stack: StackId,
    lookup: &Lookup,
    object: Option<&str>,
) -> Result<Performed, ProviderError> {
    let found = observe(machine, stack, lookup)?;
    if let Some(found) = found {
        if found.ownership != Ownership::Ours || object.is_some_and(|object| object != found.object) {
            return Err(ProviderError::rejected(
                Code::ChangedExternally,
                format!("the route {} is not the one that was deployed", lookup.identity),
            ));
        }
        machine.router.remove_route(&lookup.identity);
    }
    let path = machine.directory.route_record(stack, &lookup.identity);
    directory::remove(&path).map_err(|error| failure::file("remove", &path, &error))?;
    Ok(Performed::default())
}

pub(crate) fn readiness(machine: &Machine, stack: StackId, lookup: &Lookup) -> Readiness {
    match find(machine, &lookup.identity) {
        Some(route) if parse_endpoint(&route.endpoint).is_some_and(|(owner, _)| owner == stack) => Readiness::Ready,
        Some(_) => Readiness::failed(format!("the host name {} leads to another stack", lookup.identity)),
        None => Readiness::failed(format!("the router has no route for {}", lookup.identity)),
    }
}

fn find(machine: &Machine, host: &str) -> Option<Route> {
    machine.router.routes().into_iter().find(|(known, _)| known == host).map(|(_, route)| route)
}
