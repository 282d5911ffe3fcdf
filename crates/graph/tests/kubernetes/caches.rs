//! Caches in a cluster: what they are made of, and who gets to them.

use freehold_graph::Value;
use freehold_graph::expand::{ExpandError, KubernetesTarget, Target, expand};

use crate::fixture::{app, at, bare, expanded, resource, rich, tenant};

const CACHES: &str = r#"
    [app]
    name = "shop"

    [cache.sessions]
    memory = "128Mi"

    [cache.queue]
    memory  = "1Gi"
    persist = true

    [service.web]
    image   = "ghcr.io/acme/shop"
    command = ["shop"]
    port    = 8080

    [service.web.env]
    SESSIONS_URL = "${cache.sessions.url}"

    [service.worker]
    image   = "ghcr.io/acme/shop"
    command = ["shop", "work"]

    [service.worker.env]
    QUEUE_HOST     = "${cache.queue.host}"
    QUEUE_PORT     = "${cache.queue.port}"
    QUEUE_USER     = "${cache.queue.user}"
    QUEUE_PASSWORD = "${cache.queue.password}"
"#;

fn with_image(target: KubernetesTarget) -> KubernetesTarget {
    let digest = "0123456789abcdef".repeat(4);
    KubernetesTarget { cache_image: Some(format!("registry.example.org/valkey@sha256:{digest}")), ..target }
}

#[test]
fn caches_on_a_cluster() {
    let app = app(CACHES);
    let graph = expanded(&app, &tenant(&app, "acme", None), with_image(rich()));
    let of_caches = graph.resources.values().filter(|resource| resource.id.0.contains("cache-"));
    insta::assert_json_snapshot!(of_caches.collect::<Vec<_>>());
}

#[test]
fn only_who_refers_to_a_cache_gets_to_it_and_it_gets_nowhere() {
    let app = app(CACHES);
    let graph = expanded(&app, &tenant(&app, "acme", None), with_image(bare()));
    for (cache, user, other) in [("sessions", "web", "worker"), ("queue", "worker", "web")] {
        let policy = resource(&graph, &format!("networkpolicy.cache-{cache}"));
        let from = at(&policy.body, "spec/ingress/0/from").and_then(Value::as_list).unwrap();
        let names: Vec<&Value> =
            from.iter().filter_map(|peer| at(peer, "podSelector/matchLabels")?.get("app.kubernetes.io/name")).collect();
        assert_eq!(names, [&Value::from(user)]);
        // With the direction and no rule for it.
        assert_eq!(at(&policy.body, "spec/policyTypes"), Some(&Value::from(vec!["Ingress", "Egress"])));
        assert_eq!(at(&policy.body, "spec/egress"), None);
        let to_cache = |service: &str| {
            let policy = graph.resources.values().find(|one| one.id.0 == format!("networkpolicy.{service}"));
            policy.is_some_and(|policy| {
                let egress = at(&policy.body, "spec/egress").and_then(Value::as_list).unwrap_or_default();
                egress.iter().any(|rule| rule.to_string().contains(&format!("\"app.kubernetes.io/name\":\"{cache}\"")))
            })
        };
        assert!(to_cache(user) && !to_cache(other), "{cache}");
    }
}

#[test]
fn a_password_is_in_secrets_only() {
    let app = app(CACHES);
    let graph = expanded(&app, &tenant(&app, "acme", None), with_image(bare()));
    let with_secret = graph.resources.values().filter(|one| !one.body.secrets().is_empty());
    let with_secret: Vec<&str> = with_secret.map(|one| one.id.0.as_str()).collect();
    assert_eq!(
        with_secret,
        ["credentials.cache-queue", "credentials.cache-sessions", "credentials.web", "credentials.worker"]
    );
    let plain = at(&resource(&graph, "configmap.worker").body, "data").unwrap();
    assert_eq!(plain.get("QUEUE_HOST"), Some(&Value::from("cache-queue")));
    assert_eq!(plain.get("QUEUE_PORT"), Some(&Value::from("6379")));
    assert_eq!(plain.get("QUEUE_USER"), Some(&Value::from("app")));
}

#[test]
fn a_target_without_an_image_has_no_caches() {
    let app = app(CACHES);
    let request = tenant(&app, "acme", None);
    let target = Target::Kubernetes(Box::new(bare()));
    let errors = expand(&app.held(&request), &request, &target).unwrap_err();
    assert!(errors.iter().all(|error| matches!(error, ExpandError::NoCacheImage { .. })), "{errors:?}");
    assert_eq!(errors.len(), 2);
}
