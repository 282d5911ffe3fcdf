//! Targets as people read them.

use freehold::wire::Target;
use freehold_graph::AllowedKind;
use freehold_graph::expand::{ClusterDatabases, KubernetesTarget};

use crate::layout::{BOLD, YELLOW, hanging, pad, paint, table};

/// What is known of a cluster, a line for each part.
pub(crate) fn facts(target: &Target) -> String {
    let Ok(facts) = serde_json::from_value::<KubernetesTarget>(target.facts.clone()) else {
        return row("domain", &target.domain);
    };
    let gateway = &facts.gateway;
    let listener = gateway.listener.as_ref().map_or("every listener".to_owned(), |name| format!("listener {name}"));
    let scheme = if gateway.https { "https" } else { "http" };
    let mut extras = vec![if gateway.retries { "retries" } else { "no retries in its HTTPRoute" }];
    extras.extend(gateway.listener_sets.then_some("listener sets"));
    extras.extend(gateway.cors.then_some("CORS"));
    extras.extend(gateway.envoy.then_some("Envoy Gateway's policies"));
    extras.extend(facts.external_dns.then_some("DNS by external-dns"));
    let certificates = match &facts.issuer {
        Some(issuer) => format!("cert-manager, ClusterIssuer {issuer}"),
        None if gateway.https => "the gateway's own, for all hosts".to_owned(),
        None => "none: the listener speaks plain HTTP".to_owned(),
    };
    let databases = match &facts.databases {
        ClusterDatabases::Server { server, .. } => {
            format!("PostgreSQL {} at {}:{}", server.version, server.host, server.port)
        }
        ClusterDatabases::CloudNativePg { operator_namespace } => {
            format!("CloudNativePG, its operator in {operator_namespace}")
        }
    };
    let architectures: Vec<&str> = facts.architectures.iter().map(String::as_str).collect();
    let storage = facts.storage_class.clone().unwrap_or_else(|| "the cluster's default class".to_owned());
    let pull = if facts.registry_credentials { "with credentials" } else { "without credentials" };
    let allowed: Vec<String> = facts.allowed_kinds.iter().map(AllowedKind::resource).collect();
    let mut rows = vec![
        ("cluster", format!("Kubernetes {}, {}", facts.version.trim_start_matches('v'), facts.cluster)),
        ("nodes", if architectures.is_empty() { "none ready".to_owned() } else { architectures.join(", ") }),
        ("gateway", format!("{}/{}, {listener}, {scheme} on {}", gateway.namespace, gateway.name, gateway.port)),
        ("", format!("data plane in {}; {}", gateway.data_plane_namespace, extras.join(", "))),
        ("domain", format!("*.{}", facts.domain)),
        ("TLS", certificates),
        ("databases", databases),
        ("volumes", storage),
        ("registries", pull.to_owned()),
    ];
    if let Some(image) = &facts.cache_image {
        rows.push(("caches", image.clone()));
    }
    if !allowed.is_empty() {
        rows.push(("manifests", format!("configmaps, {}", allowed.join(", "))));
    }
    rows.iter().map(|(name, value)| row(name, value)).collect::<Vec<_>>().join("\n")
}

fn row(name: &str, value: &str) -> String {
    format!("  {}{}", paint(BOLD, pad(name, 12)), hanging(value, 14, 14))
}

/// A line for each target.
pub(crate) fn list(targets: &[Target]) -> String {
    let row = |target: &Target| {
        let facts: Option<KubernetesTarget> = serde_json::from_value(target.facts.clone()).ok();
        let version = facts.map_or_else(|| "-".to_owned(), |facts| facts.version);
        vec![target.name.clone(), target.kind.to_string(), version, target.stacks.to_string(), target.domain.clone()]
    };
    let rows: Vec<Vec<String>> = targets.iter().map(row).collect();
    let unreadable = targets.iter().filter_map(|target| {
        let problem = target.unreadable.as_ref()?;
        let text = format!("{}: {}: {}", target.name, problem.code, problem.detail);
        Some(format!("  {} {}", paint(YELLOW, "…"), hanging(&text, 4, 4)))
    });
    std::iter::once(table(&["TARGET", "KIND", "VERSION", "STACKS", "DOMAIN"], &rows))
        .chain(unreadable)
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{WIDTH, columns};
    use freehold::wire::Problem;
    use freehold_problem::Code;
    use serde_json::json;

    fn prod() -> Target {
        Target {
            name: "prod".to_owned(),
            kind: "kubernetes".into(),
            domain: "example.org".to_owned(),
            stacks: 12,
            facts: json!({
                "kind": "kubernetes",
                "name": "prod",
                "domain": "example.org",
                "cluster": "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9",
                "version": "v1.36.3",
                "gateway": {
                    "namespace": "gateways", "name": "main", "listener": "https", "https": true, "port": 443,
                    "data_plane_namespace": "envoy-gateway-system", "retries": false, "listener_sets": true,
                },
                "databases": { "server": {
                    "server": { "host": "10.0.0.5", "port": 5432, "version": 17 }, "addresses": ["10.0.0.5/32"],
                } },
                "architectures": ["amd64", "arm64"],
            }),
            unreadable: None,
        }
    }

    fn shown(text: &str) -> String {
        let text = anstream::adapter::strip_str(text).to_string();
        assert!(text.lines().all(|line| columns(line) <= WIDTH), "{text}");
        text
    }

    #[test]
    fn what_was_found_of_a_cluster_is_told_part_by_part() {
        insta::assert_snapshot!(shown(&facts(&prod())), @r"
          cluster     Kubernetes 1.36.3, 0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9
          nodes       amd64, arm64
          gateway     gateways/main, listener https, https on 443
                      data plane in envoy-gateway-system; no retries in its HTTPRoute,
                      listener sets
          domain      *.example.org
          TLS         the gateway's own, for all hosts
          databases   PostgreSQL 17 at 10.0.0.5:5432
          volumes     the cluster's default class
          registries  without credentials
        ");
    }

    #[test]
    fn this_machine_is_a_target_like_others() {
        let local = Target {
            name: "local".to_owned(),
            kind: "local".into(),
            domain: "localhost".to_owned(),
            stacks: 1,
            facts: json!({}),
            unreadable: None,
        };
        insta::assert_snapshot!(shown(&list(&[local, prod()])), @r"
        TARGET  KIND        VERSION  STACKS  DOMAIN
        local   local       -        1       localhost
        prod    kubernetes  v1.36.3  12      example.org
        ");
    }

    #[test]
    fn a_target_that_can_t_be_read_is_told_with_the_reason() {
        let unreadable = Problem {
            kind: String::new(),
            title: String::new(),
            status: 409,
            detail: "a target's facts in the store can't be read: it has version 2, and this release reads up to 1"
                .to_owned(),
            code: Code::StoreUnreadable,
            help: None,
            lines: Vec::new(),
            diagnostics: Vec::new(),
            operation: None,
        };
        let later = Target {
            name: "later".to_owned(),
            domain: String::new(),
            facts: json!({}),
            unreadable: Some(Box::new(unreadable)),
            ..prod()
        };
        let told = shown(&list(&[prod(), later]));
        assert!(told.contains("\n  … later: FH0516: a target's facts in the store can't be read"), "{told}");
    }
}
