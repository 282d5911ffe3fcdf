//! Hosts that others serve at the same gateway. What this platform's stacks claim is in its store; another platform's stacks, and routes that
//! people made, are only in the cluster. Of two routes for one host and path the older one gets the requests: whoever comes second would be
//! silent, and nobody would know why.

use std::collections::BTreeSet;
use std::sync::Arc;

use freehold_engine::ProviderError;
use freehold_graph::StackId;
use freehold_problem::{Code, Problem};
use serde_json::Value as Json;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::document::Fields;
use crate::error::Reason;
use crate::mark;
use crate::object::Place;
use crate::reader::Reader;

/// How many routes of others are named.
const NAMED: usize = 3;

/// Looks who else serves the hosts that a route is to get and hasn't got. The answer is what people have to know: routes that no platform
/// made.
///
/// # Errors
/// A stack serves one of them: another platform's, or one of another target of this cluster.
pub(crate) async fn foresee(
    cluster: &Cluster,
    stack: StackId,
    route: &Place,
    live: Option<&Json>,
    manifest: &Json,
    deadline: Instant,
) -> Result<Option<String>, ProviderError> {
    let had: BTreeSet<&str> = live.into_iter().flat_map(hosts).collect();
    let new: BTreeSet<&str> = hosts(manifest).filter(|host| !had.contains(host)).collect();
    if new.is_empty() {
        return Ok(None);
    }
    // The routes of all stacks: many deploys at once ask once.
    let list = async { Reader::new(cluster, deadline).list(route.kind.clone(), None, "").await.map(Arc::new) };
    let routes = match cluster.routes().get(list).await {
        Ok(routes) => routes,
        // Whoever may not look finds out from the route's state.
        Err(error) if matches!(error.reason(), Some(Reason::NotPermitted(_))) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let gateways = gateways(manifest, route.namespace.as_deref().unwrap_or_default());
    // Whoever doesn't say may be at any gateway.
    let meet = |other: &Json| {
        let theirs = self::gateways(other, other.text("/metadata/namespace"));
        gateways.as_ref().is_none_or(|ours| theirs.is_none_or(|theirs| !theirs.is_disjoint(ours)))
    };
    let others = routes
        .iter()
        .filter(|other| mark::stack(other) != Some(stack) && mark::deletion(other).is_none() && meet(other));
    let same: Vec<(&Json, &str)> =
        others.filter_map(|other| Some((other, hosts(other).find(|host| new.contains(host))?))).collect();
    if let Some((other, host)) = same.iter().find(|(other, _)| mark::stack(other).is_some()) {
        return Err(taken(host, other));
    }
    let Some((_, host)) = same.first() else { return Ok(None) };
    let names: Vec<String> = same.iter().take(NAMED).map(|(other, _)| name(other)).collect();
    Ok(Some(format!(
        "{host} is also served by {}, which Freehold did not make: of one path the older route gets the requests",
        names.join(", ")
    )))
}

fn hosts(route: &Json) -> impl Iterator<Item = &str> {
    route.items("/spec/hostnames").iter().filter_map(Json::as_str)
}

/// The gateways that a route is for, each with its namespace. `None` where it doesn't say: a set of listeners names its gateway itself.
fn gateways<'a>(route: &'a Json, own: &'a str) -> Option<BTreeSet<(&'a str, &'a str)>> {
    let gateway = |parent: &'a Json| {
        let namespace = match parent.text("/namespace") {
            "" => own,
            namespace => namespace,
        };
        matches!(parent.text("/kind"), "" | "Gateway").then(|| (namespace, parent.text("/name")))
    };
    route.items("/spec/parentRefs").iter().map(gateway).collect()
}

fn name(route: &Json) -> String {
    format!("httproute {}/{}", route.text("/metadata/namespace"), route.text("/metadata/name"))
}

fn taken(host: &str, other: &Json) -> ProviderError {
    let stack = mark::stack(other).map(|stack| format!(" of stack {stack}")).unwrap_or_default();
    ProviderError::from(Problem::new(Code::NameClaimed, format!(
            "host {host} is taken by {}{stack}, which is another platform's or another target's",
            name(other)
        )).help("choose another host or another name for the stack, or give each platform on the cluster a domain of its own"))
}
