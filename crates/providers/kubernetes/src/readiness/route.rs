//! Whether a gateway takes a route, or a set of listeners.
//!
//! A route tells so itself, for each parent. One whose Gateway doesn't exist gets no status at all, so the Gateway is looked at.

use chrono::{DateTime, Duration, Utc};
use freehold_engine::Readiness;
use freehold_graph::ResourceKind;
use freehold_problem::Code;
use serde_json::Value as Json;

use crate::document::{Condition, Fields};
use crate::error::ClusterError;
use crate::neighbour::GATEWAY;
use crate::not_ready::NotReady;
use crate::object::{self, Place};
use crate::reader::Reader;

/// For a controller that hasn't seen a new namespace yet when it looks at the route in it.
const GRACE: Duration = Duration::seconds(5);

pub(super) async fn of_route(reader: &Reader<'_>, route: &Json, now: DateTime<Utc>) -> Result<Readiness, ClusterError> {
    for parent in route.items("/spec/parentRefs") {
        let statuses = route.items("/status/parents");
        let namespace = route.text("/metadata/namespace");
        let Some(status) = statuses
            .iter()
            .find(|status| is_same(parent, status.pointer("/parentRef").unwrap_or(&Json::Null), namespace))
        else {
            return unseen(reader, parent, namespace).await;
        };
        let not_ready = attached(status, route.number("/metadata/generation"), now);
        if let Some(not_ready) = not_ready {
            let listener = entrance(reader, parent, namespace).await?;
            let words = format!("{}{}", not_ready.words, listener.map(|it| format!("; {it}")).unwrap_or_default());
            return Ok(NotReady { words, ..not_ready }.readiness(&[]));
        }
    }
    Ok(Readiness::Ready)
}

/// What hinders a route from being attached to one parent.
fn attached(status: &Json, generation: i64, now: DateTime<Utc>) -> Option<NotReady> {
    let conditions = status.items("/conditions");
    let controller = status.text("/controllerName");
    for kind in ["Accepted", "ResolvedRefs"] {
        let Some(condition) = Condition::among(conditions, kind).filter(|found| found.is_about(generation)) else {
            return Some(NotReady::waiting(format!("not yet reconciled by {controller}")));
        };
        if condition.is_true() {
            continue;
        }
        let words = condition.words();
        let words = match kind {
            "Accepted" => format!("the gateway does not accept it ({controller}): {words}"),
            _ => format!("its backends can't be used ({controller}): {words}"),
        };
        // A Service comes into being without the route being looked at again at once.
        let passing = matches!(condition.reason(), "Pending" | "BackendNotFound" | "");
        let late = condition.since().is_none_or(|since| now.signed_duration_since(since) > GRACE);
        let not_ready = NotReady::failed(Code::RouteRefused, words);
        return Some(NotReady { fatal: late && !passing && condition.is_false(), ..not_ready });
    }
    None
}

/// Whether two references name the same parent.
fn is_same(wanted: &Json, seen: &Json, namespace: &str) -> bool {
    let or = |text: &'_ str, default: &str| if text.is_empty() { default.to_owned() } else { text.to_owned() };
    let of = |reference: &Json| {
        (
            or(reference.text("/kind"), "Gateway"),
            or(reference.text("/namespace"), namespace),
            reference.text("/name").to_owned(),
            reference.text("/sectionName").to_owned(),
            reference.number("/port"),
        )
    };
    of(wanted) == of(seen)
}

/// Nobody has looked at it: because its parent isn't there, or isn't served.
async fn unseen(reader: &Reader<'_>, parent: &Json, namespace: &str) -> Result<Readiness, ClusterError> {
    let namespace = match parent.text("/namespace") {
        "" => namespace,
        other => other,
    };
    let name = parent.text("/name");
    let (word, kind) = match (parent.text("/kind"), object::of(ResourceKind::ListenerSet)) {
        ("ListenerSet", Some(kind)) => ("listener set", kind),
        _ => ("gateway", GATEWAY),
    };
    let Some(found) = reader.get(&Place::named(kind, Some(namespace), name)).await? else {
        let words = format!("parent {word} {namespace}/{name} does not exist");
        return Ok(NotReady::failed(Code::RouteRefused, words).readiness(&[]));
    };
    let waiting = ["Accepted", "Programmed"].into_iter().find_map(|kind| {
        found.condition(kind).filter(|condition| !condition.is_true()).map(|condition| (kind, condition.words()))
    });
    let said = match waiting {
        Some((kind, words)) => format!("the {word} {namespace}/{name} is not {}: {words}", kind.to_lowercase()),
        None => format!("the {word} {namespace}/{name} is not yet reconciled by its controller; is it running?"),
    };
    let listener = described(&found, parent.text("/sectionName"));
    Ok(Readiness::Waiting(format!("{said}{}", listener.map(|it| format!("; {it}")).unwrap_or_default())))
}

/// The listener that a route is meant for, in words.
async fn entrance(reader: &Reader<'_>, parent: &Json, namespace: &str) -> Result<Option<String>, ClusterError> {
    if !matches!(parent.text("/kind"), "" | "Gateway") {
        return Ok(None);
    }
    let namespace = match parent.text("/namespace") {
        "" => namespace,
        other => other,
    };
    let gateway = reader.get(&Place::named(GATEWAY, Some(namespace), parent.text("/name"))).await?;
    Ok(gateway.and_then(|gateway| described(&gateway, parent.text("/sectionName"))))
}

/// A gateway's listener: which hosts it is for, and which namespaces it lets in. `None` where no listener is named.
fn described(gateway: &Json, listener: &str) -> Option<String> {
    if listener.is_empty() || gateway.text("/kind") != GATEWAY.name {
        return None;
    }
    let listeners = gateway.items("/spec/listeners");
    let Some(found) = listeners.iter().find(|one| one.text("/name") == listener) else {
        let names: Vec<&str> = listeners.iter().map(|one| one.text("/name")).collect();
        return Some(format!("the gateway has no listener {listener} any more; it has: {}", names.join(", ")));
    };
    let hosts = match found.text("/hostname") {
        "" => "all hosts".to_owned(),
        hosts => hosts.to_owned(),
    };
    let allowed = found.pointer("/allowedRoutes/namespaces").unwrap_or(&Json::Null);
    let lets_in = match allowed.text("/from") {
        "All" => "routes of all namespaces".to_owned(),
        "None" => "no routes".to_owned(),
        "Selector" => {
            format!("routes of namespaces with {}", labels(allowed.pointer("/selector").unwrap_or(&Json::Null)))
        }
        _ => format!("only routes of its own namespace {}", gateway.text("/metadata/namespace")),
    };
    Some(format!("listener {listener} serves {hosts} and admits {lets_in}"))
}

/// A label selector in words: `team=web, tier in (a, b)`.
fn labels(selector: &Json) -> String {
    let equal = selector.entries("/matchLabels").into_iter();
    let equal = equal.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    let others = selector.items("/matchExpressions").iter().map(|one| {
        let values: Vec<&str> = one.items("/values").iter().filter_map(Json::as_str).collect();
        let values = if values.is_empty() { String::new() } else { format!(" ({})", values.join(", ")) };
        format!("{} {}{values}", one.text("/key"), one.text("/operator"))
    });
    let all: Vec<String> = equal.chain(others).collect();
    if all.is_empty() { "any labels".to_owned() } else { all.join(", ") }
}

pub(super) async fn of_listeners(
    reader: &Reader<'_>,
    set: &Json,
    now: DateTime<Utc>,
) -> Result<Readiness, ClusterError> {
    let generation = set.number("/metadata/generation");
    for kind in ["Accepted", "Programmed"] {
        match set.condition(kind).filter(|condition| condition.is_about(generation)) {
            Some(condition) if condition.is_true() => {}
            Some(condition) if condition.reason() != "Pending" => {
                let late = condition.since().is_none_or(|since| now.signed_duration_since(since) > GRACE);
                let words =
                    format!("the gateway does not accept its listeners: {}{}", condition.words(), listeners(set));
                // Its certificate may be on the way.
                let fatal =
                    kind == "Accepted" && condition.is_false() && late && condition.reason() != "ListenersNotValid";
                return Ok(NotReady { fatal, ..NotReady::failed(Code::RouteRefused, words) }.readiness(&[]));
            }
            _ => {
                let parent = set.pointer("/spec/parentRef").unwrap_or(&Json::Null);
                return unseen(reader, parent, set.text("/metadata/namespace")).await;
            }
        }
    }
    Ok(Readiness::Ready)
}

/// What single listeners say.
fn listeners(set: &Json) -> String {
    let mut said = String::new();
    for listener in set.items("/status/listeners") {
        let conditions = listener.items("/conditions");
        let of = |kind| Condition::among(conditions, kind);
        let told = ["Conflicted"].into_iter().filter_map(of).filter(|condition| condition.is_true());
        let told = told.chain(["Accepted", "ResolvedRefs"].into_iter().filter_map(of).filter(|found| found.is_false()));
        for condition in told {
            said.push_str(&format!("; listener {}: {}", listener.text("/name"), condition.words()));
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_listener_is_told_with_its_hosts_and_what_it_lets_in() {
        let gateway = |listener: Json| json!({"kind": "Gateway", "metadata": {"namespace": "infra"}, "spec": {"listeners": [listener]}});
        let told = |listener: Json| described(&gateway(listener), "https").unwrap();
        assert_eq!(
            told(json!({"name": "https", "hostname": "*.example.org"})),
            "listener https serves *.example.org and admits only routes of its own namespace infra"
        );
        let selector = json!({"matchLabels": {"team": "web"}, "matchExpressions": [{"key": "tier", "operator": "In", "values": ["a"]}]});
        let allowed = json!({"namespaces": {"from": "Selector", "selector": selector}});
        assert_eq!(
            told(json!({"name": "https", "allowedRoutes": allowed})),
            "listener https serves all hosts and admits routes of namespaces with team=web, tier In (a)"
        );
        assert_eq!(told(json!({"name": "http"})), "the gateway has no listener https any more; it has: http");
        assert_eq!(described(&gateway(json!({"name": "http"})), ""), None);
    }
}
