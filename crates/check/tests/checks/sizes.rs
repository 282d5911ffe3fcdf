//! What becomes too large with the values of secrets.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use freehold_check::sizes;
use freehold_graph::expand::{ClusterDatabases, KubernetesTarget, LocalTarget, PostgresServer, expand};
use freehold_graph::{Request, SecretRef, StackId, StackKey, StackKind, Target};
use freehold_problem::Code;

/// What a service and a job of so many secrets come to, each of them so long.
fn found(target: &Target, secrets: usize, length: usize, more: &str) -> Vec<(Code, String)> {
    let mut source = "[app]\nname = \"shop\"\n".to_owned();
    (0..secrets).for_each(|number| writeln!(source, "[secret.key-{number}]").unwrap());
    let variables: String =
        (0..secrets).map(|number| format!("KEY_{number} = \"${{secret.key-{number}}}\"\n")).collect();
    for part in ["service.web", "job.once"] {
        let service = if part.starts_with("job") { "service = \"web\"\n" } else { "" };
        let more = more.replace("PART", part);
        write!(source, "[{part}]\n{service}command = [\"web\"]\n[{part}.env]\n{variables}{more}\n").unwrap();
    }
    let app = freehold_spec::decode(&source).unwrap();
    let key = StackKey {
        target: target.name().clone(),
        app: app.name.value.clone(),
        kind: StackKind::Tenant,
        name: "acme".parse().unwrap(),
    };
    let artifacts = app.services.keys().map(|service| (service.clone(), "web@sha256:00".to_owned())).collect();
    let (containers, rotations) = Default::default();
    let request = Request {
        key,
        id: StackId(uuid::Uuid::nil()),
        tier: None,
        stage: None,
        artifacts,
        containers,
        rotations,
        revision: 0,
        former_ports: Default::default(),
    };
    let graph = expand(&app, &request, target).unwrap();
    let of = |secret: &SecretRef| match secret {
        SecretRef::Stored(_) => length,
        SecretRef::Derived { .. } | SecretRef::Target(_) => 0,
    };
    sizes(&graph, &of).into_iter().map(|found| (found.code, found.message)).collect()
}

fn server() -> PostgresServer {
    PostgresServer::new("127.0.0.1".to_owned(), 5432, 15)
}

fn machine() -> Target {
    let name = "local".parse().unwrap();
    Target::Local(LocalTarget { name, domain: "localhost".to_owned(), router_port: 7080, postgres: server() })
}

fn cluster() -> Target {
    let databases = ClusterDatabases::Server { server: server(), addresses: BTreeSet::new() };
    Target::Kubernetes(Box::new(KubernetesTarget::minimal("prod".parse().unwrap(), databases)))
}

#[test]
fn secrets_that_no_secret_of_a_cluster_holds_together_are_an_error_there() {
    assert_eq!(found(&cluster(), 16, 65_536, ""), []);
    let found_there = found(&cluster(), 17, 65_536, "");
    assert_eq!(
        found_there.iter().map(|(code, _)| *code).collect::<Vec<_>>(),
        [Code::ObjectTooLarge; 2],
        "service and job"
    );
    let said = "Secret acme--shop/web would hold 1114112 bytes, and a cluster takes 1048576";
    assert!(found_there.iter().any(|(_, message)| message == said), "{found_there:?}");
    assert_eq!(found(&machine(), 17, 65_536, ""), [], "one machine has no such object");
}

#[test]
fn a_file_may_be_longer_than_a_variable() {
    let file = |texts: usize| {
        let text = "${secret.key-0}".repeat(texts);
        format!("[PART.files]\nkeys = {{ path = \"/run/keys\", text = \"{text}\" }}")
    };
    for target in [machine(), cluster()] {
        assert_eq!(found(&target, 1, 65_536, &file(16)), []);
    }
    let large = found(&cluster(), 1, 65_536, &file(17));
    assert_eq!(large.iter().map(|(code, _)| *code).collect::<Vec<_>>(), [Code::ObjectTooLarge; 2]);
}

#[test]
fn a_variable_that_its_secrets_make_too_long_for_a_process_is_an_error_everywhere() {
    let joined = |texts: usize| format!("ALL = \"{}\"", "${secret.key-0}".repeat(texts));
    for target in [machine(), cluster()] {
        assert_eq!(found(&target, 1, 65_533, &joined(2)), [], "ALL, =, twice the secret and a NUL are 128 KiB");
        let found = found(&target, 1, 65_534, &joined(2));
        assert_eq!(found.iter().map(|(code, _)| *code).collect::<Vec<_>>(), [Code::TooLongForProcess; 2]);
        assert!(found.iter().all(|(_, message)| message.starts_with("ALL of ")), "{found:?}");
    }
}
