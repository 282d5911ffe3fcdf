//! What a database is made of: its collation and encoding, and the template that it is a copy of.

use freehold_engine::Provider as _;
use freehold_engine::ProviderError;
use freehold_engine::provider::Proposal;
use freehold_graph::Value;
use freehold_problem::Code;

use crate::setting::{Known, Stack, admin, count, run};

/// What a plan would say of the database.
async fn planned(stack: &Stack) -> Result<(), ProviderError> {
    let resource = stack.database();
    let desired = resource.body.comparable(&Known);
    let observed = stack.observe(&resource).await;
    let proposal = Proposal { resource: &resource, desired: &desired, observed: observed.as_ref(), adopt: false };
    stack.provider.preview(stack.id, &proposal).await.map(drop)
}

fn refusal(answer: Result<impl std::fmt::Debug, ProviderError>) -> (Code, String) {
    let problem = answer.unwrap_err().into_problem();
    (problem.code, problem.message)
}

#[tokio::test]
async fn a_database_sorts_and_encodes_as_it_was_told() {
    let cases = [
        (vec![("collation", "icu:de-AT")], "icu:de-AT", "UTF8"),
        (vec![("collation", "C"), ("encoding", "UTF8")], "C", "UTF8"),
        // Byte by byte: the server's own locale may be for another encoding.
        (vec![("encoding", "LATIN1")], "C", "LATIN1"),
        (vec![("encoding", "SQL_ASCII"), ("collation", "C")], "C", "SQL_ASCII"),
    ];
    for (chosen, collation, encoding) in cases {
        let mut stack = Stack::new();
        let fields: Vec<_> = chosen.iter().map(|(field, value)| (*field, Value::text(*value))).collect();
        stack.chosen = fields.clone();
        planned(&stack).await.unwrap();
        stack.deploy().await;
        assert_eq!(stack.drift(&stack.database()).await, Vec::<String>::new(), "{chosen:?}");
        // What it has is seen, and another choice is a difference.
        stack.chosen = vec![("collation", Value::text("icu:fr")), ("encoding", Value::text("WIN1252"))];
        let body = stack.observe(&stack.database()).await.unwrap().body;
        assert_eq!(body.get("collation").and_then(Value::as_text), Some(collation));
        assert_eq!(body.get("encoding").and_then(Value::as_text), Some(encoding));
        // A dump is proved in a database like it.
        stack.chosen = fields;
        let mut migrator = stack.connect("migrator").await;
        run(&mut migrator, "CREATE TABLE t (x text); CREATE INDEX ON t (x); INSERT INTO t VALUES ('z'), ('a')").await;
        drop(migrator);
        let note = stack.dump().await.unwrap().note.unwrap();
        assert!(note.contains("restored once"), "{note}");
        stack.destroy().await;
    }
}

#[tokio::test]
async fn a_collation_that_the_server_does_not_have_makes_no_database() {
    let mut stack = Stack::new();
    stack.chosen = vec![("collation", Value::text("xx_YY.UTF-8"))];
    stack.apply(stack.roles()).await.unwrap();
    let (_, message) = refusal(stack.apply(stack.database()).await);
    assert!(message.contains("locale"), "{message}");
    assert!(stack.observe(&stack.database()).await.is_none());
    // Nor does one that PostgreSQL writes otherwise: what is there would never be what was asked for.
    stack.chosen = vec![("collation", Value::text("POSIX"))];
    let (code, message) = refusal(stack.apply(stack.database()).await);
    assert!(code == Code::NoSuchCollation && message.contains("calls the collation POSIX"), "{message}");
    assert!(stack.observe(&stack.database()).await.is_none(), "it was dropped again");
    stack.destroy().await;
}

/// A template as an operator makes it, with an extension that no tenant's role may create.
async fn prepare(name: &str, extension: &str) {
    let mut postgres = admin("postgres").await;
    run(&mut postgres, &format!("CREATE DATABASE {name} TEMPLATE template0")).await;
    let mut template = admin(name).await;
    run(&mut template, &format!("CREATE SCHEMA prepared; CREATE EXTENSION {extension} SCHEMA prepared")).await;
    run(&mut template, "GRANT USAGE ON SCHEMA prepared TO PUBLIC").await;
    drop(template);
    run(&mut postgres, &format!("ALTER DATABASE {name} IS_TEMPLATE true ALLOW_CONNECTIONS false")).await;
}

#[tokio::test]
async fn an_extension_of_a_superusers_comes_with_the_template() {
    prepare("freehold_template_rows", "pgrowlocks").await;
    let mut stack = Stack::new();
    stack.chosen =
        vec![("template", Value::text("freehold_template_rows")), ("prepared", Value::from(vec!["pgrowlocks"]))];
    planned(&stack).await.unwrap();
    stack.deploy().await;
    assert_eq!(stack.drift(&stack.database()).await, Vec::<String>::new());
    let mut migrator = stack.connect("migrator").await;
    run(&mut migrator, "CREATE TABLE t (x int); INSERT INTO t VALUES (1)").await;
    let owned = "SELECT count(*) FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE d.datname = current_database() AND r.rolname LIKE '%__owner'";
    assert_eq!(count(&mut migrator, owned).await, 1, "it belongs to the stack from its first moment");
    assert_eq!(
        count(&mut migrator, "SELECT count(*) FROM pg_extension WHERE extname IN ('pgrowlocks', 'pgcrypto')").await,
        2
    );
    assert_eq!(count(&mut migrator, "SELECT count(*) FROM prepared.pgrowlocks('t')").await, 0);
    // Others' roles get in as little as into any database.
    let public = "SELECT has_database_privilege('public', current_database(), 'CONNECT')::int::int8";
    assert_eq!(count(&mut migrator, public).await, 0);
    drop(migrator);
    let note = stack.dump().await.unwrap().note.unwrap();
    assert!(note.contains("restored once"), "{note}");
    stack.destroy().await;
    assert_eq!(stack.owned().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_template_that_is_none_is_told_by_the_plan() {
    let mut stack = Stack::new();
    let of = |name: &str| vec![("template", Value::text(name)), ("prepared", Value::from(vec!["pgrowlocks"]))];
    stack.chosen = of("freehold_template_nowhere");
    let (code, message) = refusal(planned(&stack).await);
    assert!(code == Code::ExtensionNotPrepared && message.contains("isn't on its server"), "{message}");
    // A database of somebody's is no template, whatever it is called.
    let mut postgres = admin("postgres").await;
    run(&mut postgres, "CREATE DATABASE freehold_template_plain TEMPLATE template0").await;
    stack.chosen = of("freehold_template_plain");
    let (code, message) = refusal(planned(&stack).await);
    assert!(code == Code::ExtensionNotPrepared && message.contains("isn't marked as a template"), "{message}");
    // Nor is a stack's, even if a superuser marked it by mistake.
    let other = Stack::new();
    other.deploy().await;
    run(&mut postgres, &format!("ALTER DATABASE {} IS_TEMPLATE true", other.name)).await;
    stack.chosen = of(&other.name);
    let (code, message) = refusal(planned(&stack).await);
    assert!(code == Code::ExtensionNotPrepared && message.contains("which is a stack's"), "{message}");
    assert_eq!(
        refusal(stack.apply(stack.database()).await).0,
        Code::ChangedExternally,
        "without roles nothing is made"
    );
    stack.apply(stack.roles()).await.unwrap();
    assert_eq!(refusal(stack.apply(stack.database()).await).0, Code::ExtensionNotPrepared, "nor when it is to be made");
    run(&mut postgres, &format!("ALTER DATABASE {} IS_TEMPLATE false", other.name)).await;
    other.destroy().await;
    stack.destroy().await;
}

#[tokio::test]
async fn a_copy_that_lacks_what_it_is_for_does_not_stay() {
    prepare("freehold_template_lacking", "pgrowlocks").await;
    let mut stack = Stack::new();
    let template = ("template", Value::text("freehold_template_lacking"));
    stack.chosen = vec![template.clone(), ("prepared", Value::from(vec!["pgrowlocks", "pgstattuple"]))];
    stack.apply(stack.roles()).await.unwrap();
    let (code, message) = refusal(stack.apply(stack.database()).await);
    assert!(code == Code::ExtensionNotPrepared && message.contains("has no extension pgstattuple"), "{message}");
    assert!(stack.observe(&stack.database()).await.is_none(), "it was dropped again");
    // What is only in the template afterwards isn't in the copies: a difference that nothing but a new database mends.
    stack.chosen = vec![template.clone(), ("prepared", Value::from(vec!["pgrowlocks"]))];
    stack.apply(stack.database()).await.unwrap();
    stack.chosen = vec![template, ("prepared", Value::from(vec!["pgrowlocks", "pgstattuple"]))];
    let drift = stack.drift(&stack.database()).await;
    assert!(drift.len() == 1 && drift[0].contains("prepared"), "{drift:?}");
    stack.destroy().await;
}

#[tokio::test]
async fn a_library_that_the_server_does_not_load_is_told_by_the_plan() {
    prepare("freehold_template_statements", "pg_stat_statements").await;
    let mut stack = Stack::new();
    stack.chosen = vec![
        ("template", Value::text("freehold_template_statements")),
        ("prepared", Value::from(vec!["pg_stat_statements"])),
    ];
    let (code, message) = refusal(planned(&stack).await);
    assert!(code == Code::ExtensionNotPrepared && message.contains("needs a library"), "{message}");
}
