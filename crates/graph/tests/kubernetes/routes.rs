//! Routes with all that they can have: what a gateway is told, and what it can't do.

use std::collections::{BTreeMap, BTreeSet};

use freehold_graph::expand::{KubernetesTarget, expand};
use freehold_graph::{ResourceId, ResourceKind, Target};

use crate::fixture::{Defined, EVERYTHING, ROUTES, app, expanded, resource, rich, tenant};

fn shop() -> Defined {
    app(&format!("{EVERYTHING}{ROUTES}"))
}

/// The objects of a route that has everything, by what they are called.
#[test]
fn all_that_a_route_can_have() {
    let app = shop();
    let graph = expanded(&app, &tenant(&app, "acme", Some("small")), rich());
    let words =
        ["httproute", "httproutefilter", "securitypolicy", "backendtrafficpolicy", "listenerset", "certificate"];
    let objects =
        graph.resources.into_iter().filter(|(id, _)| words.contains(&id.word()) || id.0.ends_with(".shop--users"));
    insta::assert_json_snapshot!(objects.collect::<BTreeMap<_, _>>());
}

#[test]
fn what_the_gateway_can_not_do_is_an_error_that_names_route_gateway_and_key() {
    let app = shop();
    let request = tenant(&app, "acme", Some("small"));
    let mut lacks: KubernetesTarget = rich();
    (lacks.gateway.cors, lacks.gateway.envoy) = (false, false);
    let errors = expand(&app.held(&request), &request, &Target::Kubernetes(Box::new(lacks))).unwrap_err();
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    for key in ["cors", "basic_auth", "allow_from", "rate_limit", "max_body", "respond"] {
        let words = format!("route.shop has {key}, which the gateway gateways/public of target prod can't do");
        assert!(told.iter().any(|error| error.starts_with(&words)), "{key}: {told:#?}");
    }
    assert_eq!(told.len(), 6);
}

#[test]
fn a_route_is_never_there_before_what_keeps_requests_out() {
    let app = shop();
    let graph = expanded(&app, &tenant(&app, "acme", Some("small")), rich());
    for route in ["httproute.shop", "httproute.shop--redirect"] {
        for needed in ["securitypolicy.shop", "backendtrafficpolicy.shop"] {
            assert!(resource(&graph, route).depends_on.iter().any(|id| id.0 == needed), "{route} {needed}");
        }
    }
    let users = |id: &ResourceId| id.0.ends_with("shop--users");
    assert!(resource(&graph, "securitypolicy.shop").depends_on.iter().any(users));
}

#[test]
fn a_host_that_two_routes_have_has_one_listener() {
    let app = shop();
    let graph = expanded(&app, &tenant(&app, "acme", Some("small")), rich());
    let sets = graph.resources.values().filter(|resource| resource.kind == ResourceKind::ListenerSet);
    let mut hosts = Vec::new();
    for set in sets {
        for listener in set.body.get("spec").unwrap().get("listeners").unwrap().as_list().unwrap() {
            hosts.push(listener.get("hostname").unwrap().as_text().unwrap().to_owned());
        }
    }
    let unique: BTreeSet<&String> = hosts.iter().collect();
    assert_eq!(unique.len(), hosts.len(), "{hosts:?}");
    assert!(hosts.contains(&"acme.apps.example.org".to_owned()) && hosts.contains(&"www.acme.example.org".to_owned()));
    let parents =
        |id: &str| resource(&graph, id).body.get("spec").unwrap().get("parentRefs").unwrap().as_list().unwrap().len();
    assert_eq!((parents("httproute.shop"), parents("httproute.web")), (1, 1));
}
