//! Several servers of one target: what is on which.

use std::collections::BTreeMap;
use std::sync::Arc;

use freehold_engine::capability::DatabaseServers as _;
use freehold_engine::{Lookup, Provider as _, Readiness, Task};
use freehold_graph::{Resource, SecretText, Value};
use freehold_plan::diff;
use freehold_problem::Code;
use freehold_provider_postgres::{
    PostgresOptions, PostgresProvider, PostgresServers, PrivateServer, ensure_provisioner,
};
use sqlx::ConnectOptions as _;

use crate::setting::{
    Known, PATIENCE, PROVISIONER, PROVISIONER_PASSWORD, Stack, admin, count, open_directory, rejection, server_options,
    shared, tie_to_this_process,
};

/// The same resource on the other server.
fn on(server: &str, resource: Resource) -> Resource {
    let Value::Map(mut fields) = resource.body else { panic!("{:?}", resource.body) };
    fields.insert("server".to_owned(), Value::text(server));
    Resource { identity: format!("{server}/{}", resource.identity), body: Value::Map(fields), ..resource }
}

async fn apply(servers: &PostgresServers, stack: &Stack, resource: Resource) -> String {
    let desired = resource.body.comparable(&Known);
    let task = Task::Apply { resource, desired, object: None, adopt: false, takes: Vec::new() };
    servers.perform(&stack.context(), &task).await.unwrap().object.unwrap()
}

#[tokio::test]
async fn a_database_is_on_the_server_that_it_names_and_nowhere_else() {
    let directory = open_directory("second");
    let home = directory.join("postgres");
    tie_to_this_process(&home.join("cluster/postmaster.pid"), &directory);
    let mut second = PrivateServer::start(server_options(&home)).await.unwrap();
    let password = SecretText::new(PROVISIONER_PASSWORD);
    ensure_provisioner(&second.admin_options(), PROVISIONER, &password).await.unwrap();
    let stack = Stack::new();
    let there = PostgresProvider::new(PostgresOptions {
        provisioner: second.connect_options(PROVISIONER, &password),
        login_key: SecretText::new("another key"),
        dump_directory: directory.join("dumps"),
        binaries: Some(shared().binaries.clone()),
        reserved_connections: 10,
        sole: None,
        concurrency: 4,
        fault: None,
    });
    let named = BTreeMap::from([("reports".to_owned(), Arc::new(there))]);
    let servers = PostgresServers::new(Arc::new(stack.provider.clone()), named);

    // One of the same name on each.
    let (roles, database) = (on("reports", stack.roles()), on("reports", stack.database()));
    apply(&servers, &stack, stack.roles()).await;
    let here = apply(&servers, &stack, stack.database()).await;
    apply(&servers, &stack, roles.clone()).await;
    let object = apply(&servers, &stack, database.clone()).await;
    for resource in [&roles, &database] {
        let lookup = Lookup::from(resource);
        let seen = servers.observe(stack.id, &lookup).await.unwrap().unwrap();
        assert_eq!(diff::fields(resource.kind.row(), &seen.body, &resource.body.comparable(&Known)), []);
        assert_eq!(servers.readiness(stack.id, &lookup).await, Ok(Readiness::Ready));
    }
    let mut connection = second.admin_options().connect().await.unwrap();
    let named_so = format!("SELECT count(*) FROM pg_database WHERE datname = '{}'", stack.name);
    assert_eq!(count(&mut connection, &named_so).await, 1);
    let owned: Vec<String> =
        servers.owned(Some(stack.id)).await.unwrap().into_iter().map(|object| object.name).collect();
    assert!(owned.contains(&stack.name) && owned.contains(&format!("reports/{}", stack.name)), "{owned:?}");
    // Each server has its own connections to promise.
    assert_eq!(servers.capacity(Some("reports")).await.unwrap().promised.len(), 1);
    assert!(servers.capacity(None).await.unwrap().promised.contains_key(&stack.id));
    assert_eq!(servers.names(), ["reports"]);

    // A dump and a deletion mean the one that they name.
    let note =
        servers.perform(&stack.context(), &Task::Dump { lookup: (&database).into() }).await.unwrap().note.unwrap();
    assert!(note.contains("restored once"), "{note}");
    assert!(directory.join("dumps").is_dir());
    for (resource, object) in [(&database, Some(object)), (&roles, None)] {
        servers.perform(&stack.context(), &Task::Delete { lookup: resource.into(), object }).await.unwrap();
    }
    assert_eq!(count(&mut connection, &named_so).await, 0);
    assert_eq!(count(&mut admin("postgres").await, &named_so).await, 1, "{here}");
    assert_eq!(stack.drift(&stack.database()).await, Vec::<String>::new());

    // What is on a server that is none of the target's any more is never taken for gone.
    let lost = Lookup::from(&on("analytics", stack.database()));
    let refused = servers.observe(stack.id, &lost).await.unwrap_err().into_problem();
    assert_eq!(refused.code, Code::UnknownServer);
    let deletion = Task::Delete { lookup: lost, object: None };
    assert_eq!(rejection(servers.perform(&stack.context(), &deletion).await).0, Code::UnknownServer);
    stack.destroy().await;
    second.stop(PATIENCE).await.unwrap();
}
