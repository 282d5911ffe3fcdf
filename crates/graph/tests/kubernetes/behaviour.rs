//! What users would notice, point by point.

use std::collections::BTreeSet;
use std::net::IpAddr;

use freehold_graph::expand::{
    ClusterDatabases, ExpandError, KubernetesTarget, LocalTarget, PostgresServer, expand, names,
};
use freehold_graph::{Effect, Graph, ResourceId, ResourceKind, StackKind, Target, Value};

use crate::fixture::{
    EVERYTHING, GUESTBOOK, NOTICEBOARD, app, at, bare, containers, expanded, pods, resource, rich, tenant,
    with_operator,
};

fn everything(target: KubernetesTarget) -> Graph {
    let app = app(EVERYTHING);
    expanded(&app, &tenant(&app, "acme", Some("small")), target)
}

fn errors(source: &str, target: KubernetesTarget) -> Vec<ExpandError> {
    let app = app(source);
    expand(&app, &tenant(&app, "acme", None), &Target::Kubernetes(Box::new(target))).unwrap_err()
}

fn text<'a>(value: &'a Value, path: &str) -> Option<&'a str> {
    at(value, path).and_then(Value::as_text)
}

#[test]
fn a_service_without_an_image_is_an_error_that_says_so() {
    let app = app(GUESTBOOK);
    let mut request = tenant(&app, "acme", None);
    request.artifacts.clear();
    let found = expand(&app, &request, &Target::Kubernetes(Box::new(bare()))).unwrap_err();
    let messages: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(messages.contains(&"service.web has no image".to_owned()), "{messages:?}");
}

#[test]
fn an_update_loses_no_request_and_leaves_time_for_open_streams() {
    let graph = everything(rich());
    let web = &resource(&graph, "deployment.web").body;
    assert_eq!(at(web, "spec/strategy/rollingUpdate/maxUnavailable"), Some(&Value::Integer(0)));
    assert_eq!(at(web, "spec/template/spec/containers/0/lifecycle/preStop/sleep/seconds"), Some(&Value::Integer(5)));
    // 5 s until nobody sends it requests, 30 s for streams, 10 s to end.
    assert_eq!(at(web, "spec/template/spec/terminationGracePeriodSeconds"), Some(&Value::Integer(45)));
    let store = &resource(&graph, "deployment.store").body;
    assert_eq!(text(store, "spec/strategy/type"), Some("Recreate"));
}

#[test]
fn a_worker_has_no_service_no_probes_and_nothing_to_drain() {
    let graph = everything(rich());
    let worker = &resource(&graph, "deployment.worker").body;
    let container = at(worker, "spec/template/spec/containers/0").unwrap();
    for absent in ["ports", "startupProbe", "readinessProbe", "livenessProbe", "lifecycle"] {
        assert_eq!(container.get(absent), None);
    }
    assert_eq!(at(worker, "spec/template/spec/terminationGracePeriodSeconds"), Some(&Value::Integer(10)));
    assert!(!graph.resources.keys().any(|id| id.0 == "service.worker"));
}

#[test]
fn copies_are_the_autoscalers_business_where_there_is_one() {
    let graph = everything(rich());
    assert_eq!(at(&resource(&graph, "deployment.web").body, "spec/replicas"), None);
    let scaler = &resource(&graph, "horizontalpodautoscaler.web").body;
    assert_eq!(at(scaler, "spec/minReplicas"), Some(&Value::Integer(3)));
    assert_eq!(at(scaler, "spec/maxReplicas"), Some(&Value::Integer(6)));
    let disrupted: Vec<_> = graph.resources.keys().filter(|id| id.word() == "poddisruptionbudget").collect();
    assert_eq!(disrupted.iter().map(|id| id.name()).collect::<Vec<_>>(), ["web"]);
}

#[test]
fn a_tiers_quota_is_its_figures_and_nobody_elses() {
    let graph = everything(rich());
    let hard = at(&resource(&graph, "resourcequota.main").body, "spec/hard").unwrap().clone();
    let figures = ["requests.cpu", "limits.cpu", "requests.memory", "limits.memory", "pods"];
    assert_eq!(figures.map(|key| hard.get(key).and_then(Value::as_text).unwrap()), ["1k", "1k", "64Gi", "64Gi", "40"]);
    let app = app(EVERYTHING);
    let untiered = expanded(&app, &tenant(&app, "acme", None), rich());
    assert!(!untiered.resources.keys().any(|id| id.word() == "resourcequota"));
}

#[test]
fn commands_are_taken_as_they_stand() {
    // Kubernetes makes `$` of `$$`, and would look for a variable HOME.
    let graph = everything(rich());
    let command = at(&resource(&graph, "deployment.web").body, "spec/template/spec/containers/0/command").unwrap();
    let words: Vec<_> = command.as_list().unwrap().iter().filter_map(Value::as_text).collect();
    assert_eq!(words, ["web", "--price=$$5", "$$(HOME)"]);
}

#[test]
fn a_changed_variable_restarts_the_service_and_nothing_else() {
    let before = everything(rich());
    let app = app(&EVERYTHING.replace("prefix-", "other-"));
    let after = expanded(&app, &tenant(&app, "acme", Some("small")), rich());
    let changed = |id: &&ResourceId| before.resources[*id] != after.resources[*id];
    let changed: Vec<_> = before.resources.keys().filter(changed).map(|id| id.0.as_str()).collect();
    assert_eq!(changed, ["credentials.web", "deployment.web"]);
    let path = "spec.template.metadata.annotations.freehold.dev/credentials";
    assert_eq!(before.resources[&id("deployment.web")].kind.row().effect(path), Effect::Restart);
}

fn this_machine() -> Target {
    Target::Local(LocalTarget {
        name: "local".parse().unwrap(),
        domain: "localhost".to_owned(),
        router_port: 7080,
        postgres: PostgresServer::new("127.0.0.1".to_owned(), 5432, 15),
    })
}

fn id(text: &str) -> ResourceId {
    ResourceId(text.to_owned())
}

#[test]
fn what_a_definition_calls_like_a_variable_of_ours_is_the_definitions() {
    let graph = everything(rich());
    let env = at(&resource(&graph, "deployment.web").body, "spec/template/spec/containers/0/env").unwrap();
    let names: Vec<_> = env.as_list().unwrap().iter().filter_map(|one| text(one, "name")).collect();
    assert_eq!(names, ["NODE_NAME", "POD_IP", "POD_NAMESPACE"]);
    assert_eq!(text(&resource(&graph, "configmap.web").body, "data/POD_NAME"), Some("mine"));
}

#[test]
fn a_reference_to_a_service_opens_the_way_on_both_sides() {
    let graph = everything(rich());
    let web = at(&resource(&graph, "networkpolicy.web").body, "spec/egress/0").unwrap();
    let selector = |rule: &Value, peers: &str| {
        let peers = rule.get(peers).and_then(Value::as_list).unwrap().to_vec();
        let label = |peer: &Value| {
            let labels = peer.get("podSelector")?.get("matchLabels")?;
            let of = |key: &str| labels.get(key).and_then(Value::as_text).map(str::to_owned);
            Some(format!("{}/{}", of("freehold.dev/component")?, of("app.kubernetes.io/name")?))
        };
        peers.iter().filter_map(label).collect::<Vec<_>>()
    };
    assert_eq!(selector(web, "to"), ["service/store"]);
    assert_eq!(at(web, "ports/0/port"), Some(&Value::Integer(7000)));
    let store = at(&resource(&graph, "networkpolicy.store").body, "spec/ingress/0").unwrap();
    assert_eq!(selector(store, "from"), ["service/web", "job/weekly"]);
    assert_eq!(at(store, "ports/0/port"), Some(&Value::Integer(7000)));
    // The worker only knows an address of the gateway: it talks to nobody here.
    assert!(!graph.resources.keys().any(|id| id.0 == "networkpolicy.worker"));
}

#[test]
fn the_internet_is_https_and_nothing_private() {
    let graph = everything(rich());
    let rules = at(&resource(&graph, "networkpolicy.web").body, "spec/egress").unwrap().as_list().unwrap();
    let open = rules.iter().find(|rule| text(rule, "to/0/ipBlock/cidr") == Some("0.0.0.0/0")).unwrap();
    assert_eq!(at(open, "ports").unwrap().as_list().unwrap().len(), 1);
    assert_eq!(at(open, "ports/0/port"), Some(&Value::Integer(443)));
    let except = at(open, "to/0/ipBlock/except").unwrap().to_string();
    for private in ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"] {
        assert!(except.contains(private), "{except}");
    }
    assert!(!resource(&graph, "networkpolicy.store").body.to_string().contains("ipBlock"));
}

/// Whether a policy's block lets an address through.
fn reaches(block: &Value, address: IpAddr) -> bool {
    let covers = |cidr: &str| {
        let (network, bits) = cidr.split_once('/').unwrap();
        let (network, bits): (IpAddr, u32) = (network.parse().unwrap(), bits.parse().unwrap());
        let wide = |address: IpAddr| match address {
            IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        let ((network, width), (address, of)) = (wide(network), wide(address));
        width == of && (bits == 0 || network >> (128 - bits) == address >> (128 - bits))
    };
    let except = at(block, "except").and_then(Value::as_list).unwrap_or_default();
    text(block, "cidr").is_some_and(covers) && !except.iter().filter_map(Value::as_text).any(covers)
}

#[test]
fn the_internet_holds_no_address_behind_which_the_cluster_or_a_cloud_may_be() {
    let graph = everything(rich());
    let rules = at(&resource(&graph, "networkpolicy.web").body, "spec/egress").unwrap().as_list().unwrap();
    let open = rules.iter().find(|rule| text(rule, "to/0/ipBlock/cidr") == Some("0.0.0.0/0")).unwrap();
    let blocks: Vec<&Value> =
        at(open, "to").unwrap().as_list().unwrap().iter().filter_map(|peer| peer.get("ipBlock")).collect();
    let reached = |address: &str| blocks.iter().any(|block| reaches(block, address.parse().unwrap()));
    for public in ["1.1.1.1", "93.184.216.34", "192.0.66.2", "223.255.255.1", "2606:4700::1", "2a00:1450::1"] {
        assert!(reached(public), "{public}");
    }
    for hidden in [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "168.63.129.16",
        "169.254.169.254",
        "172.20.0.1",
        "192.0.0.192",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::10.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::10.0.0.1",
        "100::1",
        "2001::1",
        "2002:a00:1::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ] {
        assert!(!reached(hidden), "{hidden}");
    }
}

#[test]
fn without_the_database_servers_address_no_port_is_opened_to_every_host() {
    let bare = bare();
    let ClusterDatabases::Server { server, .. } = bare.databases.clone() else { panic!("{bare:?}") };
    let unknown =
        KubernetesTarget { databases: ClusterDatabases::Server { server, addresses: BTreeSet::new() }, ..bare };
    let app = app(GUESTBOOK);
    let target = Target::Kubernetes(Box::new(unknown));
    let errors = expand(&app, &tenant(&app, "acme", Some("pro")), &target).unwrap_err();
    assert!(matches!(errors.as_slice(), [ExpandError::NoDatabaseAddress { .. }]), "{errors:?}");
}

/// A rule that names nobody is one for everybody.
#[test]
fn every_rule_of_a_policy_names_its_peers() {
    for target in [bare(), rich(), with_operator(rich())] {
        for source in [GUESTBOOK, NOTICEBOARD, EVERYTHING] {
            let app = app(source);
            let graph = expanded(&app, &tenant(&app, "acme", None), target.clone());
            for policy in graph.resources.values().filter(|one| one.kind == ResourceKind::NetworkPolicy) {
                for (rules, peers) in [("spec/ingress", "from"), ("spec/egress", "to")] {
                    for rule in at(&policy.body, rules).and_then(Value::as_list).unwrap_or_default() {
                        let named = at(rule, peers).and_then(Value::as_list).is_some_and(|peers| !peers.is_empty());
                        // The API server's place can't be named: said in docs/kubernetes.md.
                        let is_api =
                            at(rule, "ports/0/port") == Some(&Value::Integer(443)) && policy.id.0.contains("database");
                        assert!(named || is_api, "{}: {rule}", policy.id);
                    }
                }
            }
        }
    }
}

#[test]
fn requests_are_tried_again_only_where_that_is_safe() {
    let graph = everything(rich());
    let rules = at(&resource(&graph, "httproute.web").body, "spec/rules").unwrap().as_list().unwrap();
    for rule in rules {
        let methods = at(rule, "matches").unwrap().as_list().unwrap();
        let safe = methods.iter().all(|one| matches!(text(one, "method"), Some("GET" | "HEAD" | "OPTIONS")));
        assert_eq!(rule.get("retry").is_some(), safe, "{rule}");
    }
    let timeouts: Vec<_> = rules.iter().filter_map(|rule| text(rule, "timeouts/request")).collect();
    assert_eq!(timeouts, ["1m30s", "1m30s", "168h"]);
}

#[test]
fn a_cluster_without_retries_gets_none_and_the_plan_says_so() {
    let graph = everything(bare());
    assert!(!resource(&graph, "httproute.web").body.to_string().contains("retry"));
    assert!(graph.not_enforced.iter().any(|line| line.contains("retries of route web")), "{:?}", graph.not_enforced);
    assert!(!everything(rich()).not_enforced.iter().any(|line| line.contains("retries")));
}

#[test]
fn a_route_hangs_on_the_gateway_or_on_a_listener_with_its_own_certificate() {
    let graph = everything(bare());
    let parent = at(&resource(&graph, "httproute.web").body, "spec/parentRefs/0").unwrap();
    assert_eq!(
        (text(parent, "kind"), text(parent, "namespace"), text(parent, "sectionName")),
        (Some("Gateway"), Some("gateways"), None)
    );
    assert_eq!(graph.outputs["routes.web.url"], "http://acme.apps.example.org");

    let graph = everything(rich());
    let route = resource(&graph, "httproute.web");
    assert_eq!(text(&route.body, "spec/parentRefs/0/kind"), Some("ListenerSet"));
    assert!(route.depends_on.contains(&id("listenerset.web")));
    let listener = at(&resource(&graph, "listenerset.web").body, "spec/listeners/0").unwrap();
    let certificate = &resource(&graph, "certificate.web").body;
    assert_eq!(text(listener, "tls/certificateRefs/0/name"), text(certificate, "spec/secretName"));
    assert_eq!(text(listener, "hostname"), text(certificate, "spec/dnsNames/0"));
    assert_eq!(graph.outputs["routes.web.url"], "https://acme.apps.example.org");
}

#[test]
fn an_issuer_without_listener_sets_falls_back_to_the_gateway_and_says_so() {
    let mut target = rich();
    target.gateway.listener_sets = false;
    let graph = everything(target);
    assert_eq!(text(&resource(&graph, "httproute.web").body, "spec/parentRefs/0/sectionName"), Some("https"));
    assert!(!graph.resources.keys().any(|id| ["certificate", "listenerset"].contains(&id.word())));
    assert!(graph.not_enforced.iter().any(|line| line.contains("certificate")));
}

#[test]
fn certificates_on_a_gateway_without_tls_make_its_urls_https() {
    let target = KubernetesTarget { issuer: Some("letsencrypt".to_owned()), ..bare() };
    let mut target = target;
    target.gateway.listener_sets = true;
    let graph = everything(target);
    assert_eq!(graph.outputs["routes.web.url"], "https://acme.apps.example.org");
    assert_eq!(at(&resource(&graph, "listenerset.web").body, "spec/listeners/0/port"), Some(&Value::Integer(443)));
}

#[test]
fn a_database_on_a_server_is_the_same_as_on_one_machine() {
    let app = app(NOTICEBOARD);
    let request = tenant(&app, "acme", Some("pro"));
    let graph = expanded(&app, &request, rich());
    let local = expand(&app, &request, &this_machine()).unwrap();
    for id in ["roles.main", "database.main", "secret.api-token"] {
        assert_eq!(resource(&graph, id), resource(&local, id));
    }
    let claims = |graph: &Graph, scope: &str| -> Vec<_> {
        graph.claims.iter().filter(|claim| claim.0 == scope).cloned().collect()
    };
    assert_eq!(claims(&graph, "database"), claims(&local, "database"));
}

#[test]
fn a_service_called_like_a_secret_of_the_operator_is_an_error() {
    let source = format!(
        "{GUESTBOOK}\n[service.main-app]\nimage = \"a.example/b\"\ncommand = [\"a\"]\nenv = {{ K = \"${{secret.session-key}}\" }}\n"
    );
    let found = errors(&source, with_operator(bare()));
    assert!(matches!(found.as_slice(), [ExpandError::SameName { .. }]), "{found:?}");
    assert!(found[0].to_string().contains("secret/acme--guestbook/main-app"), "{}", found[0]);
    let app = app(&source);
    expanded(&app, &tenant(&app, "acme", None), bare());
}

#[test]
fn a_schedule_that_the_cluster_would_read_differently_is_an_error() {
    let found = errors(&GUESTBOOK.replace("0 6 * * *", "0 6 */2 * 5"), bare());
    assert!(matches!(found.as_slice(), [ExpandError::Schedule { .. }]), "{found:?}");
    let graph = everything(rich());
    assert_eq!(text(&resource(&graph, "cronjob.weekly").body, "spec/schedule"), Some("0 3 * * 0"));
}

#[test]
fn sidecars_outlive_their_service_and_init_containers_come_first() {
    let graph = everything(rich());
    let (_, template) = pods(&graph).into_iter().find(|(id, _)| id == "deployment.web").unwrap();
    let named: Vec<_> =
        containers(template).iter().map(|one| (text(one, "name").unwrap(), text(one, "restartPolicy"))).collect();
    assert_eq!(named, [("prepare", None), ("proxy", Some("Always")), ("web", None)]);
}

#[test]
fn the_pods_that_serve_keep_their_variables_until_the_migration_has_run() {
    let graph = everything(rich());
    let before: Vec<_> = graph.runs[&id("job.migrate")].before.iter().map(|id| id.0.as_str()).collect();
    let of_web =
        ["configmap.web", "configmap.web--proxy", "credentials.web", "credentials.web--proxy", "deployment.web"];
    for waiting in of_web.iter().chain(&["deployment.store", "deployment.worker"]) {
        assert!(before.contains(waiting), "{waiting} doesn't wait: {before:?}");
    }
    assert!(!before.iter().any(|id| id.contains("job-") || id.contains("registry")), "{before:?}");
}

#[test]
fn what_is_not_done_is_said() {
    let source = app(&format!("{GUESTBOOK}[stage.production.backup]\nschedule = \"0 2 * * *\"\n"));
    let mut request = tenant(&source, "production", None);
    request.key.kind = StackKind::Stage;
    let backups = "backups on a schedule (not in this version)".to_owned();
    assert!(expanded(&source, &request, rich()).not_enforced.contains(&backups));
    assert!(expand(&source.held(&request), &request, &this_machine()).unwrap().not_enforced.contains(&backups));
    request.key.kind = StackKind::Tenant;
    assert!(
        expanded(&source, &request, rich()).not_enforced.contains(&backups),
        "what holds for a stage holds for its tenants"
    );
    request.stage = Some("dev".parse().unwrap());
    assert!(!expanded(&source, &request, rich()).not_enforced.contains(&backups));

    let everything = app(EVERYTHING);
    let local = expand(&everything, &tenant(&everything, "acme", None), &this_machine()).unwrap();
    for line in ["sidecars and init containers of web", "volumes of store", "autoscaling of web"] {
        assert!(local.not_enforced.contains(&format!("{line} (one machine)")), "{:?}", local.not_enforced);
    }
}

#[test]
fn different_stacks_have_different_namespaces() {
    let app = app(GUESTBOOK);
    let mut request = tenant(&app, "acme", None);
    let mut found = vec![names::namespace(&request.key)];
    for (kind, name) in [(StackKind::Preview, "107"), (StackKind::Stage, "dev"), (StackKind::Preview, "acme")] {
        (request.key.kind, request.key.name) = (kind, name.parse().unwrap());
        found.push(names::namespace(&request.key));
    }
    let expected = ["acme--guestbook", "preview--107--guestbook", "stage--dev--guestbook", "preview--acme--guestbook"];
    assert_eq!(found, expected);
}

/// A route of `web` with this many paths, all of them tried again.
fn retried(paths: usize) -> Graph {
    let paths: Vec<String> = (1..=paths).map(|n| format!("{{ prefix = \"/p{n}\", retries = 1 }}")).collect();
    let source = EVERYTHING.replace("{ prefix = \"/\", timeout = \"90s\", retries = 2 }", &paths.join(", "));
    let app = app(&source);
    expanded(&app, &tenant(&app, "acme", Some("small")), rich())
}

#[test]
fn a_route_with_more_rules_than_one_object_holds_has_several_that_make_one() {
    // The stream's path, which isn't tried again, has one rule, the others two.
    let few = retried(7);
    assert!(!few.resources.contains_key(&id("httproute.web--2")));
    let many = retried(17);
    let routes = ["httproute.web", "httproute.web--2", "httproute.web--3"].map(|id| resource(&many, id));
    let rules = routes.map(|route| at(&route.body, "spec/rules").unwrap().as_list().unwrap());
    assert_eq!(rules.map(<[Value]>::len), [16, 16, 3]);
    let paths: BTreeSet<_> =
        rules.concat().iter().filter_map(|rule| text(rule, "matches/0/path/value")).map(str::to_owned).collect();
    assert_eq!(paths.len(), 18);
    for route in routes {
        assert_eq!(text(&route.body, "spec/hostnames/0"), Some("acme.apps.example.org"));
    }
    // A rule that moves on to the next is there before it is taken away.
    assert!(routes[0].depends_on.contains(&routes[1].id) && routes[1].depends_on.contains(&routes[2].id));
}

#[test]
fn sidecars_and_init_containers_run_the_digests_of_the_request_and_a_moved_tag_changes_nothing_but_their_pods() {
    let app = app(EVERYTHING);
    let expanded = |digest: &str| {
        let mut request = tenant(&app, "acme", Some("small"));
        let image = format!("registry.example.org/proxy@sha256:{}", digest.repeat(32));
        request.containers.entry("web".parse().unwrap()).or_default().insert("proxy".parse().unwrap(), image);
        expanded(&app, &request, rich())
    };
    let (before, after) = (expanded("aa"), expanded("bb"));
    let images = |graph: &Graph| {
        let template = at(&resource(graph, "deployment.web").body, "spec/template").unwrap();
        containers(template).iter().map(|one| text(one, "image").unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(images(&before)[1], before.outputs["images.web--proxy"]);
    assert!(images(&before)[1].ends_with(&"aa".repeat(32)) && images(&after)[1].ends_with(&"bb".repeat(32)));
    let changed: Vec<_> =
        before.resources.keys().filter(|id| before.resources[*id] != after.resources[*id]).map(|id| &id.0).collect();
    assert_eq!(changed, ["deployment.web"]);
}

#[test]
fn names_are_asked_for_where_clusters_answer_them_and_nowhere_else() {
    let graph = everything(bare());
    let rules = at(&resource(&graph, "networkpolicy.allow-dns").body, "spec/egress").unwrap().as_list().unwrap();
    let peers: Vec<_> = rules.iter().flat_map(|rule| at(rule, "to").unwrap().as_list().unwrap()).collect();
    let name = "kubernetes.io/metadata.name";
    let labels = peers.iter().filter_map(|peer| at(peer, "namespaceSelector/matchLabels"));
    let named: Vec<_> = labels.filter_map(|labels| labels.get(name)?.as_text()).collect();
    assert_eq!(named, ["kube-system", "openshift-dns"]);
    assert_eq!(peers.iter().filter_map(|peer| text(peer, "ipBlock/cidr")).collect::<Vec<_>>(), ["169.254.20.10/32"]);
    for rule in rules {
        for port in at(rule, "ports").unwrap().as_list().unwrap() {
            let number = port.get("port").and_then(Value::as_integer);
            assert!(matches!(number, Some(53 | 5353)), "{port}");
        }
    }
}

#[test]
fn a_service_without_copies_is_there_and_runs_nothing() {
    let app = app(&EVERYTHING.replace("service.web.replicas = 3", "service.store.replicas = 0"));
    let graph = expanded(&app, &tenant(&app, "acme", Some("small")), rich());
    assert_eq!(at(&resource(&graph, "deployment.store").body, "spec/replicas"), Some(&Value::Integer(0)));
    assert!(graph.resources.contains_key(&id("service.store")));
    assert!(!graph.resources.contains_key(&id("poddisruptionbudget.store")));
}

#[test]
fn a_change_of_an_operators_extensions_is_a_new_database_for_the_operator_would_not_do_it() {
    let path = "spec.bootstrap.initdb.postInitApplicationSQL";
    let graph = everything(with_operator(rich()));
    let cluster = resource(&graph, "cluster.main");
    assert!(at(&cluster.body, &path.replace('.', "/")).unwrap().to_string().contains("pgcrypto"));
    let row = cluster.kind.row();
    assert!(cluster.kind.holds_data());
    assert_eq!((row.effect(path), row.effect("spec.storage.size")), (Effect::Replace, Effect::InPlace));
}

#[test]
fn a_service_called_like_a_jobs_config_is_told_with_both_their_names() {
    let source = format!(
        "{GUESTBOOK}\n[service.job-migrate]\nimage = \"a.example/b\"\ncommand = [\"a\"]\nenv = {{ K = \"${{secret.session-key}}\" }}\n"
    );
    let found: Vec<String> = errors(&source, bare()).iter().map(ToString::to_string).collect();
    let expected = "service.job-migrate and job.migrate would both be the cluster's secret/acme--guestbook/job-migrate";
    assert!(found.iter().any(|error| error.starts_with(expected)), "{found:?}");
}

/// What serves goes on with the login that it has.
#[test]
fn each_rotation_has_logins_of_its_own_and_closes_former_ones_after_all_that_used_them() {
    let app = app(GUESTBOOK);
    let mut request = tenant(&app, "acme", None);
    for role in ["app", "migrator"] {
        request.rotations.insert(format!("postgres/main/{role}"), 2);
    }
    let mut local = this_machine();
    if let Target::Local(machine) = &mut local {
        machine.postgres.host = "/run/freehold/apps".to_owned();
    }
    let graph = expand(&app, &request, &local).unwrap();
    let web = &resource(&graph, "service.web").body;
    let url = at(web, "env/DATABASE_URL").unwrap().to_string();
    assert!(
        url.contains(
            "postgresql:///acme__guestbook?host=/run/freehold/apps&port=5432&user=acme__guestbook__app_r2&password="
        ),
        "{url}"
    );
    let logins = resource(&graph, "logins.main");
    let open = |names: [&str; 2]| Value::from(names.map(|name| format!("acme__guestbook__{name}")).to_vec());
    assert_eq!(logins.body.get("open"), Some(&open(["app_r2", "migrator_r2"])));
    for user in ["roles.main", "service.web", "schedule.digest"] {
        assert!(logins.depends_on.contains(&ResourceId(user.to_owned())), "{user}");
    }
    // Never rotated: nothing of it.
    request.rotations.clear();
    assert!(!expand(&app, &request, &local).unwrap().resources.contains_key(&ResourceId("logins.main".to_owned())));
}

#[test]
fn ways_that_the_definition_names_are_open_and_no_others() {
    let source = app(&format!(
        "{GUESTBOOK}\n[service.mail]\nimage = \"a.example/mail\"\ncommand = [\"mail\"]\n\
         egress = [\"smtp.example.net:587\", \"otel.monitoring:4317\", \"10.0.0.0/8:5432\", \"0.0.0.0/0:5432\"]\n\
         ingress = [\"monitoring:9464\", \"10.1.0.0/16:9464\"]\n\
         [job.send]\nservice = \"mail\"\ncommand = [\"send\"]\n"
    ));
    let graph = expanded(&source, &tenant(&source, "acme", None), bare());
    let spec = at(&resource(&graph, "networkpolicy.mail").body, "spec").unwrap();
    let ports = |rule: usize| at(spec, &format!("egress/{rule}/ports/0/port")).and_then(Value::as_integer);
    assert_eq!([0, 1, 2, 3, 4].map(ports), [Some(587), Some(4317), Some(5432), Some(5432), None]);
    assert_eq!(text(spec, "egress/0/to/0/ipBlock/cidr"), Some("0.0.0.0/0"));
    let excepted = |rule: usize| {
        let blocks = at(spec, &format!("egress/{rule}/to/0/ipBlock/except")).and_then(Value::as_list);
        blocks.unwrap_or_default().iter().filter_map(Value::as_text).collect::<Vec<_>>()
    };
    assert!(excepted(0).contains(&"10.0.0.0/8") && excepted(0).contains(&"169.254.0.0/16"));
    let selected = |path: &str| {
        let labels = at(spec, path).and_then(|peer| at(peer, "namespaceSelector/matchLabels"));
        labels.and_then(|labels| labels.get("kubernetes.io/metadata.name")).and_then(Value::as_text).map(str::to_owned)
    };
    assert_eq!(selected("egress/1/to/0").as_deref(), Some("monitoring"));
    assert_eq!(excepted(2), Vec::<&str>::new());
    assert!(excepted(3).contains(&"169.254.0.0/16"), "the addresses where clouds keep credentials stay shut");
    assert_eq!(selected("ingress/0/from/0").as_deref(), Some("monitoring"));
    assert_eq!(text(spec, "ingress/1/from/0/ipBlock/cidr"), Some("10.1.0.0/16"));
    assert_eq!(at(spec, "ingress/0/ports/0/port"), Some(&Value::Integer(9464)));
    // What runs from its image may connect to the same.
    let job = at(&resource(&graph, "networkpolicy.job-send").body, "spec").unwrap();
    assert_eq!(at(job, "egress"), at(spec, "egress"));
    assert_eq!(at(job, "ingress"), None);
}
