//! Which listener of a Gateway routes attach to, read from the Gateway.
//!
//! A listener fits if it speaks HTTP or ends TLS itself, its host name covers all hosts of the domain, and it lets routes from our
//! namespaces in. Those namespaces don't exist yet, so a selector has to fit labels that every one of them has.

use freehold_graph::expand::kubernetes::POD_SECURITY;
use serde_json::Value as Json;

use crate::document::Fields;
use crate::mark::MARK;

/// The listener that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) name: String,
    pub(super) https: bool,
    pub(super) port: u16,
    /// Others fit as well.
    pub(super) others: Vec<String>,
}

/// Chooses the listener; or says of each why it doesn't fit.
pub(super) fn choose(
    gateway: &Json,
    domain: &str,
    wanted: Option<&str>,
    own_namespace: &str,
) -> Result<Listener, Vec<String>> {
    let listeners = gateway.items("/spec/listeners");
    let of_name = |listener: &Json| wanted.is_none_or(|name| listener.text("/name") == name);
    let mut fitting = Vec::new();
    let mut faults = Vec::new();
    for listener in listeners {
        match fault(listener, domain, own_namespace) {
            None => fitting.push(listener),
            Some(fault) if of_name(listener) => faults.push(format!("listener {}: {fault}", listener.text("/name"))),
            Some(_) => {}
        }
    }
    if let (Some(name), false) = (wanted, listeners.iter().any(of_name)) {
        let names: Vec<&str> = listeners.iter().map(|listener| listener.text("/name")).collect();
        return Err(vec![format!("it has no listener {name}; there are: {}", names.join(", "))]);
    }
    // The one that was named; else TLS first; then the one that says most exactly which hosts it is for.
    fitting.sort_by_key(|listener| {
        let https = listener.text("/protocol") == "HTTPS";
        (!of_name(listener), !https, std::cmp::Reverse(listener.text("/hostname").len()))
    });
    let Some((first, rest)) = fitting.split_first().filter(|(first, _)| of_name(first)) else {
        return Err(if faults.is_empty() { vec!["it has no listeners".to_owned()] } else { faults });
    };
    Ok(Listener {
        name: first.text("/name").to_owned(),
        https: first.text("/protocol") == "HTTPS",
        port: u16::try_from(first.number("/port")).unwrap_or_default(),
        others: rest.iter().map(|listener| listener.text("/name").to_owned()).collect(),
    })
}

fn fault(listener: &Json, domain: &str, own_namespace: &str) -> Option<String> {
    let protocol = listener.text("/protocol");
    let mode = listener.text("/tls/mode");
    if !matches!(protocol, "HTTP" | "HTTPS") {
        return Some(format!("speaks {protocol}, not HTTP or HTTPS"));
    }
    if mode == "Passthrough" {
        return Some("passes TLS through instead of ending it".to_owned());
    }
    let hostname = listener.text("/hostname");
    if !covers(hostname, domain) {
        return Some(format!("is for {hostname}, which does not cover the hosts of {domain}: it takes *.{domain}"));
    }
    let kinds = listener.items("/allowedRoutes/kinds");
    if !kinds.is_empty() && !kinds.iter().any(|kind| kind.text("/kind") == "HTTPRoute") {
        return Some("lets no HTTPRoute in".to_owned());
    }
    let lets_in = lets_in(listener.pointer("/allowedRoutes/namespaces").unwrap_or(&Json::Null), "Same", own_namespace);
    lets_in.err().map(|why| format!("{why}: it takes allowedRoutes.namespaces.from: All, or a selector for {OURS}"))
}

/// What a selector for our namespaces has to say.
pub(super) const OURS: &str = "app.kubernetes.io/managed-by: freehold";

/// Whether `namespaces` lets ours in, of which only the labels are known that all of them have.
pub(super) fn lets_in(namespaces: &Json, default: &str, own: &str) -> Result<(), String> {
    let from = match namespaces.text("/from") {
        "" => default,
        from => from,
    };
    match from {
        "All" => Ok(()),
        "Selector" if fits(namespaces.pointer("/selector").unwrap_or(&Json::Null)) => Ok(()),
        "Selector" => {
            Err("lets only namespaces with certain labels in, which the stacks' namespaces don't have".to_owned())
        }
        "Same" => Err(format!("lets only its own namespace {own} in")),
        "None" => Err("lets no namespace in".to_owned()),
        other => Err(format!("lets in by {other}, which is not known here")),
    }
}

/// Whether a label selector fits every namespace of ours.
fn fits(selector: &Json) -> bool {
    let known = |key: &str| match key {
        "app.kubernetes.io/managed-by" => Some("freehold"),
        _ => POD_SECURITY.into_iter().find(|(label, _)| *label == key).map(|(_, value)| value),
    };
    // Every one has them, each with its own value.
    let exists = |key: &str| {
        known(key).is_some()
            || matches!(
                key,
                "kubernetes.io/metadata.name"
                    | "app.kubernetes.io/part-of"
                    | "app.kubernetes.io/instance"
                    | "app.kubernetes.io/name"
                    | MARK
            )
    };
    let labels = selector.entries("/matchLabels");
    let expression = |expression: &Json| {
        let key = expression.text("/key");
        let among =
            expression.items("/values").iter().any(|value| value.as_str() == known(key) && known(key).is_some());
        match expression.text("/operator") {
            "In" => among,
            "NotIn" => known(key).is_some() && !among,
            "Exists" => exists(key),
            "DoesNotExist" => !exists(key),
            _ => false,
        }
    };
    labels.iter().all(|(key, value)| known(key).is_some() && known(key) == value.as_str())
        && selector.items("/matchExpressions").iter().all(expression)
}

/// Whether a listener's host name covers every host below `domain`. A wildcard covers any number of labels.
fn covers(hostname: &str, domain: &str) -> bool {
    match hostname.strip_prefix("*.") {
        _ if hostname.is_empty() => true,
        Some(suffix) => {
            domain == suffix || domain.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn gateway(listeners: &Json) -> Json {
        json!({"spec": {"listeners": listeners}})
    }

    fn all() -> Json {
        json!({"namespaces": {"from": "All"}})
    }

    #[test]
    fn a_wildcard_covers_any_number_of_labels_below_it_and_an_exact_name_covers_none() {
        assert!(covers("", "apps.example.org"));
        assert!(covers("*.apps.example.org", "apps.example.org"));
        assert!(covers("*.example.org", "apps.example.org"));
        assert!(!covers("*.ample.org", "apps.example.org"));
        assert!(!covers("*.dev.apps.example.org", "apps.example.org"));
        assert!(!covers("apps.example.org", "apps.example.org"));
    }

    #[test]
    fn the_listener_with_tls_that_fits_is_chosen() {
        let listeners = json!([
            {"name": "http", "protocol": "HTTP", "port": 80, "allowedRoutes": all()},
            {"name": "other", "protocol": "HTTPS", "port": 443, "hostname": "*.other.org", "allowedRoutes": all()},
            {"name": "https", "protocol": "HTTPS", "port": 8443, "hostname": "*.example.org", "allowedRoutes": all()},
        ]);
        let chosen = choose(&gateway(&listeners), "apps.example.org", None, "infra").unwrap();
        assert_eq!((chosen.name.as_str(), chosen.https, chosen.port), ("https", true, 8443));
        assert_eq!(chosen.others, ["http"]);
        let named = choose(&gateway(&listeners), "apps.example.org", Some("http"), "infra").unwrap();
        assert!(!named.https);
        assert_eq!(named.others, ["https"]);
    }

    #[test]
    fn of_each_listener_that_does_not_fit_the_reason_is_told() {
        let listeners = json!([
            {"name": "same", "protocol": "HTTP", "port": 80},
            {"name": "tcp", "protocol": "TCP", "port": 81},
            {"name": "through", "protocol": "TLS", "port": 443, "tls": {"mode": "Passthrough"}},
            {"name": "exact", "protocol": "HTTPS", "port": 443, "hostname": "www.example.org", "allowedRoutes": all()},
            {"name": "picky", "protocol": "HTTPS", "port": 444, "allowedRoutes":
                {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "web"}}}}},
        ]);
        let faults = choose(&gateway(&listeners), "example.org", None, "infra").unwrap_err();
        assert_eq!(faults.len(), 5, "{faults:?}");
        assert!(faults[0].contains("only its own namespace infra") && faults[0].contains("from: All"), "{faults:?}");
        assert!(faults[3].contains("www.example.org") && faults[3].contains("*.example.org"), "{faults:?}");
        let none = choose(&gateway(&listeners), "example.org", Some("web"), "infra").unwrap_err();
        assert!(none[0].contains("no listener web; there are: same, tcp"), "{none:?}");
    }

    #[test]
    fn a_selector_fits_only_if_every_namespace_of_ours_has_its_labels() {
        let selector = |selector: Json| lets_in(&json!({"from": "Selector", "selector": selector}), "Same", "infra");
        assert!(selector(json!({"matchLabels": {"app.kubernetes.io/managed-by": "freehold"}})).is_ok());
        let expression = |key: &str, operator: &str, values: Json| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        assert!(selector(expression(MARK, "Exists", json!([]))).is_ok());
        assert!(selector(expression("app.kubernetes.io/managed-by", "In", json!(["helm", "freehold"]))).is_ok());
        assert!(selector(expression("kubernetes.io/metadata.name", "In", json!(["a"]))).is_err());
        assert!(selector(expression("app.kubernetes.io/managed-by", "NotIn", json!(["freehold"]))).is_err());
        assert!(selector(expression("team", "NotIn", json!(["freehold"]))).is_err());
    }
}
