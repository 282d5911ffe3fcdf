//! Where programs reach databases and services, and what they are told of it.

use std::collections::BTreeMap;

use freehold_graph::expand::{
    Authority, ClusterDatabases, ExpandError, KubernetesTarget, LocalTarget, PostgresServer, ServerTls, expand,
};
use freehold_graph::value::Special;
use freehold_graph::{Graph, SecretRef, Target, Value};

use crate::fixture::{GUESTBOOK, app, at, bare, containers, expanded, pods, resource, tenant, with_operator};

const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

/// An app whose service reads these variables.
fn reading(variables: &[(&str, &str)]) -> String {
    let env: String = variables.iter().map(|(name, value)| format!("{name} = \"{value}\"\n")).collect();
    format!(
        "[app]\nname = \"shop\"\n[database.main]\n[secret.key]\ngenerate = {{}}\n\
         [service.web]\nimage = \"a.example/web\"\ncommand = [\"web\"]\nport = 8080\n[service.web.env]\n{env}"
    )
}

fn on_cluster(source: &str, target: KubernetesTarget) -> Graph {
    let app = app(source);
    expanded(&app, &tenant(&app, "acme", None), target)
}

fn on_server(server: PostgresServer) -> KubernetesTarget {
    let addresses = ["10.0.0.5/32".to_owned()].into();
    KubernetesTarget { databases: ClusterDatabases::Server { server, addresses }, ..bare() }
}

fn machine(postgres: PostgresServer) -> Target {
    let (name, domain) = ("local".parse().unwrap(), "localhost".to_owned());
    Target::Local(LocalTarget { name, domain, router_port: 7080, postgres })
}

fn socket(loopback: bool) -> PostgresServer {
    PostgresServer { loopback, ..PostgresServer::new("/var/lib/free hold/apps", 54_329, 15) }
}

fn server(tls: Option<ServerTls>) -> PostgresServer {
    PostgresServer { tls, ..PostgresServer::new("db.example.org", 5433, 17) }
}

/// The variables of the service as its process finds them, each secret as `<its purpose or name>`.
fn variables(source: &str, target: &Target) -> Result<BTreeMap<String, String>, Vec<ExpandError>> {
    let app = app(source);
    let graph = expand(&app, &tenant(&app, "acme", None), target)?;
    let data = |id: &str, field: &str| {
        let resource = graph.resources.values().find(|resource| resource.id.0 == id);
        let fields = resource.and_then(|resource| at(&resource.body, field)).and_then(Value::as_map);
        fields.into_iter().flatten().map(|(name, value)| (name.clone(), shown(value))).collect::<Vec<_>>()
    };
    let all = match target {
        Target::Local(_) => data("service.web", "env"),
        Target::Kubernetes(_) => [data("configmap.web", "data"), data("credentials.web", "data")].concat(),
    };
    Ok(all.into_iter().collect())
}

fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Special(Special::Secret(SecretRef::Derived { purpose, .. })) => format!("<{purpose}>"),
        Value::Special(Special::Secret(SecretRef::Stored(name))) => format!("<{name}>"),
        Value::Special(Special::Template(pieces)) => pieces.iter().map(shown).collect(),
        other => panic!("{other:?}"),
    }
}

fn of(output: &str, target: &Target) -> String {
    let source = reading(&[("IT", &format!("${{{output}}}"))]);
    variables(&source, target).unwrap().remove("IT").unwrap()
}

#[test]
fn the_parts_of_a_connection_are_those_of_its_url() {
    let cluster = Target::Kubernetes(Box::new(on_server(server(None))));
    let parts = ["host", "port", "user", "password", "name", "sslmode", "ca_file"];
    let found = parts.map(|part| of(&format!("database.main.{part}"), &cluster));
    let expected = ["db.example.org", "5433", "acme__shop__app", "<postgres/main/app>", "acme__shop", "prefer", ""];
    assert_eq!(found, expected);
    let migration =
        ["host", "port", "user", "password"].map(|part| of(&format!("database.main.migration_{part}"), &cluster));
    assert_eq!(migration, ["db.example.org", "5433", "acme__shop__migrator", "<postgres/main/migrator>"]);
    assert_eq!(
        of("database.main.url", &cluster),
        "postgresql://acme__shop__app:<postgres/main/app>@db.example.org:5433/acme__shop"
    );
}

#[test]
fn a_url_carries_the_tls_mode_of_its_server() {
    let of_server = |tls| Target::Kubernetes(Box::new(on_server(server(Some(tls)))));
    let urls = ["url", "jdbc_url", "migration_keyword_url"];
    let found = |tls: ServerTls| urls.map(|url| of(&format!("database.main.{url}"), &of_server(tls.clone())));
    let [url, jdbc, keywords] = found(ServerTls::VerifyFull(Authority::Pem(PEM.to_owned())));
    let file = "/etc/freehold/database/main/ca.crt";
    assert!(url.ends_with(&format!("/acme__shop?sslmode=verify-full&sslrootcert={file}")), "{url}");
    assert_eq!(
        jdbc,
        format!(
            "jdbc:postgresql://db.example.org:5433/acme__shop?user=acme__shop__app&password=<postgres/main/app>\
             &sslmode=verify-full&sslrootcert={file}"
        )
    );
    assert_eq!(
        keywords,
        format!(
            "host=db.example.org port=5433 dbname=acme__shop user=acme__shop__migrator \
             password=<postgres/main/migrator> sslmode=verify-full sslrootcert={file}"
        )
    );
    for (tls, mode) in [(ServerTls::Require, "require"), (ServerTls::Disable, "disable")] {
        let [url, jdbc, keywords] = found(tls.clone());
        assert!(url.ends_with(&format!("?sslmode={mode}")), "{url}");
        assert!(jdbc.ends_with(&format!("&sslmode={mode}")), "{jdbc}");
        assert!(keywords.ends_with(&format!(" sslmode={mode}")), "{keywords}");
        assert_eq!(of("database.main.sslmode", &of_server(tls.clone())), mode);
        assert_eq!(of("database.main.ca_file", &of_server(tls)), "");
    }
}

#[test]
fn the_authority_is_a_file_of_those_containers_that_use_the_database() {
    let source = format!(
        "{}\n[service.web.sidecar.proxy]\nimage = \"a.example/proxy:1\"\n",
        reading(&[("DATABASE_URL", "${database.main.url}")])
    );
    let graph = on_cluster(&source, on_server(server(Some(ServerTls::VerifyFull(Authority::Pem(PEM.to_owned()))))));
    assert_eq!(at(&resource(&graph, "configmap.freehold-database-ca").body, "data/ca.crt"), Some(&Value::text(PEM)));
    let (_, template) = pods(&graph).into_iter().find(|(id, _)| id == "deployment.web").unwrap();
    let mounted =
        |container: &Value| at(container, "volumeMounts/0/mountPath").and_then(Value::as_text).map(str::to_owned);
    let mounts: Vec<_> = containers(template).into_iter().map(mounted).collect();
    assert_eq!(mounts, [None, Some("/etc/freehold/database/main".to_owned())]);
    assert_eq!(at(template, "spec/volumes/0/configMap/name"), Some(&Value::text("freehold-database-ca")));
    let without = on_cluster(&source, on_server(server(Some(ServerTls::Require))));
    assert!(!without.resources.keys().any(|id| id.0.contains("freehold-database-ca")));
}

#[test]
fn on_one_machine_a_connection_leads_to_the_socket_and_jdbc_to_the_loopback() {
    let machine = machine(socket(true));
    let found = ["host", "port", "sslmode", "keyword_url", "jdbc_url"]
        .map(|part| of(&format!("database.main.{part}"), &machine));
    let password = "<postgres/main/app>";
    assert_eq!(
        found,
        [
            "/var/lib/free hold/apps".to_owned(),
            "54329".to_owned(),
            "disable".to_owned(),
            format!(
                "host='/var/lib/free hold/apps' port=54329 dbname=acme__shop user=acme__shop__app password={password}"
            ),
            format!("jdbc:postgresql://127.0.0.1:54329/acme__shop?user=acme__shop__app&password={password}"),
        ]
    );
    assert_eq!(
        of("database.main.url", &machine),
        format!(
            "postgresql:///acme__shop?host=/var/lib/free%20hold/apps&port=54329&user=acme__shop__app&password={password}"
        )
    );
}

#[test]
fn a_jdbc_url_never_leads_to_a_port_that_another_program_has() {
    let source = reading(&[("IT", "${database.main.jdbc_url}")]);
    let errors = variables(&source, &machine(socket(false))).unwrap_err();
    assert!(matches!(errors.as_slice(), [ExpandError::NoLoopback { port: 54_329, .. }]), "{errors:?}");
}

#[test]
fn a_given_server_of_this_machine_is_verified_by_the_file_that_its_url_names() {
    let file = Authority::File("/etc/ssl/our ca.pem".to_owned());
    let machine = machine(server(Some(ServerTls::VerifyCa(file))));
    assert_eq!(of("database.main.ca_file", &machine), "/etc/ssl/our ca.pem");
    assert!(of("database.main.url", &machine).ends_with("?sslmode=verify-ca&sslrootcert=/etc/ssl/our%20ca.pem"));
    let keywords = of("database.main.keyword_url", &machine);
    assert!(keywords.ends_with(" sslmode=verify-ca sslrootcert='/etc/ssl/our ca.pem'"), "{keywords}");
}

/// The variables of the service's own container that aren't of a ConfigMap or a Secret of ours, in their order.
fn own_variables(graph: &Graph) -> Vec<(String, String)> {
    let env = at(&resource(graph, "deployment.web").body, "spec/template/spec/containers/0/env").unwrap();
    let source = |one: &Value| match at(one, "value") {
        Some(value) => value.as_text().unwrap().to_owned(),
        None => match at(one, "valueFrom/secretKeyRef") {
            Some(secret) => {
                let of = |field| at(secret, field).and_then(Value::as_text).unwrap();
                format!("<{}/{}>", of("name"), of("key"))
            }
            None => format!("<{}>", at(one, "valueFrom/fieldRef/fieldPath").and_then(Value::as_text).unwrap()),
        },
    };
    let named = |one: &Value| (at(one, "name").and_then(Value::as_text).unwrap().to_owned(), source(one));
    env.as_list().unwrap().iter().map(named).collect()
}

#[test]
fn what_only_an_operator_knows_is_put_together_by_the_cluster() {
    let source = reading(&[
        ("DATABASE_URL", "${database.main.url}"),
        ("JDBC", "${database.main.jdbc_url}"),
        ("KEYWORDS", "${database.main.keyword_url}"),
        ("PASSWORD", "${database.main.password}"),
        ("BOTH", "$5 ${database.main.password}:${secret.key}"),
    ]);
    let graph = on_cluster(&source, with_operator(bare()));
    let env = own_variables(&graph);
    let find = |name: &str| {
        let place = env.iter().position(|(one, _)| one == name).unwrap_or_else(|| panic!("no {name}: {env:?}"));
        (place, env[place].1.as_str())
    };
    let query = "sslmode=verify-full&sslrootcert=/etc/freehold/database/main/ca.crt";
    assert_eq!(find("DATABASE_URL").1, format!("$(FREEHOLD_MAIN_URI)?{query}"));
    assert_eq!(find("JDBC").1, format!("$(FREEHOLD_MAIN_JDBC_URI)&{query}"));
    assert_eq!(
        find("KEYWORDS").1,
        "host=main-rw port=5432 dbname=acme__shop user=acme__shop__app password='$(FREEHOLD_MAIN_PASSWORD)' \
         sslmode=verify-full sslrootcert=/etc/freehold/database/main/ca.crt"
    );
    assert_eq!(find("PASSWORD").1, "<main-app/password>", "as it is where it stands alone");
    assert_eq!(find("BOTH").1, "$$5 $(FREEHOLD_MAIN_PASSWORD):$(FREEHOLD_BOTH_4)");
    for (name, source) in [
        ("FREEHOLD_MAIN_URI", "<main-app/uri>"),
        ("FREEHOLD_MAIN_JDBC_URI", "<main-app/jdbc-uri>"),
        ("FREEHOLD_BOTH_4", "<web/FREEHOLD_BOTH_4>"),
    ] {
        assert_eq!(find(name).1, source);
        assert!(find(name).0 < find("DATABASE_URL").0.min(find("BOTH").0), "{name} comes before those that name it");
    }
    assert!(resource(&graph, "deployment.web").depends_on.iter().any(|id| id.0 == "cluster.main"));
    let credentials = &resource(&graph, "credentials.web").body;
    assert_eq!(at(credentials, "data/FREEHOLD_BOTH_4"), Some(&Value::secret(SecretRef::Stored("key".to_owned()))));
    // The operator's Secret has the authority's key as well.
    let volume = at(&resource(&graph, "deployment.web").body, "spec/template/spec/volumes/0/secret").unwrap();
    assert_eq!(at(volume, "secretName"), Some(&Value::text("main-ca")));
    assert_eq!(at(volume, "items").and_then(Value::as_list).map(<[Value]>::len), Some(1));
}

#[test]
fn a_password_of_an_operator_stands_in_variables_alone() {
    let source = GUESTBOOK.replace("[\"${stack.name}", "[\"${database.main.password}${stack.name}");
    let app = app(&source);
    let target = Target::Kubernetes(Box::new(with_operator(bare())));
    let errors = expand(&app, &tenant(&app, "acme", None), &target).unwrap_err();
    assert!(errors.iter().any(|error| matches!(error, ExpandError::OnlyInVariables { .. })), "{errors:?}");
}

#[test]
fn a_pod_knows_itself_and_a_process_has_something_in_the_place() {
    let facts = ["pod.name", "pod.namespace", "pod.node", "pod.ip"];
    let here = facts.map(|fact| of(fact, &machine(socket(true))));
    assert_eq!(here, ["web", "acme--shop", "localhost", "127.0.0.1"]);
    let source = reading(&[("POD", "${pod.name}"), ("WHERE", "${pod.node}/${pod.ip}")]);
    let env = own_variables(&on_cluster(&source, bare()));
    let find = |name: &str| env.iter().find(|(one, _)| one == name).map(|(_, source)| source.as_str());
    assert_eq!(find("POD"), Some("<metadata.name>"));
    assert_eq!(find("WHERE"), Some("$(FREEHOLD_POD_NODE)/$(FREEHOLD_POD_IP)"));
}

#[test]
fn a_service_knows_its_image_and_the_address_of_another() {
    let source = format!(
        "{}[service.store]\nimage = \"a.example/store\"\ncommand = [\"store\"]\nport = 7000\n",
        reading(&[
            ("VERSION", "${service.web.image_digest}"),
            ("IMAGE", "${service.web.image}"),
            ("STORE", "${service.store.host}:${service.store.port}")
        ])
    );
    let cluster = variables(&source, &Target::Kubernetes(Box::new(bare()))).unwrap();
    let digest = format!("sha256:{}", "ab".repeat(32));
    assert_eq!(cluster["VERSION"], digest);
    assert_eq!(cluster["IMAGE"], format!("registry.example.org/acme/web@{digest}"));
    let graph = on_cluster(&source, bare());
    assert!(graph.resources.keys().any(|id| id.0 == "networkpolicy.store"), "the way is open");
    let here = variables(&source, &machine(socket(true))).unwrap();
    let (host, port) = here["STORE"].split_once(':').unwrap();
    assert!(host.starts_with("127.") && port.parse::<u16>().is_ok(), "{here:?}");
}

#[test]
fn a_program_that_asks_for_the_revision_is_told_its_number() {
    let app = app(&reading(&[("REVISION", "${stack.revision}")]));
    let mut request = tenant(&app, "acme", None);
    request.revision = 7;
    let graph = expanded(&app, &request, bare());
    assert_eq!(at(&resource(&graph, "configmap.web").body, "data/REVISION"), Some(&Value::text("7")));
}

#[test]
fn a_service_is_reached_at_its_port_by_routes_programs_and_policies() {
    let source = format!(
        "{}[service.store]\nimage = \"a.example/store\"\ncommand = [\"store\"]\nport = 7000\n\
         [service.plain]\nimage = \"a.example/plain\"\ncommand = [\"plain\"]\nport = 80\n\
         [route.web]\nservice = \"web\"\nhosts = [\"${{stack.name}}.${{target.domain}}\"]\n",
        reading(&[("STORE", "${service.store.url}"), ("PLAIN", "${service.plain.url}")])
    );
    let cluster = variables(&source, &Target::Kubernetes(Box::new(bare()))).unwrap();
    assert_eq!([&cluster["STORE"], &cluster["PLAIN"]], ["http://store:7000", "http://plain"]);
    let graph = on_cluster(&source, bare());
    let port = |id: &str, path: &str| at(&resource(&graph, id).body, path).and_then(Value::as_integer);
    assert_eq!(port("service.store", "spec/ports/0/port"), Some(7000));
    assert_eq!(port("httproute.web", "spec/rules/0/backendRefs/0/port"), Some(8080));
    assert_eq!(port("networkpolicy.store", "spec/ingress/0/ports/0/port"), Some(7000));
    assert_eq!(at(&resource(&graph, "service.store").body, "spec/ports/1"), None);
}

#[test]
fn a_service_keeps_its_former_port_until_everybody_has_the_new_one() {
    let app = app(&format!(
        "{}[service.store]\nimage = \"a.example/store\"\ncommand = [\"store\"]\nport = 7000\n",
        reading(&[("STORE", "${service.store.url}")])
    ));
    let mut request = tenant(&app, "acme", None);
    request.former_ports = BTreeMap::from([("store".parse().unwrap(), 80)]);
    let graph = expanded(&app, &request, bare());
    let ports = |id: &str, path: &str| -> Vec<i64> {
        let ports = at(&resource(&graph, id).body, path).and_then(Value::as_list).unwrap();
        ports.iter().filter_map(|port| port.get("port").and_then(Value::as_integer)).collect()
    };
    assert_eq!(ports("service.store", "spec/ports"), [7000, 80]);
    assert_eq!(ports("networkpolicy.store", "spec/ingress/0/ports"), [7000, 80]);
    assert_eq!(ports("networkpolicy.web", "spec/egress/0/ports"), [7000, 80]);
    // A named port of the Pods: those of the last revision may have another number for it.
    let body = &resource(&graph, "service.store").body;
    assert_eq!(at(body, "spec/ports/1/targetPort"), Some(&Value::text("http")));
    let kept = freehold_graph::expand::kubernetes::service_ports(graph.resources.values());
    assert_eq!(kept["store"], (Some(7000), Some(80)));
}
