//! What a database asks of its server: applied where it has one for itself, checked where it shares one.

use freehold_graph::expand::{ExpandError, LocalTarget, PostgresServer, expand};
use freehold_graph::{Effect, Graph, Target, Value};

use crate::fixture::{app, at, bare, expanded, resource, rich, tenant, with_operator};

const SERVERS: &str = include_str!("servers.toml");

fn of_operator(source: &str) -> Graph {
    let app = app(source);
    expanded(&app, &tenant(&app, "acme", None), with_operator(rich()))
}

fn machine(version: u32) -> Target {
    let name = "local".parse().unwrap();
    let postgres = PostgresServer::new("127.0.0.1", 5432, version);
    Target::Local(LocalTarget { name, domain: "localhost".to_owned(), router_port: 7080, postgres })
}

fn on_a_machine(source: &str, version: u32) -> Result<Graph, Vec<ExpandError>> {
    let app = app(source);
    expand(&app, &tenant(&app, "acme", None), &machine(version))
}

#[test]
fn a_server_of_its_own_is_what_the_definition_says() {
    let graph = of_operator(SERVERS);
    let of_databases = graph.resources.values().filter(|resource| {
        let (word, name) = (resource.id.word(), resource.id.name());
        matches!(word, "cluster" | "pooler") || (word == "networkpolicy" && name != "deny-all" && name != "allow-dns")
    });
    insta::assert_json_snapshot!((of_databases.collect::<Vec<_>>(), &graph.not_enforced));
}

#[test]
fn the_app_goes_through_the_pooler_and_migrations_past_it() {
    let graph = of_operator(SERVERS);
    let web = resource(&graph, "deployment.web");
    let env = at(&web.body, "spec/template/spec/containers/0/env").unwrap().to_string();
    assert!(env.contains("@reports-pooler:5432/acme__servers__reports?sslmode=verify-full"), "{env}");
    assert!(env.contains("jdbc:postgresql://reports-pooler:5432/"), "{env}");
    assert!(env.contains("host=reports-pooler port=5432"), "{env}");
    for id in ["cluster.reports", "pooler.reports-pooler"] {
        assert!(web.depends_on.iter().any(|needed| needed.0 == id), "{id}");
    }
    assert_eq!(at(&resource(&graph, "configmap.web").body, "data/HOST"), Some(&Value::from("reports-pooler")));
    let migrate = &graph.runs.values().find(|run| run.id.0 == "job.migrate").unwrap().body;
    assert!(!migrate.to_string().contains("pooler"), "{migrate}");
    assert_eq!(at(&resource(&graph, "configmap.job-migrate").body, "data/HOST"), Some(&Value::from("reports-rw")));
}

#[test]
fn a_service_that_is_called_like_a_pooler_is_found_out() {
    let app = app(&SERVERS
        .replace("[service.web]", "[service.reports-pooler]")
        .replace("[service.web.env]", "[service.reports-pooler.env]")
        .replace("service = \"web\"", "service = \"reports-pooler\""));
    let target = Target::Kubernetes(Box::new(with_operator(rich())));
    let errors = expand(&app, &tenant(&app, "acme", None), &target).unwrap_err();
    assert!(errors.iter().any(|error| matches!(error, ExpandError::SameName { .. })), "{errors:?}");
}

#[test]
fn what_is_chosen_once_is_a_new_database_and_what_a_server_has_is_not() {
    let graph = of_operator(SERVERS);
    let row = resource(&graph, "cluster.reports").kind.row();
    for field in ["encoding", "localeCollate", "localeCType", "localeProvider", "icuLocale", "postInitApplicationSQL"] {
        assert_eq!(row.effect(&format!("spec.bootstrap.initdb.{field}")), Effect::Replace, "{field}");
    }
    for field in ["imageName", "resources", "storage.size", "walStorage", "postgresql.parameters", "instances"] {
        assert_eq!(row.effect(&format!("spec.{field}")), Effect::InPlace, "{field}");
    }
    let graph = on_a_machine(SERVERS, 18).unwrap();
    let database = resource(&graph, "database.old");
    for field in ["collation", "encoding", "prepared"] {
        assert_eq!(database.kind.row().effect(field), Effect::Replace, "{field}");
    }
}

#[test]
fn an_extension_that_leads_out_of_the_database_is_in_no_server_of_its_own() {
    let source = SERVERS.replace("\"pg_stat_statements\"", "\"file_fdw\"");
    let app = app(&source);
    let target = Target::Kubernetes(Box::new(with_operator(bare())));
    let errors = expand(&app, &tenant(&app, "acme", None), &target).unwrap_err();
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert!(told.len() == 1 && told[0].contains("database.reports wants the extension file_fdw"), "{told:?}");
    // On a server that is there, its operator has prepared it or not: the server knows.
    assert!(on_a_machine(&source, 18).is_ok());
}

#[test]
fn a_server_that_is_there_has_to_be_new_enough_and_is_its_operators() {
    let graph = on_a_machine(SERVERS, 18).unwrap();
    let line = "cpu, memory, storage, wal_storage, parameters, copies, pooler of the server of database reports (others are on it, too)";
    assert!(graph.not_enforced.iter().any(|told| told == line), "{:?}", graph.not_enforced);
    let errors = on_a_machine(SERVERS, 17).unwrap_err();
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let expected =
        "database.reports needs PostgreSQL 18, and the server 127.0.0.1:5432 of target local is PostgreSQL 17";
    assert_eq!(told, [expected]);
    let older = SERVERS.replace("\"18\"", "\"16\"");
    let graph = on_a_machine(&older, 17).unwrap();
    let line = "PostgreSQL 16 for database reports (its server has 17)";
    assert!(graph.not_enforced.iter().any(|told| told == line), "{:?}", graph.not_enforced);
}

#[test]
fn a_database_is_on_the_server_that_it_names() {
    const TWO: &str = "[app]\nname = \"a\"\n[database.main]\n[database.reports]\nserver = { name = \"reports\", version = \"18\" }\n\
                       [service.web]\ncommand = [\"web\"]\n[service.web.env]\nA = \"${database.main.url}\"\nB = \"${database.reports.url}\"\n";
    let Target::Local(mut local) = machine(15) else { panic!("it is a machine") };
    let reports = PostgresServer::new("10.0.0.9", 5433, 18);
    local.postgres.named.insert("reports".parse().unwrap(), reports);
    let app = app(TWO);
    let graph = expand(&app, &tenant(&app, "acme", None), &Target::Local(local)).unwrap();
    for id in ["roles.reports", "database.reports"] {
        let resource = resource(&graph, id);
        assert_eq!(resource.identity, "reports/acme__a__reports", "{id}");
        assert_eq!(resource.body.get("server"), Some(&Value::from("reports")));
    }
    assert_eq!(resource(&graph, "database.reports").body.get("name"), Some(&Value::from("acme__a__reports")));
    let env = resource(&graph, "service.web").body.get("env").unwrap().to_string();
    assert!(env.contains("@10.0.0.9:5433/acme__a__reports") && env.contains("@127.0.0.1:5432/acme__a"), "{env}");
    assert_eq!(graph.servers().len(), 2);
    assert_eq!((graph.connections(None), graph.connections(Some("reports"))), (15, 15));
    // A machine that hasn't got it, and a cluster, which has one.
    let told = |errors: Vec<ExpandError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
    let expected = "database.reports is on the server reports, and target local has none but the one without a name";
    assert!(told(on_a_machine(TWO, 18).unwrap_err()).contains(&expected.to_owned()));
    let target = Target::Kubernetes(Box::new(rich()));
    let errors = expand(&app, &tenant(&app, "acme", None), &target).unwrap_err();
    assert!(errors.iter().any(|error| matches!(error, ExpandError::UnknownServer { .. })), "{errors:?}");
    // Where each database has a server of its own, the name says nothing.
    let graph = expanded(&app, &tenant(&app, "acme", None), with_operator(rich()));
    let line = "the server reports for database reports (it has a server of its own here)";
    assert!(graph.not_enforced.iter().any(|told| told == line), "{:?}", graph.not_enforced);
}

#[test]
fn a_database_on_a_server_is_a_copy_of_its_template_with_what_that_has() {
    let graph = on_a_machine(SERVERS, 18).unwrap();
    let body = &resource(&graph, "database.reports").body;
    assert_eq!(body.get("template"), Some(&Value::from("freehold_template_reports")));
    assert_eq!(body.get("prepared"), Some(&Value::from(vec!["pg_stat_statements"])));
    assert_eq!(body.get("extensions"), Some(&Value::from(vec!["pg_trgm"])));
    assert_eq!(
        (body.get("collation"), body.get("encoding")),
        (Some(&Value::from("icu:de-AT")), Some(&Value::from("UTF8")))
    );
    // One that says nothing has the body that it always had.
    let plain = on_a_machine("[app]\nname = \"a\"\n[database.main]\n[service.web]\ncommand = [\"web\"]\n", 15).unwrap();
    let body = resource(&plain, "database.main").body.as_map().unwrap();
    assert_eq!(body.keys().collect::<Vec<_>>(), ["app", "extensions", "migrator", "name", "owner"]);
    assert!(!plain.not_enforced.iter().any(|line| line.contains("database main")), "{:?}", plain.not_enforced);
}
