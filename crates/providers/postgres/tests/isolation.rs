//! What the roles of a stack may and may not do.

use sqlx::ConnectOptions as _;

use crate::setting::{Stack, admin, code, count, refused, run, shared};

#[tokio::test]
async fn the_app_reads_and_writes_what_the_migrator_made_and_can_do_nothing_else() {
    let stack = Stack::new();
    stack.deploy().await;
    let mut migrator = stack.connect("migrator").await;
    run(
        &mut migrator,
        "CREATE TABLE entries (id serial PRIMARY KEY, author text); CREATE SCHEMA more; CREATE TABLE more.t (x int)",
    )
    .await;
    let owner: String = sqlx::query_scalar("SELECT tableowner FROM pg_tables WHERE tablename = 'entries'")
        .fetch_one(&mut migrator)
        .await
        .unwrap();
    assert_eq!(owner, stack.role("owner"));

    let mut app = stack.connect("app").await;
    run(&mut app, "INSERT INTO entries (author) VALUES ('a'), ('b'); UPDATE entries SET author = 'c' WHERE id = 1")
        .await;
    run(&mut app, "DELETE FROM entries WHERE id = 2; INSERT INTO more.t VALUES (1)").await;
    assert_eq!(count(&mut app, "SELECT count(*) FROM entries").await, 1);
    run(&mut app, "SELECT gen_random_uuid(), crypt('x', gen_salt('md5'))").await;
    for sql in [
        "CREATE TABLE mine (x int)",
        "CREATE SCHEMA mine",
        "ALTER TABLE entries ADD COLUMN x int",
        "TRUNCATE entries",
        "CREATE EXTENSION hstore",
        "CREATE ROLE mine",
        "CREATE DATABASE mine",
        "SELECT rolpassword FROM pg_authid",
    ] {
        assert_eq!(refused(&mut app, sql).await, "42501", "{sql}");
    }
    assert_eq!(refused(&mut app, "DROP TABLE entries").await, "42501");
    assert_eq!(refused(&mut app, &format!("SET ROLE {}", stack.role("owner"))).await, "42501");
    let timeout: String = sqlx::query_scalar("SHOW statement_timeout").fetch_one(&mut app).await.unwrap();
    assert_eq!(timeout, "30s");
    let timeout: String = sqlx::query_scalar("SHOW statement_timeout").fetch_one(&mut migrator).await.unwrap();
    assert_eq!(timeout, "0");
    drop((app, migrator));
    stack.destroy().await;
}

#[tokio::test]
async fn nobody_gets_into_another_stacks_database_or_the_servers_own() {
    let (one, other) = (Stack::new(), Stack::new());
    one.deploy().await;
    other.deploy().await;
    for role in ["app", "migrator"] {
        for database in [other.name.as_str(), "postgres", "template1"] {
            let error = one.connect_options(role).database(database).connect().await.unwrap_err();
            assert_eq!(code(&error), "42501", "{role} into {database}: {error}");
        }
    }
    // A role without any grant gets in nowhere.
    let mut superuser = admin("postgres").await;
    let nobody = format!("{}_nobody", one.name);
    run(&mut superuser, &format!("CREATE ROLE {nobody} LOGIN PASSWORD 'x'")).await;
    let options = one.connect_options("app").username(&nobody).password("x");
    assert_eq!(code(&options.connect().await.unwrap_err()), "42501");
    run(&mut superuser, &format!("DROP ROLE {nobody}")).await;
    let mut migrator = one.connect("migrator").await;
    assert_eq!(refused(&mut migrator, &format!("SET ROLE {}", other.role("owner"))).await, "42501");
    assert_eq!(refused(&mut migrator, &format!("DROP DATABASE {}", other.name)).await, "42501");
    drop(migrator);
    one.destroy().await;
    other.destroy().await;
}

#[tokio::test]
async fn a_wrong_password_and_none_are_refused_and_the_limit_of_connections_holds() {
    let mut stack = Stack::new();
    stack.connections = 2;
    stack.deploy().await;
    let options = stack.connect_options("app");
    assert_eq!(code(&options.clone().password("wrong").connect().await.unwrap_err()), "28P01");
    let _held = (options.connect().await.unwrap(), options.connect().await.unwrap());
    assert_eq!(code(&options.connect().await.unwrap_err()), "53300");
    stack.destroy().await;
}

#[tokio::test]
async fn no_password_reaches_the_servers_log_not_even_when_a_statement_fails() {
    let stack = Stack::new();
    stack.deploy().await;
    let mut superuser = admin("postgres").await;
    // Fails in the statement that carries the passwords' verifiers.
    run(&mut superuser, &format!("ALTER ROLE {} SUPERUSER", stack.role("app"))).await;
    stack.apply(stack.roles()).await.unwrap_err();
    run(&mut superuser, &format!("ALTER ROLE {} NOSUPERUSER", stack.role("app"))).await;
    stack.connect_options("app").password("wrong-password-text").connect().await.unwrap_err();
    stack.dump().await.unwrap();
    stack.destroy().await;
    let mut log = String::new();
    for entry in std::fs::read_dir(&shared().logs).unwrap() {
        log.push_str(&String::from_utf8_lossy(&std::fs::read(entry.unwrap().path()).unwrap()));
    }
    assert!(log.contains("SCRAM-SHA-256$"), "the statement that failed should be in the log");
    for text in [
        "postgres-main-app",
        "postgres-main-migrator",
        "wrong-password-text",
        "postgresql://",
        crate::setting::PROVISIONER_PASSWORD,
    ] {
        assert!(!log.contains(text), "{text} is in the log");
    }
}

/// Bulk upserts go through one, and what is in it is gone with the session.
#[tokio::test]
async fn the_app_may_make_temporary_tables_and_no_others() {
    let stack = Stack::new();
    stack.deploy().await;
    for role in ["app", "migrator"] {
        let mut session = stack.connect(role).await;
        run(&mut session, "CREATE TEMP TABLE batch (id int); INSERT INTO batch VALUES (1)").await;
    }
    assert_eq!(refused(&mut stack.connect("app").await, "CREATE TABLE batch (id int)").await, "42501");
    stack.destroy().await;
}

/// As of a migration that was ended for its time: nobody is there any more to hear how it went.
#[tokio::test]
async fn what_a_killed_migration_waited_for_never_happens() {
    use std::process::{Command, Stdio};
    let stack = Stack::new();
    stack.deploy().await;
    run(&mut stack.connect("migrator").await, "CREATE TABLE t (id int)").await;
    let mut holder = stack.connect("app").await;
    run(&mut holder, "BEGIN; SELECT count(*) FROM t").await;
    let socket = shared().admin.get_socket().unwrap().with_file_name("apps");
    let mut psql = Command::new("psql");
    psql.args(["-X", "-q", "-c", "SET lock_timeout = 0", "-c", "ALTER TABLE t ADD COLUMN extra int"]);
    psql.env("PGHOST", socket).env("PGPORT", shared().port.to_string()).env("PGDATABASE", &stack.name);
    psql.env("PGUSER", stack.login("migrator")).env("PGPASSWORD", stack.password("migrator"));
    let mut psql = psql.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut admin = admin("postgres").await;
    let waiting =
        format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event_type = 'Lock'", stack.name);
    until(&mut admin, &waiting, 1).await;
    psql.kill().unwrap();
    psql.wait().unwrap();
    // Its session ends while the lock is held, so that readers don't wait behind it either.
    until(&mut admin, &waiting, 0).await;
    assert_eq!(count(&mut stack.connect("app").await, "SELECT count(*) FROM t").await, 0);
    run(&mut holder, "COMMIT").await;
    let columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = 't'";
    assert_eq!(count(&mut stack.connect("migrator").await, columns).await, 1);
    stack.destroy().await;
}

#[tokio::test]
async fn a_migration_waits_for_a_lock_no_longer_than_the_definition_says() {
    let stack = Stack::new();
    stack.deploy().await;
    let mut migrator = stack.connect("migrator").await;
    let timeout: String = sqlx::query_scalar("SHOW lock_timeout").fetch_one(&mut migrator).await.unwrap();
    assert_eq!(timeout, "10s");
    stack.destroy().await;
}

async fn until(connection: &mut sqlx::PgConnection, sql: &str, wanted: i64) {
    let deadline = tokio::time::Instant::now() + crate::setting::PATIENCE;
    while count(connection, sql).await != wanted {
        assert!(tokio::time::Instant::now() < deadline, "{sql} is not {wanted}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
