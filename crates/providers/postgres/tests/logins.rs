//! Rotations: the version that serves goes on until the next one has taken its place.

use freehold_plan::Observation;
use sqlx::ConnectOptions as _;

use crate::setting::{Stack, admin, code, count, run};

/// Deploys once as it was before any rotation, and makes the logins of the first one.
async fn rotated() -> Stack {
    let mut stack = Stack::new();
    stack.deploy().await;
    run(&mut stack.connect("migrator").await, "CREATE TABLE t (id int); INSERT INTO t VALUES (1)").await;
    stack.rotate();
    stack.apply(stack.roles()).await.unwrap();
    stack.apply(stack.database()).await.unwrap();
    stack
}

fn open(observation: &Observation) -> String {
    observation.body.get("open").unwrap().to_string()
}

#[tokio::test]
async fn a_rotation_leaves_what_serves_its_credentials_until_the_switch() {
    let mut stack = Stack::new();
    stack.deploy().await;
    run(&mut stack.connect("migrator").await, "CREATE TABLE t (id int); INSERT INTO t VALUES (1)").await;
    let (serving, old) = (stack.connect("app").await, stack.connect_options("app"));
    let mut serving = serving;
    stack.rotate();
    stack.apply(stack.roles()).await.unwrap();
    stack.apply(stack.database()).await.unwrap();
    // The new version migrates and starts; the one that serves asks, and connects anew.
    run(&mut stack.connect("migrator").await, "ALTER TABLE t ADD COLUMN name text").await;
    let mut new = stack.connect("app").await;
    assert_eq!(count(&mut serving, "SELECT count(*) FROM t").await, 1);
    assert_eq!(count(&mut old.connect().await.unwrap(), "SELECT count(*) FROM t").await, 1);
    assert_eq!(stack.drift(&stack.roles()).await, Vec::<String>::new());
    assert_eq!(stack.drift(&stack.database()).await, Vec::<String>::new());
    // The switch is done.
    assert_eq!(stack.drift(&stack.logins()).await, ["open"]);
    stack.apply(stack.logins()).await.unwrap();
    assert_eq!(stack.drift(&stack.logins()).await, Vec::<String>::new());
    assert_eq!(stack.drift(&stack.roles()).await, Vec::<String>::new());
    assert!(sqlx::query("SELECT 1").execute(&mut serving).await.is_err(), "a session of the old login goes on");
    assert_eq!(code(&old.connect().await.unwrap_err()), "28P01");
    run(&mut new, "INSERT INTO t VALUES (2, 'new')").await;
    assert_eq!(count(&mut new, "SELECT count(*) FROM t WHERE current_user <> session_user").await, 2);
    stack.destroy().await;
    assert_eq!(stack.owned().await, Vec::<String>::new());
}

#[tokio::test]
async fn the_login_of_a_rotation_that_failed_goes_with_the_next_one() {
    let mut stack = rotated().await;
    let before = open(&stack.observe(&stack.logins()).await.unwrap());
    assert!(before.contains(&stack.role("app")) && before.contains(&stack.login("app")), "{before}");
    let failed = stack.login("app");
    let serving = stack.first_connect_options("app");
    stack.rotate();
    stack.apply(stack.roles()).await.unwrap();
    // Still those of the version that serves, which is two rotations behind.
    serving.connect().await.unwrap();
    stack.apply(stack.logins()).await.unwrap();
    let sql = format!("SELECT count(*) FROM pg_roles WHERE rolname = '{failed}'");
    assert_eq!(count(&mut admin("postgres").await, &sql).await, 0);
    assert_eq!(code(&serving.connect().await.unwrap_err()), "28P01");
    stack.connect("app").await;
    stack.destroy().await;
    assert_eq!(stack.owned().await, Vec::<String>::new());
}

#[tokio::test]
async fn what_was_changed_on_a_login_of_a_rotation_is_mended() {
    let stack = rotated().await;
    let (app, migrator) = (stack.login("app"), stack.login("migrator"));
    let mut admin = admin("postgres").await;
    for (sql, field) in [
        (format!("ALTER ROLE {app} CONNECTION LIMIT 99"), "connections"),
        (format!("ALTER ROLE {app} NOLOGIN"), "app_user"),
        (format!("ALTER ROLE {app} SET statement_timeout = '5min'"), "statement_timeout_seconds"),
        (format!("ALTER ROLE {app} RESET role"), "app_user_acts_as"),
        (format!("ALTER ROLE {migrator} SET lock_timeout = 0"), "lock_timeout_seconds"),
        (format!("GRANT {migrator} TO {app}"), "app_user_acts_as"),
    ] {
        run(&mut admin, &sql).await;
        assert_eq!(stack.drift(&stack.roles()).await, [field], "{sql}");
        if sql.starts_with("GRANT") {
            run(&mut admin, &format!("REVOKE {migrator} FROM {app}")).await;
        }
        stack.apply(stack.roles()).await.unwrap();
        assert_eq!(stack.drift(&stack.roles()).await, Vec::<String>::new(), "{sql}");
    }
    stack.destroy().await;
}
